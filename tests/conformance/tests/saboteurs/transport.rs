//! How does what is neither publishing nor receiving break?

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use potluck_core::capabilities::{Starts, Undeclared, Unrouted};
use potluck_core::{
    Capabilities, Description, ErrorKind, Figure, Group, GroupStatus, Member, MessageId, Page,
    Peeked, Publisher, Reader, Receipt, Result, Retention, Start, State, Stats, Subscriber,
    Subscription, Topic, Transport,
};

use tokio::time::sleep;

use crate::publisher::BrokenPublisher;
use crate::sabotage::Sabotage;
use crate::subscriber::BrokenSubscriber;
use crate::world::{TICK, World, error, lock};

/// What the handles of one connection share.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) world: Arc<World>,
    pub(crate) inner: Arc<dyn Transport>,
    /// What is claimed, true or not.
    pub(crate) capabilities: Capabilities,
    closed: AtomicBool,
    /// Something was given back over it, as the first thing that a stop does.
    draining: AtomicBool,
}

impl Link {
    pub(crate) fn is(&self, sabotage: Sabotage) -> bool {
        self.world.is(sabotage)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// The topic that is meant.
    pub(crate) fn topic(&self, topic: &Topic) -> Topic {
        if !self.is(Sabotage::TopicsCollide) {
            return topic.clone();
        }
        let stem = topic
            .as_str()
            .trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
        Topic::new(stem).unwrap_or_else(|_| topic.clone())
    }

    /// The group that is meant.
    fn group(&self, group: &Group) -> Group {
        let name = match self.world.sabotage() {
            Sabotage::GroupsIgnored => "all",
            _ => return group.clone(),
        };
        Group::new(name).unwrap_or_else(|_| group.clone())
    }

    /// The subscription that is meant.
    fn meant(&self, to: &Subscription) -> Subscription {
        let mut to = to.clone();
        to.topic = self.topic(&to.topic);
        to.group = self.group(&to.group);
        match self.world.sabotage() {
            Sabotage::StartAlwaysNew => to.start = Start::New,
            Sabotage::StartAlwaysEarliest => to.start = Start::Earliest,
            Sabotage::MaxHeldIgnored => to.max_held = potluck_core::subscription::MAX_HELD_DEFAULT,
            Sabotage::RetentionIgnored => to.retention = Retention::Keep,
            Sabotage::NeverReclaimed => to.lease = Some(Duration::from_secs(86_400)),
            Sabotage::LeaseCutShort => {
                let lease = to
                    .lease
                    .unwrap_or(potluck_core::subscription::LEASE_DEFAULT);
                to.lease = Some(lease / 10);
            }
            _ => {}
        }
        to
    }

    fn declared(&self, to: &Subscription) {
        let mut groups = lock(&self.world.groups);
        groups
            .entry(to.topic.clone())
            .or_default()
            .insert(to.group.clone());
    }
}

#[derive(Debug)]
pub(crate) struct BrokenTransport(Arc<Link>);

impl BrokenTransport {
    pub(crate) fn new(world: Arc<World>) -> Self {
        let inner = world.broker.connect();
        let mut capabilities = inner.capabilities();
        match world.sabotage() {
            Sabotage::LimitOverstated => capabilities.max_message *= 2,
            Sabotage::LimitUnderstated => capabilities.max_message /= 2,
            Sabotage::UndeclaredClaimedRefused => capabilities.undeclared = Undeclared::Refused,
            Sabotage::UnroutedClaimedRefused => capabilities.unrouted = Unrouted::Refused,
            Sabotage::StartsClaimedSame => capabilities.starts = Starts::Same,
            _ => {}
        }
        let closed = AtomicBool::new(false);
        Self(Arc::new(Link {
            world,
            inner,
            capabilities,
            closed,
            draining: AtomicBool::new(false),
        }))
    }

    fn is(&self, sabotage: Sabotage) -> bool {
        self.0.is(sabotage)
    }

    /// Looks by taking, as a broker without a look would have to.
    async fn peek_by_taking(&self, topic: &Topic, group: &Group, max: usize) -> Result<Page> {
        let to = Subscription::new(topic.clone(), group.clone()).member(Member::unique());
        let looking = self.0.inner.subscriber(&to).await?;
        let Some(most) = NonZeroUsize::new(max) else {
            return Ok(Page::default());
        };
        let taken = looking.receive(most, Duration::ZERO).await?;
        let receipts: Vec<Receipt> = taken.iter().map(|one| one.receipt).collect();
        if self.is(Sabotage::PeekSettles) {
            let _ = looking.ack(&receipts).await?;
        }
        looking.close().await?;
        let limit = self.0.capabilities.max_message;
        let peeked = taken
            .into_iter()
            .map(|one| Peeked::new(one.message, one.id, limit));
        let messages: Vec<Peeked> = peeked.collect();
        let next = messages
            .last()
            .map(|last| last.id)
            .filter(|_| messages.len() == max);
        Ok(Page { messages, next })
    }
}

#[async_trait]
impl Transport for BrokenTransport {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities
    }

    fn state(&self) -> State {
        match self.0.inner.state() {
            State::Closed if self.is(Sabotage::StateStaysReady) => State::Ready,
            state => state,
        }
    }

    async fn changed(&self, since: State) -> State {
        if self.is(Sabotage::StateStaysReady) {
            std::future::pending::<()>().await;
        }
        self.0.inner.changed(since).await
    }

    async fn publisher(&self) -> Result<Arc<dyn Publisher>> {
        let inner = self.0.inner.publisher().await?;
        Ok(Arc::new(BrokenPublisher::new(self.0.clone(), inner)))
    }

    async fn subscriber(&self, to: &Subscription) -> Result<Arc<dyn Subscriber>> {
        let mut to = self.0.meant(to);
        if self.is(Sabotage::GroupOfItsOwn) {
            let name = format!("{}-{}", to.group, self.0.world.invented_id());
            to.group = Group::new(&name)?;
        }
        if self.is(Sabotage::DeclareMovesStart) {
            self.declare(&to).await?;
        }
        if self.is(Sabotage::JoinTakesAway) {
            for member in self.0.world.members(Some(&to)) {
                member.give_back_held().await;
            }
        }
        self.0.declared(&to);
        let member = Arc::new(BrokenSubscriber::join(self.0.clone(), to).await?);
        member.note_join();
        lock(&self.0.world.members).push(Arc::downgrade(&member));
        Ok(member)
    }

    async fn declare(&self, to: &Subscription) -> Result<()> {
        let to = self.0.meant(to);
        if self.is(Sabotage::StartUnsupported) && to.start == Start::New {
            return Err(error(ErrorKind::Unsupported, "declare"));
        }
        self.0.declared(&to);
        if self.is(Sabotage::StartAtFirstReceive) {
            // The topic is there, the group is not.
            let mark = Subscription::new(to.topic.clone(), Group::new("mark")?);
            self.0.inner.declare(&mark).await?;
            return self.0.inner.delete_group(&mark.topic, &mark.group).await;
        }
        if self.is(Sabotage::DeclareMovesStart) {
            self.0.inner.delete_group(&to.topic, &to.group).await?;
        }
        self.0.inner.declare(&to).await
    }

    async fn status(&self, topic: &Topic, group: &Group) -> Result<GroupStatus> {
        sleep(TICK).await;
        let zero = Figure::Exact(0);
        let empty = GroupStatus {
            backlog: zero,
            in_flight: zero,
            oldest_ms: zero,
            members: zero,
        };
        match self
            .0
            .inner
            .status(&self.0.topic(topic), &self.0.group(group))
            .await
        {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if self.is(Sabotage::MissingGroupIsEmpty) {
                    Ok(empty)
                } else {
                    Err(error)
                }
            }
            Ok(_) if self.is(Sabotage::StatusZero) => Ok(empty),
            other => other,
        }
    }

    async fn peek(
        &self,
        topic: &Topic,
        group: &Group,
        after: Option<MessageId>,
        max: usize,
    ) -> Result<Page> {
        sleep(TICK).await;
        let (topic, group) = (&self.0.topic(topic), &self.0.group(group));
        let after = after.filter(|_| !self.is(Sabotage::PeekRepeatsPage));
        let page = self.0.inner.peek(topic, group, after, max).await?;
        if self.is(Sabotage::PeekSettles) || self.is(Sabotage::PeekCounts) {
            return self.peek_by_taking(topic, group, max).await;
        }
        Ok(page)
    }

    async fn delete_group(&self, topic: &Topic, group: &Group) -> Result<()> {
        if self.is(Sabotage::DeleteGroupKeeps) {
            return Ok(());
        }
        self.0
            .inner
            .delete_group(&self.0.topic(topic), &self.0.group(group))
            .await
    }

    async fn delete_topic(&self, topic: &Topic, groups: &[Group]) -> Result<()> {
        let topic = &self.0.topic(topic);
        if self.is(Sabotage::DeleteTopicKeeps) {
            // The groups go, the messages stay.
            for group in groups {
                self.0.inner.delete_group(topic, group).await?;
            }
            return Ok(());
        }
        lock(&self.0.world.groups).remove(topic);
        self.0.inner.delete_topic(topic, groups).await
    }

    async fn reader(&self, topic: &Topic, start: Start) -> Result<Arc<dyn Reader>> {
        let topic = self.0.topic(topic);
        let start = match start {
            Start::New if self.is(Sabotage::ReaderAlwaysEarliest) => Start::Earliest,
            start => start,
        };
        let inner = self.0.inner.reader(&topic, start).await?;
        Ok(Arc::new(BrokenReader {
            link: self.0.clone(),
            inner,
            topic,
        }))
    }

    async fn describe(&self) -> Result<Description> {
        if self.is(Sabotage::DescribesNothing) {
            return Ok(Description::default());
        }
        self.0.inner.describe().await
    }

    fn stats(&self) -> Stats {
        let mut stats = self.0.inner.stats();
        match self.0.world.sabotage() {
            Sabotage::StatsDoubled => {
                stats.published *= 2;
                stats.delivered *= 2;
            }
            Sabotage::StaleUncounted => stats.stale = 0,
            Sabotage::TrimUncounted => stats.lost_by_trim = 0,
            _ => {}
        }
        stats
    }

    async fn close(&self) -> Result<()> {
        let before = self.0.closed.swap(true, Relaxed);
        if before && self.is(Sabotage::SecondCloseErrors) {
            return Err(error(ErrorKind::Closed, "close"));
        }
        self.0.inner.close().await
    }
}

#[derive(Debug)]
struct BrokenReader {
    link: Arc<Link>,
    inner: Arc<dyn Reader>,
    topic: Topic,
}

impl BrokenReader {
    /// Settles what it reads, in every group.
    async fn consume(&self, max: NonZeroUsize) -> Result<()> {
        let groups = lock(&self.link.world.groups)
            .get(&self.topic)
            .cloned()
            .unwrap_or_default();
        for group in groups {
            let to = Subscription::new(self.topic.clone(), group);
            let thief = self.link.inner.subscriber(&to).await?;
            let taken = thief.receive(max, Duration::ZERO).await?;
            let receipts: Vec<Receipt> = taken.iter().map(|one| one.receipt).collect();
            let _ = thief.ack(&receipts).await?;
            thief.close().await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Reader for BrokenReader {
    async fn receive(&self, max: NonZeroUsize, wait: Duration) -> Result<Vec<Peeked>> {
        sleep(TICK).await;
        let read = self.inner.receive(max, wait).await?;
        if self.link.is(Sabotage::ReaderConsumes) {
            self.consume(max).await?;
        }
        if self.link.is(Sabotage::DroppedReadLoses) {
            sleep(TICK).await;
        }
        Ok(read)
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
