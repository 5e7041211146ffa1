//! What keeps a broker busy while it fails? A publishing load and a consuming one, over the driver
//! traits only, which write down in the ledger all that they do.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use potluck_core::{
    Member, Message, Outcome, Publisher, Subscriber, Subscription, Topic, Transport,
};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::Result;
use crate::ledger::Ledger;

/// A publish that has no outcome so long after its deadline hangs.
const HUNG_AFTER: Duration = Duration::from_secs(1);
/// How long what is left to publish may take.
const FINISH_MAX: Duration = Duration::from_secs(60);
/// How long a receive waits.
const RECEIVE_WAIT: Duration = Duration::from_millis(500);
/// The pause after an error that ought to pass.
const PAUSE: Duration = Duration::from_millis(100);

/// How to publish.
#[derive(Clone, Debug)]
pub struct Load {
    /// How many messages at least; it goes on until it is told to finish.
    pub at_least: u64,
    /// How many publishes may be in flight: one for each key, whose messages keep their order.
    pub window: u32,
    /// Messages per second, and how many of them are due at the same moment.
    pub rate: u32,
    /// See `rate`.
    pub burst: u32,
    /// Each publish's deadline.
    pub within: Duration,
    /// How often a message that is not acknowledged is published in all.
    pub tries: u32,
    /// Chooses the sizes.
    pub seed: u64,
    /// What is published in place of the ledger's message: see [`shaped`](Self::shaped).
    pub shape: Shape,
}

/// Makes what is published of a ledger's message, given the load's seed and the message's number.
pub type Shape = fn(seed: u64, id: u64, message: Message) -> Message;

impl Load {
    /// So many messages at this rate, in bursts of 32, with a window of 256 and one try of 10 s.
    #[must_use]
    pub fn new(at_least: u64, rate: u32, seed: u64) -> Self {
        Self {
            at_least,
            window: 256,
            rate,
            burst: 32,
            within: Duration::from_secs(10),
            tries: 1,
            seed,
            shape: |_, _, message| message,
        }
    }

    /// Sets each publish's deadline.
    #[must_use]
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Publishes what `shape` makes of each message.
    #[must_use]
    pub fn shaped(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// Sets how often a message that is not acknowledged is published.
    #[must_use]
    pub fn tries(mut self, tries: u32) -> Self {
        self.tries = tries;
        self
    }

    /// Starts publishing.
    ///
    /// # Errors
    ///
    /// When no publisher can be opened.
    pub async fn start(
        self,
        transport: &Arc<dyn Transport>,
        topic: &Topic,
        ledger: &Arc<Ledger>,
    ) -> Result<Publishing> {
        let publisher = transport.publisher().await?;
        let shared = Arc::new(Shared {
            load: self,
            publisher,
            topic: topic.clone(),
            ledger: ledger.clone(),
            tickets: AtomicU64::new(0),
            finishing: AtomicBool::new(false),
            started: Instant::now(),
        });
        let mut lanes = JoinSet::new();
        for key in 0..shared.load.window {
            lanes.spawn(lane(shared.clone(), key));
        }
        Ok(Publishing { shared, lanes })
    }
}

/// A load that is publishing.
#[derive(Debug)]
pub struct Publishing {
    shared: Arc<Shared>,
    lanes: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    load: Load,
    publisher: Arc<dyn Publisher>,
    topic: Topic,
    ledger: Arc<Ledger>,
    tickets: AtomicU64,
    finishing: AtomicBool,
    started: Instant,
}

impl Publishing {
    /// Publishes what is left of the load's number, and waits until all have their outcomes.
    ///
    /// # Errors
    ///
    /// When a lane panicked, or a minute was not enough.
    pub async fn finish(mut self) -> Result {
        self.shared.finishing.store(true, Ordering::Release);
        let end = Instant::now() + FINISH_MAX;
        while let Some(lane) = timeout_at(end, self.lanes.join_next())
            .await
            .map_err(|_| format!("still publishing after {FINISH_MAX:?}"))?
        {
            lane?;
        }
        Ok(())
    }
}

/// Publishes one key's messages, each after the one before has its outcome.
async fn lane(shared: Arc<Shared>, key: u32) {
    let load = &shared.load;
    let mut sizes = fastrand::Rng::with_seed(load.seed ^ (u64::from(key) << 32));
    loop {
        let ticket = shared.tickets.fetch_add(1, Ordering::Relaxed);
        if ticket >= load.at_least && shared.finishing.load(Ordering::Acquire) {
            return;
        }
        let burst = ticket / u64::from(load.burst) * u64::from(load.burst);
        let due = Duration::from_secs(1).mul_f64(burst as f64 / f64::from(load.rate));
        sleep_until(shared.started + due).await;
        let id = shared.ledger.begin(key);
        let message = shared.ledger.message(id, sizes.usize(0..200));
        let message = (load.shape)(load.seed, id, message);
        for _ in 0..load.tries {
            let begun = Instant::now();
            shared.ledger.trying(id);
            let slice = [message.clone()];
            let publish = shared.publisher.publish(&shared.topic, &slice, load.within);
            let outcome = match timeout(load.within + HUNG_AFTER, publish).await {
                Ok(Ok(ids)) => ids.first().copied().map(Outcome::Stored),
                Ok(Err(error)) => error.into_outcomes().pop(),
                Err(_) => None,
            };
            let ledger = &shared.ledger;
            ledger.tried(id, outcome.as_ref(), begun.elapsed(), load.within);
            if matches!(outcome, Some(Outcome::Stored(_))) {
                break;
            }
        }
    }
}

/// How to consume.
#[derive(Clone, Debug)]
pub struct Members {
    /// How many members.
    pub count: usize,
    /// The most that each receives at once.
    pub slice: NonZeroUsize,
    /// How long a handler takes; all of a slice run at once.
    pub hold: Duration,
}

impl Members {
    /// So many members that receive up to 32 at once and handle them at once.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let slice = NonZeroUsize::MIN.saturating_add(31);
        Self {
            count,
            slice,
            hold: Duration::ZERO,
        }
    }

    /// Sets how long a handler takes.
    #[must_use]
    pub fn hold(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    /// How many deliveries may be in work at once.
    #[must_use]
    pub fn window(&self) -> usize {
        self.count * self.slice.get()
    }

    /// Opens the members, each with a name of its own, and starts consuming.
    ///
    /// # Errors
    ///
    /// When a member cannot join.
    pub async fn start(
        &self,
        transport: &Arc<dyn Transport>,
        to: &Subscription,
        ledger: &Arc<Ledger>,
    ) -> Result<Consuming> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut members = Vec::new();
        for _ in 0..self.count {
            let subscriber = transport
                .subscriber(&to.clone().member(Member::unique()))
                .await?;
            let member = Consumer {
                subscriber,
                ledger: ledger.clone(),
                stop: stop.clone(),
                slice: self.slice,
                hold: self.hold,
            };
            members.push(tokio::spawn(member.consume()));
        }
        Ok(Consuming { stop, members })
    }
}

/// Members that are consuming.
#[derive(Debug)]
pub struct Consuming {
    stop: Arc<AtomicBool>,
    members: Vec<JoinHandle<()>>,
}

impl Consuming {
    /// Lets every member finish its slice and leave.
    ///
    /// # Errors
    ///
    /// When a member panicked.
    pub async fn stop(self) -> Result {
        self.stop.store(true, Ordering::Release);
        for member in self.members {
            member.await?;
        }
        Ok(())
    }
}

struct Consumer {
    subscriber: Arc<dyn Subscriber>,
    ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
    slice: NonZeroUsize,
    hold: Duration,
}

impl Consumer {
    async fn consume(self) {
        while !self.stop.load(Ordering::Acquire) {
            let deliveries = match self.subscriber.receive(self.slice, RECEIVE_WAIT).await {
                Ok(deliveries) => deliveries,
                Err(error) => {
                    // A driver goes on by itself; what it cannot mend is a defect.
                    if !error.is_retryable() {
                        self.ledger.error(&error);
                    }
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let ids: Vec<_> = deliveries
                .iter()
                .filter_map(|delivery| self.ledger.started(delivery.message.body()))
                .collect();
            if !self.hold.is_zero() && !ids.is_empty() {
                sleep(self.hold).await;
            }
            let receipts: Vec<_> = deliveries.iter().map(|delivery| delivery.receipt).collect();
            self.settle(&receipts).await;
            for id in ids {
                self.ledger.finished(id);
            }
        }
        if let Err(error) = self.subscriber.close().await {
            self.ledger.error(error);
        }
    }

    /// Settles until it is known to have arrived.
    async fn settle(&self, receipts: &[potluck_core::Receipt]) {
        if receipts.is_empty() {
            return;
        }
        loop {
            match self.subscriber.ack(receipts).await {
                Ok(settled) => {
                    let stale = settled.stale.len();
                    self.ledger.settled(receipts.len() - stale, stale);
                    return;
                }
                Err(error) if error.is_retryable() && !self.stop.load(Ordering::Acquire) => {
                    self.ledger.unsettled();
                    sleep(PAUSE).await;
                }
                Err(error) => return self.ledger.error(error),
            }
        }
    }
}
