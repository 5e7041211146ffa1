//! Error handling: what becomes of messages that are no event, and of handlers that fail?

use std::time::Duration;

use potluck::envelope::FreeFoodEvent;
use potluck::{Context, Failure, Message, OtherMajor, RetryPolicy};
use serde_json::Value;

use crate::schema::{documented, without};
use crate::surroundings::*;

/// Publishes a message and then a good event. The good one is handled; the other is dead-lettered
/// for this reason, byte for byte.
async fn is_dead_lettered(payload: &str, reason: &str) {
    on_each_broker(async |bus| {
        bus.send(&topic(), &[Message::new(payload.to_owned())])
            .await
            .unwrap();
        bus.publish(&topic(), &pizza_night("good")).await.unwrap();
        let received = Received::default();
        let service = group("my_service");
        let consumer = bus.consumer(&topic(), &service).on(received.handler());
        let consumer = consumer
            .other_major(OtherMajor::Reject)
            .start()
            .await
            .unwrap();
        done(&consumer, 1, 1).await;
        consumer.stop(LIMIT).await.unwrap();
        assert_eq!(received.ids(), ["good"]);
        let letters = dead_letters(bus, &service, 1).await;
        assert_eq!(
            (letters.len(), letters[0].0.as_str()),
            (1, reason),
            "{payload}"
        );
        assert_eq!(*letters[0].1.body(), payload.as_bytes());
    })
    .await;
}

#[tokio::test]
async fn test_error_invalid_json() {
    is_dead_lettered("{\"title\": \"Free Pizza", "malformed").await;
}

#[tokio::test]
async fn test_error_missing_fields() {
    is_dead_lettered(&without("title").to_string(), "invalid").await;
}

#[tokio::test]
async fn test_error_schema_mismatch() {
    let newer = documented().to_string().replace("1.0.0", "2.0.0");
    is_dead_lettered(&newer, "unsupported_version").await;
    let none = documented().to_string().replace("1.0.0", "one");
    is_dead_lettered(&none, "bad_version").await;
}

#[tokio::test]
async fn test_error_unknown_type() {
    let other = documented()
        .to_string()
        .replace("FREE_FOOD_EVENT", "FREE_BEER_EVENT");
    is_dead_lettered(&other, "unregistered_type").await;
}

#[tokio::test]
async fn test_another_major_version_is_processed_with_a_warning() {
    on_each_broker(async |bus| {
        let newer = documented().to_string().replace("1.0.0", "2.0.0");
        bus.send(&topic(), &[Message::new(newer)]).await.unwrap();
        let received = Received::default();
        let consumer = bus
            .consumer(&topic(), &group("my_service"))
            .on(received.handler());
        let consumer = consumer.start().await.unwrap();
        done(&consumer, 1, 0).await;
        consumer.stop(LIMIT).await.unwrap();
        assert_eq!(received.events()[0].schema_version.to_string(), "2.0.0");
    })
    .await;
}

#[tokio::test]
async fn test_error_in_a_handler_is_retried() {
    on_each_broker(async |bus| {
        bus.publish(&topic(), &pizza_night("a")).await.unwrap();
        let consumer = bus.consumer(&topic(), &group("my_service"));
        let consumer = consumer.on(async |_: FreeFoodEvent, context: Context| {
            if context.tries() < 3 {
                return Err(Failure::retry("not yet"));
            }
            Ok(())
        });
        // Once at once, then from a retry lane.
        let policy = RetryPolicy::immediate(1).then_after([Duration::from_millis(1100)]);
        let consumer = consumer.retry(policy).start().await.unwrap();
        done(&consumer, 1, 0).await;
        let stats = consumer.stop(LIMIT).await.unwrap();
        assert_eq!((stats.failed_tries, stats.retried), (2, 1));
    })
    .await;
}

#[tokio::test]
async fn test_error_that_stays_is_kept_with_its_reason() {
    on_each_broker(async |bus| {
        bus.publish(&topic(), &pizza_night("a")).await.unwrap();
        let service = group("my_service");
        let consumer = bus.consumer(&topic(), &service);
        let consumer =
            consumer.on(async |_: FreeFoodEvent, _| Err(Failure::retry("no seats left")));
        let consumer = consumer
            .retry(RetryPolicy::immediate(1))
            .start()
            .await
            .unwrap();
        done(&consumer, 0, 1).await;
        consumer.stop(LIMIT).await.unwrap();
        let letters = dead_letters(bus, &service, 1).await;
        assert_eq!(letters[0].0, "exhausted");
        let event: Value = serde_json::from_slice(letters[0].1.body()).unwrap();
        assert_eq!(
            (&event["event_id"], &event["retries"]),
            (&"a".into(), &2.into())
        );
        assert_eq!(event["metadata"]["last_error"], "no seats left");
    })
    .await;
}
