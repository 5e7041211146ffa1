//! What does every case of the runtime need? A bus, a topic, a group, and what is written down.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use potluck_brokers::wait;
use potluck_core::envelope::{FreeFood, FreeFoodEvent, Payload};
use potluck_core::{Figure, Group, Message, Topic, Transport};
use potluck_runtime::{Bus, Consumer, ConsumerBuilder, Context, Failure};
use tokio::sync::watch;
use tokio::time::sleep;

use super::journal::Journal;
use super::{LANE, one_retry};
use crate::Result;
use crate::counts::Counts;
use crate::ledger::Ledger;
use crate::load::{Load, Publishing};
use crate::scene;
use crate::suite::Run;

/// Tells the stages of one process apart.
static STAGES: AtomicU32 = AtomicU32::new(1);
/// How long what is left may take, when all faults are healed.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// A bus, a topic and a group.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The run that it belongs to.
    pub run: &'a Run,
    /// What the case looks at the broker with.
    pub transport: Arc<dyn Transport>,
    /// The topic that is consumed.
    pub topic: Topic,
    /// Who consumes it.
    pub group: Group,
    /// What is published and handled.
    pub ledger: Arc<Ledger>,
    /// What handlers did.
    pub journal: Arc<Journal>,
}

impl<'a> Stage<'a> {
    /// A topic of its own on this transport. Nothing is declared: a consumer does that.
    ///
    /// # Errors
    ///
    /// None in practice: the names are legal.
    pub fn open(run: &'a Run, transport: Arc<dyn Transport>) -> Result<Self> {
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let ledger = Arc::new(Ledger::new(number));
        Ok(Self {
            run,
            transport,
            topic: Topic::new(&format!("faults.runtime.{number}"))?,
            group: Group::new("workers")?,
            journal: Arc::new(Journal::new(ledger.clone())),
            ledger,
        })
    }

    /// The group's dead-letter topic.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn dead(&self) -> Result<Topic> {
        Ok(self.topic.dead_letter(&self.group)?)
    }

    /// The group's retry lane of [`LANE`].
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn lane(&self) -> Result<Topic> {
        Ok(self.topic.retry_lane(&self.group, LANE)?)
    }

    /// Publishes a load to the topic.
    ///
    /// # Errors
    ///
    /// Those of [`Load::start`].
    pub async fn publish(&self, load: Load) -> Result<Publishing> {
        load.start(&self.transport, &self.topic, &self.ledger).await
    }

    /// Publishes a load to the topic and waits for its outcomes.
    ///
    /// # Errors
    ///
    /// Those of [`Load::start`] and [`Publishing::finish`].
    pub async fn publish_all(&self, load: Load) -> Result {
        self.publish(load).await?.finish().await
    }

    /// A consumer in this process, with one retry out of the lane. Its handlers succeed after
    /// `hold(number of the try)`, or fail as their scripts say.
    pub fn consumer<H>(&self, hold: H) -> ConsumerBuilder
    where
        H: Fn() -> Duration + Send + Sync + 'static,
    {
        let (journal, hold) = (self.journal.clone(), Arc::new(hold));
        let handler = move |event: FreeFoodEvent, context: Context| {
            let (journal, hold) = (journal.clone(), hold.clone());
            async move { journal.handle(&event, &context, sleep(hold())).await }
        };
        self.builder().on(handler)
    }

    /// A consumer in this process whose handlers wait until the gate is open, and then play their
    /// scripts.
    pub fn gated(
        &self,
        transport: Arc<dyn Transport>,
        gate: &watch::Sender<bool>,
    ) -> ConsumerBuilder {
        let (journal, gate) = (self.journal.clone(), gate.subscribe());
        let handler = move |event: FreeFoodEvent, context: Context| {
            let (journal, mut gate) = (journal.clone(), gate.clone());
            async move {
                gate.wait_for(|open| *open).await.map_err(Failure::from)?;
                journal.handle(&event, &context, async {}).await
            }
        };
        let bus = Bus::new(transport);
        bus.consumer(&self.topic, &self.group)
            .retry(one_retry())
            .on(handler)
    }

    /// A consumer of the group without a handler.
    pub fn builder(&self) -> ConsumerBuilder {
        let bus = Bus::new(self.transport.clone());
        bus.consumer(&self.topic, &self.group).retry(one_retry())
    }

    /// How many messages the group and its lane have that are not acknowledged.
    ///
    /// # Errors
    ///
    /// When the broker cannot tell.
    pub async fn left(&self) -> Result<usize> {
        let topic = self.transport.status(&self.topic, &self.group).await?;
        let lane = self
            .transport
            .status(&self.lane()?, &Group::of_derived())
            .await?;
        let all = [topic.backlog, topic.in_flight, lane.backlog, lane.in_flight];
        let all: Option<u64> = all.into_iter().map(Figure::value).sum();
        Ok(usize::try_from(
            all.ok_or("the broker cannot tell what is left")?,
        )?)
    }

    /// Waits until nothing is left with the group or in its lane.
    ///
    /// # Errors
    ///
    /// When that takes longer than a minute.
    pub async fn drain(&self) -> Result {
        self.drain_within(DRAIN_MAX).await
    }

    /// Waits until nothing is left with the group or in its lane.
    ///
    /// # Errors
    ///
    /// When that takes longer than `most`.
    pub async fn drain_within(&self, most: Duration) -> Result {
        let is_done = async || matches!(self.left().await, Ok(0));
        if wait::until(most, "nothing to be left", is_done)
            .await
            .is_err()
        {
            let (left, counts) = (self.left().await, self.ledger.counts());
            return Err(format!("not drained in {most:?}, left {left:?}: {counts}").into());
        }
        Ok(())
    }

    /// Waits until so many messages are handled.
    ///
    /// # Errors
    ///
    /// When that takes longer than a minute.
    pub async fn handled(&self, messages: usize) -> Result {
        let is_done = async || self.ledger.handled() >= messages;
        wait::until(DRAIN_MAX, "messages to be handled", is_done).await?;
        Ok(())
    }

    /// What a topic holds, the events' titles.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn titles(&self, topic: &Topic) -> Result<Vec<String>> {
        let all = scene::all(&self.transport, topic).await?;
        Ok(all.iter().filter_map(|one| title(&one.message)).collect())
    }

    /// Reads the dead letters into the ledger, closes, and judges what holds for every case;
    /// nothing may be left with the group.
    ///
    /// # Errors
    ///
    /// When something cannot be read or closed.
    pub async fn close(&self) -> Result<Counts> {
        for title in self.titles(&self.dead()?).await? {
            self.ledger.dead(title.as_bytes());
        }
        let left = self.left().await?;
        self.transport.close().await?;
        let counts = self.ledger.counts();
        self.run.judge(&counts, 0);
        self.run.findings().exactly("left with the group", left, 0);
        Ok(counts)
    }
}

/// The title of an event.
#[must_use]
pub fn title(message: &Message) -> Option<String> {
    let payload = Payload::check(message.body().clone()).ok()?;
    let event = payload.decode::<FreeFood>().ok()?;
    Some(event.body.title.as_str().to_owned())
}

/// Stops a consumer, which must have nothing against that.
///
/// # Errors
///
/// What could not be settled or given back.
pub async fn stop(consumer: Consumer) -> Result<potluck_runtime::ConsumerStats> {
    Ok(consumer.stop(Duration::from_secs(10)).await?)
}

/// A number of handlers or deliveries.
#[must_use]
pub fn number(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN)
}

/// More handlers than any case has messages in work.
#[must_use]
pub fn many() -> NonZeroUsize {
    number(512)
}

/// How long handlers take, by chance, in milliseconds.
pub fn hold(seed: u64, ms: Range<u64>) -> impl Fn() -> Duration + Send + Sync + 'static {
    let chance = Mutex::new(fastrand::Rng::with_seed(seed));
    move || {
        let mut chance = chance.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_millis(chance.u64(ms.clone()))
    }
}
