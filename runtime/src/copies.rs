//! What is written when a message is not acknowledged as it came: copies for retry lanes and dead
//! letters, and the headers that travel with them.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use potluck_core::envelope::{Payload, Timestamp};
use potluck_core::headers::RESERVED_PREFIX;
use potluck_core::message::BODY_MAX;
use potluck_core::{Delivery, Headers, Message, Topic};

use crate::dead_letter::Reason;

/// Failures so far.
pub const ATTEMPTS: &str = "potluck-attempts";
/// When a message of a retry lane falls due.
pub const NOT_BEFORE: &str = "potluck-not-before";
/// Why a message is a dead letter; see [`Reason`].
pub const REASON: &str = "potluck-reason";
/// The last failure's text.
pub const ERROR: &str = "potluck-error";
/// The topic that the message was published to.
pub const ORIGIN_TOPIC: &str = "potluck-origin-topic";
/// Its id there.
pub const ORIGIN_ID: &str = "potluck-origin-id";
/// When it failed first.
pub const FIRST_FAILED_AT: &str = "potluck-first-failed-at";
/// When it failed last.
pub const FAILED_AT: &str = "potluck-failed-at";

/// The most bytes of a failure's text in a header.
const ERROR_MAX: usize = 1024;

/// Where copies are of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) topic: &'a Topic,
    /// The largest body that the transport carries.
    pub(crate) max_message: usize,
}

/// What is known of a message's failures. Most have none.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Failed tries before this copy was written.
    before: u32,
    /// Failed tries of this delivery, in this process.
    here: u32,
    told: Option<Box<Told>>,
}

#[derive(Debug, Default)]
struct Told {
    first_failed_at: Option<Bytes>,
    origin: Option<(Bytes, Bytes)>,
    last_error: String,
}

impl History {
    /// What the headers of a copy tell. Of what comes from the topic itself nothing is believed:
    /// the names are ours, and who else writes them writes nonsense.
    pub(crate) fn of_copy(headers: &Headers) -> Self {
        let number = |value: &Bytes| std::str::from_utf8(value).ok()?.parse().ok();
        let text = |name| headers.get(name).cloned();
        Self {
            before: headers.get(ATTEMPTS).and_then(number).unwrap_or(0),
            here: 0,
            told: Some(Box::new(Told {
                first_failed_at: text(FIRST_FAILED_AT),
                origin: text(ORIGIN_TOPIC).zip(text(ORIGIN_ID)),
                last_error: String::new(),
            })),
        }
    }

    /// Another try has failed.
    pub(crate) fn failed(&mut self, error: &str) {
        self.here = self.here.saturating_add(1);
        let told = self.told.get_or_insert_default();
        told.first_failed_at.get_or_insert_with(now);
        error.clone_into(&mut told.last_error);
    }

    /// Failed tries in all.
    pub(crate) fn failures(&self) -> u32 {
        self.before.saturating_add(self.here)
    }

    fn last_error(&self) -> &str {
        self.told.as_ref().map_or("", |told| &told.last_error)
    }
}

/// A copy, and one with the fewest headers, in case the broker refuses the first for its size.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) full: Message,
    pub(crate) short: Message,
}

/// The copy for a retry lane: `retries` and `metadata.last_error` tell what has failed since the
/// last copy, and every other byte of the payload is the same.
pub(crate) fn for_lane(
    origin: Origin<'_>,
    delivery: &Delivery,
    payload: &Payload,
    history: &History,
    delay: Duration,
) -> Copy {
    let due = TimeDelta::from_std(delay).ok();
    let due = due.and_then(|delay| Utc::now().checked_add_signed(delay));
    let due = due.and_then(|due| Timestamp::new(due).ok());
    let due = due.map_or_else(now, |due| due.to_string().into());
    let ours = ours(origin.topic, delivery, history, vec![(NOT_BEFORE, due)]);
    copy(
        patched(origin, payload, history),
        delivery,
        ours,
        history.last_error(),
    )
}

/// The copy for the dead-letter topic. An event that failed here is patched as for a lane; all else
/// goes byte for byte as it came.
pub(crate) fn for_dead_letters(
    origin: Origin<'_>,
    delivery: &Delivery,
    payload: Option<&Payload>,
    history: &History,
    (reason, error): (Reason, &str),
) -> Copy {
    let body = match payload {
        Some(payload) if history.here > 0 => patched(origin, payload, history),
        _ => delivery.message.body().clone(),
    };
    let reason = Bytes::from_static(reason.as_str().as_bytes());
    let ours = ours(origin.topic, delivery, history, vec![(REASON, reason)]);
    copy(body, delivery, ours, error)
}

/// The payload that tells of its failures. One that would then be over the limit, and so be refused
/// when it comes again, stays as it came: what decides is in the headers.
fn patched(origin: Origin<'_>, payload: &Payload, history: &History) -> Bytes {
    let limit = origin.max_message.min(BODY_MAX);
    let patched = payload.after_failure(history.here, history.last_error());
    patched
        .ok()
        .filter(|patched| patched.len() <= limit)
        .unwrap_or_else(|| payload.bytes().clone())
}

/// The headers that every copy has.
fn ours(
    topic: &Topic,
    delivery: &Delivery,
    history: &History,
    mut headers: Vec<(&'static str, Bytes)>,
) -> Vec<(&'static str, Bytes)> {
    let here = || (topic.to_string().into(), delivery.id.to_string().into());
    let told = history.told.as_ref();
    let origin = told.and_then(|told| told.origin.clone());
    let (origin_topic, origin_id) = origin.unwrap_or_else(here);
    let first = told.and_then(|told| told.first_failed_at.clone());
    let now = now();
    headers.extend([
        (ATTEMPTS, history.failures().to_string().into()),
        (ORIGIN_TOPIC, origin_topic),
        (ORIGIN_ID, origin_id),
        (FIRST_FAILED_AT, first.unwrap_or_else(|| now.clone())),
        (FAILED_AT, now),
    ]);
    headers
}

fn copy(body: Bytes, delivery: &Delivery, ours: Vec<(&'static str, Bytes)>, error: &str) -> Copy {
    let ours = ours
        .into_iter()
        .map(|(name, value)| (Cow::from(name), value));
    let short: Vec<_> = ours.collect();
    let theirs = delivery.message.headers().iter();
    let mut full: Vec<_> = theirs
        .filter(|(name, _)| !name.starts_with(RESERVED_PREFIX))
        .map(|(name, value)| (Cow::from(name.to_owned()), value.clone()))
        .collect();
    full.extend(short.iter().cloned());
    full.push((Cow::from(ERROR), Bytes::from(cut(error).to_owned())));
    let key = delivery.message.key().cloned();
    let message =
        |headers| Message::copied(body.clone(), Headers::from_unique(headers), key.clone());
    Copy {
        full: message(full),
        short: message(short),
    }
}

/// The first 1 KiB of a text, at a character's end.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(ERROR_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn now() -> Bytes {
    Timestamp::now().to_string().into()
}

/// How long a message of a lane of this delay has still to wait: what is left until the time that
/// its header names, by the wall clock, and never more than the delay, so that clocks which differ
/// cost one delay at most. It counts from when the message was first seen.
pub(crate) fn left_to_wait(headers: &Headers, delay: Duration) -> Duration {
    let due = headers.get(NOT_BEFORE).and_then(|value| {
        let due: Timestamp = std::str::from_utf8(value).ok()?.parse().ok()?;
        Some(due.get())
    });
    // Without the header it is not ours: it has waited long enough.
    let left = due.and_then(|due| (due - Utc::now()).to_std().ok());
    left.unwrap_or(Duration::ZERO).min(delay)
}

#[cfg(test)]
mod tests {
    use potluck_core::{Delivery, MessageId, Receipt};

    use super::*;

    fn delivery(message: Message) -> Delivery {
        let receipt = Receipt { epoch: 1, slot: 1 };
        Delivery::new(message, MessageId::single(7), receipt, 1, 1 << 20)
    }

    const EVENTS: &str = "events";

    fn origin(topic: &Topic) -> Origin<'_> {
        Origin {
            topic,
            max_message: BODY_MAX,
        }
    }

    fn text(message: &Message, name: &str) -> String {
        let value = message
            .headers()
            .get(name)
            .unwrap_or_else(|| panic!("no {name}"));
        String::from_utf8(value.to_vec()).unwrap()
    }

    #[test]
    fn a_second_copy_counts_on_and_remembers_where_it_came_from() {
        let topic = Topic::new(EVENTS).unwrap();
        let body = r#"{"retries":0,"metadata":{}, "n":1.10}"#;
        let message = Message::new(body)
            .with_header("traceparent", "00-1-2-03")
            .unwrap();
        let first = delivery(message.with_key("k").unwrap());
        let payload = Payload::check(body).unwrap();
        let mut history = History::default();
        history.failed("no\nseats");
        history.failed("no seats");
        let delay = Duration::from_secs(10);
        let lane = for_lane(origin(&topic), &first, &payload, &history, delay).full;
        assert_eq!(
            lane.body(),
            r#"{"retries":2,"metadata":{"last_error":"no seats"}, "n":1.10}"#
        );
        assert_eq!(text(&lane, ATTEMPTS), "2");
        assert_eq!(text(&lane, "traceparent"), "00-1-2-03");
        assert_eq!(lane.key().map(|key| &key[..]), Some(&b"k"[..]));
        let left = left_to_wait(lane.headers(), delay);
        assert!(left > Duration::from_secs(8) && left <= delay);

        let mut history = History::of_copy(lane.headers());
        history.failed(&"ä".repeat(2000));
        let payload = Payload::check(lane.body().clone()).unwrap();
        let second = delivery(Message::received(
            lane.body().clone(),
            lane.headers().clone(),
            None,
        ));
        let why = (Reason::Exhausted, history.last_error());
        let dead = for_dead_letters(origin(&topic), &second, Some(&payload), &history, why);
        assert_eq!(text(&dead.full, ATTEMPTS), "3");
        assert_eq!(text(&dead.full, REASON), "exhausted");
        assert_eq!(text(&dead.full, ORIGIN_ID), "7");
        assert_eq!(text(&dead.full, ORIGIN_TOPIC), "events");
        assert_eq!(
            text(&dead.full, FIRST_FAILED_AT),
            text(&lane, FIRST_FAILED_AT)
        );
        assert_eq!(text(&dead.full, ERROR).len(), 1024);
        assert!(dead.full.headers().get(NOT_BEFORE).is_none());
        assert!(dead.full.body().starts_with(br#"{"retries":3,"#));
        assert!(dead.short.headers().get(ERROR).is_none());
        assert!(dead.short.headers().get("traceparent").is_none());
    }

    #[test]
    fn what_was_never_handled_goes_byte_for_byte() {
        let topic = Topic::new(EVENTS).unwrap();
        let body = "\u{feff}{ not json";
        let why = (Reason::Malformed, "not JSON");
        let history = History::default();
        let dead = for_dead_letters(
            origin(&topic),
            &delivery(Message::new(body)),
            None,
            &history,
            why,
        );
        assert_eq!(dead.full.body(), body);
        assert_eq!(text(&dead.full, ATTEMPTS), "0");
    }

    #[test]
    fn what_would_grow_over_the_limit_stays_as_it_came() {
        let topic = Topic::new(EVENTS).unwrap();
        let body = r#"{"retries":0,"metadata":{}}"#;
        let origin = Origin {
            topic: &topic,
            max_message: body.len() + 10,
        };
        let mut history = History::default();
        history.failed("no seats");
        let payload = Payload::check(body).unwrap();
        let first = delivery(Message::new(body));
        let lane = for_lane(origin, &first, &payload, &history, Duration::from_secs(10));
        assert_eq!(lane.full.body(), body);
        assert_eq!(text(&lane.full, ATTEMPTS), "1");
    }

    #[test]
    fn clocks_that_differ_cost_one_delay_at_most() {
        let delay = Duration::from_secs(10);
        let at = |seconds: i64| {
            let due = Utc::now() + TimeDelta::seconds(seconds);
            let mut headers = Headers::new();
            headers.set(NOT_BEFORE, Timestamp::new(due).unwrap().to_string());
            left_to_wait(&headers, delay)
        };
        assert_eq!(at(3600), delay);
        assert_eq!(at(-3600), Duration::ZERO);
        assert_eq!(left_to_wait(&Headers::new(), delay), Duration::ZERO);
    }
}
