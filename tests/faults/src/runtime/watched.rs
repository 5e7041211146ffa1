//! What was written, and did the broker take it? A transport that tells of every publish before it
//! is sent, and again when its outcome is known, before anybody else learns of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use potluck_core::{
    Capabilities, Description, Group, GroupStatus, Message, MessageId, Page, PublishError,
    Publisher, Reader, Result, Start, State, Stats, Subscriber, Subscription, Topic, Transport,
};

/// How far a publish has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// Nothing has been sent.
    Before,
    /// The broker has stored it.
    Stored,
    /// It has not, or that is not known.
    Failed,
}

/// Is told of a message that is published to a topic.
type Tell = dyn Fn(&Topic, &Message, Came) + Send + Sync;

/// A transport that tells of what is published through it.
pub struct Watched {
    inner: Arc<dyn Transport>,
    tell: Arc<Tell>,
}

impl Watched {
    /// Tells of every publish through `inner`.
    pub fn over(
        inner: Arc<dyn Transport>,
        tell: impl Fn(&Topic, &Message, Came) + Send + Sync + 'static,
    ) -> Arc<dyn Transport> {
        let tell = Arc::new(tell);
        Arc::new(Self { inner, tell })
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.inner).finish()
    }
}

struct Telling {
    inner: Arc<dyn Publisher>,
    tell: Arc<Tell>,
}

impl fmt::Debug for Telling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Telling").field(&self.inner).finish()
    }
}

#[async_trait]
impl Publisher for Telling {
    async fn publish(
        &self,
        topic: &Topic,
        messages: &[Message],
        within: Duration,
    ) -> Result<Vec<MessageId>, PublishError> {
        let tell = |came| {
            for message in messages {
                (self.tell)(topic, message, came);
            }
        };
        tell(Came::Before);
        let result = self.inner.publish(topic, messages, within).await;
        tell(match result {
            Ok(_) => Came::Stored,
            Err(_) => Came::Failed,
        });
        result
    }
}

#[async_trait]
impl Transport for Watched {
    async fn publisher(&self) -> Result<Arc<dyn Publisher>> {
        Ok(Arc::new(Telling {
            inner: self.inner.publisher().await?,
            tell: self.tell.clone(),
        }))
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn state(&self) -> State {
        self.inner.state()
    }

    async fn changed(&self, since: State) -> State {
        self.inner.changed(since).await
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
