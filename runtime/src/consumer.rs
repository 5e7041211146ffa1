//! A consumer that runs: its tasks, its health, and how it stops.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use potluck_core::{Error, ErrorKind, Result, State};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::engine::Engine;
use crate::health::Health;
use crate::source::Source;
use crate::stats::ConsumerStats;

/// How long settling may take after the last handler has ended, and closing after that.
const SETTLE_WITHIN: Duration = Duration::from_secs(2);

/// Handlers that run over a group's messages. [`ConsumerBuilder::start`](crate::ConsumerBuilder)
/// makes one.
///
/// Stop it. **Dropped**, it ends like a process that crashed: handlers are cut off, and what was
/// held comes again when its leases end.
#[derive(Debug)]
pub struct Consumer {
    engine: Arc<Engine>,
    receivers: JoinSet<()>,
    workers: JoinSet<()>,
    settlers: JoinSet<()>,
    keepers: JoinSet<()>,
}

impl Consumer {
    /// Begins the tasks of an engine.
    pub(crate) fn begin(engine: Arc<Engine>) -> Self {
        let (mut receivers, mut workers) = (JoinSet::new(), JoinSet::new());
        let (mut settlers, mut keepers) = (JoinSet::new(), JoinSet::new());
        for source in &engine.sources {
            let (source, shared) = (source.clone(), engine.clone());
            match source.lane {
                None => receivers.spawn(shared.receive(source.clone())),
                Some(delay) => receivers.spawn(shared.receive_lane(source.clone(), delay)),
            };
            let (settling, shared) = (source.clone(), engine.clone());
            settlers.spawn(async move { settling.settle(&shared.recorder.counters).await });
            keepers.spawn(async move { source.keep_leases().await });
        }
        for _ in 0..engine.settings.concurrency.get() {
            workers.spawn(engine.clone().work());
        }
        let shared = engine.clone();
        keepers.spawn(async move { shared.wake_parked().await });
        Self {
            engine,
            receivers,
            workers,
            settlers,
            keepers,
        }
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> ConsumerStats {
        self.engine.stats()
    }

    /// How it is doing.
    #[must_use]
    pub fn health(&self) -> Health {
        self.monitor().health()
    }

    /// A view of it for others: a readiness endpoint, or a report after a stop that failed.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        Monitor(self.engine.clone())
    }

    /// Waits until it cannot go on by itself, and says why; see
    /// [`Unhandled::Stop`](crate::Unhandled::Stop). [`stop`](Self::stop) it then.
    ///
    /// **Dropped**, nothing is lost: call it again.
    pub async fn ended(&self) -> Error {
        self.engine.failed().await
    }

    /// Stops: receives nothing more, gives back what no handler has begun, lets handlers finish
    /// `within` the deadline with a bus that works, writes their copies, settles, and leaves the
    /// group. What is not finished by then is cut off and given back. It ends within a few seconds
    /// of the deadline, also when the broker is away.
    ///
    /// Nothing whose handler has finished is delivered again, if the broker can be reached.
    ///
    /// # Errors
    ///
    /// `Unavailable` when something could not be settled or given back in time: it comes again.
    /// Otherwise why the consumer had ended by itself, if it had.
    pub async fn stop(self, within: Duration) -> Result<ConsumerStats> {
        self.stop_when(sleep(within)).await
    }

    /// Stops as [`stop`](Self::stop) does, with a deadline that is over when `over` is: at a second
    /// signal, for example.
    ///
    /// # Errors
    ///
    /// As [`stop`](Self::stop).
    pub async fn stop_when(mut self, over: impl Future<Output = ()>) -> Result<ConsumerStats> {
        let engine = self.engine.clone();
        let not_begun = engine.stop();
        let idle = engine.stats().in_flight == 0;
        let finish = async {
            // Others can go on with these while our handlers finish. But first the receivers end:
            // they look once more for what was under way, and would be handed these again.
            let give_back = async {
                if !not_begun.is_empty() {
                    ended(&mut self.receivers).await;
                }
                engine.give_back(not_begun).await;
            };
            let ((), ()) = tokio::join!(give_back, ended(&mut self.workers));
            // Of handlers that have ended there may be copies to write.
            ended(&mut engine.take_copying()).await;
        };
        tokio::select! {
            biased;
            () = finish => {}
            () = over => {}
        }
        self.workers.shutdown().await;
        engine.take_copying().shutdown().await;
        self.receivers.shutdown().await;
        let mut late = self.settle().await.err();
        self.keepers.shutdown().await;
        for closed in join_all(engine.sources.iter().map(|source| close(source))).await {
            match closed {
                // Nothing was held, so nothing comes again: the broker forgets a member in time.
                Err(error) if idle => tracing::warn!(%error, "the group was not left"),
                closed => late = late.or(closed.err()),
            }
        }
        match engine.failure().or(late) {
            Some(error) => Err(error),
            None => Ok(engine.stats()),
        }
    }

    /// Acknowledges what was handled and gives back the rest.
    async fn settle(&mut self) -> Result<()> {
        let engine = self.engine.clone();
        let sources = &engine.sources;
        sources.iter().for_each(|source| source.complete());
        let counters = &engine.recorder.counters;
        let rest = join_all(sources.iter().map(|source| source.give_back_rest(counters)));
        let settled = async { tokio::join!(rest, ended(&mut self.settlers)).0 };
        let settled = timeout(SETTLE_WITHIN, settled).await;
        self.settlers.shutdown().await;
        match settled {
            Ok(results) => results.into_iter().collect(),
            Err(_) => Err(late(
                "what was handled could not be acknowledged in time; it comes again",
            )),
        }
    }
}

/// What a consumer has done and how it is doing, also once it is stopped. Cheap to clone.
///
/// It keeps the consumer's connections open, not its tasks: drop it soon after the consumer.
#[derive(Clone, Debug)]
pub struct Monitor(Arc<Engine>);

impl Monitor {
    /// What the consumer has done so far.
    #[must_use]
    pub fn stats(&self) -> ConsumerStats {
        self.0.stats()
    }

    /// How it is doing.
    #[must_use]
    pub fn health(&self) -> Health {
        let engine = &self.0;
        let mut outlets = engine.lanes.values().chain([&engine.dead_letters]);
        let troubled = outlets.find(|outlet| outlet.is_troubled());
        if let Some(error) = engine.failure() {
            Health::Failed(error)
        } else if let Some(outlet) = troubled {
            Health::Degraded(format!("{} cannot be written", outlet.subscription().topic))
        } else if engine.is_deaf() {
            Health::Degraded("cannot receive".to_owned())
        } else {
            match engine.identity.bus.state() {
                State::Ready => Health::Ready,
                state => Health::Degraded(format!("the connection is {state}")),
            }
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // The other tasks end with their sets.
        drop(self.engine.take_copying());
    }
}

async fn close(source: &Source) -> Result<()> {
    let closed = timeout(SETTLE_WITHIN, source.subscriber.close()).await;
    closed.unwrap_or_else(|_| Err(late("the group could not be left in time")))
}

fn late(say: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, "stop consumer", say)
}

/// Waits until all of these have ended.
async fn ended(tasks: &mut JoinSet<()>) {
    while let Some(task) = tasks.join_next().await {
        if let Err(error) = task {
            tracing::error!(%error, "a task of a consumer ended badly; this is a defect, report it");
        }
    }
}
