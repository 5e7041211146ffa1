//! A transport that fails as brokers and networks do, at every await.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use potluck_core::{
    Capabilities, Delivery, Description, Error, ErrorKind, Group, GroupStatus, Message, MessageId,
    Outcome, Page, PublishError, Publisher, Reader, Receipt, Result, Settled, Start, State, Stats,
    Subscriber, Subscription, Topic, Transport,
};
use potluck_runtime::copies;

use crate::world::{Entry, Life};

/// A connection of one life.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: Arc<dyn Transport>,
    life: Arc<Life>,
}

impl Faulty {
    pub(crate) fn over(inner: Arc<dyn Transport>, life: Arc<Life>) -> Arc<dyn Transport> {
        Arc::new(Self { inner, life })
    }
}

fn away(what: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, what, "the simulated broker is away")
}

impl Life {
    /// An await at which a call may fail before anything is done.
    async fn before(&self, what: &'static str) -> Result<()> {
        self.point().await;
        self.fails(self.world.plan.faults.refuse, what)
    }

    /// An await at which a call may fail although it was done.
    async fn after(&self, what: &'static str) -> Result<()> {
        self.point().await;
        self.fails(self.world.plan.faults.lose_reply, what)
    }

    fn fails(&self, of_thousand: u32, what: &'static str) -> Result<()> {
        if self.world.happens(of_thousand) {
            self.log(Entry::Error {
                life: self.number,
                what,
            });
            return Err(away(what));
        }
        Ok(())
    }
}

#[async_trait]
impl Transport for Faulty {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn state(&self) -> State {
        self.inner.state()
    }
    async fn changed(&self, since: State) -> State {
        self.inner.changed(since).await
    }
    async fn publisher(&self) -> Result<Arc<dyn Publisher>> {
        self.life.before("publisher").await?;
        Ok(Arc::new(FaultyPublisher {
            inner: self.inner.publisher().await?,
            life: self.life.clone(),
        }))
    }
    async fn subscriber(&self, to: &Subscription) -> Result<Arc<dyn Subscriber>> {
        self.life.before("subscriber").await?;
        Ok(Arc::new(FaultySubscriber {
            inner: self.inner.subscriber(to).await?,
            is_lane: to.topic.is_derived(),
            life: self.life.clone(),
            handed_out: Mutex::default(),
            last: Mutex::default(),
        }))
    }
    async fn declare(&self, to: &Subscription) -> Result<()> {
        self.life.before("declare").await?;
        self.inner.declare(to).await?;
        self.life.after("declared").await
    }
    async fn status(&self, topic: &Topic, group: &Group) -> Result<GroupStatus> {
        self.inner.status(topic, group).await
    }
    async fn peek(
        &self,
        topic: &Topic,
        group: &Group,
        after: Option<MessageId>,
        max: usize,
    ) -> Result<Page> {
        self.inner.peek(topic, group, after, max).await
    }
    async fn delete_group(&self, topic: &Topic, group: &Group) -> Result<()> {
        self.inner.delete_group(topic, group).await
    }
    async fn delete_topic(&self, topic: &Topic, groups: &[Group]) -> Result<()> {
        self.inner.delete_topic(topic, groups).await
    }
    async fn reader(&self, topic: &Topic, start: Start) -> Result<Arc<dyn Reader>> {
        self.inner.reader(topic, start).await
    }
    async fn describe(&self) -> Result<Description> {
        self.inner.describe().await
    }
    fn stats(&self) -> Stats {
        self.inner.stats()
    }
    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[derive(Debug)]
struct FaultyPublisher {
    inner: Arc<dyn Publisher>,
    life: Arc<Life>,
}

#[async_trait]
impl Publisher for FaultyPublisher {
    async fn publish(
        &self,
        topic: &Topic,
        messages: &[Message],
        within: Duration,
    ) -> Result<Vec<MessageId>, PublishError> {
        if let Err(error) = self.life.before("publish").await {
            // Now and then for its size, which the copy with the fewest headers gets around.
            let error = if self.life.world.draw(0..4) == 0 {
                Error::new(ErrorKind::TooLarge, "publish", "too large, says the broker")
            } else {
                error
            };
            return Err(PublishError::refused(messages.len(), &error));
        }
        let ids = self.inner.publish(topic, messages, within).await?;
        if let Err(error) = self.life.after("published").await {
            let unknown = vec![Outcome::Unknown(error); messages.len()];
            return Err(PublishError::new(unknown));
        }
        if topic.as_str().ends_with(".dead") {
            for message in messages {
                let origin = message.headers().get(copies::ORIGIN_ID);
                let origin = origin.and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
                self.life.log(Entry::DeadLettered {
                    life: self.life.number,
                    origin: origin.expect("a copy names its origin"),
                });
            }
        }
        Ok(ids)
    }
}

#[derive(Debug)]
struct FaultySubscriber {
    inner: Arc<dyn Subscriber>,
    is_lane: bool,
    life: Arc<Life>,
    /// What the broker has handed out and no receive has returned, because it was dropped.
    handed_out: Mutex<Vec<Delivery>>,
    /// The last receipt of each event.
    last: Mutex<BTreeMap<usize, Receipt>>,
}

impl FaultySubscriber {
    /// The wall clock is not simulated: every message of a lane is said to be due in a far future,
    /// so that it waits the whole delay from when it is seen, in every run.
    fn far_from_due(&self, mut delivery: Delivery) -> Delivery {
        if self.is_lane {
            let mut headers = delivery.message.headers().clone();
            headers.set(copies::NOT_BEFORE, "9999-01-01T00:00:00Z");
            let (body, key) = (delivery.message.body(), delivery.message.key());
            delivery.message = Message::received(body.clone(), headers, key.cloned());
        }
        delivery
    }
}

#[async_trait]
impl Subscriber for FaultySubscriber {
    async fn receive(&self, max: NonZeroUsize, wait: Duration) -> Result<Vec<Delivery>> {
        self.life.before("receive").await?;
        if self.handed_out.lock().unwrap().is_empty() {
            let deliveries = self.inner.receive(max, wait).await?;
            self.handed_out.lock().unwrap().extend(deliveries);
            self.life.point().await;
        }
        let deliveries: Vec<_> = {
            let mut handed_out = self.handed_out.lock().unwrap();
            let count = handed_out.len().min(max.get());
            handed_out.drain(..count).collect()
        };
        for delivery in &deliveries {
            if self.life.world.happens(self.life.world.plan.faults.steal) {
                let _ = self.inner.release(&[delivery.receipt]).await?;
            }
            if !self.is_lane {
                let event = crate::events::number(&delivery.message);
                self.last.lock().unwrap().insert(event, delivery.receipt);
                let life = self.life.number;
                self.life.log(Entry::Received { life, event });
            }
        }
        let all = deliveries.into_iter();
        Ok(all.map(|delivery| self.far_from_due(delivery)).collect())
    }
    async fn ack(&self, receipts: &[Receipt]) -> Result<Settled> {
        self.life.before("ack").await?;
        let settled = self.inner.ack(receipts).await?;
        self.life.log(Entry::Acked {
            life: self.life.number,
            count: receipts.len() - settled.stale.len(),
        });
        self.life.after("acked").await?;
        Ok(settled)
    }
    async fn release(&self, receipts: &[Receipt]) -> Result<Settled> {
        self.life.before("release").await?;
        let settled = self.inner.release(receipts).await?;
        self.life.after("released").await?;
        Ok(settled)
    }
    fn lease(&self) -> Option<Duration> {
        self.inner.lease()
    }
    async fn extend(&self, receipts: &[Receipt]) -> Result<Settled> {
        self.life.point().await;
        let extend_fails = self.life.world.plan.faults.extend_fails;
        self.life.fails(extend_fails, "extend")?;
        let settled = self.inner.extend(receipts).await?;
        self.life.after("extended").await?;
        let last = self.last.lock().unwrap();
        for (event, _) in last.iter().filter(|(_, one)| settled.stale.contains(one)) {
            self.life.log(Entry::Stale {
                life: self.life.number,
                event: *event,
            });
        }
        drop(last);
        Ok(settled)
    }
    async fn close(&self) -> Result<()> {
        self.life.point().await;
        self.inner.close().await
    }
}
