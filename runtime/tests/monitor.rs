//! Does a consumer's monitor know of it, also once it is stopped?

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // tests

use std::time::Duration;

use potluck_core::envelope::{FreeFood, FreeFoodEvent, Text};
use potluck_core::{Group, Topic};
use potluck_runtime::Bus;
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn a_monitor_still_knows_after_the_stop() {
    let bus = Bus::new(potluck_memory::connect("memory:").unwrap());
    let (topic, group) = (Topic::new("t").unwrap(), Group::new("g").unwrap());
    let consumer = bus.consumer(&topic, &group);
    let consumer = consumer.on(|_: FreeFoodEvent, _| std::future::ready(Ok(())));
    let consumer = consumer.start().await.unwrap();
    let monitor = consumer.monitor();
    assert!(monitor.health().is_ready());
    let event = FreeFoodEvent::builder(FreeFood::new(Text::new("a").unwrap())).build();
    bus.publish(&topic, &event).await.unwrap();
    let handled = async {
        while monitor.stats().events_processed == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(10), handled).await.unwrap();
    consumer.stop(Duration::from_secs(1)).await.unwrap();
    let stats = monitor.stats();
    assert_eq!((stats.events_processed, stats.in_flight), (1, 0));
}
