//! Is a failed event tried again as often and as late as the policy says, and in nobody's way?

use std::time::Duration;

use bytes::Bytes;
use potluck_core::{Group, Headers, Message, Topic};
use potluck_runtime::{Bus, Failure, RetryPolicy};
use tokio::time::sleep;

use crate::support::{Begun, SECOND, Scene, fine, header, number, stop, until, work};

fn fails(_: u32, _: u32) -> Result<(), Failure> {
    Err(Failure::retry("no seats"))
}

fn lane(scene: &Scene, delay: Duration) -> Topic {
    scene.topic.retry_lane(&scene.group, delay).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_default_is_five_tries_after_1_11_and_71_seconds() {
    let scene = Scene::new();
    let consumer = scene
        .answering(scene.consumer(), fails)
        .start()
        .await
        .unwrap();
    scene.publish([7]).await;
    scene.begun_are(5).await;
    scene.settled().await;
    sleep(1000 * SECOND).await;
    let begun = scene.begun();
    let tries: Vec<_> = begun.iter().map(|one| one.tries).collect();
    assert_eq!(tries, [1, 2, 3, 4, 5]);
    // A lane's time of falling due is by the wall clock, which goes on a little meanwhile.
    for (pause, floor) in begun.windows(2).zip([0, 1000, 9000, 59_000]) {
        let pause = (pause[1].at - pause[0].at).as_millis();
        assert!((floor..=floor + 1100).contains(&pause), "{begun:?}");
    }
    let stats = stop(consumer).await;
    assert_eq!(
        (stats.failed_tries, stats.retried, stats.events_failed),
        (5, 2, 1)
    );
    assert_eq!((stats.events_processed, stats.received), (0, 3));
    assert_eq!(scene.dead().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_event_is_overtaken_also_by_those_of_its_key() {
    let scene = Scene::new();
    let policy = RetryPolicy::never().then_after([SECOND, 10 * SECOND]);
    let builder = scene.answering(scene.consumer(), |number, tries| {
        if number == 0 && tries < 3 {
            fails(number, tries)
        } else {
            Ok(())
        }
    });
    let consumer = builder
        .concurrency(1.try_into().unwrap())
        .retry(policy)
        .start()
        .await
        .unwrap();
    for number in 0..100 {
        scene.publish_with_key(number, "all").await;
    }
    scene.begun_are(102).await;
    scene.settled().await;
    let mut expected: Vec<_> = (0..100).collect();
    expected.extend([0, 0]);
    assert_eq!(scene.numbers(), expected);
    let begun = scene.begun();
    assert!(
        begun[99].at < SECOND,
        "{:?} waited for a failed one",
        begun[99]
    );
    assert!(begun[101].at >= 10 * SECOND);
    assert_eq!(stop(consumer).await.events_processed, 100);
}

#[tokio::test(start_paused = true)]
async fn a_copy_in_a_lane_tells_its_story_and_changes_two_fields() {
    let scene = Scene::new();
    let policy = RetryPolicy::immediate(1).then_after([10 * SECOND, 60 * SECOND]);
    let consumer = scene.answering(scene.consumer(), fails).retry(policy);
    let consumer = consumer.start().await.unwrap();
    let sent = work(7)
        .to_message()
        .unwrap()
        .with_header("traceparent", "00-1-2-03")
        .unwrap();
    let sent = sent.with_key("k").unwrap();
    scene.send(sent.clone()).await;
    let copy = copy_in(&scene, 10).await;
    assert_eq!(header(&copy, "potluck-attempts"), "2");
    assert_eq!(header(&copy, "potluck-origin-topic"), "work");
    assert_eq!(header(&copy, "potluck-origin-id"), "1");
    assert_eq!(header(&copy, "potluck-error"), "no seats");
    assert_eq!(header(&copy, "traceparent"), "00-1-2-03");
    assert_eq!(copy.key(), sent.key());
    let first = header(&copy, "potluck-first-failed-at");
    assert!(first <= header(&copy, "potluck-failed-at"));
    assert!(header(&copy, "potluck-not-before") > header(&copy, "potluck-failed-at"));
    let body = std::str::from_utf8(sent.body()).unwrap();
    let body = body.replace("\"retries\":0", "\"retries\":2");
    let body = body.replace("\"metadata\":{}", r#""metadata":{"last_error":"no seats"}"#);
    assert_eq!(copy.body(), body.as_bytes());

    let copy = copy_in(&scene, 60).await;
    assert_eq!(header(&copy, "potluck-attempts"), "3");
    assert_eq!(header(&copy, "potluck-origin-id"), "1");
    assert_eq!(header(&copy, "potluck-first-failed-at"), first);
    assert_eq!(
        copy.body(),
        body.replace("\"retries\":2", "\"retries\":3").as_bytes()
    );
    // What has moved on is gone from where it waited.
    until("the lane is empty", async || {
        scene.read(&lane(&scene, 10 * SECOND)).await.is_empty()
    })
    .await;
    stop(consumer).await;
}

async fn copy_in(scene: &Scene, seconds: u32) -> Message {
    let lane = lane(scene, seconds * SECOND);
    until("there is a copy", async || {
        !scene.read(&lane).await.is_empty()
    })
    .await;
    scene.read(&lane).await.remove(0)
}

#[tokio::test(start_paused = true)]
async fn delays_of_up_to_a_second_need_no_lane() {
    let scene = Scene::new();
    let policy = RetryPolicy::never().then_after([SECOND / 2, SECOND]);
    let consumer = scene.answering(scene.consumer(), fails).retry(policy);
    let consumer = consumer.start().await.unwrap();
    scene.publish([1]).await;
    scene.begun_are(3).await;
    scene.settled().await;
    let at: Vec<_> = scene.begun().iter().map(|one| one.at.as_millis()).collect();
    assert!(
        (500..520).contains(&at[1]) && (1500..1540).contains(&at[2]),
        "{at:?}"
    );
    let topics: Vec<_> = scene
        .broker
        .topics()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(topics, ["work", "work.tests.dead"]);
    assert_eq!(stop(consumer).await.retried, 0);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_event_is_never_tried_again() {
    let scene = Scene::new();
    let builder = scene.answering(scene.consumer(), |_, _| {
        Err(Failure::reject("makes no sense"))
    });
    let consumer = builder.start().await.unwrap();
    scene.publish([1]).await;
    scene.settled().await;
    sleep(1000 * SECOND).await;
    assert_eq!(scene.numbers(), [1]);
    let dead = &scene.dead().await[0];
    assert_eq!(header(dead, "potluck-reason"), "rejected");
    assert_eq!(header(dead, "potluck-attempts"), "1");
    assert_eq!(header(dead, "potluck-error"), "makes no sense");
    assert_eq!(stop(consumer).await.events_failed, 1);
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_lane_outlive_the_consumer() {
    let scene = Scene::new();
    let policy = RetryPolicy::immediate(1).then_after([10 * SECOND]);
    let start = async || {
        let builder = scene
            .answering(scene.consumer(), fails)
            .retry(policy.clone());
        builder.start().await.unwrap()
    };
    let consumer = start().await;
    scene.publish([1]).await;
    copy_in(&scene, 10).await;
    stop(consumer).await;
    let consumer = start().await;
    scene.begun_are(3).await;
    scene.settled().await;
    stop(consumer).await;
    let tries: Vec<_> = scene.begun().iter().map(|one| one.tries).collect();
    assert_eq!(tries, [1, 2, 3]);
    assert_eq!(scene.dead().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_stranger_writes_of_attempts_is_not_believed() {
    let scene = Scene::new();
    let consumer = scene
        .answering(scene.consumer(), fine)
        .start()
        .await
        .unwrap();
    let mut headers = Headers::new();
    headers.set("potluck-attempts", "4000000000");
    headers.set("potluck-not-before", "9999-01-01T00:00:00Z");
    let body: Bytes = work(1).to_json().unwrap().into();
    let forged = Message::received(body, headers, None);
    scene.broker.inject(&scene.topic, &forged, None).unwrap();
    scene.settled().await;
    let Begun { tries, at, .. } = scene.begun()[0];
    assert_eq!((tries, at), (1, Duration::ZERO));
    stop(consumer).await;
}

#[tokio::test(start_paused = true)]
async fn no_other_group_sees_a_retry() {
    let scene = Scene::new();
    let mut other = scene.clone();
    other.group = Group::new("others").unwrap();
    other.bus = Bus::new(scene.broker.connect());
    let seen = Scene::new();
    let failing = scene
        .answering(scene.consumer(), fails)
        .start()
        .await
        .unwrap();
    let watching = seen
        .answering(other.consumer(), fine)
        .start()
        .await
        .unwrap();
    scene.publish(0..3).await;
    scene.begun_are(15).await;
    scene.settled().await;
    assert_eq!(seen.numbers(), [0, 1, 2]);
    assert_eq!(stop(failing).await.events_failed, 3);
    assert_eq!(stop(watching).await.received, 3);
    let mut dead: Vec<_> = scene.dead().await.iter().map(number).collect();
    dead.sort_unstable();
    assert_eq!(dead, [0, 1, 2]);
}
