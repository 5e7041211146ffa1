//! How often a failed event is tried again, and when.

use std::time::Duration;

use potluck_core::{Error, ErrorKind, Result};

/// A delay up to this long is waited for in this process, with the lease kept; a longer one in a
/// retry lane.
pub(crate) const IN_PROCESS_MAX: Duration = Duration::from_secs(1);

/// When a failed event is tried again: some times at once, then after each of some delays, then
/// never more. One value, the same on every transport.
///
/// The default tries five times in all: once, again at once, then after 1 s, 10 s and 1 min.
///
/// Delays of up to 1 s are waited for in the process; longer ones in a retry lane of the group's
/// own, where a failed event keeps nobody from going on. With
/// [`strict_order`](crate::ConsumerBuilder::strict_order) all are waited for in place.
///
/// ```
/// use std::time::Duration;
/// use potluck_runtime::RetryPolicy;
///
/// let policy = RetryPolicy::immediate(2).then_after([Duration::from_secs(30)]);
/// assert_eq!(policy.attempts(), 4);
/// assert_eq!(RetryPolicy::default().attempts(), 5);
/// assert_eq!(RetryPolicy::never().attempts(), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    immediate: u32,
    delays: Vec<Duration>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::immediate(1).then_after([1, 10, 60].map(Duration::from_secs))
    }
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Try again at once.
    Now,
    /// Try again after this long.
    After(Duration),
    /// The tries are used up.
    GiveUp,
}

impl RetryPolicy {
    /// One try and no more.
    #[must_use]
    pub fn never() -> Self {
        Self::immediate(0)
    }

    /// Tries again so many times at once.
    #[must_use]
    pub fn immediate(times: u32) -> Self {
        Self {
            immediate: times,
            delays: Vec::new(),
        }
    }

    /// And then after each of these delays, a whole number of milliseconds from 1 ms to 15 min.
    #[must_use]
    pub fn then_after(mut self, delays: impl IntoIterator<Item = Duration>) -> Self {
        self.delays.extend(delays);
        self
    }

    /// How many tries there are in all.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        let delays = u32::try_from(self.delays.len()).unwrap_or(u32::MAX);
        1_u32.saturating_add(self.immediate).saturating_add(delays)
    }

    /// What follows the failure that makes it `failures` in all.
    pub(crate) fn after(&self, failures: u32) -> Next {
        if failures <= self.immediate {
            return Next::Now;
        }
        let delay = usize::try_from(failures - self.immediate - 1).ok();
        match delay.and_then(|at| self.delays.get(at)) {
            Some(delay) => Next::After(*delay),
            None => Next::GiveUp,
        }
    }

    /// The delays that need a lane, each once.
    pub(crate) fn lanes(&self) -> Vec<Duration> {
        let mut lanes: Vec<_> = self.delays.clone();
        lanes.retain(|delay| *delay > IN_PROCESS_MAX);
        lanes.sort_unstable();
        lanes.dedup();
        lanes
    }

    /// Refuses delays that no lane could have.
    pub(crate) fn check(&self) -> Result<()> {
        let legal = |delay: &&Duration| {
            let whole = delay.subsec_nanos().is_multiple_of(1_000_000);
            whole && !delay.is_zero() && **delay <= potluck_core::name::LANE_DELAY_MAX
        };
        match self.delays.iter().find(|delay| !legal(delay)) {
            None => Ok(()),
            Some(delay) => {
                let rule = "a retry's delay is a whole number of milliseconds from 1 ms to 15 min";
                Err(Error::new(ErrorKind::Config, "start consumer", rule)
                    .with("delay", format!("{delay:?}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_five_tries() {
        let policy = RetryPolicy::default();
        let steps: Vec<_> = (1..=6).map(|failures| policy.after(failures)).collect();
        let after = |s| Next::After(Duration::from_secs(s));
        assert_eq!(
            steps,
            [
                Next::Now,
                after(1),
                after(10),
                after(60),
                Next::GiveUp,
                Next::GiveUp
            ]
        );
        assert_eq!(policy.lanes(), [10, 60].map(Duration::from_secs));
        assert!(policy.check().is_ok());
    }

    #[test]
    fn never_means_one_try() {
        assert_eq!(RetryPolicy::never().after(1), Next::GiveUp);
        assert_eq!(RetryPolicy::never().lanes(), Vec::<Duration>::new());
    }

    #[test]
    fn delays_that_no_lane_could_have_are_refused() {
        let long = Duration::from_secs(15 * 60) + Duration::from_millis(1);
        for delay in [Duration::ZERO, Duration::from_micros(1500), long] {
            let policy = RetryPolicy::never().then_after([delay]);
            assert_eq!(policy.check().unwrap_err().kind(), ErrorKind::Config);
        }
    }
}
