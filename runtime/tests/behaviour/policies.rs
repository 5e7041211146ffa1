//! Is what no handler is for dead-lettered, ignored, or the end, as the consumer is told?

use potluck_core::envelope::{Envelope, SchemaVersion};
use potluck_core::{ErrorKind, Message};
use potluck_runtime::{ConsumerBuilder, Health, OtherMajor, Unhandled};
use tokio::time::{sleep, timeout};

use crate::support::{Play, SECOND, Scene, fine, header, stop, until, work};

/// Publishes something malformed, something of another type, and two good events around them.
async fn mixed(scene: &Scene) {
    scene.publish([1]).await;
    scene.send(Message::new("{")).await;
    let play = Envelope::builder(Play { number: 10 }).build();
    scene.bus.publish(&scene.topic, &play).await.unwrap();
    scene.publish([2]).await;
}

async fn reasons(scene: &Scene) -> Vec<String> {
    let dead = scene.dead().await;
    dead.iter()
        .map(|one| header(one, "potluck-reason"))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn by_default_all_is_dead_lettered() {
    let scene = Scene::new();
    let consumer = scene
        .answering(scene.consumer(), fine)
        .start()
        .await
        .unwrap();
    mixed(&scene).await;
    scene.settled().await;
    assert_eq!(reasons(&scene).await, ["malformed", "unregistered_type"]);
    let stats = stop(consumer).await;
    assert_eq!(
        (stats.events_processed, stats.events_failed, stats.ignored),
        (2, 2, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn each_policy_is_for_its_own() {
    for (malformed, unregistered, expected) in [
        (
            Unhandled::Ignore,
            Unhandled::DeadLetter,
            "unregistered_type",
        ),
        (Unhandled::DeadLetter, Unhandled::Ignore, "malformed"),
    ] {
        let scene = Scene::new();
        let builder = scene.answering(scene.consumer(), fine);
        let builder = builder.malformed(malformed).unregistered(unregistered);
        let consumer = builder.start().await.unwrap();
        mixed(&scene).await;
        scene.settled().await;
        assert_eq!(reasons(&scene).await, [expected]);
        let stats = stop(consumer).await;
        assert_eq!(
            (stats.events_processed, stats.events_failed, stats.ignored),
            (2, 1, 1)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_invalid_counts_as_malformed() {
    let scene = Scene::new();
    let builder = scene
        .answering(scene.consumer(), fine)
        .malformed(Unhandled::Ignore);
    let consumer = builder.start().await.unwrap();
    let body = r#"{"type": "WORK", "schema_version": "1.0.0"}"#;
    scene.send(Message::new(body)).await;
    scene.send(Message::new("{}")).await;
    scene.settled().await;
    assert_eq!(stop(consumer).await.ignored, 2);
    assert_eq!(reasons(&scene).await, [""; 0]);
}

async fn stops(scene: &Scene, builder: ConsumerBuilder, reason: &str, first: Vec<u32>) {
    let builder = scene.answering(builder, fine).strict_order();
    let consumer = builder.start().await.unwrap();
    mixed(scene).await;
    let error = timeout(60 * SECOND, consumer.ended()).await.unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error.context().any(|fact| fact == ("reason", reason)),
        "{error}"
    );
    assert!(matches!(consumer.health(), Health::Failed(_)));
    sleep(60 * SECOND).await;
    // Nothing behind it was begun, and it is given back.
    assert_eq!(scene.numbers(), first);
    let stopped = consumer.stop(SECOND).await.unwrap_err();
    assert_eq!(stopped.to_string(), error.to_string());
}

#[tokio::test(start_paused = true)]
async fn told_to_stop_it_gives_back_and_ends_with_an_error() {
    let scene = Scene::new();
    let builder = scene.consumer().malformed(Unhandled::Stop);
    stops(&scene, builder, "malformed", vec![1]).await;
    assert_eq!(scene.unsettled().await, 3);
    assert_eq!(reasons(&scene).await, [""; 0]);

    let scene = Scene::new();
    let builder = scene
        .consumer()
        .malformed(Unhandled::Ignore)
        .unregistered(Unhandled::Stop);
    stops(&scene, builder, "unregistered_type", vec![1]).await;
    assert_eq!(scene.unsettled().await, 2);
}

async fn send_major_two(scene: &Scene) {
    let mut event = work(5);
    event.schema_version = SchemaVersion::new(2, 0, 0);
    scene.send(event.to_message().unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn another_major_is_handled_or_rejected() {
    let scene = Scene::new();
    let consumer = scene
        .answering(scene.consumer(), fine)
        .start()
        .await
        .unwrap();
    send_major_two(&scene).await;
    scene.settled().await;
    assert_eq!(
        (scene.numbers(), stop(consumer).await.events_processed),
        (vec![5], 1)
    );

    let scene = Scene::new();
    let builder = scene
        .answering(scene.consumer(), fine)
        .other_major(OtherMajor::Reject);
    // An event is no malformed message: this policy is not for it.
    let consumer = builder.malformed(Unhandled::Ignore).start().await.unwrap();
    send_major_two(&scene).await;
    scene.settled().await;
    assert_eq!(
        (scene.numbers(), stop(consumer).await.events_failed),
        (vec![], 1)
    );
    assert_eq!(reasons(&scene).await, ["unsupported_version"]);
    let dead = &scene.dead().await[0];
    assert_eq!(
        header(dead, "potluck-error"),
        "Unsupported schema version: 2.0.0"
    );
}

#[tokio::test(start_paused = true)]
async fn a_newer_minor_is_handled() {
    let scene = Scene::new();
    let builder = scene
        .answering(scene.consumer(), fine)
        .other_major(OtherMajor::Reject);
    let consumer = builder.start().await.unwrap();
    let mut event = work(5);
    event.schema_version = SchemaVersion::new(1, 7, 3);
    scene.send(event.to_message().unwrap()).await;
    until("it is handled", async || !scene.begun().is_empty()).await;
    assert_eq!(stop(consumer).await.events_failed, 0);
}
