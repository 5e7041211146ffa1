//! Do the events arrive? Publishes them in slices while a member of a group consumes them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use potluck::envelope::{FreeFood, FreeFoodEvent, RawEvent, Received};
use potluck::{
    Delivery, Error, ErrorKind, Group, Message, Outcome, Publisher, Result, Start, Subscriber,
    Subscription, Topic, Transport,
};
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
const RECEIVE_MAX: NonZeroUsize = NonZeroUsize::new(64).unwrap();
const RECEIVE_WAIT: Duration = Duration::from_millis(50);
const PUBLISH_WITHIN: Duration = Duration::from_secs(10);

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
pub(super) async fn travel(transport: &dyn Transport, events: &[RawEvent]) -> Result<Trip> {
    let mut run = Uuid::new_v4().simple().to_string();
    run.truncate(RUN_LEN);
    let to = Subscription::new(Topic::new(TOPIC)?, Group::new(&format!("demo-{run}"))?)
        .start(Start::New);
    transport.declare(&to).await?;
    let trip = there_and_back(transport, &to, &run, events).await;
    // Also when it failed: nobody else would.
    let deleted = transport.delete_group(&to.topic, &to.group).await;
    let trip = trip?;
    deleted?;
    Ok(trip)
}

async fn there_and_back(
    transport: &dyn Transport,
    to: &Subscription,
    run: &str,
    events: &[RawEvent],
) -> Result<Trip> {
    let subscriber = transport.subscriber(to).await?;
    let publisher = transport.publisher().await?;
    let log = RefCell::new(Log::default());
    let publishing = Publishing {
        publisher: &*publisher,
        topic: &to.topic,
        run,
        log: &log,
    };
    let consuming = consume(&*subscriber, run, &log);
    let ((), consumed) = tokio::join!(publishing.all(events), consuming);
    let closed = subscriber.close().await;
    consumed?;
    closed?;
    Ok(log.into_inner().into_trip(to.group.clone()))
}

/// What both sides know.
#[derive(Default)]
struct Log {
    /// When each event was given to the publisher, by id, until it arrives.
    under_way: HashMap<String, Under>,
    all_sent: bool,
    stored: usize,
    not_stored: usize,
    refused: Option<Error>,
    arrived: Vec<FreeFoodEvent>,
    invalid: usize,
    latencies: Vec<Duration>,
}

struct Under {
    since: Instant,
    stored: bool,
}

impl Log {
    fn missing(&self) -> usize {
        self.under_way.values().filter(|event| event.stored).count()
    }

    fn not_stored(&mut self, id: &str, error: &Error) {
        self.not_stored += 1;
        self.refused.get_or_insert_with(|| error.clone());
        self.under_way.remove(id);
    }

    /// Notes a delivery of this run. Only the first of an event counts.
    fn arrived(&mut self, delivery: &Delivery, at: Instant) {
        let parsed = Received::<FreeFood>::parse(delivery.message.body().clone());
        let Some(received) = parsed.ok().filter(|_| delivery.defect.is_none()) else {
            self.invalid += 1;
            return;
        };
        if let Some(under) = self.under_way.remove(received.event_id.as_str()) {
            self.latencies
                .push(at.saturating_duration_since(under.since));
            self.arrived.push(received.event);
        }
    }

    fn into_trip(mut self, group: Group) -> Trip {
        self.latencies.sort_unstable();
        Trip {
            group,
            missing: self.missing().saturating_sub(self.invalid),
            stored: self.stored,
            not_stored: self.not_stored,
            refused: self.refused,
            arrived: self.arrived,
            invalid: self.invalid,
            latencies: self.latencies,
        }
    }
}

struct Publishing<'a> {
    publisher: &'a dyn Publisher,
    topic: &'a Topic,
    run: &'a str,
    log: &'a RefCell<Log>,
}

impl Publishing<'_> {
    async fn all(&self, events: &[RawEvent]) {
        let mut gone_away = None;
        for slice in events.chunks(SLICE) {
            match &gone_away {
                // Each further slice would wait for a broker that is not there.
                Some(error) => slice
                    .iter()
                    .for_each(|_| self.log.borrow_mut().not_stored("", error)),
                None => gone_away = self.slice(slice).await,
            }
            // A broker's answer would give the consumer its turn; memory answers at once.
            tokio::task::yield_now().await;
        }
        self.log.borrow_mut().all_sent = true;
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
                    self.log.borrow_mut().under_way.insert(id.clone(), under);
                    ids.push(id);
                    messages.push(message);
                }
                Err(error) => self.log.borrow_mut().not_stored("", &error),
            }
        }
        let outcomes = match self
            .publisher
            .publish(self.topic, &messages, PUBLISH_WITHIN)
            .await
        {
            Ok(stored) => stored.into_iter().map(Outcome::Stored).collect(),
            Err(error) => error.into_outcomes(),
        };
        let mut log = self.log.borrow_mut();
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

/// Consumes and acknowledges until all that was stored has arrived, or nothing comes any more.
async fn consume(subscriber: &dyn Subscriber, run: &str, log: &RefCell<Log>) -> Result<()> {
    let mut quiet_since = Instant::now();
    loop {
        {
            let log = log.borrow();
            if !log.all_sent {
                quiet_since = Instant::now();
            } else if log.missing() <= log.invalid || quiet_since.elapsed() >= PATIENCE {
                return Ok(());
            }
        }
        let deliveries = subscriber.receive(RECEIVE_MAX, RECEIVE_WAIT).await?;
        let now = Instant::now();
        for delivery in &deliveries {
            let theirs = delivery.message.headers().get(RUN_HEADER);
            if theirs.is_some_and(|theirs| theirs == run) {
                log.borrow_mut().arrived(delivery, now);
                quiet_since = now;
            }
        }
        let receipts: Vec<_> = deliveries.iter().map(|delivery| delivery.receipt).collect();
        // A stale receipt means that the event comes again, and it is counted once.
        let _ = subscriber.ack(&receipts).await?;
    }
}

#[cfg(test)]
mod tests {
    use potluck::{MessageId, Receipt};

    use super::*;

    fn delivery(message: Message) -> Delivery {
        let receipt = Receipt { epoch: 0, slot: 0 };
        Delivery::new(message, MessageId::single(1), receipt, 1, 1_000)
    }

    fn event(title: &str) -> FreeFoodEvent {
        let raw = RawEvent {
            title: Some(title.to_owned()),
            ..RawEvent::default()
        };
        raw.into_event().unwrap()
    }

    #[test]
    fn what_comes_twice_counts_once_and_what_is_invalid_is_not_missing() {
        let (first, second, lost) = (event("a"), event("b"), event("c"));
        let mut log = Log::default();
        let since = Instant::now();
        for event in [&first, &second, &lost] {
            let under = Under {
                since,
                stored: true,
            };
            log.under_way.insert(event.event_id.to_string(), under);
        }
        let at = since + Duration::from_millis(5);
        for message in [&first, &first, &event("a stranger's")] {
            log.arrived(&delivery(message.to_message().unwrap()), at);
        }
        assert_eq!((log.arrived.len(), log.invalid, log.missing()), (1, 0, 2));
        log.arrived(&delivery(Message::new("{}")), at);
        let oversize = format!("{}{}", "x".repeat(1_000), "x");
        log.arrived(&delivery(Message::new(oversize)), at);
        let trip = log.into_trip(Group::new("g").unwrap());
        assert_eq!((trip.arrived.len(), trip.invalid, trip.missing), (1, 2, 0));
        assert_eq!(trip.latencies, [Duration::from_millis(5)]);
    }

    #[cfg(feature = "memory")]
    #[tokio::test]
    async fn nothing_of_a_run_stays_behind_but_the_topic() {
        let transport = potluck::connect("memory:").unwrap();
        let raw = |title: &str| RawEvent {
            title: Some(title.to_owned()),
            ..RawEvent::default()
        };
        let events: Vec<_> = (0..100).map(|n| raw(&format!("event {n}"))).collect();
        let topic = Topic::new(TOPIC).unwrap();
        for _ in 0..2 {
            let trip = travel(&*transport, &events).await.unwrap();
            assert_eq!(
                (trip.stored, trip.arrived.len(), trip.missing),
                (100, 100, 0)
            );
            let status = transport.status(&topic, &trip.group).await;
            assert_eq!(status.unwrap_err().kind(), ErrorKind::NotFound);
        }
    }
}
