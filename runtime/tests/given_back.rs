//! Does a stop give back what was not begun, once?

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // tests

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use potluck_core::envelope::{FreeFood, FreeFoodEvent, Text};
use potluck_core::{Group, Topic};
use potluck_runtime::Bus;
use tokio::sync::Semaphore;
use tokio::time::timeout;

#[tokio::test]
async fn what_was_not_begun_is_handed_over_once_and_given_back_once() {
    let bus = Bus::new(potluck_memory::connect("memory:").unwrap());
    let (topic, group) = (Topic::new("t").unwrap(), Group::new("g").unwrap());
    let event = || FreeFoodEvent::builder(FreeFood::new(Text::new("a").unwrap())).build();
    let events: Vec<_> = (0..100).map(|_| event()).collect();
    bus.publish_all(&topic, &events).await.unwrap();

    let (begun, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let of_handler = (begun.clone(), gate.clone());
    let consumer = bus
        .consumer(&topic, &group)
        .concurrency(NonZeroUsize::new(4).unwrap())
        .on(move |_: FreeFoodEvent, _| {
            let (begun, gate) = of_handler.clone();
            async move {
                begun.add_permits(1);
                gate.acquire().await?.forget();
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    let limit = Duration::from_secs(10);
    let four = timeout(limit, begun.acquire_many(4)).await.unwrap();
    four.unwrap().forget();

    let monitor = consumer.monitor();
    let stopping = tokio::spawn(consumer.stop(limit));
    let given_back = async {
        while monitor.stats().given_back == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // While handlers still run, because others can go on with it.
    timeout(limit, given_back).await.unwrap();
    gate.add_permits(4);
    let stats = stopping.await.unwrap().unwrap();
    let counts = (stats.received, stats.events_processed, stats.given_back);
    assert_eq!(counts, (100, 4, 96));
    assert_eq!((stats.in_flight, stats.stale), (0, 0));
}
