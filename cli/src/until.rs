//! When does a command that follows a topic end?

use std::future::Future;
use std::num::{NonZeroU64, NonZeroUsize};
use std::pin::Pin;
use std::time::{Duration, Instant};

use potluck::{State, Transport};

use crate::args::Show;
use crate::exit::{Exit, Stop};
use crate::lines;
use crate::output::Talk;
use crate::signals::Stopping;

/// The most messages that are received, written and acknowledged at once.
const SLICE: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// How long one receive waits.
const WAIT: Duration = Duration::from_secs(5);

/// What ends it: enough messages, a quiet time, a signal, or that nobody reads any more.
pub(crate) struct Until {
    left: Option<u64>,
    slice: NonZeroUsize,
    idle: Option<Duration>,
    quiet_since: Instant,
    stopping: Stopping,
    unread: Pin<Box<dyn Future<Output = ()>>>,
}

/// How many of `max` messages to take at once: all slices about alike, so that whoever holds no
/// more than one of them is not handed much beyond the last.
pub(crate) fn slice_of(max: NonZeroU64) -> NonZeroUsize {
    let slices = max.get().div_ceil(SLICE.get() as u64);
    let slice = usize::try_from(max.get().div_ceil(slices));
    slice.ok().and_then(NonZeroUsize::new).unwrap_or(SLICE)
}

impl Until {
    /// Signals are listened to and quiet time counts from now on.
    pub(crate) fn new(show: &Show, talk: Talk) -> Result<Self, Stop> {
        Ok(Self {
            left: show.max.map(u64::from),
            slice: show.max.map_or(SLICE, slice_of),
            idle: show.idle,
            quiet_since: Instant::now(),
            stopping: Stopping::listen(talk)?,
            unread: Box::pin(lines::reader_gone()),
        })
    }

    /// How many may come at most; `None` when it was enough.
    pub(crate) fn most(&self) -> Option<NonZeroUsize> {
        let left = self.left.map_or(usize::MAX, |left| {
            usize::try_from(left).unwrap_or(usize::MAX)
        });
        NonZeroUsize::new(left.min(self.slice.get()))
    }

    /// How long to wait for them.
    pub(crate) fn wait(&self) -> Duration {
        let idle = self
            .idle
            .map(|idle| idle.saturating_sub(self.quiet_since.elapsed()));
        idle.map_or(WAIT, |left| left.min(WAIT))
    }

    /// What was received, unless something ends it first: then `None`, and `receive` is dropped.
    pub(crate) async fn receive<T>(
        &mut self,
        receive: impl Future<Output = potluck::Result<Vec<T>>>,
        transport: &dyn Transport,
    ) -> Result<Option<Vec<T>>, Stop> {
        let received = tokio::select! {
            biased;
            () = self.stopping.asked() => return Ok(None),
            () = &mut self.unread => return Err(Stop::ClosedPipe),
            received = receive => received?,
        };
        let quiet = self
            .idle
            .is_some_and(|idle| self.quiet_since.elapsed() >= idle);
        if !received.is_empty() || !quiet {
            return Ok(Some(received));
        }
        match transport.state() {
            // Quiet because the broker is away is not the end that was asked for.
            State::Connecting => Err(Stop::failed(
                Exit::Unreachable,
                "nothing came because the broker is away; run it again when it is back",
            )),
            _ => Ok(None),
        }
    }

    /// So many messages came that had not come before.
    pub(crate) fn came(&mut self, count: usize) {
        if count > 0 {
            self.quiet_since = Instant::now();
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            self.left = self.left.map(|left| left.saturating_sub(count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_about_alike() {
        for (max, slice) in [(1, 1), (256, 256), (257, 129), (300, 150), (u64::MAX, 256)] {
            let slice_of = slice_of(NonZeroU64::new(max).unwrap());
            assert_eq!(slice_of.get(), slice, "{max}");
        }
    }
}
