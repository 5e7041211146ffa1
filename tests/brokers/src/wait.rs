//! How does a test wait for something without sleeping and hoping?

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::{BrokerError, Result};

/// The first pause between two looks; doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// The longest pause. A look is cheap, and a slow one hides how fast things were.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// The pauses between the looks of one who waits.
#[derive(Debug)]
pub(crate) struct Looks {
    end: Instant,
    pause: Duration,
}

impl Looks {
    pub(crate) fn until(deadline: Duration) -> Self {
        Self {
            end: Instant::now() + deadline,
            pause: PAUSE_MIN,
        }
    }

    /// How long a look may still take.
    pub(crate) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Pauses before another look; `false` when there is no time for one.
    pub(crate) async fn again(&mut self) -> bool {
        if Instant::now() + self.pause >= self.end {
            return false;
        }
        sleep(self.pause).await;
        self.pause = PAUSE_MAX.min(self.pause * 2);
        true
    }
}

/// Looks until `condition` holds.
///
/// The first look is at once. A look that is itself still waiting at the deadline is dropped, so
/// `condition` must survive that.
///
/// Where the closure borrows, today's compiler cannot see that this future is `Send`: wait in
/// the test itself, not in a task that it spawns.
///
/// # Errors
///
/// [`BrokerError::Timeout`] with `what`, when the condition does not hold within `deadline`.
pub async fn until(
    deadline: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) -> Result<()> {
    let mut looks = Looks::until(deadline);
    loop {
        match timeout_at(looks.end, condition()).await {
            Ok(true) => return Ok(()),
            Ok(false) if looks.again().await => {}
            _ => {
                return Err(BrokerError::Timeout {
                    what: what.to_owned(),
                    after: deadline,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_holds_is_seen_at_once() {
        let before = Instant::now();
        until(Duration::ZERO, "nothing", async || true)
            .await
            .unwrap();
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_true_is_seen_soon() {
        let before = Instant::now();
        let due = before + Duration::from_secs(1);
        until(Duration::from_secs(9), "a second", async || {
            Instant::now() >= due
        })
        .await
        .unwrap();
        assert!(
            before.elapsed() <= Duration::from_secs(1) + PAUSE_MAX,
            "{:?}",
            before.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_holds_is_named() {
        let before = Instant::now();
        let error = until(Duration::from_secs(3), "the moon", async || false)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "waited 3s in vain for the moon");
        assert!(
            before.elapsed() <= Duration::from_secs(3),
            "{:?}",
            before.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_is_dropped_at_the_deadline() {
        let before = Instant::now();
        let hung = until(Duration::from_secs(3), "it", async || {
            std::future::pending().await
        })
        .await;
        assert!(matches!(hung, Err(BrokerError::Timeout { .. })), "{hung:?}");
        assert!(
            before.elapsed() <= Duration::from_secs(4),
            "{:?}",
            before.elapsed()
        );
    }
}
