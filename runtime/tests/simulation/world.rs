//! What happened in a run, in order, and whose life ends where?

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use crate::plan::Plan;

/// The key of an event, as the runtime orders by it.
pub(crate) type Key = Option<u8>;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Stored {
        event: usize,
        id: u64,
    },
    /// A consumer was told that what it holds is another's by now.
    Stale {
        life: u32,
        event: usize,
    },
    /// A consumer was handed a message of the topic.
    Received {
        life: u32,
        event: usize,
    },
    Began {
        life: u32,
        event: usize,
        tries: u32,
        slice: usize,
    },
    Succeeded {
        life: u32,
        event: usize,
        slice: usize,
    },
    Failed {
        life: u32,
        event: usize,
        slice: usize,
    },
    /// A handler's future was dropped.
    CutOff {
        life: u32,
        event: usize,
        by_limit: bool,
        slice: usize,
    },
    DeadLettered {
        life: u32,
        origin: u64,
    },
    Acked {
        life: u32,
        count: usize,
    },
    Error {
        life: u32,
        what: &'static str,
    },
    Cut,
    Crashed {
        life: u32,
    },
    Stopped {
        life: u32,
        finished: bool,
    },
    Healed,
}

/// One run.
pub(crate) struct World {
    pub(crate) plan: Plan,
    began: Instant,
    log: Mutex<Vec<(Duration, Entry)>>,
    rng: Mutex<Rng>,
    healed: AtomicBool,
    done: AtomicBool,
    /// All is done from now on. Unlike a watch channel it wakes in the same order each time.
    done_now: Notify,
    lives: AtomicU32,
    /// How many more awaits pass until a consumer crashes, and how many more crashes there are.
    crash: Mutex<(u64, u32)>,
    /// Events by their place in the topic.
    pub(crate) places: Mutex<BTreeMap<u64, usize>>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl World {
    pub(crate) fn new(plan: Plan) -> Arc<Self> {
        let mut rng = Rng::with_seed(plan.seed);
        let crash = Mutex::new((rng.u64(1..200), plan.faults.crashes));
        Arc::new(Self {
            plan,
            began: Instant::now(),
            log: Mutex::default(),
            rng: Mutex::new(rng),
            healed: AtomicBool::new(false),
            done: AtomicBool::new(false),
            done_now: Notify::new(),
            lives: AtomicU32::new(0),
            crash,
            places: Mutex::default(),
        })
    }

    pub(crate) fn log(&self, entry: Entry) {
        self.log.lock().unwrap().push((self.began.elapsed(), entry));
    }

    pub(crate) fn entries(&self) -> Vec<(Duration, Entry)> {
        self.log.lock().unwrap().clone()
    }

    /// Whether so much has happened that there is no end to it.
    pub(crate) fn is_endless(&self) -> bool {
        self.log.lock().unwrap().len() > 10_000
    }

    /// A number of the run's own.
    pub(crate) fn draw(&self, of: Range<u64>) -> u64 {
        self.rng.lock().unwrap().u64(of)
    }

    /// Whether something of so many in a thousand happens now.
    pub(crate) fn happens(&self, of_thousand: u32) -> bool {
        !self.healed.load(Relaxed) && self.draw(0..1000) < u64::from(of_thousand)
    }

    /// From now on nothing goes wrong.
    pub(crate) fn heal(&self) {
        self.healed.store(true, Relaxed);
        self.log(Entry::Healed);
    }

    /// There is nothing left to do: consumers stop for good.
    pub(crate) fn finish(&self) {
        self.done.store(true, Relaxed);
        self.done_now.notify_waiters();
    }

    pub(crate) async fn finished(&self) {
        let news = self.done_now.notified();
        if !self.done.load(Relaxed) {
            news.await;
        }
    }

    /// Which event is at this place of the topic.
    pub(crate) fn event_at(&self, id: u64) -> Option<usize> {
        self.places.lock().unwrap().get(&id).copied()
    }

    fn crashes_here(&self) -> bool {
        let mut crash = self.crash.lock().unwrap();
        if crash.1 == 0 || self.healed.load(Relaxed) {
            return false;
        }
        crash.0 -= 1;
        if crash.0 > 0 {
            return false;
        }
        *crash = (self.draw(1..300), crash.1 - 1);
        true
    }
}

/// A consumer's life, from its start to its stop or crash. After a crash nothing of it has any
/// effect, though its tasks are not dropped yet.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) world: Arc<World>,
    pub(crate) number: u32,
    dead: watch::Sender<bool>,
}

impl Life {
    pub(crate) fn begin(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world: world.clone(),
            number: world.lives.fetch_add(1, Relaxed) + 1,
            dead: watch::Sender::new(false),
        })
    }

    /// An await: time may pass at it, and the life may end at it.
    pub(crate) async fn point(&self) {
        self.step().await;
        let faults = self.world.plan.faults;
        if self.world.happens(faults.delay) {
            let delay = self.world.draw(0..faults.delay_ms);
            sleep(Duration::from_millis(delay)).await;
        } else {
            tokio::task::yield_now().await;
        }
        if self.is_over() {
            std::future::pending::<()>().await;
        }
    }

    /// An await of a handler, at which the life may end. Time passes as its plan has it.
    pub(crate) async fn step(&self) {
        if self.is_over() || self.world.crashes_here() {
            self.dead.send_replace(true);
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        *self.dead.borrow()
    }

    pub(crate) async fn over(&self) {
        let _ = self.dead.subscribe().wait_for(|dead| *dead).await;
    }

    pub(crate) fn log(&self, entry: Entry) {
        self.world.log(entry);
    }
}
