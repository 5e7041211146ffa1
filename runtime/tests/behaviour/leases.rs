//! Is all that is held kept, and what is another's by now dropped before its handler starts?

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use potluck_core::Subscription;
use potluck_runtime::{Failure, RetryPolicy};
use tokio::time::sleep;

use crate::support::{SECOND, Scene, fine, n, stop, until};
use crate::switched;

const LEASE: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn leases_are_kept_of_what_runs_and_of_what_waits() {
    let scene = Scene::new();
    let builder = scene.on(scene.consumer(), |number, context| async move {
        sleep(12 * LEASE).await;
        match (number, context.tries()) {
            (0, 1) => Err(Failure::retry("once")),
            _ => Ok(()),
        }
    });
    let builder = builder.concurrency(n(1)).lease(LEASE);
    // In strict order the failed one is parked for longer than its lease.
    let policy = RetryPolicy::never().then_after([5 * LEASE]);
    let consumer = builder.strict_order().retry(policy).start().await.unwrap();
    scene.publish(0..3).await;
    until("it has all", async || consumer.stats().in_flight == 3).await;
    let other = scene.answering(scene.consumer(), fine).lease(LEASE);
    let other = other.start().await.unwrap();
    scene.settled().await;
    assert_eq!(stop(other).await.received, 0);
    let stats = stop(consumer).await;
    assert_eq!(
        (stats.received, stats.events_processed, stats.stale),
        (3, 3, 0)
    );
    assert_eq!(scene.numbers(), [0, 0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn what_another_has_taken_is_dropped_before_its_handler_starts() {
    let (scene, switches) = switched::scene();
    let builder = scene.on(scene.consumer(), |_, _| async {
        sleep(5 * LEASE).await;
        Ok(())
    });
    // It has room for no more, so it does not take them again itself.
    let builder = builder.concurrency(n(1)).lease(LEASE).max_held(n(3));
    let consumer = builder.start().await.unwrap();
    scene.publish(0..3).await;
    until("it has all", async || consumer.stats().in_flight == 3).await;
    // It cannot say that it is alive, so others take what it has.
    switches.no_extend.store(true, Relaxed);
    sleep(2 * LEASE).await;
    let to = Subscription::new(scene.topic.clone(), scene.group.clone()).lease(LEASE * 100);
    let other = scene.direct.subscriber(&to).await.unwrap();
    let taken = other.receive(n(10), SECOND).await.unwrap();
    switches.no_extend.store(false, Relaxed);
    until("the first handler ends", async || {
        consumer.stats().events_processed == 1
    })
    .await;
    sleep(5 * LEASE).await;
    // Neither of those that waited was started here.
    assert_eq!(scene.numbers(), [0]);
    let receipts: Vec<_> = taken.iter().map(|one| one.receipt).collect();
    assert!(other.ack(&receipts).await.unwrap().stale.is_empty());
    assert_eq!(receipts.len(), 3);
    let stats = stop(consumer).await;
    assert_eq!(
        (stats.events_processed, stats.stale, stats.in_flight),
        (1, 3, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_cut_the_consumer_goes_on_by_itself() {
    let scene = Scene::new();
    let builder = scene.on(scene.consumer(), |_, _| async {
        sleep(SECOND).await;
        Ok(())
    });
    let consumer = builder.concurrency(n(4)).start().await.unwrap();
    scene.publish(0..40).await;
    scene.begun_are(6).await;
    scene.broker.cut();
    scene.settled().await;
    let mut numbers = scene.numbers();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..40).collect::<Vec<_>>());
    let stats = stop(consumer).await;
    assert!(stats.stale >= 4, "{stats:?}");
    assert_eq!(stats.in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn an_ack_that_fails_is_tried_again_and_nothing_is_handled_twice() {
    let (scene, switches) = switched::scene();
    switches.no_ack.store(true, Relaxed);
    let builder = scene.answering(scene.consumer(), fine).lease(LEASE);
    let consumer = builder.start().await.unwrap();
    scene.publish(0..10).await;
    scene.begun_are(10).await;
    sleep(10 * LEASE).await;
    assert_eq!(
        (scene.unsettled().await, consumer.stats().in_flight),
        (10, 10)
    );
    switches.no_ack.store(false, Relaxed);
    scene.settled().await;
    let stats = stop(consumer).await;
    assert_eq!(
        (stats.events_processed, stats.stale, scene.numbers().len()),
        (10, 0, 10)
    );
}
