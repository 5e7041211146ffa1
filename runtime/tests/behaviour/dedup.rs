//! Is an event of a known id acknowledged without being handled, and only if it was handled well?

use potluck_runtime::{Failure, RetryPolicy};
use tokio::time::sleep;

use crate::support::{SECOND, Scene, fine, n, stop};

#[tokio::test(start_paused = true)]
async fn a_known_event_is_only_acknowledged() {
    let scene = Scene::new();
    let builder = scene.answering(scene.consumer(), fine).deduplicate(n(100));
    let consumer = builder.start().await.unwrap();
    scene.publish([1, 2, 1]).await;
    scene.settled().await;
    scene.publish([2, 1, 3]).await;
    scene.settled().await;
    assert_eq!(scene.numbers(), [1, 2, 3]);
    let stats = stop(consumer).await;
    assert_eq!((stats.events_processed, stats.duplicates), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn without_it_each_copy_is_handled() {
    let scene = Scene::new();
    let consumer = scene
        .answering(scene.consumer(), fine)
        .start()
        .await
        .unwrap();
    scene.publish([1, 1]).await;
    scene.settled().await;
    assert_eq!(scene.numbers(), [1, 1]);
    assert_eq!(stop(consumer).await.duplicates, 0);
}

#[tokio::test(start_paused = true)]
async fn copies_that_come_together_wait_for_the_first() {
    let scene = Scene::new();
    let builder = scene.on(scene.consumer(), |_, _| async {
        sleep(10 * SECOND).await;
        Ok(())
    });
    let consumer = builder.deduplicate(n(100)).start().await.unwrap();
    scene.publish([1, 1, 1, 1]).await;
    scene.settled().await;
    assert_eq!(scene.numbers(), [1]);
    let stats = stop(consumer).await;
    assert_eq!((stats.events_processed, stats.duplicates), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_failure_marks_nothing() {
    let scene = Scene::new();
    let tried = std::sync::atomic::AtomicU32::new(0);
    let builder = scene.answering(scene.consumer(), move |_, _| {
        match tried.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Err(Failure::reject("the first try of all")),
            _ => Ok(()),
        }
    });
    let builder = builder.deduplicate(n(100)).retry(RetryPolicy::never());
    let consumer = builder.start().await.unwrap();
    // The second waits for the first, which fails; the third knows that the second succeeded.
    scene.publish([1, 1, 1]).await;
    scene.settled().await;
    assert_eq!(scene.numbers(), [1, 1]);
    let stats = stop(consumer).await;
    assert_eq!(
        (
            stats.events_failed,
            stats.events_processed,
            stats.duplicates
        ),
        (1, 1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_copy_goes_on_while_the_first_waits_for_its_next_try() {
    let scene = Scene::new();
    let builder = scene.answering(scene.consumer(), |_, tries| match tries {
        1 => Err(Failure::retry("not at the first try")),
        _ => Ok(()),
    });
    let policy = RetryPolicy::never().then_after([10 * SECOND]);
    let consumer = builder
        .deduplicate(n(100))
        .retry(policy)
        .start()
        .await
        .unwrap();
    scene.publish([1, 1]).await;
    scene.settled().await;
    // Both fail once; of the two in the lane the second finds the first handled.
    let tries: Vec<_> = scene.begun().iter().map(|one| one.tries).collect();
    assert_eq!(tries, [1, 1, 2]);
    let stats = stop(consumer).await;
    assert_eq!(
        (stats.events_processed, stats.duplicates, stats.retried),
        (1, 1, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn the_oldest_ids_are_forgotten() {
    let scene = Scene::new();
    let builder = scene.answering(scene.consumer(), fine).deduplicate(n(2));
    let consumer = builder.strict_order().start().await.unwrap();
    scene.publish([1, 2, 3, 3, 2, 1]).await;
    scene.settled().await;
    assert_eq!(scene.numbers(), [1, 2, 3, 1]);
    assert_eq!(stop(consumer).await.duplicates, 2);
}
