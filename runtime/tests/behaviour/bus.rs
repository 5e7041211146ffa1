//! Does a bus publish what it is given, once, and say what became of it?

use std::time::Duration;

use potluck_core::envelope::{Envelope, EventBody, SchemaVersion};
use potluck_core::{ErrorKind, Message, Outcome, State};
use potluck_memory::{Bounds, Broker};
use potluck_runtime::Bus;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use crate::support::{SECOND, Scene, header, n, number, work};

#[tokio::test(start_paused = true)]
async fn events_are_stored_in_order_and_their_ids_told() {
    let scene = Scene::new();
    let first = scene.bus.publish(&scene.topic, &work(0)).await.unwrap();
    let events: Vec<_> = (1..10).map(work).collect();
    let ids = scene.bus.publish_all(&scene.topic, &events).await.unwrap();
    assert_eq!((ids.len(), first < ids[0]), (9, true));
    assert!(ids.is_sorted());
    let none: [Envelope<crate::support::Work>; 0] = [];
    assert_eq!(
        scene.bus.publish_all(&scene.topic, &none).await.unwrap(),
        []
    );
    let stored = scene.read(&scene.topic).await;
    assert_eq!(
        stored.iter().map(number).collect::<Vec<_>>(),
        (0..10).collect::<Vec<_>>()
    );
    assert_eq!(header(&stored[3], "content-type"), "application/json");
    assert_eq!(header(&stored[3], "message-id"), "event 3");
    assert_eq!(stored[3].key(), None);
    let message = work(10).to_message().unwrap().with_key("k").unwrap();
    scene
        .bus
        .clone()
        .send(&scene.topic, &[message])
        .await
        .unwrap();
    assert_eq!(scene.read(&scene.topic).await[10].key().unwrap(), "k");
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Float {
    x: f64,
}

impl EventBody for Float {
    const TYPE: &'static str = "FLOAT";
    const SCHEMA_VERSION: SchemaVersion = SchemaVersion::new(1, 0, 0);
}

#[tokio::test(start_paused = true)]
async fn when_one_cannot_be_encoded_none_is_sent() {
    let scene = Scene::new();
    let events = [1.0, f64::NAN, 2.0].map(|x| Envelope::builder(Float { x }).build());
    let error = scene
        .bus
        .publish_all(&scene.topic, &events)
        .await
        .unwrap_err();
    assert_eq!(error.outcomes().len(), 3);
    assert!(
        error
            .outcomes()
            .iter()
            .all(|one| matches!(one, Outcome::Refused(_)))
    );
    assert_eq!(error.first().kind(), ErrorKind::Invalid);
    assert_eq!(scene.broker.topics(), []);
}

#[tokio::test(start_paused = true)]
async fn derived_topics_are_not_for_applications() {
    let scene = Scene::new();
    let dead = scene.topic.dead_letter(&scene.group).unwrap();
    let error = scene.bus.publish(&dead, &work(1)).await.unwrap_err();
    assert_eq!(error.first().kind(), ErrorKind::Invalid);
    assert_eq!(scene.broker.topics(), []);
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_cannot_be_done_ends_at_its_deadline() {
    let full = Broker::with_bounds(Bounds::default().max_messages(n(1)));
    let bus = Bus::new(full.connect());
    let scene = Scene::new();
    bus.publish(&scene.topic, &work(1)).await.unwrap();
    for (bus, within) in [
        (bus.clone(), 10 * SECOND),
        (bus.clone().publish_within(3 * SECOND), 3 * SECOND),
    ] {
        let began = Instant::now();
        let error = bus.publish(&scene.topic, &work(2)).await.unwrap_err();
        let took = began.elapsed();
        assert!(took >= within && took < within + SECOND / 10, "{took:?}");
        assert!(matches!(error.outcomes(), [Outcome::Refused(_)]));
        assert!(error.first().is_retryable());
    }
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_is_dropped_leaves_a_bus_that_works() {
    let scene = Scene::new();
    let message = [Message::new("x")];
    let _ = timeout(Duration::ZERO, scene.bus.send(&scene.topic, &message)).await;
    scene.bus.publish(&scene.topic, &work(2)).await.unwrap();
    let stored = scene.read(&scene.topic).await;
    let copies = stored.iter().filter(|one| one.body() == "x").count();
    assert!(copies <= 1 && stored.len() == copies + 1);
}

#[tokio::test(start_paused = true)]
async fn closed_it_refuses_and_closing_twice_is_no_error() {
    let scene = Scene::new();
    assert_eq!(scene.bus.state(), State::Ready);
    scene.bus.close().await.unwrap();
    scene.bus.close().await.unwrap();
    assert_eq!(scene.bus.state(), State::Closed);
    let error = scene.bus.publish(&scene.topic, &work(1)).await.unwrap_err();
    assert_eq!(error.first().kind(), ErrorKind::Closed);
}
