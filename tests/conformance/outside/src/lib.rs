//! What does a transport look like that somebody else wrote? This one borrows its broker.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use potluck_core::stats::Stats;
use potluck_core::transport::{Description, GroupStatus, Page};
use potluck_core::{
    Capabilities, Group, MessageId, Publisher, Reader, Result, Start, State, Subscriber,
    Subscription, Topic, Transport,
};
use potluck_memory::Broker;

/// All connections reach this one.
static BROKER: LazyLock<Broker> = LazyLock::new(Broker::new);

/// Connects to the broker of this process.
pub fn connect() -> Result<Arc<dyn Transport>> {
    Ok(Arc::new(Borrowed(BROKER.connect())))
}

#[derive(Debug)]
struct Borrowed(Arc<dyn Transport>);

#[async_trait]
impl Transport for Borrowed {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn state(&self) -> State {
        self.0.state()
    }

    async fn changed(&self, since: State) -> State {
        self.0.changed(since).await
    }

    async fn publisher(&self) -> Result<Arc<dyn Publisher>> {
        self.0.publisher().await
    }

    async fn subscriber(&self, to: &Subscription) -> Result<Arc<dyn Subscriber>> {
        self.0.subscriber(to).await
    }

    async fn declare(&self, to: &Subscription) -> Result<()> {
        self.0.declare(to).await
    }

    async fn status(&self, topic: &Topic, group: &Group) -> Result<GroupStatus> {
        self.0.status(topic, group).await
    }

    async fn peek(
        &self,
        topic: &Topic,
        group: &Group,
        after: Option<MessageId>,
        max: usize,
    ) -> Result<Page> {
        self.0.peek(topic, group, after, max).await
    }

    async fn delete_group(&self, topic: &Topic, group: &Group) -> Result<()> {
        self.0.delete_group(topic, group).await
    }

    async fn delete_topic(&self, topic: &Topic, groups: &[Group]) -> Result<()> {
        self.0.delete_topic(topic, groups).await
    }

    async fn reader(&self, topic: &Topic, start: Start) -> Result<Arc<dyn Reader>> {
        self.0.reader(topic, start).await
    }

    async fn describe(&self) -> Result<Description> {
        self.0.describe().await
    }

    fn stats(&self) -> Stats {
        self.0.stats()
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}
