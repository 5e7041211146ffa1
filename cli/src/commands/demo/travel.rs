//! Do the events arrive? Publishes them in slices while a consumer of a group handles them.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use potluck::envelope::{FreeFoodEvent, RawEvent};
use potluck::{
    Bus, Context, Error, ErrorKind, Failure, Group, Message, Outcome, Result, RetryPolicy, Start,
    Subscription, Topic, Unhandled,
};
use tokio::sync::Notify;
use tokio::time::timeout;
use uuid::Uuid;

/// Where the demo publishes.
pub(super) const TOPIC: &str = "demo.free-food";
/// How long the demo waits for the next event once all are published.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The header that tells this run's messages from those of others on the same broker.
const RUN_HEADER: &str = "demo-run";
/// How much of a random number is enough to tell runs apart.
const RUN_LEN: usize = 12;
const SLICE: usize = 16;
/// How long handlers have to finish, which do not wait for anything.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// What became of the events.
#[derive(Debug)]
pub(super) struct Trip {
    pub(super) group: Group,
    /// How many the broker has accepted.
    pub(super) stored: usize,
    /// How many it has not, or nobody knows.
    pub(super) not_stored: usize,
    /// Why the first of those was not.
    pub(super) refused: Option<Error>,
    /// Those that arrived valid, each once.
    pub(super) arrived: Vec<FreeFoodEvent>,
    /// How many arrived and are no valid event.
    pub(super) invalid: usize,
    /// How many were accepted and did not arrive in time.
    pub(super) missing: usize,
    /// How long each took from the call to publish it to its receipt, in order of length.
    pub(super) latencies: Vec<Duration>,
}

/// Publishes events and consumes them in a group of this run's own, which is deleted at the end.
/// The group starts at what is published from now on, so earlier runs' events do not show.
pub(super) async fn travel(bus: &Bus, events: &[RawEvent]) -> Result<Trip> {
    let mut run = Uuid::new_v4().simple().to_string();
    run.truncate(RUN_LEN);
    let (topic, group) = (Topic::new(TOPIC)?, Group::new(&format!("demo-{run}"))?);
    let to = Subscription::new(topic.clone(), group.clone()).start(Start::New);
    // A consumer would wait for a broker that is away.
    bus.transport().declare(&to).await?;
    let trip = there_and_back(bus, &topic, &group, &run, events).await;
    // Also when it failed: nobody else would.
    let deleted = bus.transport().delete_group(&topic, &group).await;
    let dead_letters = topic.dead_letter(&group)?;
    let groups = [Group::of_derived()];
    let cleaned = bus.transport().delete_topic(&dead_letters, &groups).await;
    let trip = trip?;
    deleted.and(cleaned)?;
    Ok(trip)
}

async fn there_and_back(
    bus: &Bus,
    topic: &Topic,
    group: &Group,
    run: &str,
    events: &[RawEvent],
) -> Result<Trip> {
    let log = Log::default();
    let consumer = bus
        .consumer(topic, group)
        .on(log.handler(run))
        .begin_at(Start::New)
        // Whoever else publishes to this topic now is not ours to judge.
        .unregistered(Unhandled::Ignore)
        .malformed(Unhandled::Ignore)
        .retry(RetryPolicy::never())
        .start()
        .await?;
    let publishing = Publishing {
        bus,
        topic,
        run,
        log: &log,
    };
    publishing.all(events).await;
    log.wait_for_all().await;
    let stats = consumer.stop(STOP_WITHIN).await?;
    let ignored = usize::try_from(stats.ignored).unwrap_or(usize::MAX);
    let log = std::mem::take(&mut *log.seen());
    Ok(log.into_trip(group.clone(), ignored))
}

/// What both sides know.
#[derive(Clone, Default)]
struct Log {
    seen: Arc<Mutex<Seen>>,
    arrival: Arc<Notify>,
}

#[derive(Default)]
struct Seen {
    /// When each event was given to the publisher, by id, until it arrives.
    under_way: HashMap<String, Under>,
    stored: usize,
    not_stored: usize,
    refused: Option<Error>,
    arrived: Vec<FreeFoodEvent>,
    latencies: Vec<Duration>,
}

struct Under {
    since: Instant,
    stored: bool,
}

impl Log {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the events of this run.
    fn handler(
        &self,
        run: &str,
    ) -> impl Fn(FreeFoodEvent, Context) -> Ready<Result<(), Failure>> + Send + Sync + 'static {
        let (log, run) = (self.clone(), run.to_owned());
        move |event, context| {
            if context
                .headers()
                .get(RUN_HEADER)
                .is_some_and(|theirs| *theirs == run)
            {
                log.seen().arrived(event, Instant::now());
                log.arrival.notify_one();
            }
            ready(Ok(()))
        }
    }

    /// Waits until all that was stored has arrived, or nothing comes any more.
    async fn wait_for_all(&self) {
        while self.seen().missing() > 0 {
            if timeout(PATIENCE, self.arrival.notified()).await.is_err() {
                return;
            }
        }
    }
}

impl Seen {
    fn missing(&self) -> usize {
        self.under_way.values().filter(|event| event.stored).count()
    }

    fn not_stored(&mut self, id: &str, error: &Error) {
        self.not_stored += 1;
        self.refused.get_or_insert_with(|| error.clone());
        self.under_way.remove(id);
    }

    /// Notes an event of this run. Only its first arrival counts.
    fn arrived(&mut self, event: FreeFoodEvent, at: Instant) {
        if let Some(under) = self.under_way.remove(event.event_id.as_str()) {
            self.latencies
                .push(at.saturating_duration_since(under.since));
            self.arrived.push(event);
        }
    }

    /// Of those missing as many as came and are no event are what became of them.
    fn into_trip(mut self, group: Group, ignored: usize) -> Trip {
        self.latencies.sort_unstable();
        let missing = self.missing();
        let invalid = missing.min(ignored);
        Trip {
            group,
            missing: missing - invalid,
            stored: self.stored,
            not_stored: self.not_stored,
            refused: self.refused,
            arrived: self.arrived,
            invalid,
            latencies: self.latencies,
        }
    }
}

struct Publishing<'a> {
    bus: &'a Bus,
    topic: &'a Topic,
    run: &'a str,
    log: &'a Log,
}

impl Publishing<'_> {
    async fn all(&self, events: &[RawEvent]) {
        let mut gone_away = None;
        for slice in events.chunks(SLICE) {
            match &gone_away {
                // Each further slice would wait for a broker that is not there.
                Some(error) => slice
                    .iter()
                    .for_each(|_| self.log.seen().not_stored("", error)),
                None => gone_away = self.slice(slice).await,
            }
            // A broker's answer would give the consumer its turn; memory answers at once.
            tokio::task::yield_now().await;
        }
    }

    /// Publishes a slice; returns the error when the broker took none of it.
    async fn slice(&self, events: &[RawEvent]) -> Option<Error> {
        let (mut ids, mut messages) = (Vec::new(), Vec::new());
        for event in events {
            match self.message(event) {
                Ok((id, message)) => {
                    let since = Instant::now();
                    let under = Under {
                        since,
                        stored: false,
                    };
                    self.log.seen().under_way.insert(id.clone(), under);
                    ids.push(id);
                    messages.push(message);
                }
                Err(error) => self.log.seen().not_stored("", &error),
            }
        }
        let outcomes = match self.bus.send(self.topic, &messages).await {
            Ok(stored) => stored.into_iter().map(Outcome::Stored).collect(),
            Err(error) => error.into_outcomes(),
        };
        let mut log = self.log.seen();
        let before = log.stored;
        for (id, outcome) in ids.iter().zip(&outcomes) {
            match outcome.error() {
                None => {
                    log.stored += 1;
                    // It may have arrived already.
                    if let Some(under) = log.under_way.get_mut(id) {
                        under.stored = true;
                    }
                }
                Some(error) => log.not_stored(id, error),
            }
        }
        let first = outcomes.iter().find_map(Outcome::error);
        let away =
            |error: &&Error| !matches!(error.kind(), ErrorKind::Invalid | ErrorKind::TooLarge);
        first.filter(|_| log.stored == before).filter(away).cloned()
    }

    fn message(&self, event: &RawEvent) -> Result<(String, Message)> {
        let event = event.clone().into_event()?;
        let message = event
            .to_message()?
            .with_header(RUN_HEADER, self.run.to_owned())?;
        Ok((event.event_id.to_string(), message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(title: &str) -> RawEvent {
        RawEvent {
            title: Some(title.to_owned()),
            ..RawEvent::default()
        }
    }

    #[test]
    fn what_comes_twice_counts_once_and_what_is_invalid_is_not_missing() {
        let event = |title| raw(title).into_event().unwrap();
        let (first, second, lost) = (event("a"), event("b"), event("c"));
        let since = Instant::now();
        let at = since + Duration::from_millis(5);
        let trip = |ignored| {
            let mut seen = Seen::default();
            for event in [&first, &second, &lost] {
                let under = Under {
                    since,
                    stored: true,
                };
                seen.under_way.insert(event.event_id.to_string(), under);
            }
            for event in [&first, &first, &event("a stranger's")] {
                seen.arrived(event.clone(), at);
            }
            seen.into_trip(Group::new("g").unwrap(), ignored)
        };
        for (ignored, invalid, missing) in [(0, 0, 2), (1, 1, 1), (2, 2, 0), (9, 2, 0)] {
            let trip = trip(ignored);
            assert_eq!((trip.invalid, trip.missing), (invalid, missing));
            assert_eq!(trip.arrived, std::slice::from_ref(&first));
            assert_eq!(trip.latencies, [Duration::from_millis(5)]);
        }
    }

    #[cfg(feature = "memory")]
    #[tokio::test]
    async fn nothing_of_a_run_stays_behind_but_the_topic() {
        let bus = potluck::bus("memory:").unwrap();
        let events: Vec<_> = (0..100).map(|n| raw(&format!("event {n}"))).collect();
        let topic = Topic::new(TOPIC).unwrap();
        for _ in 0..2 {
            let trip = travel(&bus, &events).await.unwrap();
            assert_eq!(
                (trip.stored, trip.arrived.len(), trip.missing),
                (100, 100, 0)
            );
            let dead_letters = topic.dead_letter(&trip.group).unwrap();
            for (topic, group) in [(&topic, &trip.group), (&dead_letters, &Group::of_derived())] {
                let status = bus.transport().status(topic, group).await;
                assert_eq!(status.unwrap_err().kind(), ErrorKind::NotFound);
            }
        }
    }

    #[cfg(feature = "memory")]
    #[tokio::test(start_paused = true)]
    async fn strangers_are_not_counted() {
        let bus = potluck::bus("memory:").unwrap();
        let topic = Topic::new(TOPIC).unwrap();
        let log = Log::default();
        let group = Group::new("g").unwrap();
        let consumer = bus.consumer(&topic, &group).on(log.handler("ours"));
        let consumer = consumer.malformed(Unhandled::Ignore).start().await.unwrap();
        let event = raw("a").into_event().unwrap();
        let under = Under {
            since: Instant::now(),
            stored: true,
        };
        log.seen()
            .under_way
            .insert(event.event_id.to_string(), under);
        let theirs = event.to_message().unwrap();
        let theirs = theirs.with_header(RUN_HEADER, "theirs").unwrap();
        bus.send(&topic, &[theirs, Message::new("{")])
            .await
            .unwrap();
        log.wait_for_all().await;
        assert_eq!(log.seen().missing(), 1);
        let stats = consumer.stop(STOP_WITHIN).await.unwrap();
        assert_eq!((stats.events_processed, stats.ignored), (1, 1));
    }
}
