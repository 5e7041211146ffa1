//! Basic operations: is what is published stored, delivered, acknowledged and shared out?

use std::time::Duration;

use potluck::{ErrorKind, Figure};

use crate::surroundings::*;

#[tokio::test]
async fn test_basic_publish() {
    on_each_broker(async |bus| {
        let first = bus.publish(&topic(), &pizza_night("a")).await.unwrap();
        let second = bus.publish(&topic(), &pizza_night("b")).await.unwrap();
        assert_ne!(first, second);
        assert!(!first.to_string().is_empty());
    })
    .await;
}

#[tokio::test]
async fn test_publish_and_consume() {
    on_each_broker(async |bus| {
        let event = pizza_night("a");
        bus.publish(&topic(), &event).await.unwrap();
        let received = Received::default();
        let consumer = bus
            .consumer(&topic(), &group("my_service"))
            .on(received.handler());
        // The original's settings.
        let consumer = consumer
            .member(worker(1))
            .block(Duration::from_millis(5000));
        let consumer = consumer
            .count(10.try_into().unwrap())
            .start()
            .await
            .unwrap();
        done(&consumer, 1, 0).await;
        consumer.stop(LIMIT).await.unwrap();
        assert_eq!(*received.events(), [event]);
    })
    .await;
}

#[tokio::test]
async fn test_message_acknowledgment() {
    on_each_broker(async |bus| {
        bus.publish_all(&topic(), &pizza_nights(25)).await.unwrap();
        for again in [false, true] {
            let received = Received::default();
            let service = group("my_service");
            let consumer = bus.consumer(&topic(), &service).on(received.handler());
            let consumer = consumer.start().await.unwrap();
            if again {
                // What is new comes, and before it nothing that was acknowledged.
                bus.publish(&topic(), &pizza_night("new")).await.unwrap();
                done(&consumer, 1, 0).await;
                assert_eq!(received.ids(), ["new"]);
            } else {
                done(&consumer, 25, 0).await;
            }
            consumer.stop(LIMIT).await.unwrap();
            let status = bus.transport().status(&topic(), &service).await.unwrap();
            assert_eq!(status.in_flight, Figure::Exact(0));
            assert_eq!(status.backlog.value(), Some(0));
        }
    })
    .await;
}

#[tokio::test]
async fn test_multiple_consumer_groups() {
    on_each_broker(async |bus| {
        let events = pizza_nights(50);
        let (mailer, archive) = (Received::default(), Received::default());
        let mut consumers = Vec::new();
        for (name, received) in [("mailer", &mailer), ("archive", &archive)] {
            let consumer = bus.consumer(&topic(), &group(name)).on(received.handler());
            consumers.push(consumer.start().await.unwrap());
        }
        bus.publish_all(&topic(), &events).await.unwrap();
        for consumer in consumers {
            done(&consumer, 50, 0).await;
            consumer.stop(LIMIT).await.unwrap();
        }
        assert_eq!(mailer.ids(), ids_of(&events));
        assert_eq!(archive.ids(), ids_of(&events));
    })
    .await;
}

#[tokio::test]
async fn test_workers_of_a_group_share_its_events() {
    on_each_broker(async |bus| {
        let events = pizza_nights(200);
        let received = Received::default();
        let mut workers = Vec::new();
        for number in [1, 2] {
            let consumer = bus
                .consumer(&topic(), &group("my_service"))
                .on(received.handler());
            let consumer = consumer
                .member(worker(number))
                .count(10.try_into().unwrap());
            workers.push(consumer.start().await.unwrap());
        }
        for slice in events.chunks(10) {
            bus.publish_all(&topic(), slice).await.unwrap();
        }
        let all = async || received.events().len() >= events.len();
        potluck_brokers::wait::until(LIMIT, "all to come", all)
            .await
            .unwrap();
        let mut processed = 0;
        for worker in workers {
            processed += worker.stop(LIMIT).await.unwrap().events_processed;
        }
        assert_eq!(processed, 200);
        assert_eq!(received.ids(), ids_of(&events));
    })
    .await;
}

#[tokio::test]
async fn test_connection_is_made_when_it_is_needed() {
    // Nobody listens there. The URL alone is checked at once.
    let bus = potluck::bus("redis://127.0.0.1:1?timeout=100ms").unwrap();
    let error = bus.publish(&topic(), &pizza_night("a")).await.unwrap_err();
    let first = error.into_outcomes().remove(0);
    assert_eq!(first.error().unwrap().kind(), ErrorKind::Unavailable);
    bus.close().await.unwrap();
    bus.close().await.unwrap();
    let wrong = potluck::bus("redis://127.0.0.1:1?timeuot=100ms").unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Config);
}
