//! What does a transport look like on which copies fail for a while?

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use potluck_core::{
    Capabilities, Description, Error, ErrorKind, Group, GroupStatus, Message, MessageId, Outcome,
    Page, PublishError, Publisher, Reader, Result, Start, State, Stats, Subscriber, Subscription,
    Topic, Transport,
};

/// A transport whose retry lanes and dead-letter topics cannot be written while it is troubled.
/// All else goes on.
pub(crate) struct Outage {
    inner: Arc<dyn Transport>,
    trouble: Arc<Trouble>,
    /// Where copies go instead: nobody looks there, and they are reported as failed. So what
    /// stands between this and the broker sees them.
    astray: Topic,
}

/// Whether there is trouble, and how many copies met it.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    over: AtomicBool,
    met: AtomicU64,
}

impl Trouble {
    /// From now on copies get through.
    pub(crate) fn end(&self) {
        self.over.store(true, Relaxed);
    }

    /// How many copies have failed.
    pub(crate) fn met(&self) -> u64 {
        self.met.load(Relaxed)
    }
}

impl Outage {
    /// Begins in trouble.
    pub(crate) fn new(inner: Arc<dyn Transport>, astray: Topic) -> (Arc<Self>, Arc<Trouble>) {
        let trouble = Arc::<Trouble>::default();
        let outage = Self {
            inner,
            trouble: trouble.clone(),
            astray,
        };
        (Arc::new(outage), trouble)
    }
}

impl fmt::Debug for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl Transport for Outage {
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
        Ok(Arc::new(Troubled {
            inner: self.inner.publisher().await?,
            trouble: self.trouble.clone(),
            astray: self.astray.clone(),
        }))
    }

    async fn subscriber(&self, to: &Subscription) -> Result<Arc<dyn Subscriber>> {
        self.inner.subscriber(to).await
    }

    async fn declare(&self, to: &Subscription) -> Result<()> {
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
struct Troubled {
    inner: Arc<dyn Publisher>,
    trouble: Arc<Trouble>,
    astray: Topic,
}

#[async_trait]
impl Publisher for Troubled {
    async fn publish(
        &self,
        topic: &Topic,
        messages: &[Message],
        within: Duration,
    ) -> Result<Vec<MessageId>, PublishError> {
        if !topic.is_derived() || self.trouble.over.load(Relaxed) {
            return self.inner.publish(topic, messages, within).await;
        }
        // Whatever comes of this, the copy is not where it belongs.
        drop(self.inner.publish(&self.astray, messages, within).await);
        self.trouble.met.fetch_add(messages.len() as u64, Relaxed);
        let error = Error::new(ErrorKind::Unavailable, "publish", "the broker is full");
        let outcomes = vec![Outcome::Unknown(error); messages.len()];
        Err(PublishError::new(outcomes))
    }
}
