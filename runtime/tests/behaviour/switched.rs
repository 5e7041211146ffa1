//! A transport with switches: what a test turns off fails until it is turned on again.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use potluck_core::{
    Capabilities, Delivery, Description, Error, ErrorKind, Group, GroupStatus, Message, MessageId,
    Page, PublishError, Publisher, Reader, Receipt, Result, Settled, Start, State, Stats,
    Subscriber, Subscription, Topic, Transport,
};
use tokio::time::Instant;

use crate::support::Scene;

/// What fails, and what was called.
#[derive(Debug, Default)]
pub(crate) struct Switches {
    /// Publishes to dead-letter topics are refused.
    pub(crate) no_dead_letters: AtomicBool,
    /// Publishes with more headers than the runtime's shortest are too large.
    pub(crate) short_headers_only: AtomicBool,
    pub(crate) no_receive: AtomicBool,
    /// Acks and releases never answer.
    pub(crate) settles_hang: AtomicBool,
    pub(crate) no_ack: AtomicBool,
    pub(crate) no_extend: AtomicBool,
    /// So many declares fail from now on.
    pub(crate) declares_fail: AtomicU32,
    pub(crate) denied: AtomicBool,
    /// When publishes to dead-letter topics were tried.
    pub(crate) dead_letters_at: Mutex<Vec<Instant>>,
    /// Most and wait of each receive of a topic that is no lane.
    pub(crate) receives: Mutex<Vec<(usize, Duration)>>,
    pub(crate) acks: AtomicU32,
}

/// A scene whose consumers go over switches.
pub(crate) fn scene() -> (Scene, Arc<Switches>) {
    let switches: Arc<Switches> = Arc::default();
    let scene = Scene::over(|broker| {
        Arc::new(Switched {
            inner: broker.connect(),
            switches: switches.clone(),
        })
    });
    (scene, switches)
}

#[derive(Debug)]
struct Switched {
    inner: Arc<dyn Transport>,
    switches: Arc<Switches>,
}

fn away(what: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, what, "switched off")
}

#[async_trait]
impl Transport for Switched {
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
        Ok(Arc::new(SwitchedPublisher {
            inner: self.inner.publisher().await?,
            switches: self.switches.clone(),
        }))
    }
    async fn subscriber(&self, to: &Subscription) -> Result<Arc<dyn Subscriber>> {
        Ok(Arc::new(SwitchedSubscriber {
            inner: self.inner.subscriber(to).await?,
            switches: self.switches.clone(),
            is_lane: to.topic.is_derived(),
        }))
    }
    async fn declare(&self, to: &Subscription) -> Result<()> {
        if self.switches.denied.load(Relaxed) {
            return Err(Error::new(ErrorKind::Denied, "declare", "no permission"));
        }
        let less = |left: u32| left.checked_sub(1);
        if self
            .switches
            .declares_fail
            .fetch_update(Relaxed, Relaxed, less)
            .is_ok()
        {
            return Err(away("declare"));
        }
        self.inner.declare(to).await
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
struct SwitchedPublisher {
    inner: Arc<dyn Publisher>,
    switches: Arc<Switches>,
}

#[async_trait]
impl Publisher for SwitchedPublisher {
    async fn publish(
        &self,
        topic: &Topic,
        messages: &[Message],
        within: Duration,
    ) -> Result<Vec<MessageId>, PublishError> {
        if topic.as_str().ends_with(".dead") {
            self.switches
                .dead_letters_at
                .lock()
                .unwrap()
                .push(Instant::now());
            if self.switches.no_dead_letters.load(Relaxed) {
                return Err(PublishError::refused(messages.len(), &away("publish")));
            }
        }
        let has_error = |one: &Message| one.headers().get("potluck-error").is_some();
        if self.switches.short_headers_only.load(Relaxed) && messages.iter().any(has_error) {
            let error = Error::new(ErrorKind::TooLarge, "publish", "too large");
            return Err(PublishError::refused(messages.len(), &error));
        }
        self.inner.publish(topic, messages, within).await
    }
}

#[derive(Debug)]
struct SwitchedSubscriber {
    inner: Arc<dyn Subscriber>,
    switches: Arc<Switches>,
    is_lane: bool,
}

impl SwitchedSubscriber {
    async fn hang_if_off(&self) {
        if self.switches.settles_hang.load(Relaxed) {
            std::future::pending().await
        }
    }
}

#[async_trait]
impl Subscriber for SwitchedSubscriber {
    async fn receive(&self, max: NonZeroUsize, wait: Duration) -> Result<Vec<Delivery>> {
        if !self.is_lane {
            self.switches
                .receives
                .lock()
                .unwrap()
                .push((max.get(), wait));
        }
        if self.switches.no_receive.load(Relaxed) {
            return Err(away("receive"));
        }
        self.inner.receive(max, wait).await
    }
    async fn ack(&self, receipts: &[Receipt]) -> Result<Settled> {
        self.hang_if_off().await;
        if self.switches.no_ack.load(Relaxed) {
            return Err(away("ack"));
        }
        self.switches.acks.fetch_add(1, Relaxed);
        self.inner.ack(receipts).await
    }
    async fn release(&self, receipts: &[Receipt]) -> Result<Settled> {
        self.hang_if_off().await;
        self.inner.release(receipts).await
    }
    fn lease(&self) -> Option<Duration> {
        self.inner.lease()
    }
    async fn extend(&self, receipts: &[Receipt]) -> Result<Settled> {
        if self.switches.no_extend.load(Relaxed) {
            return Err(away("extend"));
        }
        self.inner.extend(receipts).await
    }
    async fn close(&self) -> Result<()> {
        self.hang_if_off().await;
        self.inner.close().await
    }
}
