//! Does what is given up arrive in the dead-letter topic, whole, with its reason, before the ack?

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use potluck_core::{Defect, Headers, Message, Subscription};
use potluck_runtime::{Failure, Health, OtherMajor, Reason, RetryPolicy};
use tokio::time::sleep;

use crate::support::{SECOND, Scene, fine, header, n, number, stop, until, work};
use crate::switched;

#[tokio::test(start_paused = true)]
async fn an_exhausted_event_keeps_its_headers_and_all_but_two_fields() {
    let scene = Scene::new();
    let builder = scene.answering(scene.consumer(), |_, tries| {
        Err(Failure::retry(format!(
            "failure {tries}\nof many {}",
            "ä".repeat(1000)
        )))
    });
    let consumer = builder
        .retry(RetryPolicy::immediate(2))
        .start()
        .await
        .unwrap();
    let sent = work(7)
        .to_message()
        .unwrap()
        .with_header("traceparent", "00-1-2-03")
        .unwrap();
    let sent = sent.with_key("k").unwrap();
    scene.send(sent.clone()).await;
    scene.settled().await;
    stop(consumer).await;
    let dead = &scene.dead().await[0];
    let facts = ["reason", "attempts", "origin-topic", "origin-id"];
    let facts = facts.map(|fact| header(dead, &format!("potluck-{fact}")));
    assert_eq!(facts, ["exhausted", "3", "work", "1"]);
    assert!(header(dead, "potluck-first-failed-at") <= header(dead, "potluck-failed-at"));
    let error = header(dead, "potluck-error");
    assert!(error.starts_with("failure 3\nof many ä") && (1023..=1024).contains(&error.len()));
    assert_eq!(dead.key(), sent.key());
    for (name, value) in sent.headers().iter() {
        assert_eq!(dead.headers().get(name), Some(value), "{name}");
    }
    assert!(dead.headers().get("potluck-not-before").is_none());
    let (was, is) = (json(&sent), json(dead));
    assert_eq!(is["retries"], 3);
    let mut expected = was;
    expected["retries"] = 3.into();
    expected["metadata"]["last_error"] = is["metadata"]["last_error"].clone();
    assert_eq!(is, expected);
}

fn json(message: &Message) -> serde_json::Value {
    serde_json::from_slice(message.body()).unwrap()
}

/// Each breaks what it is named for, and all that is asked later.
const UNFIT: &[(&str, &str)] = &[
    (
        "malformed",
        r#"{"type": "NOBODYS", "schema_version": "one", "#,
    ),
    ("malformed", "\u{feff}{}"),
    ("malformed", ""),
    ("malformed", r#"{"type":"WORK","type":"WORK"}"#),
    ("invalid", "{}"),
    ("invalid", r#"{"type": 7, "schema_version": "one"}"#),
    ("invalid", r#"{"type": "NOBODYS"}"#),
    (
        "bad_version",
        r#"{"type": "NOBODYS", "schema_version": "one"}"#,
    ),
    (
        "bad_version",
        r#"{"type": "NOBODYS", "schema_version": "1.0"}"#,
    ),
    (
        "unregistered_type",
        r#"{"type": "NOBODYS", "schema_version": "2.0.0"}"#,
    ),
    (
        "unsupported_version",
        r#"{"type": "WORK", "schema_version": "2.0.0"}"#,
    ),
    ("invalid", r#"{"type": "WORK", "schema_version": "1.0.0"}"#),
    (
        "invalid",
        r#"{"type": "WORK", "schema_version": "1.9.0", "number": "seven"}"#,
    ),
];

#[tokio::test(start_paused = true)]
async fn the_first_check_that_fails_is_the_reason_and_no_byte_changes() {
    let scene = Scene::new();
    let builder = scene
        .answering(scene.consumer(), fine)
        .other_major(OtherMajor::Reject);
    // So that they are dead-lettered in order.
    let consumer = builder.strict_order().start().await.unwrap();
    for (_, body) in UNFIT {
        let mut headers = Headers::new();
        headers.set("color", Bytes::from_static(b"\xff\0red"));
        headers.set("potluck-attempts", "99");
        let record = Message::received(Bytes::from_static(body.as_bytes()), headers, None);
        scene.broker.inject(&scene.topic, &record, None).unwrap();
    }
    scene.settled().await;
    let stats = stop(consumer).await;
    assert_eq!(
        (stats.events_failed, stats.failed_tries),
        (UNFIT.len() as u64, 0)
    );
    let dead = scene.dead().await;
    let found: Vec<_> = dead
        .iter()
        .map(|one| header(one, "potluck-reason"))
        .collect();
    let expected: Vec<_> = UNFIT.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(found, expected);
    for ((_, body), dead) in UNFIT.iter().zip(&dead) {
        assert_eq!(dead.body(), body);
        assert_eq!(dead.headers().get("color").unwrap(), &b"\xff\0red"[..]);
        assert_eq!(header(dead, "potluck-attempts"), "0");
        let error = header(dead, "potluck-error");
        assert!(
            !error.contains("NOBODYS") && !error.contains("seven"),
            "{error}"
        );
    }
    assert_eq!(scene.begun(), []);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_breaks_a_limit_goes_as_it_is() {
    let scene = Scene::new();
    let consumer = scene
        .answering(scene.consumer(), fine)
        .start()
        .await
        .unwrap();
    let large = Message::received(vec![b' '; (1 << 20) + 1].into(), Headers::new(), None);
    scene.broker.inject(&scene.topic, &large, None).unwrap();
    let defect = Defect::Undecodable("it has no field named data");
    let foreign = Message::received(Bytes::from_static(b"{}"), Headers::new(), None);
    scene
        .broker
        .inject(&scene.topic, &foreign, Some(defect))
        .unwrap();
    scene.settled().await;
    stop(consumer).await;
    let mut dead = scene.dead().await;
    dead.sort_by_key(|one| one.body().len());
    assert_eq!(header(&dead[0], "potluck-reason"), "malformed");
    assert_eq!(
        header(&dead[0], "potluck-error"),
        "it has no field named data"
    );
    assert_eq!(header(&dead[1], "potluck-reason"), "too_large");
    assert_eq!(dead[1].body().len(), (1 << 20) + 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_handed_over_again_and_again_is_not_started() {
    let scene = Scene::new();
    let to = Subscription::new(scene.topic.clone(), scene.group.clone());
    let crashing = scene.direct.subscriber(&to).await.unwrap();
    scene.publish(0..2).await;
    for _ in 0..3 {
        let first = crashing.receive(n(1), SECOND).await.unwrap();
        assert!(
            crashing
                .release(&[first[0].receipt])
                .await
                .unwrap()
                .stale
                .is_empty()
        );
    }
    crashing.close().await.unwrap();
    let builder = scene.answering(scene.consumer(), fine);
    let consumer = builder
        .max_deliveries(3.try_into().unwrap())
        .start()
        .await
        .unwrap();
    scene.settled().await;
    stop(consumer).await;
    assert_eq!(scene.numbers(), [1]);
    let dead = &scene.dead().await[0];
    assert_eq!(header(dead, "potluck-reason"), Reason::CrashLoop.as_str());
    assert_eq!(
        (header(dead, "potluck-attempts"), number(dead)),
        ("0".into(), 0)
    );
    assert_eq!(dead.body().len(), work(0).to_json().unwrap().len());
}

#[tokio::test(start_paused = true)]
async fn while_it_is_unavailable_nothing_is_acked_and_others_go_on() {
    let (scene, switches) = switched::scene();
    switches.no_dead_letters.store(true, Relaxed);
    let builder = scene.answering(scene.consumer(), |number, _| {
        if number < 10 {
            Err(Failure::reject("poison"))
        } else {
            Ok(())
        }
    });
    let consumer = builder.start().await.unwrap();
    assert!(consumer.health().is_ready());
    scene.publish(0..30).await;
    sleep(60 * SECOND).await;
    // All were handled once, the good ones acknowledged, of the bad ones none.
    assert_eq!(scene.numbers(), (0..30).collect::<Vec<_>>());
    assert_eq!(scene.unsettled().await, 10);
    assert_eq!(consumer.stats().events_failed, 0);
    let Health::Degraded(why) = consumer.health() else {
        panic!("{:?}", consumer.health());
    };
    assert_eq!(why, "work.tests.dead cannot be written");
    let tried = switches.dead_letters_at.lock().unwrap().len();
    // Pauses grow to 10.25 s at most, so there are ten attempts at least; half of that on average.
    assert!((10..=60).contains(&tried), "{tried} attempts in a minute");

    switches.no_dead_letters.store(false, Relaxed);
    scene.settled().await;
    assert!(consumer.health().is_ready());
    let mut dead: Vec<_> = scene.dead().await.iter().map(number).collect();
    dead.sort_unstable();
    assert_eq!(dead, (0..10).collect::<Vec<_>>());
    let stats = stop(consumer).await;
    assert_eq!(
        (stats.events_failed, stats.events_processed, stats.stale),
        (10, 20, 0)
    );
    assert_eq!(scene.numbers().len(), 30);
}

#[tokio::test(start_paused = true)]
async fn it_recovers_within_seconds() {
    let (scene, switches) = switched::scene();
    switches.no_dead_letters.store(true, Relaxed);
    let builder = scene.answering(scene.consumer(), |_, _| Err(Failure::reject("poison")));
    let consumer = builder.start().await.unwrap();
    scene.publish(0..100).await;
    sleep(600 * SECOND).await;
    switches.no_dead_letters.store(false, Relaxed);
    let mended = tokio::time::Instant::now();
    scene.settled().await;
    assert!(mended.elapsed() < 11 * SECOND, "{:?}", mended.elapsed());
    assert_eq!(stop(consumer).await.events_failed, 100);
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_finds_too_large_goes_with_short_headers() {
    let (scene, switches) = switched::scene();
    switches.short_headers_only.store(true, Relaxed);
    let builder = scene.answering(scene.consumer(), |_, _| Err(Failure::reject("poison")));
    let consumer = builder.start().await.unwrap();
    scene.publish([5]).await;
    until("it is there", async || !scene.dead().await.is_empty()).await;
    scene.settled().await;
    assert!(consumer.health().is_ready());
    stop(consumer).await;
    let dead = &scene.dead().await[0];
    let facts = ["reason", "attempts", "origin-topic", "origin-id"];
    let facts = facts.map(|fact| header(dead, &format!("potluck-{fact}")));
    assert_eq!(facts, ["rejected", "1", "work", "1"]);
    assert!(dead.headers().get("potluck-error").is_none());
    assert!(dead.headers().get("content-type").is_none());
    assert_eq!(number(dead), 5);
}
