//! Performance: the original's figures, as floors that a busy machine and a debug build keep.

use std::time::{Duration, Instant};

use potluck::envelope::{FreeFood, Received as Parsed};

use crate::surroundings::*;

#[tokio::test]
async fn test_publish_rate_is_over_100_events_a_second() {
    on_each_broker(async |bus| {
        let events = pizza_nights(300);
        let began = Instant::now();
        for event in &events {
            bus.publish(&topic(), event).await.unwrap();
        }
        let rate = 300.0 / began.elapsed().as_secs_f64();
        assert!(rate > 100.0, "{rate} a second");
    })
    .await;
}

#[tokio::test]
async fn test_processing_rate_is_over_100_events_a_second() {
    on_each_broker(async |bus| {
        bus.publish_all(&topic(), &pizza_nights(300)).await.unwrap();
        let received = Received::default();
        let began = Instant::now();
        let consumer = bus
            .consumer(&topic(), &group("my_service"))
            .on(received.handler());
        let consumer = consumer.start().await.unwrap();
        done(&consumer, 300, 0).await;
        let rate = 300.0 / began.elapsed().as_secs_f64();
        consumer.stop(LIMIT).await.unwrap();
        assert!(rate > 100.0, "{rate} a second");
    })
    .await;
}

#[tokio::test]
async fn test_processing_latency_is_under_100_ms_at_the_median() {
    on_each_broker(async |bus| {
        let received = Received::default();
        let consumer = bus
            .consumer(&topic(), &group("my_service"))
            .on(received.handler());
        let consumer = consumer.start().await.unwrap();
        // A steady load, of twice the original's 10 a second and more.
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        for number in 0..100 {
            tick.tick().await;
            // Built now, so that `published_at` is now.
            let event = pizza_night(&number.to_string());
            bus.publish(&topic(), &event).await.unwrap();
        }
        done(&consumer, 100, 0).await;
        let latency = consumer.stop(LIMIT).await.unwrap().latency;
        assert!(latency.p50_ms < 100, "{latency:?}");
    })
    .await;
}

#[test]
fn test_validation_takes_less_than_1_ms() {
    let json = pizza_night("a").to_json().unwrap();
    let began = Instant::now();
    for _ in 0..1000 {
        Parsed::<FreeFood>::parse(json.clone()).unwrap();
    }
    let each = began.elapsed() / 1000;
    assert!(each < Duration::from_millis(1), "{each:?}");
}

#[tokio::test]
async fn test_spike_of_over_1000_events_is_consumed_in_full() {
    on_each_broker(async |bus| {
        let events = pizza_nights(1500);
        let received = Received::default();
        let consumer = bus
            .consumer(&topic(), &group("my_service"))
            .on(received.handler());
        let consumer = consumer.start().await.unwrap();
        let publishes = events.chunks(100).map(|slice| {
            let (bus, slice) = (bus.clone(), slice.to_vec());
            tokio::spawn(async move { bus.publish_all(&topic(), &slice).await })
        });
        let publishes: Vec<_> = publishes.collect();
        for publish in publishes {
            publish.await.unwrap().unwrap();
        }
        done(&consumer, 1500, 0).await;
        consumer.stop(LIMIT).await.unwrap();
        assert_eq!(received.ids(), ids_of(&events));
    })
    .await;
}
