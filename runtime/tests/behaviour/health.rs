//! Does a consumer tell how it is doing, and recover by itself where it can?

use std::sync::atomic::Ordering::Relaxed;

use potluck_core::ErrorKind;
use potluck_runtime::Health;
use tokio::time::{Instant, sleep};

use crate::support::{SECOND, Scene, fine, stop, until};
use crate::switched;

#[tokio::test(start_paused = true)]
async fn it_is_degraded_while_it_cannot_receive_and_asks_seldom() {
    let (scene, switches) = switched::scene();
    let builder = scene.answering(scene.consumer(), fine).block(SECOND);
    let consumer = builder.start().await.unwrap();
    sleep(2 * SECOND).await;
    assert!(consumer.health().is_ready());
    switches.no_receive.store(true, Relaxed);
    switches.receives.lock().unwrap().clear();
    sleep(60 * SECOND).await;
    let Health::Degraded(why) = consumer.health() else {
        panic!("{:?}", consumer.health());
    };
    assert_eq!(why, "cannot receive");
    let asked = switches.receives.lock().unwrap().len();
    assert!(
        (20..=180).contains(&asked),
        "asked {asked} times in a minute"
    );
    scene.publish(0..3).await;
    switches.no_receive.store(false, Relaxed);
    let mended = Instant::now();
    scene.settled().await;
    assert!(mended.elapsed() < 3 * SECOND);
    until("it is ready", async || consumer.health().is_ready()).await;
    assert_eq!(stop(consumer).await.events_processed, 3);
}

#[tokio::test(start_paused = true)]
async fn closed_beneath_it_has_failed_and_says_so() {
    let scene = Scene::new();
    let consumer = scene
        .answering(scene.consumer(), fine)
        .start()
        .await
        .unwrap();
    scene.publish(0..3).await;
    scene.settled().await;
    scene.bus.close().await.unwrap();
    let error = consumer.ended().await;
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(matches!(consumer.health(), Health::Failed(_)));
    let began = Instant::now();
    let stopped = consumer.stop(10 * SECOND).await.unwrap_err();
    assert_eq!(stopped.kind(), ErrorKind::Closed);
    assert!(began.elapsed() < 3 * SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn its_counts_are_of_now() {
    let scene = Scene::new();
    let builder = scene.on(scene.consumer(), |_, _| async {
        sleep(10 * SECOND).await;
        Ok(())
    });
    let consumer = builder.start().await.unwrap();
    scene.publish(0..4).await;
    scene.begun_are(4).await;
    let stats = consumer.stats();
    assert_eq!(
        (stats.received, stats.in_flight, stats.events_processed),
        (4, 4, 0)
    );
    scene.settled().await;
    sleep(10 * SECOND).await;
    let stats = stop(consumer).await;
    assert_eq!((stats.events_processed, stats.in_flight), (4, 0));
    assert!((19.0..23.0).contains(&stats.uptime_seconds), "{stats:?}");
    let rate = 4.0 / stats.uptime_seconds;
    assert!((stats.events_per_second - rate).abs() < 0.001, "{stats:?}");
}
