//! Does a stop begin nothing, finish what it can, give back the rest at once, and end?

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use potluck_core::{ErrorKind, Topic};
use potluck_runtime::{Consumer, Failure, RetryPolicy};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::support::{SECOND, Scene, fine, n, number, stop, until, work};
use crate::switched;

/// A consumer whose two handlers take 10 s, with 20 events, two of them begun.
async fn busy(scene: &Scene) -> Consumer {
    let builder = scene.on(scene.consumer(), |_, _| async {
        sleep(10 * SECOND).await;
        Ok(())
    });
    let consumer = builder.concurrency(n(2)).start().await.unwrap();
    scene.publish(0..20).await;
    until("it has all", async || consumer.stats().in_flight == 20).await;
    scene.begun_are(2).await;
    consumer
}

#[tokio::test(start_paused = true)]
async fn handlers_finish_and_nothing_is_begun() {
    let scene = Scene::new();
    let consumer = busy(&scene).await;
    let began = Instant::now();
    let stats = stop(consumer).await;
    assert!(began.elapsed() < 11 * SECOND, "{:?}", began.elapsed());
    assert_eq!(scene.numbers(), [0, 1]);
    assert_eq!((stats.events_processed, stats.stale), (2, 0));
    assert_eq!(stats.given_back, 18);
    assert_eq!(stats.in_flight, 0);
    // What was finished never comes again; the rest is there, in order.
    assert_eq!(scene.others_get().await, (2..20).collect::<Vec<_>>());
    assert_eq!(scene.status().await.members.value(), Some(0));
}

#[tokio::test(start_paused = true)]
async fn what_was_not_begun_is_given_back_at_once() {
    let scene = Scene::new();
    let consumer = busy(&scene).await;
    let stopping = tokio::spawn(stop(consumer));
    sleep(SECOND).await;
    assert!(!stopping.is_finished());
    assert_eq!(scene.others_get().await, (2..20).collect::<Vec<_>>());
    assert_eq!(stopping.await.unwrap().events_processed, 2);
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_handlers_are_cut_off_and_theirs_is_given_back() {
    let scene = Scene::new();
    let consumer = busy(&scene).await;
    let began = Instant::now();
    let stats = consumer.stop(3 * SECOND).await.unwrap();
    let took = began.elapsed();
    assert!(took >= 3 * SECOND && took < 4 * SECOND, "{took:?}");
    assert_eq!(stats.events_processed, 0);
    assert_eq!(stats.given_back, 20);
    assert_eq!(scene.others_get().await, (0..20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_ends_it_at_once() {
    let scene = Scene::new();
    let consumer = busy(&scene).await;
    let (signal, second) = oneshot::channel::<()>();
    let stopping = tokio::spawn(consumer.stop_when(async {
        let _ = second.await;
    }));
    sleep(2 * SECOND).await;
    assert!(!stopping.is_finished());
    let began = Instant::now();
    signal.send(()).unwrap();
    let stats = stopping.await.unwrap().unwrap();
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert_eq!(stats.events_processed, 0);
    assert_eq!(stats.given_back, 20);
}

#[tokio::test(start_paused = true)]
async fn handlers_can_publish_while_they_are_waited_for() {
    let scene = Scene::new();
    let results = Topic::new("results").unwrap();
    let to = results.clone();
    let builder = scene.on(scene.consumer(), move |number, context| {
        let to = to.clone();
        async move {
            sleep(5 * SECOND).await;
            context.bus().publish(&to, &work(number + 100)).await?;
            Ok(())
        }
    });
    let consumer = builder.start().await.unwrap();
    scene.publish(0..3).await;
    scene.begun_are(3).await;
    let stats = stop(consumer).await;
    assert_eq!((stats.events_processed, stats.failed_tries), (3, 0));
    let published: Vec<_> = scene.read(&results).await.iter().map(number).collect();
    assert_eq!(published, [100, 101, 102]);
}

#[tokio::test(start_paused = true)]
async fn the_copies_of_what_fails_are_written() {
    let scene = Scene::new();
    let builder = scene.on(scene.consumer(), |number, _| async move {
        sleep(5 * SECOND).await;
        match number {
            0 => Err(Failure::reject("poison")),
            1 => Err(Failure::retry("later")),
            _ => Ok(()),
        }
    });
    let policy = RetryPolicy::never().then_after([60 * SECOND]);
    let consumer = builder.retry(policy).start().await.unwrap();
    scene.publish(0..3).await;
    scene.begun_are(3).await;
    let stats = stop(consumer).await;
    assert_eq!(
        (stats.events_processed, stats.events_failed, stats.retried),
        (1, 1, 1)
    );
    assert_eq!(scene.unsettled().await, 0);
    assert_eq!(
        scene.dead().await.iter().map(number).collect::<Vec<_>>(),
        [0]
    );
    let lane = scene.topic.retry_lane(&scene.group, 60 * SECOND).unwrap();
    assert_eq!(
        scene
            .read(&lane)
            .await
            .iter()
            .map(number)
            .collect::<Vec<_>>(),
        [1]
    );
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_cannot_be_written_by_the_deadline_leaves_its_message_to_others() {
    let (scene, switches) = switched::scene();
    switches.no_dead_letters.store(true, Relaxed);
    let builder = scene.answering(scene.consumer(), |_, _| Err(Failure::reject("poison")));
    let consumer = builder.start().await.unwrap();
    scene.publish(0..3).await;
    scene.begun_are(3).await;
    let began = Instant::now();
    let stats = consumer.stop(5 * SECOND).await.unwrap();
    assert!(began.elapsed() < 6 * SECOND, "{:?}", began.elapsed());
    assert_eq!((stats.events_failed, stats.given_back), (0, 3));
    assert_eq!(scene.others_get().await, [0, 1, 2]);
    assert_eq!(scene.dead().await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_next_try_is_given_back() {
    let scene = Scene::new();
    let builder = scene.answering(scene.consumer(), |_, _| Err(Failure::retry("not yet")));
    let policy = RetryPolicy::never().then_after([SECOND]);
    let consumer = builder.retry(policy).start().await.unwrap();
    scene.publish(0..3).await;
    scene.begun_are(3).await;
    let began = Instant::now();
    let stats = stop(consumer).await;
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert_eq!(stats.given_back, 3);
    assert_eq!(scene.others_get().await, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn with_the_broker_away_a_stop_ends_all_the_same() {
    let (scene, switches) = switched::scene();
    let consumer = busy(&scene).await;
    until("a handler has ended", async || {
        switches.settles_hang.store(true, Relaxed);
        consumer.stats().events_processed > 0
    })
    .await;
    let began = Instant::now();
    let error = consumer.stop(5 * SECOND).await.unwrap_err();
    let took = began.elapsed();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(took >= 5 * SECOND && took < 10 * SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_dropped_is_one_that_crashed() {
    let scene = Scene::new();
    let alive = Arc::new(());
    let held = alive.clone();
    let builder = scene.on(scene.consumer(), move |_, _| {
        let held = held.clone();
        async move {
            sleep(10 * SECOND).await;
            drop(held);
            Ok(())
        }
    });
    let consumer = builder.lease(30 * SECOND).start().await.unwrap();
    scene.publish(0..3).await;
    scene.begun_are(3).await;
    drop(consumer);
    sleep(SECOND).await;
    // Its handlers are cut off, and nothing of it is left in memory.
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(scene.status().await.members.value(), Some(0));
    assert_eq!(scene.others_get().await, [0; 0]);
    sleep(30 * SECOND).await;
    assert_eq!(scene.others_get().await, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_consumer_stops_at_once_also_with_lanes() {
    let scene = Scene::new();
    let builder = scene
        .answering(scene.consumer(), fine)
        .block(Duration::from_secs(60));
    let consumer = builder.start().await.unwrap();
    sleep(SECOND).await;
    let began = Instant::now();
    let stats = stop(consumer).await;
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert_eq!((stats.received, stats.given_back), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_lane_holds_is_given_back() {
    let scene = Scene::new();
    let builder = scene.answering(scene.consumer(), |_, _| Err(Failure::retry("no")));
    let policy = RetryPolicy::never().then_after([60 * SECOND]);
    let consumer = builder.retry(policy).start().await.unwrap();
    scene.publish(0..5).await;
    until("the lane is read", async || consumer.stats().received == 10).await;
    let stats = stop(consumer).await;
    assert_eq!(
        (stats.retried, stats.given_back, stats.in_flight),
        (5, 5, 0)
    );
    let mut lane = scene.clone();
    lane.topic = scene.topic.retry_lane(&scene.group, 60 * SECOND).unwrap();
    lane.group = potluck_core::Group::of_derived();
    assert_eq!(lane.others_get().await, [0, 1, 2, 3, 4]);
}
