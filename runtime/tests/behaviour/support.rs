//! What every test here needs: a broker, events, a log of tries, and patience in paused time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use potluck_core::envelope::{Envelope, EventBody, SchemaVersion};
use potluck_core::{Group, GroupStatus, Message, Start, Subscription, Topic, Transport};
use potluck_memory::Broker;
use potluck_runtime::{Bus, Consumer, ConsumerBuilder, ConsumerStats, Context, Failure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// An event for tests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Work {
    pub(crate) number: u32,
}

impl EventBody for Work {
    const TYPE: &'static str = "WORK";
    const SCHEMA_VERSION: SchemaVersion = SchemaVersion::new(1, 0, 0);
}

/// One of another type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Play {
    pub(crate) number: u32,
}

impl EventBody for Play {
    const TYPE: &'static str = "PLAY";
    const SCHEMA_VERSION: SchemaVersion = SchemaVersion::new(1, 0, 0);
}

/// An event of this number, with the id `event N`.
pub(crate) fn work(number: u32) -> Envelope<Work> {
    let builder = Envelope::builder(Work { number });
    builder.event_id(format!("event {number}")).unwrap().build()
}

/// A try that began.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Begun {
    pub(crate) at: Duration,
    pub(crate) number: u32,
    pub(crate) tries: u32,
}

/// A broker, and what happens over it.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) broker: Broker,
    pub(crate) direct: Arc<dyn Transport>,
    pub(crate) bus: Bus,
    pub(crate) topic: Topic,
    pub(crate) group: Group,
    began: Instant,
    begun: Arc<Mutex<Vec<Begun>>>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::over(|broker| broker.connect())
    }

    /// The consumer's bus is over a transport of its own.
    pub(crate) fn over(connect: impl FnOnce(&Broker) -> Arc<dyn Transport>) -> Self {
        let broker = Broker::new();
        Self {
            direct: broker.connect(),
            bus: Bus::new(connect(&broker)),
            topic: Topic::new("work").unwrap(),
            group: Group::new("tests").unwrap(),
            began: Instant::now(),
            begun: Arc::default(),
            broker,
        }
    }

    pub(crate) fn consumer(&self) -> ConsumerBuilder {
        self.bus.consumer(&self.topic, &self.group)
    }

    /// A consumer that does `act` with the number of each event and of its try, and logs it.
    pub(crate) fn on<F>(
        &self,
        builder: ConsumerBuilder,
        act: impl Fn(u32, Context) -> F + Send + Sync + 'static,
    ) -> ConsumerBuilder
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let scene = self.clone();
        builder.on(move |event: Envelope<Work>, context: Context| {
            scene.begin(event.body.number, &context);
            act(event.body.number, context)
        })
    }

    /// One whose handlers answer at once.
    pub(crate) fn answering(
        &self,
        builder: ConsumerBuilder,
        answer: impl Fn(u32, u32) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> ConsumerBuilder {
        self.on(builder, move |number, context| {
            std::future::ready(answer(number, context.tries()))
        })
    }

    pub(crate) fn begin(&self, number: u32, context: &Context) {
        self.begun.lock().unwrap().push(Begun {
            at: self.began.elapsed(),
            number,
            tries: context.tries(),
        });
    }

    pub(crate) fn begun(&self) -> Vec<Begun> {
        self.begun.lock().unwrap().clone()
    }

    /// The numbers of the tries that began.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        self.begun().iter().map(|one| one.number).collect()
    }

    /// Publishes events of these numbers, with no key.
    pub(crate) async fn publish(&self, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            self.send(work(number).to_message().unwrap()).await;
        }
    }

    pub(crate) async fn publish_with_key(&self, number: u32, key: &'static str) {
        let message = work(number).to_message().unwrap();
        self.send(message.with_key(key).unwrap()).await;
    }

    pub(crate) async fn send(&self, message: Message) {
        let publisher = self.direct.publisher().await.unwrap();
        publisher
            .publish(&self.topic, &[message], SECOND)
            .await
            .unwrap();
    }

    pub(crate) async fn status(&self) -> GroupStatus {
        let status = self.direct.status(&self.topic, &self.group).await;
        status.unwrap()
    }

    /// How many messages the group has not settled.
    pub(crate) async fn unsettled(&self) -> u64 {
        let status = self.status().await;
        status.backlog.value().unwrap() + status.in_flight.value().unwrap()
    }

    /// Waits until the group has settled all, lanes included.
    pub(crate) async fn settled(&self) {
        let lanes: Vec<_> = self.broker.topics();
        let lanes = lanes
            .into_iter()
            .filter(|topic| topic.as_str().contains(".retry-"));
        let lanes: Vec<_> = lanes.collect();
        until("all is settled", async || {
            let mut left = self.unsettled().await;
            for lane in &lanes {
                let status = self.direct.status(lane, &Group::of_derived()).await;
                let status = status.unwrap();
                left += status.backlog.value().unwrap() + status.in_flight.value().unwrap();
            }
            left == 0
        })
        .await;
    }

    /// Waits until so many tries have begun.
    pub(crate) async fn begun_are(&self, count: usize) {
        until(&format!("{count} tries"), async || {
            self.begun().len() >= count
        })
        .await;
    }

    /// All that is in the dead-letter topic.
    pub(crate) async fn dead(&self) -> Vec<Message> {
        self.read(&self.topic.dead_letter(&self.group).unwrap())
            .await
    }

    /// All that a topic keeps.
    pub(crate) async fn read(&self, topic: &Topic) -> Vec<Message> {
        let reader = self.direct.reader(topic, Start::Earliest).await.unwrap();
        let page = reader.receive(1000.try_into().unwrap(), Duration::ZERO);
        page.await
            .unwrap()
            .into_iter()
            .map(|one| one.message)
            .collect()
    }

    /// What another member of the group is given now, in order.
    pub(crate) async fn others_get(&self) -> Vec<u32> {
        let to = Subscription::new(self.topic.clone(), self.group.clone());
        let other = self.direct.subscriber(&to).await.unwrap();
        let given = other.receive(1000.try_into().unwrap(), Duration::ZERO);
        given
            .await
            .unwrap()
            .iter()
            .map(|one| number(&one.message))
            .collect()
    }
}

/// The number of a message's event.
pub(crate) fn number(message: &Message) -> u32 {
    let event = potluck_core::envelope::Received::<Work>::parse(message.body().clone());
    event.unwrap().event.body.number
}

/// A header's text.
pub(crate) fn header(message: &Message, name: &str) -> String {
    let value = message.headers().get(name);
    let value = value.unwrap_or_else(|| panic!("there is no header {name}"));
    String::from_utf8(value.to_vec()).unwrap()
}

/// Looks every 10 ms of paused time, for an hour of it.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(3600);
    while !condition().await {
        assert!(Instant::now() < end, "waited in vain until {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn stop(consumer: Consumer) -> ConsumerStats {
    consumer.stop(Duration::from_secs(30)).await.unwrap()
}

/// What a handler of most tests answers.
pub(crate) fn fine(_: u32, _: u32) -> Result<(), Failure> {
    Ok(())
}

pub(crate) fn n<T: TryFrom<usize>>(number: usize) -> T
where
    T::Error: std::fmt::Debug,
{
    number.try_into().unwrap()
}
