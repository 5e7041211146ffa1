//! The same work through the driver contract.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use potluck_core::{Message, Publisher, Receipt, Topic};

use super::{Bench, Meter, TOPIC, WITHIN, Work, age, in_flight, stamped};
use crate::process;
use crate::rounds::{Result, Sample};

impl Bench {
    pub(super) async fn driver(&self, work: Work) -> Result<Sample> {
        let publisher = self.transport.publisher().await?;
        let topic = Topic::new(TOPIC)?;
        let count = work.messages();
        let meter = Meter::start(count);
        match work {
            Work::PublishOne => {
                for _ in 0..count {
                    publisher.publish(&topic, &[self.message()], WITHIN).await?;
                }
            }
            Work::PublishInFlight => {
                let send = || {
                    let (publisher, message, topic) = (&publisher, self.message(), &topic);
                    async move { publisher.publish(topic, &[message], WITHIN).await }
                };
                in_flight(256, count, send).await?;
            }
            Work::PublishSlices => {
                for _ in 0..count / 100 {
                    let slice: Vec<_> = (0..100).map(|_| self.message()).collect();
                    publisher.publish(&topic, &slice, WITHIN).await?;
                }
            }
            Work::Consume => return self.our_consume(&*publisher, count).await,
            Work::EndToEnd => return self.our_end_to_end(publisher, count).await,
        }
        Ok(meter.rate())
    }

    async fn our_consume(&self, publisher: &dyn Publisher, count: usize) -> Result<Sample> {
        let subscriber = self.transport.subscriber(&self.to()?).await?;
        self.fill(publisher, count).await?;
        let meter = Meter::start(count);
        let mut seen = 0;
        while seen < count {
            let max = NonZeroUsize::new(1000).unwrap_or(NonZeroUsize::MIN);
            let deliveries = subscriber.receive(max, WITHIN).await?;
            seen += deliveries.len();
            let receipts: Vec<Receipt> =
                deliveries.iter().map(|delivery| delivery.receipt).collect();
            if !subscriber.ack(&receipts).await?.stale.is_empty() {
                return Err("an acknowledgement was stale".into());
            }
        }
        let sample = meter.rate();
        subscriber.close().await?;
        Ok(sample)
    }

    async fn our_end_to_end(&self, publisher: Arc<dyn Publisher>, count: usize) -> Result<Sample> {
        let subscriber = self.transport.subscriber(&self.to()?).await?;
        let epoch = Instant::now();
        let topic = Topic::new(TOPIC)?;
        let meter = Meter::start(count);
        let sender = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(1));
            for _ in 0..count {
                tick.tick().await;
                let message = Message::new(stamped(epoch));
                if publisher.publish(&topic, &[message], WITHIN).await.is_err() {
                    break;
                }
            }
        });
        let mut latencies = Vec::with_capacity(count);
        while latencies.len() < count {
            let max = NonZeroUsize::new(100).unwrap_or(NonZeroUsize::MIN);
            let deliveries = subscriber.receive(max, WITHIN).await?;
            latencies.extend(
                deliveries
                    .iter()
                    .map(|delivery| age(epoch, delivery.message.body())),
            );
            let receipts: Vec<_> = deliveries.iter().map(|delivery| delivery.receipt).collect();
            let _ = subscriber.ack(&receipts).await?;
        }
        sender.await?;
        let sample = meter.median(latencies);
        subscriber.close().await?;
        Ok(sample)
    }

    /// Memory while a backlog of a million is consumed.
    pub(super) async fn backlog(&self) -> Result<String> {
        self.clear().await?;
        let publisher = self.transport.publisher().await?;
        let subscriber = self.transport.subscriber(&self.to()?).await?;
        self.fill(&*publisher, 1_000_000).await?;
        let before = process::memory().unwrap_or(f64::NAN);
        let (mut seen, mut most) = (0, before);
        while seen < 1_000_000 {
            let max = NonZeroUsize::new(1000).unwrap_or(NonZeroUsize::MIN);
            let deliveries = subscriber.receive(max, WITHIN).await?;
            seen += deliveries.len();
            let receipts: Vec<_> = deliveries.iter().map(|delivery| delivery.receipt).collect();
            let _ = subscriber.ack(&receipts).await?;
            most = process::memory().unwrap_or(f64::NAN).max(most);
        }
        subscriber.close().await?;
        let verdict = if most <= 64.0 { "met" } else { "MISSED" };
        Ok(format!(
            "memory while a backlog of 1,000,000 is consumed: {before:.0} MiB before, {most:.0} MiB at most (≤ 64 {verdict})"
        ))
    }
}
