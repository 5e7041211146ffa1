//! How long to wait before dialling again.

use std::time::Duration;

/// Full jitter: each pause is anything from nothing to a ceiling that doubles, so that clients
/// which lost a broker together do not come back together.
///
/// ```
/// use potluck_core::backoff::Backoff;
///
/// let mut backoff = Backoff::dialling();
/// assert!(backoff.pause().as_millis() <= 50);
/// assert!((0..100).all(|_| backoff.pause().as_secs() <= 2));
/// backoff.reset();
/// assert!(backoff.pause().as_millis() <= 50);
/// ```
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Pauses of at most `first` to begin with and at most `most` in the end.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            ceiling: first,
        }
    }

    /// What every driver uses between two dials: 50 ms to 2 s, so that a broker which comes back is
    /// found within 3 s, and one that does not is dialled once a second.
    #[must_use]
    pub fn dialling() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(2))
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let pause = self.ceiling.mul_f64(fastrand::f64());
        self.ceiling = (self.ceiling * 2).min(self.most);
        pause
    }

    /// Begins anew, after the connection was healthy for a while.
    pub fn reset(&mut self) {
        self.ceiling = self.first;
    }
}
