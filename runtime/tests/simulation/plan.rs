//! What happens in the run of a seed: which events, handled how, among which faults?

use std::num::NonZeroUsize;
use std::time::Duration;

use fastrand::Rng;
use potluck_runtime::RetryPolicy;

/// How a try goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Fails,
    Panics,
    /// In the part of a handler that runs before there is a future.
    PanicsAtOnce,
    Hangs,
}

/// What becomes of an event in the end, if nothing comes between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Every try before this one goes wrong.
    SucceedsAt(u32, How),
    /// Every try before this one fails, and this one rejects.
    RejectsAt(u32),
    Malformed,
    UnknownType,
    UnknownMajor,
}

/// What a try does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Try {
    Succeeds,
    Rejects,
    GoesWrong(How),
}

impl What {
    pub(crate) fn at(self, tries: u32) -> Try {
        match self {
            Self::SucceedsAt(at, how) if tries < at => Try::GoesWrong(how),
            Self::RejectsAt(at) if tries < at => Try::GoesWrong(How::Fails),
            Self::RejectsAt(_) => Try::Rejects,
            _ => Try::Succeeds,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct EventPlan {
    pub(crate) what: What,
    pub(crate) key: Option<u8>,
    /// For a batch handler.
    pub(crate) batch: bool,
    /// Published a second time, with the same id.
    pub(crate) twice: bool,
    /// After the one before it.
    pub(crate) pause: Duration,
}

/// How often what goes wrong beneath the runtime, in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) delay: u32,
    pub(crate) delay_ms: u64,
    /// A call fails, and nothing was done.
    pub(crate) refuse: u32,
    /// A call fails, and it was done.
    pub(crate) lose_reply: u32,
    /// What was delivered is given back behind the consumer's back.
    pub(crate) steal: u32,
    pub(crate) extend_fails: u32,
    /// All connections are cut so many times.
    pub(crate) cuts: u32,
    /// A consumer is dropped where it stands so many times.
    pub(crate) crashes: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) events: Vec<EventPlan>,
    pub(crate) retry: RetryPolicy,
    pub(crate) strict: bool,
    pub(crate) dedup: bool,
    pub(crate) members: usize,
    pub(crate) concurrency: NonZeroUsize,
    pub(crate) max_held: NonZeroUsize,
    pub(crate) count: NonZeroUsize,
    pub(crate) lease: Duration,
    pub(crate) time_limit: Duration,
    /// A consumer is stopped in order, and started again, so many times.
    pub(crate) stops: u32,
    pub(crate) faults: Faults,
    /// No fault of this seed can make an event be handled again.
    pub(crate) exact: bool,
}

fn nonzero(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN)
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x0005_eed0_fa11_u64);
        let class = seed % 5;
        let faults = faults(&mut rng, class);
        let retry = retry(&mut rng);
        let strict = rng.u32(0..3) == 0;
        let dedup = rng.u32(0..4) == 0;
        let stops = if rng.u32(0..3) == 0 { rng.u32(1..4) } else { 0 };
        let members = if strict || rng.bool() { 1 } else { 2 };
        let attempts = retry.attempts();
        let events = (0..rng.usize(5..45))
            .map(|_| event(&mut rng, attempts, dedup && class >= 2))
            .collect();
        Self {
            seed,
            events,
            retry,
            strict,
            dedup,
            members,
            concurrency: nonzero(rng.usize(1..9)),
            max_held: nonzero(*pick(&mut rng, &[1, 2, 4, 16, 64, 1024])),
            count: nonzero(*pick(&mut rng, &[1, 3, 10, 1024])),
            lease: Duration::from_secs(*pick(&mut rng, &[10, 30, 60])),
            time_limit: Duration::from_millis(rng.u64(2500..4000)),
            stops,
            faults,
            exact: class < 2 && stops == 0,
        }
    }

    /// Whether nothing but time stands between a settle and the broker.
    pub(crate) fn is_calm(&self) -> bool {
        self.faults.refuse == 0 && self.seed % 5 < 2
    }
}

fn pick<'a, T>(rng: &mut Rng, of: &'a [T]) -> &'a T {
    &of[rng.usize(0..of.len())]
}

/// 0 delays only, 1 refusals too, 2 all that duplicates, 3 crashes, 4 everything.
fn faults(rng: &mut Rng, class: u64) -> Faults {
    let mut faults = Faults {
        delay: rng.u32(0..300),
        // Less than a lease would notice.
        delay_ms: rng.u64(1..300),
        ..Faults::default()
    };
    if matches!(class, 1 | 2 | 4) {
        faults.refuse = rng.u32(1..200);
    }
    if matches!(class, 2 | 4) {
        faults.lose_reply = rng.u32(0..200);
        faults.steal = rng.u32(0..100);
        faults.extend_fails = rng.u32(0..500);
        faults.cuts = rng.u32(0..6);
        // Longer than some leases.
        faults.delay_ms = rng.u64(1..15_000);
        faults.delay /= 4;
    }
    if class >= 3 {
        faults.crashes = rng.u32(1..8);
    }
    faults
}

fn retry(rng: &mut Rng) -> RetryPolicy {
    let delays: Vec<_> = [300_u64, 1000, 2000, 10_000, 60_000]
        .into_iter()
        .filter(|_| rng.u32(0..5) < 2)
        .map(Duration::from_millis)
        .collect();
    RetryPolicy::immediate(rng.u32(0..3)).then_after(delays)
}

fn event(rng: &mut Rng, attempts: u32, may_come_twice: bool) -> EventPlan {
    let how = *pick(
        rng,
        &[
            How::Fails,
            How::Fails,
            How::Panics,
            How::PanicsAtOnce,
            How::Hangs,
        ],
    );
    let what = match rng.u32(0..20) {
        0..10 => What::SucceedsAt(1, how),
        10..14 => What::SucceedsAt(rng.u32(1..=attempts), how),
        14 | 15 => What::SucceedsAt(attempts + 1, how),
        16 => What::RejectsAt(rng.u32(1..=attempts)),
        17 => What::Malformed,
        18 => What::UnknownType,
        _ => What::UnknownMajor,
    };
    let key = rng.u8(0..5);
    EventPlan {
        what,
        key: (key < 3).then_some(key),
        batch: rng.u32(0..4) == 0,
        twice: may_come_twice && rng.u32(0..3) == 0,
        pause: Duration::from_millis(if rng.bool() { 0 } else { rng.u64(0..1500) }),
    }
}
