//! What does every test need: brokers, a topic, events, and a way to wait?

use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use potluck::envelope::{Confidence, FreeFood, FreeFoodEvent, Text, Timestamp};
use potluck::{Bus, Consumer, Context, Failure, Group, Member, Message, Start, Topic};
use potluck_brokers::redis::{RedisOptions, RedisServer};
use potluck_brokers::skip::or_skip;
use potluck_brokers::wait::until;

/// The original's settings.
pub(crate) const STREAM: &str = "events.free-food";
/// How long a test waits for what should be there soon.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Runs a test over each broker: memory, and Redis where it is installed.
pub(crate) async fn on_each_broker(test: impl AsyncFn(&Bus)) {
    let memory = potluck::bus("memory:").unwrap();
    test(&memory).await;
    memory.close().await.unwrap();
    let started = RedisServer::start(RedisOptions::default()).await;
    let Some(server) = or_skip(started).unwrap() else {
        return;
    };
    let redis = potluck::bus(&server.url()).unwrap();
    test(&redis).await;
    redis.close().await.unwrap();
}

pub(crate) fn topic() -> Topic {
    Topic::new(STREAM).unwrap()
}

pub(crate) fn group(name: &str) -> Group {
    Group::new(name).unwrap()
}

pub(crate) fn worker(number: u32) -> Member {
    Member::new(&format!("worker_{number}")).unwrap()
}

/// The original's example.
pub(crate) fn pizza_night(id: &str) -> FreeFoodEvent {
    let food = FreeFood {
        description: Some("Join us for free pizza!".to_owned()),
        location: Some("CS Building, Room 150".to_owned()),
        start_time: Some(Timestamp::now()),
        llm_confidence: Some(Confidence::new(0.95).unwrap()),
        reason: Some("Contains keywords: free, pizza".to_owned()),
        ..FreeFood::new(Text::new("Free Pizza Night").unwrap())
    };
    let event = FreeFoodEvent::builder(food)
        .source("umass-calendar")
        .unwrap();
    event.event_id(id).unwrap().build()
}

pub(crate) fn pizza_nights(count: usize) -> Vec<FreeFoodEvent> {
    let ids = (0..count).map(|number| format!("event-{number}"));
    ids.map(|id| pizza_night(&id)).collect()
}

/// What a handler comes to.
type Done = Result<(), Failure>;

/// Remembers the events that its handlers were given.
#[derive(Clone, Default)]
pub(crate) struct Received(Arc<Mutex<Vec<FreeFoodEvent>>>);

impl Received {
    pub(crate) fn handler(
        &self,
    ) -> impl Fn(FreeFoodEvent, Context) -> Ready<Done> + Send + Sync + 'static {
        let received = self.clone();
        move |event, _| {
            received.events().push(event);
            ready(Ok(()))
        }
    }

    pub(crate) fn events(&self) -> MutexGuard<'_, Vec<FreeFoodEvent>> {
        self.0.lock().unwrap()
    }

    /// The ids of what came, sorted.
    pub(crate) fn ids(&self) -> Vec<String> {
        let ids = self
            .events()
            .iter()
            .map(|event| event.event_id.to_string())
            .collect();
        let mut ids: Vec<String> = ids;
        ids.sort();
        ids
    }
}

/// The ids of events, sorted.
pub(crate) fn ids_of(events: &[FreeFoodEvent]) -> Vec<String> {
    let mut ids: Vec<_> = events
        .iter()
        .map(|event| event.event_id.to_string())
        .collect();
    ids.sort();
    ids
}

/// Waits until so many events are done with: processed, and failed.
pub(crate) async fn done(consumer: &Consumer, processed: u64, failed: u64) {
    let is_done = async || {
        let stats = consumer.stats();
        (stats.events_processed, stats.events_failed) == (processed, failed)
    };
    let waited = until(LIMIT, "events to be handled", is_done).await;
    assert!(waited.is_ok(), "{:?}", consumer.stats());
}

/// The dead letters of a group, with the reason and the payload of each.
pub(crate) async fn dead_letters(bus: &Bus, group: &Group, count: usize) -> Vec<(String, Message)> {
    let topic = topic().dead_letter(group).unwrap();
    let reader = bus
        .transport()
        .reader(&topic, Start::Earliest)
        .await
        .unwrap();
    let mut letters = Vec::new();
    let most = std::num::NonZeroUsize::new(100).unwrap();
    let all = async {
        while letters.len() < count {
            for letter in reader.receive(most, Duration::from_secs(1)).await.unwrap() {
                let reason = letter.message.headers().get(potluck::copies::REASON);
                let reason = String::from_utf8(reason.unwrap().to_vec()).unwrap();
                letters.push((reason, letter.message));
            }
        }
    };
    tokio::time::timeout(LIMIT, all).await.unwrap();
    reader.close().await.unwrap();
    letters
}
