//! Is each event handled once, within the bounds of handlers, of what is held, and of time?

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use potluck_core::envelope::Envelope;
use potluck_runtime::{Context, Failure, RetryPolicy};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::support::{Play, SECOND, Scene, fine, header, n, stop, until, work};
use crate::switched;

#[tokio::test(start_paused = true)]
async fn each_event_is_handled_once_and_acknowledged() {
    let scene = Scene::new();
    let consumer = scene
        .answering(scene.consumer(), fine)
        .start()
        .await
        .unwrap();
    scene.publish(0..100).await;
    scene.settled().await;
    let stats = stop(consumer).await;
    assert_eq!(scene.numbers(), (0..100).collect::<Vec<_>>());
    assert_eq!((stats.received, stats.events_processed), (100, 100));
    let nothing = (
        stats.events_failed,
        stats.failed_tries,
        stats.retried,
        stats.stale,
    );
    assert_eq!(
        (nothing, stats.in_flight, stats.given_back),
        ((0, 0, 0, 0), 0, 0)
    );
    assert_eq!(scene.dead().await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn as_many_handlers_run_at_once_as_are_asked_for_and_no_more() {
    let scene = Scene::new();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (running, seen) = (now.clone(), most.clone());
    let builder = scene.on(scene.consumer(), move |_, _| {
        let (running, seen) = (running.clone(), seen.clone());
        async move {
            seen.fetch_max(running.fetch_add(1, Relaxed) + 1, Relaxed);
            sleep(SECOND).await;
            running.fetch_sub(1, Relaxed);
            Ok(())
        }
    });
    let consumer = builder.concurrency(n(5)).start().await.unwrap();
    let began = Instant::now();
    scene.publish(0..23).await;
    scene.settled().await;
    // Five at a time: five rounds of a second each.
    assert!(
        began.elapsed() < 5 * SECOND + SECOND / 2,
        "{:?}",
        began.elapsed()
    );
    assert_eq!(most.load(Relaxed), 5);
    assert_eq!(stop(consumer).await.events_processed, 23);
}

#[tokio::test(start_paused = true)]
async fn one_slow_key_keeps_nobody_else_from_going_on() {
    let scene = Scene::new();
    let builder = scene.on(scene.consumer(), |number, _| async move {
        sleep(if number == 0 {
            60 * SECOND
        } else {
            Duration::ZERO
        })
        .await;
        Ok(())
    });
    let consumer = builder.concurrency(n(2)).start().await.unwrap();
    let began = Instant::now();
    for number in 0..5 {
        scene.publish_with_key(number, "slow").await;
    }
    for number in 5..55 {
        scene.publish_with_key(number, "quick").await;
    }
    scene.begun_are(51).await;
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    scene.settled().await;
    assert_eq!(stop(consumer).await.events_processed, 55);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_loses_its_slot_at_its_limit_and_has_failed() {
    let scene = Scene::new();
    let builder = scene.on(scene.consumer(), |number, _| async move {
        if number == 0 {
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    let builder = builder.concurrency(n(1)).time_limit(3 * SECOND);
    let consumer = builder
        .retry(RetryPolicy::immediate(1))
        .start()
        .await
        .unwrap();
    scene.publish(0..2).await;
    scene.settled().await;
    let begun: Vec<_> = scene
        .begun()
        .iter()
        .map(|b| (b.number, b.tries, b.at.as_secs()))
        .collect();
    assert_eq!(begun, [(0, 1, 0), (0, 2, 3), (1, 1, 6)]);
    let stats = stop(consumer).await;
    assert_eq!(
        (
            stats.events_processed,
            stats.failed_tries,
            stats.events_failed
        ),
        (1, 2, 1)
    );
    let dead = &scene.dead().await[0];
    assert_eq!(header(dead, "potluck-reason"), "exhausted");
    assert_eq!(
        header(dead, "potluck-error"),
        "the handler took longer than its limit of 3s"
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_wherever_it_happens() {
    let scene = Scene::new();
    let builder = scene.on(scene.consumer(), |number, _| {
        // In the part that runs before there is a future.
        assert!(number != 0, "at once");
        async move {
            sleep(SECOND).await;
            assert!(number != 1, "later");
            if number == 2 {
                std::panic::panic_any(7);
            }
            Ok(())
        }
    });
    let builder = builder.concurrency(n(1)).retry(RetryPolicy::immediate(2));
    let consumer = builder.start().await.unwrap();
    scene.publish(0..4).await;
    scene.settled().await;
    let stats = stop(consumer).await;
    // The one slot has survived nine panics.
    assert_eq!(scene.numbers(), [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]);
    assert_eq!(
        (
            stats.events_processed,
            stats.failed_tries,
            stats.events_failed
        ),
        (1, 9, 3)
    );
    let dead = scene.dead().await;
    let errors: Vec<_> = dead
        .iter()
        .map(|one| header(one, "potluck-error"))
        .collect();
    assert_eq!(
        errors,
        ["at once", "later", "something that is no text"]
            .map(|s| format!("the handler panicked: {s}"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_context_knows_where_its_event_came_from() {
    let scene = Scene::new();
    let seen = Arc::new(Notify::new());
    let (told, expected) = (seen.clone(), scene.clone());
    let builder = scene.on(scene.consumer(), move |_, context| {
        assert_eq!(
            (context.topic(), context.group()),
            (&expected.topic, &expected.group)
        );
        assert_eq!(context.key().map(|key| &key[..]), Some(&b"a key"[..]));
        assert_eq!(
            context.headers().get("color").map(|v| &v[..]),
            Some(&b"red"[..])
        );
        assert!(context.payload().starts_with(b"{\"schema_version\""));
        assert_eq!((context.id().to_string(), context.tries()), ("1".into(), 1));
        told.notify_one();
        std::future::ready(Ok(()))
    });
    let consumer = builder.start().await.unwrap();
    let message = work(1).to_message().unwrap().with_key("a key").unwrap();
    scene
        .send(message.with_header("color", "red").unwrap())
        .await;
    seen.notified().await;
    assert_eq!(stop(consumer).await.failed_tries, 0);
}

#[tokio::test(start_paused = true)]
async fn each_type_has_its_own_handler() {
    let scene = Scene::new();
    let played = Arc::new(AtomicUsize::new(0));
    let playing = played.clone();
    let builder = scene.answering(scene.consumer(), fine);
    let builder = builder.on(move |event: Envelope<Play>, _: Context| {
        playing.fetch_add(event.body.number as usize, Relaxed);
        std::future::ready(Ok::<(), Failure>(()))
    });
    let consumer = builder.start().await.unwrap();
    scene.publish([1]).await;
    let play = Envelope::builder(Play { number: 10 }).build();
    scene.bus.publish(&scene.topic, &play).await.unwrap();
    scene.settled().await;
    assert_eq!(stop(consumer).await.events_processed, 2);
    assert_eq!((scene.numbers(), played.load(Relaxed)), (vec![1], 10));
}

#[tokio::test(start_paused = true)]
async fn no_more_is_held_than_is_asked_for() {
    let (scene, switches) = switched::scene();
    let go = Arc::new(Notify::new());
    let gate = go.clone();
    let builder = scene.on(scene.consumer(), move |_, _| {
        let gate = gate.clone();
        async move {
            gate.notified().await;
            Ok(())
        }
    });
    let builder = builder.concurrency(n(2)).max_held(n(8)).count(n(3));
    let consumer = builder.block(7 * SECOND).start().await.unwrap();
    scene.publish(0..20).await;
    let most = Arc::new(AtomicUsize::new(0));
    for done in 0..20 {
        until("the handlers are at work", async || {
            scene.begun().len() >= (done + 1).min(20)
        })
        .await;
        sleep(SECOND).await;
        let held = usize::try_from(consumer.stats().in_flight).unwrap();
        assert!(held <= 8, "{held} are held");
        most.fetch_max(held, Relaxed);
        go.notify_one();
    }
    scene.settled().await;
    assert_eq!(most.load(Relaxed), 8);
    let receives = switches.receives.lock().unwrap().clone();
    assert!(
        receives
            .iter()
            .all(|(max, wait)| *max <= 3 && *wait == 7 * SECOND),
        "{receives:?}"
    );
    assert!(receives.iter().any(|(max, _)| *max == 3));
    assert_eq!(stop(consumer).await.events_processed, 20);
}

#[tokio::test(start_paused = true)]
async fn an_idle_consumer_asks_once_a_block() {
    let (scene, switches) = switched::scene();
    let builder = scene.answering(scene.consumer(), fine).block(10 * SECOND);
    let consumer = builder.start().await.unwrap();
    sleep(101 * SECOND).await;
    assert_eq!(switches.receives.lock().unwrap().len(), 11);
    let began = Instant::now();
    stop(consumer).await;
    // A stop does not wait for a block.
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
}
