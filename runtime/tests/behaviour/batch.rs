//! Is a slice what is there and no more, and is one event's failure its own?

use std::sync::{Arc, Mutex};

use potluck_core::envelope::Envelope;
use potluck_runtime::{ConsumerBuilder, Context, Failure, RetryPolicy};
use tokio::time::sleep;

use crate::support::{SECOND, Scene, Work, header, n, number, stop};

type Slices = Arc<Mutex<Vec<Vec<(u32, u32)>>>>;

/// A handler of slices of up to ten, which fails where `bad` is among them, and what it was given.
fn batches(scene: &Scene, bad: &'static [u32]) -> (ConsumerBuilder, Slices) {
    let slices: Slices = Arc::default();
    let log = slices.clone();
    let handler = move |events: Vec<(Envelope<Work>, Context)>| {
        let of =
            |(event, context): &(Envelope<Work>, Context)| (event.body.number, context.tries());
        let slice: Vec<_> = events.iter().map(of).collect();
        log.lock().unwrap().push(slice.clone());
        async move {
            sleep(SECOND).await;
            match slice.iter().find(|(number, _)| bad.contains(number)) {
                Some((number, _)) => Err(Failure::retry(format!("{number} is bad"))),
                None => Ok(()),
            }
        }
    };
    let builder = scene.consumer().on_batch(n(10), handler);
    (builder.concurrency(n(1)), slices)
}

#[tokio::test(start_paused = true)]
async fn a_slice_is_what_is_there_up_to_its_size() {
    let scene = Scene::new();
    let (builder, slices) = batches(&scene, &[]);
    scene.publish(0..23).await;
    let consumer = builder.start().await.unwrap();
    scene.settled().await;
    scene.publish([100]).await;
    scene.settled().await;
    let lengths: Vec<_> = slices.lock().unwrap().iter().map(Vec::len).collect();
    // One that comes alone waits for no other.
    assert_eq!(lengths, [10, 10, 3, 1]);
    let all: Vec<_> = slices.lock().unwrap().concat();
    let mut expected: Vec<_> = (0..23).map(|number| (number, 1)).collect();
    expected.push((100, 1));
    assert_eq!(all, expected);
    let stats = stop(consumer).await;
    assert_eq!((stats.events_processed, stats.failed_tries), (24, 0));
}

#[tokio::test(start_paused = true)]
async fn of_one_key_there_is_one_in_a_slice() {
    let scene = Scene::new();
    let (builder, slices) = batches(&scene, &[]);
    for number in 0..12 {
        scene
            .publish_with_key(number, ["a", "b", "c"][number as usize % 3])
            .await;
    }
    let consumer = builder.start().await.unwrap();
    scene.settled().await;
    let slices: Vec<Vec<u32>> = slices
        .lock()
        .unwrap()
        .iter()
        .map(|slice| slice.iter().map(|(number, _)| *number).collect())
        .collect();
    assert_eq!(slices, [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]);
    stop(consumer).await;
}

#[tokio::test(start_paused = true)]
async fn when_a_slice_fails_each_is_tried_alone_and_only_the_culprit_has_failed() {
    let scene = Scene::new();
    let (builder, slices) = batches(&scene, &[3]);
    scene.publish(0..6).await;
    let policy = RetryPolicy::immediate(1);
    let consumer = builder.retry(policy).start().await.unwrap();
    scene.settled().await;
    let slices = slices.lock().unwrap().clone();
    // The slice, then each alone; what failed for all counts for nobody.
    let mut expected = vec![(0..6).map(|number| (number, 1)).collect::<Vec<_>>()];
    expected.extend([(0, 1), (1, 1), (2, 1), (3, 1), (3, 2), (4, 1), (5, 1)].map(|one| vec![one]));
    assert_eq!(slices, expected);
    let stats = stop(consumer).await;
    assert_eq!(
        (
            stats.events_processed,
            stats.events_failed,
            stats.failed_tries
        ),
        (5, 1, 2)
    );
    let dead = &scene.dead().await[0];
    assert_eq!(
        (number(dead), header(dead, "potluck-attempts")),
        (3, "2".into())
    );
    assert_eq!(header(dead, "potluck-error"), "3 is bad");
}

#[tokio::test(start_paused = true)]
async fn a_slice_that_panics_or_hangs_is_one_that_fails() {
    let scene = Scene::new();
    let slices: Arc<Mutex<Vec<usize>>> = Arc::default();
    let log = slices.clone();
    let handler = move |events: Vec<(Envelope<Work>, Context)>| {
        let several = events.len() > 1;
        log.lock().unwrap().push(events.len());
        let panics = events[0].0.body.number == 0;
        assert!(!(several && panics), "a slice too many");
        async move {
            if several {
                std::future::pending::<()>().await;
            }
            Ok(())
        }
    };
    let builder = scene.consumer().on_batch(n(2), handler).concurrency(n(1));
    scene.publish(0..4).await;
    let consumer = builder.time_limit(SECOND).start().await.unwrap();
    scene.settled().await;
    assert_eq!(*slices.lock().unwrap(), [2, 1, 1, 2, 1, 1]);
    let stats = stop(consumer).await;
    assert_eq!((stats.events_processed, stats.failed_tries), (4, 0));
}
