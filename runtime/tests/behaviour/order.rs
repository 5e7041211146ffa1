//! Are events of one key handled one at a time and in order, and in strict order finished so?

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use potluck_runtime::{Failure, RetryPolicy};
use tokio::time::sleep;

use crate::support::{SECOND, Scene, n, stop, until};
use crate::switched;

#[tokio::test(start_paused = true)]
async fn keys_go_side_by_side_and_each_in_order() {
    let scene = Scene::new();
    let running: Arc<Mutex<BTreeMap<u32, u32>>> = Arc::default();
    let (keys, most) = (running.clone(), Arc::new(Mutex::new(0)));
    let seen = most.clone();
    let builder = scene.on(scene.consumer(), move |number, _| {
        let (keys, seen) = (keys.clone(), seen.clone());
        async move {
            let at_once = {
                let mut keys = keys.lock().unwrap();
                let other = keys.insert(number % 4, number);
                assert_eq!(other, None, "{number} beside another of its key");
                keys.len()
            };
            let most = *seen.lock().unwrap();
            *seen.lock().unwrap() = at_once.max(most);
            sleep(SECOND / (1 + number % 3)).await;
            keys.lock().unwrap().remove(&(number % 4));
            Ok(())
        }
    });
    let consumer = builder.concurrency(n(8)).start().await.unwrap();
    for number in 0..80 {
        let key = ["a", "b", "c", "d"][number as usize % 4];
        scene.publish_with_key(number, key).await;
    }
    scene.settled().await;
    let stats = stop(consumer).await;
    assert_eq!((stats.events_processed, stats.failed_tries), (80, 0));
    assert_eq!(*most.lock().unwrap(), 4);
    let numbers = scene.numbers();
    for key in 0..4 {
        let of_key: Vec<_> = numbers.iter().copied().filter(|n| n % 4 == key).collect();
        assert_eq!(of_key, (0..20).map(|i| i * 4 + key).collect::<Vec<_>>());
    }
}

fn fails_twice(number: u32, tries: u32) -> Result<(), Failure> {
    match (number, tries) {
        (0, 1 | 2) => Err(Failure::retry("not yet")),
        _ => Ok(()),
    }
}

#[tokio::test(start_paused = true)]
async fn in_strict_order_a_key_waits_for_its_failed_event() {
    let scene = Scene::new();
    let policy = RetryPolicy::never().then_after([SECOND, 60 * SECOND]);
    let builder = scene.answering(scene.consumer(), fails_twice).retry(policy);
    let consumer = builder.strict_order().start().await.unwrap();
    for number in 0..3 {
        scene.publish_with_key(number, "a").await;
    }
    scene.publish_with_key(10, "b").await;
    scene.settled().await;
    // The other key waits for nobody; in strict order there is no lane.
    assert_eq!(scene.numbers(), [0, 10, 0, 0, 1, 2]);
    let at: Vec<_> = scene.begun().iter().map(|one| one.at.as_secs()).collect();
    assert_eq!(at, [0, 0, 1, 61, 61, 61]);
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
async fn in_strict_order_events_without_a_key_are_in_order_together() {
    let scene = Scene::new();
    let builder = scene.on(scene.consumer(), |number, context| async move {
        sleep(SECOND / (1 + number % 5)).await;
        fails_twice(number, context.tries())
    });
    let consumer = builder.strict_order().start().await.unwrap();
    scene.publish(0..20).await;
    scene.settled().await;
    let mut expected = vec![0, 0];
    expected.extend(0..20);
    assert_eq!(scene.numbers(), expected);
    assert_eq!(stop(consumer).await.events_processed, 20);
}

#[tokio::test(start_paused = true)]
async fn without_it_events_without_a_key_wait_for_nobody() {
    let scene = Scene::new();
    let builder = scene.on(scene.consumer(), |number, _| async move {
        sleep(if number == 0 { 60 * SECOND } else { SECOND }).await;
        Ok(())
    });
    let consumer = builder.concurrency(n(2)).start().await.unwrap();
    scene.publish(0..20).await;
    scene.begun_are(20).await;
    assert!(scene.begun()[19].at < 20 * SECOND);
    scene.settled().await;
    stop(consumer).await;
}

#[tokio::test(start_paused = true)]
async fn in_strict_order_a_dead_letter_is_confirmed_before_the_next_begins() {
    let (scene, switches) = switched::scene();
    switches.no_dead_letters.store(true, Relaxed);
    let builder = scene.answering(scene.consumer(), |number, _| match number {
        0 => Err(Failure::reject("poison")),
        _ => Ok(()),
    });
    let consumer = builder.strict_order().start().await.unwrap();
    scene.publish_with_key(0, "a").await;
    scene.publish_with_key(1, "a").await;
    scene.publish_with_key(2, "b").await;
    sleep(120 * SECOND).await;
    assert_eq!(scene.numbers(), [0, 2]);
    switches.no_dead_letters.store(false, Relaxed);
    until("the next begins", async || scene.numbers().len() > 2).await;
    assert_eq!(scene.dead().await.len(), 1);
    scene.settled().await;
    assert_eq!(scene.numbers(), [0, 2, 1]);
    stop(consumer).await;
}
