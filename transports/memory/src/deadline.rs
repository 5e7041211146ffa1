//! When does a wait end, however long it was asked to be?

use std::time::Duration;

use tokio::time::Instant;

/// As good as never, and near enough for every clock to count.
const NEVER: Duration = Duration::from_secs(86_400 * 365 * 30);

/// The instant that is `wait` after `now`.
pub(crate) fn after(now: Instant, wait: Duration) -> Instant {
    now + wait.min(NEVER)
}
