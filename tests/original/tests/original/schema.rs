//! Schema validation: which texts are events, what is in them, and what is written of them?

use potluck::envelope::{Confidence, FreeFood, FreeFoodEvent, Payload, Received, Undecodable};
use serde_json::{Value, json};

use crate::surroundings::*;

const REQUIRED: [&str; 8] = [
    "schema_version",
    "event_id",
    "title",
    "source",
    "type",
    "published_at",
    "retries",
    "metadata",
];
const OPTIONAL: [&str; 5] = [
    "description",
    "location",
    "start_time",
    "llm_confidence",
    "reason",
];

/// The message of the original's documentation.
pub(crate) fn documented() -> Value {
    json!({
        "schema_version": "1.0.0",
        "event_id": "b5f5c8f4-52f1-4b68-a2a1-7757b71a4df0",
        "title": "Free Pizza Night",
        "description": "Join us in the CS building for free pizza and drinks.",
        "location": "CS Building, Room 150",
        "start_time": "2025-11-02T18:00:00Z",
        "source": "umass-calendar",
        "llm_confidence": 0.93,
        "reason": "LLM detected 'free', 'pizza', 'food' in description.",
        "type": "FREE_FOOD_EVENT",
        "published_at": "2025-11-02T14:03:22Z",
        "retries": 0,
        "metadata": {"organizer": "ACM", "raw_source_id": "cal-2025-11-02-1234"}
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut message = documented();
    message[name] = value;
    message
}

pub(crate) fn without(name: &str) -> Value {
    let mut message = documented();
    message.as_object_mut().unwrap().remove(name);
    message
}

fn parse(message: &Value) -> Result<FreeFoodEvent, Undecodable> {
    Received::<FreeFood>::parse(message.to_string()).map(|received| received.event)
}

#[test]
fn test_schema_accepts_the_documented_message() {
    let event = parse(&documented()).unwrap();
    assert_eq!(event.schema_version.to_string(), "1.0.0");
    assert_eq!(
        event.event_id.as_str(),
        "b5f5c8f4-52f1-4b68-a2a1-7757b71a4df0"
    );
    assert_eq!(event.body.title.as_str(), "Free Pizza Night");
    assert_eq!(event.body.llm_confidence.unwrap().get(), 0.93);
    assert_eq!(
        (event.retries, event.metadata["organizer"].as_str()),
        (0, Some("ACM"))
    );
}

#[test]
fn test_schema_required_fields() {
    for name in REQUIRED {
        for message in [without(name), with(name, Value::Null)] {
            let error = parse(&message).unwrap_err();
            assert!(error.to_string().contains(name), "{name}: {error}");
        }
    }
}

#[test]
fn test_schema_optional_fields_may_be_missing() {
    for name in OPTIONAL {
        for message in [without(name), with(name, Value::Null)] {
            let event = parse(&message).unwrap();
            let written: Value = serde_json::from_slice(&event.to_json().unwrap()).unwrap();
            assert!(written.get(name).is_none(), "{name}");
        }
    }
}

#[test]
fn test_schema_confidence_validation() {
    for good in [json!(0), json!(0.0), json!(0.5), json!(1), json!(1.0)] {
        let event = parse(&with("llm_confidence", good.clone())).unwrap();
        assert_eq!(
            event.body.llm_confidence.map(Confidence::get),
            good.as_f64()
        );
    }
    for bad in [
        json!(-0.1),
        json!(1.1),
        json!(93),
        json!("0.93"),
        json!(true),
        json!([0.5]),
    ] {
        let error = parse(&with("llm_confidence", bad.clone())).unwrap_err();
        assert!(
            error.to_string().contains("llm_confidence"),
            "{bad}: {error}"
        );
    }
    assert!(Confidence::new(1.5).is_err() && Confidence::new(f64::NAN).is_err());
}

#[test]
fn test_schema_times_are_iso_8601_utc() {
    let bad_times = [
        "",
        "yesterday",
        "2025-11-02",
        "2025-11-02T18:00:00",
        "2025-02-30T18:00:00Z",
    ];
    for name in ["start_time", "published_at"] {
        for good in ["2025-11-02T18:00:00Z", "2025-11-02T18:00:00.123456Z"] {
            parse(&with(name, json!(good))).unwrap();
        }
        for bad in bad_times {
            parse(&with(name, json!(bad))).unwrap_err();
        }
    }
    let written: Value = serde_json::from_slice(&pizza_night("a").to_json().unwrap()).unwrap();
    for name in ["start_time", "published_at"] {
        assert!(written[name].as_str().unwrap().ends_with('Z'), "{written}");
    }
}

#[test]
fn test_schema_metadata_is_always_an_object() {
    for bad in [json!([]), json!("x"), json!(1), json!(false)] {
        parse(&with("metadata", bad)).unwrap_err();
    }
    let written: Value = serde_json::from_slice(&pizza_night("a").to_json().unwrap()).unwrap();
    assert_eq!(written["metadata"], json!({}));
}

#[test]
fn test_serialization_and_deserialization() {
    let event = pizza_night("a");
    let json = event.to_json().unwrap();
    let again = Received::<FreeFood>::parse(json.clone()).unwrap();
    assert_eq!(again.event, event);
    assert_eq!(again.event.to_json().unwrap(), json);
    // What a consumer does not know is kept.
    let newer = parse(&with("tags", json!(["pizza"]))).unwrap();
    let written: Value = serde_json::from_slice(&newer.to_json().unwrap()).unwrap();
    assert_eq!(written, with("tags", json!(["pizza"])));
}

#[tokio::test]
async fn test_what_arrives_is_what_was_sent_to_the_byte() {
    on_each_broker(async |bus| {
        let text = documented().to_string().replace("0.93", "0.930");
        let message = potluck::Message::new(text.clone());
        bus.send(&topic(), &[message]).await.unwrap();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let consumer = bus.consumer(&topic(), &group("my_service"));
        let consumer = consumer.on(move |_: FreeFoodEvent, context: potluck::Context| {
            let sent = tell.send(context.payload().clone());
            std::future::ready(sent.map_err(potluck::Failure::retry))
        });
        let consumer = consumer.start().await.unwrap();
        let payload = tokio::time::timeout(LIMIT, told.recv())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(payload, text);
        assert!(Payload::check(payload).is_ok());
        consumer.stop(LIMIT).await.unwrap();
    })
    .await;
}
