//! What does a start refuse, what does it wait for, and what has it done when it returns?

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use potluck_core::{ErrorKind, Start, Topic};
use potluck_runtime::RetryPolicy;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{SECOND, Scene, fine, stop};
use crate::switched;

#[tokio::test(start_paused = true)]
async fn settings_that_make_no_sense_are_refused_and_nothing_is_declared() {
    let scene = Scene::new();
    let with = |delay| {
        let policy = RetryPolicy::never().then_after([delay]);
        scene.answering(scene.consumer(), fine).retry(policy)
    };
    let derived = Topic::new("work.tests.dead").unwrap();
    let twice = scene.answering(scene.answering(scene.consumer(), fine), fine);
    let of_derived = scene.bus.consumer(&derived, &scene.group);
    for (builder, says) in [
        (scene.consumer(), "register a handler first"),
        (twice, "two handlers"),
        (
            scene.answering(of_derived, fine),
            "retry lanes and dead letters",
        ),
        (with(Duration::ZERO), "a retry's delay"),
        (with(Duration::from_micros(10_500)), "a retry's delay"),
        (with(Duration::from_secs(901)), "a retry's delay"),
    ] {
        let error = builder.start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    assert_eq!(scene.broker.topics(), []);
}

#[tokio::test(start_paused = true)]
async fn all_topics_are_there_before_it_returns() {
    let scene = Scene::new();
    let consumer = scene
        .answering(scene.consumer(), fine)
        .start()
        .await
        .unwrap();
    let topics: Vec<_> = scene
        .broker
        .topics()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        topics,
        [
            "work",
            "work.tests.dead",
            "work.tests.retry-10000ms",
            "work.tests.retry-60000ms"
        ]
    );
    assert_eq!(scene.status().await.members.value(), Some(1));
    stop(consumer).await;
    assert_eq!(scene.status().await.members.value(), Some(0));
}

#[tokio::test(start_paused = true)]
async fn it_waits_while_the_broker_is_away_and_asks_seldom() {
    let (scene, switches) = switched::scene();
    switches.declares_fail.store(u32::MAX, Relaxed);
    let builder = scene.answering(scene.consumer(), fine);
    let starting = tokio::spawn(builder.start());
    sleep(60 * SECOND).await;
    assert!(!starting.is_finished());
    let asked = u32::MAX - switches.declares_fail.load(Relaxed);
    assert!(
        (20..=120).contains(&asked),
        "asked {asked} times in a minute"
    );
    switches.declares_fail.store(0, Relaxed);
    let back = Instant::now();
    let consumer = starting.await.unwrap().unwrap();
    assert!(back.elapsed() < 3 * SECOND, "{:?}", back.elapsed());
    scene.publish([1]).await;
    scene.settled().await;
    assert_eq!(stop(consumer).await.events_processed, 1);
}

#[tokio::test(start_paused = true)]
async fn dropped_it_has_at_most_declared() {
    let (scene, switches) = switched::scene();
    switches.declares_fail.store(u32::MAX, Relaxed);
    let builder = scene.answering(scene.consumer(), fine);
    assert!(timeout(10 * SECOND, builder.start()).await.is_err());
    assert_eq!(scene.broker.topics(), []);
}

#[tokio::test(start_paused = true)]
async fn what_waiting_does_not_mend_ends_the_start() {
    let (scene, switches) = switched::scene();
    switches.denied.store(true, Relaxed);
    let builder = scene.answering(scene.consumer(), fine);
    let error = timeout(SECOND, builder.start()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[tokio::test(start_paused = true)]
async fn a_group_begins_where_it_is_told_and_goes_on_where_it_was() {
    let scene = Scene::new();
    scene.publish(0..3).await;
    let start = async |at| {
        let builder = scene.answering(scene.consumer(), fine).begin_at(at);
        builder.start().await.unwrap()
    };
    let consumer = start(Start::New).await;
    scene.publish(3..5).await;
    scene.settled().await;
    stop(consumer).await;
    scene.publish(5..7).await;
    let consumer = start(Start::New).await;
    scene.settled().await;
    stop(consumer).await;
    assert_eq!(scene.numbers(), [3, 4, 5, 6]);
}
