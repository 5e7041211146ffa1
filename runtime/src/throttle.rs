//! Lines of one kind in a log, kept few: an outage fails thousands of messages for one reason.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many lines a second.
const LINES: u32 = 20;
const PERIOD: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl Throttle {
    /// Whether the next line is to be written; if so, how many were not since the last, if any.
    pub(crate) fn admit(&self) -> Option<Option<NonZeroU64>> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if window
            .began
            .is_none_or(|began| now.duration_since(began) >= PERIOD)
        {
            window.began = Some(now);
            window.lines = 0;
        }
        if window.lines == LINES {
            window.suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(NonZeroU64::new(std::mem::take(&mut window.suppressed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_suppressed_is_told_with_the_next_line() {
        let throttle = Throttle::default();
        let admitted = (0..50).filter(|_| throttle.admit() == Some(None)).count();
        assert_eq!(admitted, 20);
        tokio::time::advance(PERIOD).await;
        assert_eq!(throttle.admit(), Some(NonZeroU64::new(30)));
        assert_eq!(throttle.admit(), Some(None));
    }
}
