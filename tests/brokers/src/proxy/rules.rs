//! What happens to the next byte of a connection?

use std::{
    io,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

/// Which way bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ToServer,
    ToClient,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Pass,
    Refuse,
    BlackHole,
    BlackHoleReplies,
    Latency(Duration),
    /// The number is what may still pass.
    CutAfter(Way, u64),
}

/// What is to be done with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Deliver them, `latency` after they arrived, and at most `max` of them at once.
    Deliver { latency: Duration, max: u64 },
    /// Lose them, and do not say so.
    Swallow,
    /// Close the connection.
    Cut,
}

/// One client's connection, as the rules see it.
#[derive(Debug)]
pub(super) struct Id {
    /// The how manieth accepted connection it is.
    number: u64,
    /// The change of mode under which it first lost something.
    lost: OnceLock<u64>,
    /// Whether the client was seen to leave.
    left: AtomicBool,
}

/// The proxy's mode and what follows from it. All that decides over a byte is behind one lock,
/// and a byte is delivered under that lock: once a change of mode has returned, no byte goes by
/// the rules of before.
#[derive(Debug)]
pub(super) struct Rules {
    state: Mutex<State>,
    /// Wakes every connection at each change.
    changes: watch::Sender<()>,
    open: AtomicUsize,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// Counts the changes of mode.
    change: u64,
    accepted: u64,
    /// Connections below this number are to be closed.
    cut_below: u64,
    /// Connections below this number are black holes for ever.
    frozen_below: u64,
    /// Where the last cut must not overtake what was delivered just before.
    gentle: Option<Way>,
}

impl Rules {
    pub(super) fn new() -> Self {
        let state = State {
            mode: Mode::Pass,
            change: 0,
            accepted: 0,
            cut_below: 0,
            frozen_below: 0,
            gentle: None,
        };
        Self {
            state: Mutex::new(state),
            changes: watch::Sender::new(()),
            open: AtomicUsize::new(0),
        }
    }

    pub(super) fn set(&self, mode: Mode) {
        let mut state = self.lock();
        match mode {
            Mode::CutAfter(way, 0) => state.cut(Some(way)),
            Mode::Refuse => {
                state.cut(None);
                state.enter(mode);
            }
            _ => state.enter(mode),
        }
        drop(state);
        self.changes.send_replace(());
    }

    pub(super) fn cut(&self) {
        self.lock().cut(None);
        self.changes.send_replace(());
    }

    pub(super) fn freeze_existing(&self) {
        let mut state = self.lock();
        state.frozen_below = state.accepted;
        state.enter(Mode::Pass);
        drop(state);
        self.changes.send_replace(());
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    pub(super) fn accepted(&self) -> u64 {
        self.lock().accepted
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Counts a new connection.
    pub(super) fn accept(&self) -> Id {
        self.open.fetch_add(1, Ordering::SeqCst);
        let mut state = self.lock();
        let id = Id {
            number: state.accepted,
            lost: OnceLock::new(),
            left: AtomicBool::new(false),
        };
        state.accepted += 1;
        id
    }

    /// The client is gone, or the connection is: it no longer counts as open.
    pub(super) fn leave(&self, id: &Id) {
        if !id.left.swap(true, Ordering::SeqCst) {
            self.open.fetch_sub(1, Ordering::SeqCst);
        }
    }

    pub(super) fn verdict(&self, id: &Id, way: Way) -> Verdict {
        self.lock().verdict(id, way)
    }

    /// Whether the connection was cut so that what was delivered this way arrives first.
    pub(super) fn is_gentle(&self, id: &Id, way: Way) -> bool {
        let state = self.lock();
        id.number < state.cut_below && state.gentle == Some(way)
    }

    /// [`verdict`](Self::verdict), for something that is at hand: when it is to be swallowed,
    /// the connection is marked as one that lost something.
    pub(super) fn judge(&self, id: &Id, way: Way) -> Verdict {
        self.lock().judge(id, way)
    }

    /// Delivers bytes by `write`, which is given how many it may write and does not wait. `None`
    /// when the verdict is not to deliver.
    pub(super) fn deliver(
        &self,
        id: &Id,
        way: Way,
        write: impl FnOnce(usize) -> io::Result<usize>,
    ) -> Option<io::Result<usize>> {
        let mut state = self.lock();
        let Verdict::Deliver { max, .. } = state.judge(id, way) else {
            return None;
        };
        let written = write(usize::try_from(max).unwrap_or(usize::MAX));
        if let (Ok(count), Mode::CutAfter(counted, left)) = (&written, state.mode)
            && counted == way
        {
            let left = left.saturating_sub(*count as u64);
            state.mode = Mode::CutAfter(way, left);
            if left == 0 {
                state.cut(Some(way));
                drop(state);
                self.changes.send_replace(());
            }
        }
        Some(written)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing here leaves the state half changed, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Does nothing when the mode is the same, so that to say a thing twice changes nothing.
    fn enter(&mut self, mode: Mode) {
        if self.mode != mode {
            self.mode = mode;
            self.change += 1;
        }
    }

    fn cut(&mut self, gentle: Option<Way>) {
        self.cut_below = self.accepted;
        self.gentle = gentle;
        self.enter(Mode::Pass);
    }

    /// A connection that lost something and sees another mode has a hole in its stream. It stays
    /// silent for ever, as one whose entry a router has forgotten.
    fn is_dead(&self, id: &Id) -> bool {
        id.number < self.frozen_below || id.lost.get().is_some_and(|change| *change != self.change)
    }

    fn verdict(&self, id: &Id, way: Way) -> Verdict {
        if id.number < self.cut_below {
            return Verdict::Cut;
        }
        if self.is_dead(id) {
            return Verdict::Swallow;
        }
        let deliver = |latency, max| Verdict::Deliver { latency, max };
        match self.mode {
            Mode::Refuse => Verdict::Cut,
            Mode::BlackHole => Verdict::Swallow,
            Mode::BlackHoleReplies if way == Way::ToClient => Verdict::Swallow,
            Mode::Latency(latency) => deliver(latency, u64::MAX),
            Mode::CutAfter(counted, left) if counted == way => deliver(Duration::ZERO, left),
            Mode::Pass | Mode::BlackHoleReplies | Mode::CutAfter(..) => {
                deliver(Duration::ZERO, u64::MAX)
            }
        }
    }

    fn judge(&self, id: &Id, way: Way) -> Verdict {
        let verdict = self.verdict(id, way);
        if verdict == Verdict::Swallow {
            id.lost.get_or_init(|| self.change);
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELIVER: Verdict = Verdict::Deliver {
        latency: Duration::ZERO,
        max: u64::MAX,
    };

    fn both(rules: &Rules, id: &Id) -> [Verdict; 2] {
        [Way::ToServer, Way::ToClient].map(|way| rules.verdict(id, way))
    }

    #[test]
    fn a_black_hole_spares_who_lost_nothing() {
        let rules = Rules::new();
        let (loser, idle) = (rules.accept(), rules.accept());
        rules.set(Mode::BlackHole);
        assert_eq!(rules.judge(&loser, Way::ToClient), Verdict::Swallow);
        rules.set(Mode::Pass);
        assert_eq!(both(&rules, &loser), [Verdict::Swallow; 2]);
        assert_eq!(both(&rules, &idle), [DELIVER; 2]);
    }

    #[test]
    fn no_later_mode_revives_a_stream_with_a_hole() {
        let rules = Rules::new();
        let id = rules.accept();
        rules.set(Mode::BlackHoleReplies);
        rules.judge(&id, Way::ToClient);
        assert_eq!(both(&rules, &id), [DELIVER, Verdict::Swallow]);
        for mode in [
            Mode::BlackHole,
            Mode::BlackHoleReplies,
            Mode::Pass,
            Mode::BlackHoleReplies,
        ] {
            rules.set(mode);
            assert_eq!(both(&rules, &id), [Verdict::Swallow; 2], "{mode:?}");
        }
        rules.set(Mode::Refuse);
        assert_eq!(both(&rules, &id), [Verdict::Cut; 2]);
    }

    #[test]
    fn to_set_the_same_mode_again_changes_nothing() {
        let rules = Rules::new();
        let id = rules.accept();
        rules.set(Mode::BlackHoleReplies);
        rules.judge(&id, Way::ToClient);
        rules.set(Mode::BlackHoleReplies);
        assert_eq!(both(&rules, &id), [DELIVER, Verdict::Swallow]);
    }

    #[test]
    fn a_cut_is_for_those_of_before() {
        let rules = Rules::new();
        let old = rules.accept();
        rules.cut();
        assert_eq!(both(&rules, &old), [Verdict::Cut; 2]);
        assert_eq!(both(&rules, &rules.accept()), [DELIVER; 2]);
    }

    #[test]
    fn a_budget_is_shared_and_exact() {
        let rules = Rules::new();
        let (one, two) = (rules.accept(), rules.accept());
        rules.set(Mode::CutAfter(Way::ToServer, 10));
        let all = |max: usize| Ok(max.min(6));
        assert_eq!(rules.deliver(&one, Way::ToServer, all).unwrap().unwrap(), 6);
        assert_eq!(rules.deliver(&one, Way::ToClient, all).unwrap().unwrap(), 6);
        assert_eq!(rules.deliver(&two, Way::ToServer, all).unwrap().unwrap(), 4);
        assert!(rules.deliver(&one, Way::ToServer, all).is_none());
        assert_eq!(both(&rules, &two), [Verdict::Cut; 2]);
        assert!(rules.is_gentle(&one, Way::ToServer) && !rules.is_gentle(&one, Way::ToClient));
        assert_eq!(both(&rules, &rules.accept()), [DELIVER; 2]);
    }
    #[test]
    fn a_change_is_in_force_when_it_returns() {
        use std::sync::atomic::AtomicU64;
        let (delivered, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        let rules = Rules::new();
        let until = |counter: &AtomicU64, count| {
            while counter.load(Ordering::SeqCst) < count {
                std::thread::yield_now();
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let id = rules.accept();
                    while rules.verdict(&id, Way::ToServer) != Verdict::Cut {
                        let write = |_| Ok(delivered.fetch_add(1, Ordering::SeqCst) as usize);
                        if rules.deliver(&id, Way::ToServer, write).is_none() {
                            refused.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
            until(&delivered, 10_000);
            rules.set(Mode::BlackHole);
            let at_the_change = delivered.load(Ordering::SeqCst);
            until(&refused, 10_000);
            assert_eq!(delivered.load(Ordering::SeqCst), at_the_change);
            rules.set(Mode::Refuse);
        });
    }
}
