//! The same work as an application does it: events, a bus, a consumer with a handler.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use potluck_core::envelope::{Confidence, FreeFood, FreeFoodEvent, Text, Timestamp};
use potluck_core::{Group, Topic};
use potluck_runtime::{Bus, Consumer, ConsumerBuilder, Context};
use tokio::sync::Notify;

use super::{BODY, Bench, GROUP, Meter, TOPIC, WITHIN, Work, in_flight};
use crate::process;
use crate::rounds::{Result, Sample};

/// An event of the size that all contenders send, with a number in it.
pub(super) fn event(number: u64) -> FreeFoodEvent {
    let text = |text: &str| Text::new(text).unwrap_or_else(|_| unreachable!("it is not empty"));
    let mut event = FreeFoodEvent::builder(FreeFood {
        description: Some("x".repeat(BODY - 290)),
        location: Some(format!("{number:020}")),
        start_time: Some(Timestamp::now()),
        llm_confidence: Confidence::new(0.93).ok(),
        ..FreeFood::new(text("Free Pizza Night"))
    })
    .build();
    event.source = text("umass-calendar");
    event
}

/// Handlers that count, and somebody who waits for a count.
#[derive(Default)]
struct Counted {
    seen: AtomicUsize,
    all: AtomicUsize,
    done: Notify,
}

impl Counted {
    fn one(&self) {
        if self.seen.fetch_add(1, Relaxed) + 1 == self.all.load(Relaxed) {
            self.done.notify_one();
        }
    }
}

impl Bench {
    fn bus(&self) -> Bus {
        Bus::new(self.transport.clone()).publish_within(WITHIN)
    }

    pub(super) async fn runtime(&self, work: Work) -> Result<Sample> {
        let (bus, topic) = (self.bus(), Topic::new(TOPIC)?);
        let count = work.messages();
        let event = event(0);
        let meter = Meter::start(count);
        match work {
            Work::PublishOne => {
                for _ in 0..count {
                    bus.publish(&topic, &event).await?;
                }
            }
            Work::PublishInFlight => {
                in_flight(256, count, || bus.publish(&topic, &event)).await?;
            }
            Work::PublishSlices => return Err("slices are the driver's".into()),
            Work::Consume => {
                self.transport.declare(&self.to()?).await?;
                self.fill(&*self.transport.publisher().await?, count)
                    .await?;
                let counted = Arc::new(Counted::default());
                counted.all.store(count, Relaxed);
                let meter = Meter::start(count);
                let consumer = counting(self.consumer()?, &counted).await?;
                counted.done.notified().await;
                let sample = meter.rate();
                consumer.stop(WITHIN).await?;
                return Ok(sample);
            }
            Work::EndToEnd => return self.bus_end_to_end(count).await,
        }
        Ok(meter.rate())
    }

    fn consumer(&self) -> Result<ConsumerBuilder> {
        Ok(self
            .bus()
            .consumer(&Topic::new(TOPIC)?, &Group::new(GROUP)?))
    }

    async fn bus_end_to_end(&self, count: usize) -> Result<Sample> {
        let epoch = Instant::now();
        let latencies = Arc::new(Mutex::new(Vec::with_capacity(count)));
        let (recorded, done) = (latencies.clone(), Arc::new(Notify::new()));
        let all = done.clone();
        let handle = move |event: FreeFoodEvent, _: Context| {
            let sent = event.body.location.and_then(|number| number.parse().ok());
            let age = epoch
                .elapsed()
                .saturating_sub(Duration::from_nanos(sent.unwrap_or(0)));
            let mut latencies = recorded.lock().unwrap_or_else(PoisonError::into_inner);
            latencies.push(age);
            if latencies.len() == count {
                all.notify_one();
            }
            std::future::ready(Ok(()))
        };
        let consumer = self.consumer()?.on(handle).start().await?;
        let (bus, topic) = (self.bus(), Topic::new(TOPIC)?);
        let meter = Meter::start(count);
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        let sender = tokio::spawn(async move {
            for _ in 0..count {
                tick.tick().await;
                let sent = event(epoch.elapsed().as_nanos() as u64);
                if bus.publish(&topic, &sent).await.is_err() {
                    break;
                }
            }
        });
        done.notified().await;
        sender.await?;
        let latencies =
            std::mem::take(&mut *latencies.lock().unwrap_or_else(PoisonError::into_inner));
        let sample = meter.median(latencies);
        consumer.stop(WITHIN).await?;
        Ok(sample)
    }

    /// Memory while a consumer handles a backlog of a million.
    pub(super) async fn backlog_through_consumer(&self) -> Result<String> {
        self.clear().await?;
        self.transport.declare(&self.to()?).await?;
        self.fill(&*self.transport.publisher().await?, 1_000_000)
            .await?;
        let before = process::memory().unwrap_or(f64::NAN);
        let counted = Arc::new(Counted::default());
        counted.all.store(1_000_000, Relaxed);
        let consumer = counting(self.consumer()?, &counted).await?;
        let mut most = before;
        let done = counted.done.notified();
        tokio::pin!(done);
        while tokio::time::timeout(Duration::from_millis(20), &mut done)
            .await
            .is_err()
        {
            most = process::memory().unwrap_or(f64::NAN).max(most);
        }
        consumer.stop(WITHIN).await?;
        let verdict = if most <= 96.0 { "met" } else { "MISSED" };
        Ok(format!(
            "memory while a consumer handles a backlog of 1,000,000: {before:.0} MiB before, {most:.0} MiB at most (≤ 96 {verdict})"
        ))
    }
}

async fn counting(consumer: ConsumerBuilder, counted: &Arc<Counted>) -> Result<Consumer> {
    let counted = counted.clone();
    let handle = move |_: FreeFoodEvent, _: Context| {
        counted.one();
        std::future::ready(Ok(()))
    };
    Ok(consumer.on(handle).start().await?)
}
