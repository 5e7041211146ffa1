//! End to end: from a producer's raw event to the statistics of the service.

use std::time::Duration;

use potluck::envelope::{Confidence, RawEvent, Timestamp};
use potluck::{EventProcessor, Message};
use serde_json::Value;

use crate::surroundings::*;

#[tokio::test]
async fn test_publish_and_consume_integration() {
    on_each_broker(async |bus| {
        let raw = |id: &str, llm_confidence| RawEvent {
            id: Some(id.to_owned()),
            title: Some("Free Pizza Night".to_owned()),
            llm_confidence,
            ..RawEvent::default()
        };
        let processor = EventProcessor::new();
        let consumer = bus
            .consumer(&topic(), &group("mq_consumer"))
            .on(processor.handler());
        let consumer = consumer.start().await.unwrap();
        for raw in [
            raw("sure", Some(0.9)),
            raw("unsure", Some(0.2)),
            raw("none", None),
        ] {
            bus.publish(&topic(), &raw.into_event().unwrap())
                .await
                .unwrap();
        }
        bus.send(&topic(), &[Message::new("no event")])
            .await
            .unwrap();
        done(&consumer, 3, 1).await;
        let stats = processor.stats(&consumer.stop(LIMIT).await.unwrap());
        let stats = serde_json::to_value(stats).unwrap();
        assert_eq!(stats["events_processed"], 3);
        assert_eq!(stats["events_failed"], 1);
        assert_eq!(stats["low_confidence"], 1);
        let number = |name: &str| stats[name].as_f64().unwrap();
        assert!(number("uptime_seconds") > 0.0);
        let rate = 3.0 / number("uptime_seconds");
        assert!(
            (number("events_per_second") - rate).abs() < rate / 1e6,
            "{stats}"
        );
    })
    .await;
}

#[tokio::test]
async fn test_confidence_threshold_is_a_setting() {
    on_each_broker(async |bus| {
        // All are of 0.95.
        bus.publish_all(&topic(), &pizza_nights(3)).await.unwrap();
        for (name, threshold, low) in [("lax", 0.95, 0), ("strict", 0.96, 3)] {
            let threshold = Confidence::new(threshold).unwrap();
            let processor = EventProcessor::new().confidence_threshold(threshold);
            let consumer = bus.consumer(&topic(), &group(name)).on(processor.handler());
            let consumer = consumer.start().await.unwrap();
            done(&consumer, 3, 0).await;
            let stats = consumer.stop(LIMIT).await.unwrap();
            assert_eq!(processor.stats(&stats).low_confidence, low);
        }
    })
    .await;
}

#[tokio::test]
async fn test_latency_measurement() {
    on_each_broker(async |bus| {
        let mut event = pizza_night("a");
        let published_at = Timestamp::now().get() - Duration::from_secs(30);
        event.published_at = Timestamp::new(published_at).unwrap();
        bus.publish(&topic(), &event).await.unwrap();
        let processor = EventProcessor::new();
        let consumer = bus
            .consumer(&topic(), &group("mq_consumer"))
            .on(processor.handler());
        let consumer = consumer.start().await.unwrap();
        done(&consumer, 1, 0).await;
        let stats = processor.stats(&consumer.stop(LIMIT).await.unwrap());
        let latency = stats.consumer.latency;
        // One in a hundred is what a percentile may be off.
        assert!((29_700..45_000).contains(&latency.p50_ms), "{latency:?}");
        assert!(latency.max_ms >= latency.p50_ms);
    })
    .await;
}

#[tokio::test]
async fn test_graceful_shutdown_reports_statistics() {
    on_each_broker(async |bus| {
        let events = pizza_nights(500);
        bus.publish_all(&topic(), &events).await.unwrap();
        let mut processed = 0;
        let received = Received::default();
        // Stopped in the midst of it, over and over.
        while processed < 500 {
            let consumer = bus
                .consumer(&topic(), &group("mq_consumer"))
                .on(received.handler());
            let consumer = consumer.start().await.unwrap();
            let some = async || consumer.stats().events_processed > 0;
            potluck_brokers::wait::until(LIMIT, "one", some)
                .await
                .unwrap();
            let stats = consumer.stop(LIMIT).await.unwrap();
            let json: Value = serde_json::to_value(&stats).unwrap();
            assert!(json["uptime_seconds"].as_f64().unwrap() > 0.0, "{json}");
            assert_eq!((stats.events_failed, stats.in_flight), (0, 0), "{stats:?}");
            processed += stats.events_processed;
        }
        assert_eq!(received.ids(), ids_of(&events));
    })
    .await;
}
