//! The original's two functions: what a producer builds, and what a consumer does with a failure.

use potluck::envelope::{Payload, RawEvent};
use serde_json::{Map, Value, json};

use crate::schema::documented;

#[test]
fn test_build_free_food_message() {
    let raw = RawEvent {
        id: Some("cal-1".to_owned()),
        title: Some("Free Pizza Night".to_owned()),
        source: Some("umass-calendar".to_owned()),
        llm_confidence: Some(0.93),
        metadata: Some(Map::from_iter([("organizer".to_owned(), json!("ACM"))])),
        ..RawEvent::default()
    };
    let message: Value =
        serde_json::from_slice(&raw.into_event().unwrap().to_json().unwrap()).unwrap();
    for (name, value) in [
        ("schema_version", json!("1.0.0")),
        ("event_id", json!("cal-1")),
        ("title", json!("Free Pizza Night")),
        ("source", json!("umass-calendar")),
        ("llm_confidence", json!(0.93)),
        ("type", json!("FREE_FOOD_EVENT")),
        ("retries", json!(0)),
        ("metadata", json!({"organizer": "ACM"})),
    ] {
        assert_eq!(message[name], value, "{name}");
    }
    assert!(message["published_at"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn test_build_free_food_message_fills_in_what_is_missing() {
    let raw = || RawEvent {
        title: Some("Free Pizza Night".to_owned()),
        ..RawEvent::default()
    };
    let (one, two) = (raw().into_event().unwrap(), raw().into_event().unwrap());
    assert_eq!((one.source.as_str(), one.metadata.len()), ("unknown", 0));
    assert_eq!(one.event_id.as_str().len(), 36);
    assert_ne!(one.event_id, two.event_id);
    // There is no message without a title.
    assert!(RawEvent::default().into_event().is_err());
}

#[test]
fn test_on_processing_error() {
    let mut expected = documented();
    let mut payload = Payload::check(documented().to_string()).unwrap();
    for (retries, error) in [(1, "no seats left"), (2, "still none")] {
        let after = payload.after_failure(1, error).unwrap();
        expected["retries"] = json!(retries);
        expected["metadata"]["last_error"] = json!(error);
        // These two, and no other field.
        assert_eq!(serde_json::from_slice::<Value>(&after).unwrap(), expected);
        payload = Payload::check(after).unwrap();
    }
}
