//! What does a connection do that is neither publishing nor receiving?

use std::sync::Arc;

use async_trait::async_trait;
use potluck_core::capabilities::{
    Ack, Attempts, Durability, Ordering, Peek, Redelivery, Release, Starts, Undeclared, Unrouted,
};
use potluck_core::state::StateCell;
use potluck_core::stats::Counters;
use potluck_core::{
    Capabilities, Description, Group, GroupStatus, MessageId, Page, Publisher, Reader, Result,
    Start, State, Stats, Subscriber, Subscription, Topic, Transport,
};
use tokio::time::Instant;

use crate::broker::{Broker, TopicCell};
use crate::error;
use crate::publisher::MemoryPublisher;
use crate::reader::MemoryReader;
use crate::subscriber::MemorySubscriber;

/// A connection to a broker of this process.
#[derive(Debug)]
pub(crate) struct MemoryTransport(Arc<Link>);

/// What a connection's handles share.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) broker: Broker,
    /// Tells this connection's members from those of others.
    pub(crate) number: u64,
    pub(crate) counters: Counters,
    state: StateCell,
}

impl Link {
    /// Fails when the connection was closed. Whoever changes a topic asks while it holds the
    /// topic's lock, so that nothing changes behind a close that has returned.
    pub(crate) fn check(&self, operation: &'static str) -> Result<()> {
        match self.state.get() {
            State::Closed => Err(error::closed(operation)),
            _ => Ok(()),
        }
    }

    /// Waits until the connection is closed.
    pub(crate) async fn closed(&self) {
        self.state.changed(State::Ready).await;
    }
}

impl MemoryTransport {
    /// A connection, which is ready at once.
    pub(crate) fn new(broker: Broker) -> Self {
        let number = broker.number();
        Self(Arc::new(Link {
            broker,
            number,
            counters: Counters::default(),
            state: StateCell::new(State::Ready),
        }))
    }

    /// The topic of this name, while the connection is open.
    fn find(&self, operation: &'static str, topic: &Topic) -> Result<Arc<TopicCell>> {
        self.0.check(operation)?;
        let found = self.0.broker.find(topic);
        found.ok_or_else(|| error::no_topic(operation, topic))
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            ordering: Ordering::PerTopic,
            ack: Ack::Recorded,
            attempts: Attempts::Counted,
            release: Release::ToGroup,
            redelivery: Redelivery::AfterLease,
            unrouted: Unrouted::Kept,
            undeclared: Undeclared::Created,
            durability: Durability::Process,
            starts: Starts::EarliestAndNew,
            max_message: self.0.broker.bounds().max_message(),
            peek: Peek::Clean,
        }
    }

    fn state(&self) -> State {
        self.0.state.get()
    }

    async fn changed(&self, since: State) -> State {
        self.0.state.changed(since).await
    }

    async fn publisher(&self) -> Result<Arc<dyn Publisher>> {
        self.0.check("open publisher")?;
        Ok(Arc::new(MemoryPublisher::new(self.0.clone())))
    }

    async fn subscriber(&self, to: &Subscription) -> Result<Arc<dyn Subscriber>> {
        let subscriber = MemorySubscriber::join(self.0.clone(), to.clone())?;
        Ok(Arc::new(subscriber))
    }

    async fn declare(&self, to: &Subscription) -> Result<()> {
        self.0.check("declare")?;
        let (_, declared) = self.0.broker.open(&to.topic, |log| {
            self.0.check("declare")?;
            log.declare(&to.group, to.start);
            Ok(())
        });
        declared
    }

    async fn status(&self, topic: &Topic, group: &Group) -> Result<GroupStatus> {
        let cell = self.find("status", topic)?;
        let status = cell.change(|log| log.status(group, Instant::now()));
        status.ok_or_else(|| error::no_group("status", topic, group))
    }

    async fn peek(
        &self,
        topic: &Topic,
        group: &Group,
        after: Option<MessageId>,
        max: usize,
    ) -> Result<Page> {
        let cell = self.find("peek", topic)?;
        let page = cell.change(|log| log.peek(group, after, max));
        page.ok_or_else(|| error::no_group("peek", topic, group))
    }

    async fn delete_group(&self, topic: &Topic, group: &Group) -> Result<()> {
        self.0.check("delete group")?;
        if let Some(cell) = self.0.broker.find(topic) {
            cell.change(|log| log.delete_group(group));
        }
        Ok(())
    }

    async fn delete_topic(&self, topic: &Topic, _groups: &[Group]) -> Result<()> {
        self.0.check("delete topic")?;
        self.0.broker.delete(topic);
        Ok(())
    }

    async fn reader(&self, topic: &Topic, start: Start) -> Result<Arc<dyn Reader>> {
        let cell = self.find("open reader", topic)?;
        Ok(Arc::new(MemoryReader::new(
            self.0.clone(),
            cell,
            topic.clone(),
            start,
        )))
    }

    async fn describe(&self) -> Result<Description> {
        self.0.check("describe")?;
        Ok(Description {
            product: "memory".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            notices: vec![
                "messages are in this process's memory only, and are lost when it ends".into(),
            ],
        })
    }

    fn stats(&self) -> Stats {
        self.0.counters.snapshot()
    }

    async fn close(&self) -> Result<()> {
        self.0.state.set(State::Closed);
        let given_back = self
            .0
            .broker
            .each_topic(|log| log.leave_all(Some(self.0.number)));
        self.0.counters.released.add(given_back.iter().sum());
        Ok(())
    }
}
