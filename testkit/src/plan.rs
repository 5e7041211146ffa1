//! What a seed does to which event.

use fastrand::Rng;

/// What happens to an event, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is handled, and then the connection is lost.
    AckLost,
    /// The process ends while the handler waits for the so-manieth time.
    Crash(u32),
    /// The same, but only the handler's future is dropped.
    Cancelled(u32),
    /// The producer publishes it again.
    PublishedTwice,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// By event.
    pub(crate) faults: Vec<Option<Fault>>,
    /// Several handlers run at once, and wait longer here and there.
    pub(crate) side_by_side: bool,
}

impl Plan {
    /// Nothing goes wrong, and all is in order.
    pub(crate) fn clean(events: usize) -> Self {
        Self {
            seed: 0,
            faults: vec![None; events],
            side_by_side: false,
        }
    }

    /// One or two faults of one kind, mere disorder, or all together: the simplest come first, so
    /// that what is found is told shortly.
    pub(crate) fn of(seed: u64, events: usize) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut plan = Self::clean(events);
        plan.seed = seed;
        let kind = seed % 6;
        plan.side_by_side = kind >= 4;
        let count = match kind {
            4 => 0,
            5 => events.div_ceil(2),
            _ => rng.usize(1..3),
        };
        for _ in 0..count.min(events) {
            let kind = if kind == 5 { rng.u64(0..4) } else { kind };
            let at = rng.u32(1..4);
            let event = rng.usize(0..events);
            plan.faults[event] = Some(match kind {
                0 => Fault::AckLost,
                1 => Fault::Crash(at),
                2 => Fault::Cancelled(at),
                _ => Fault::PublishedTwice,
            });
        }
        plan
    }
}
