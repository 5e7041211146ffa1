//! A connection to a Redis server: what it promises, and what it opens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use potluck_core::capabilities::{
    Ack, Attempts, Capabilities, Durability, Ordering as Order, Peek, Redelivery, Release, Starts,
    Undeclared, Unrouted,
};
use potluck_core::state::StateCell;
use potluck_core::stats::{Counters, Stats};
use potluck_core::{
    Description, Error, ErrorKind, Group, GroupStatus, MessageId, Page, Publisher, Reader, Result,
    Start, State, Subscriber, Subscription, Topic, Transport,
};
use redis::{Cmd, Value};
use tokio::time::Instant;

use crate::config::{Config, LEASES};
use crate::error::{Failure, Remedy};
use crate::link::{ANSWER_MAX, Link, Live, Reports};
use crate::publisher::RedisPublisher;
use crate::reader::RedisReader;
use crate::subscriber::RedisSubscriber;
use crate::writer::Writer;

#[derive(Debug)]
pub(crate) struct RedisTransport {
    shared: Arc<Shared>,
    /// The way out of all publishers, once there is one.
    writer: Mutex<Option<Arc<Writer>>>,
    /// What has to be closed with the transport.
    subscribers: Mutex<Vec<Weak<RedisSubscriber>>>,
    readers: Mutex<Vec<Weak<RedisReader>>>,
}

/// What a transport shares with what it has opened.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    /// For everything that neither publishes nor waits for messages.
    pub(crate) commands: Link,
    pub(crate) state: Arc<StateCell>,
    pub(crate) counters: Arc<Counters>,
    closed: AtomicBool,
}

impl RedisTransport {
    pub(crate) fn connect(url: &str) -> Result<Self> {
        let config = Config::parse(url)?;
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::new(
                ErrorKind::Config,
                "connect",
                "call connect inside a tokio runtime",
            ));
        }
        let state = Arc::new(StateCell::new(State::Connecting));
        let counters = Arc::new(Counters::default());
        let reports = Reports {
            state: Some(state.clone()),
            counters: Some(counters.clone()),
        };
        let commands = Link::dial(&config.connection, &config.shown, reports)?;
        let closed = AtomicBool::new(false);
        let shared = Shared {
            config: Arc::new(config),
            commands,
            state,
            counters,
            closed,
        };
        Ok(Self {
            shared: Arc::new(shared),
            writer: Mutex::default(),
            subscribers: Mutex::default(),
            readers: Mutex::default(),
        })
    }

    fn writer(&self) -> Result<Arc<Writer>> {
        let mut slot = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.check_open("open publisher")?;
        if let Some(writer) = &*slot {
            return Ok(writer.clone());
        }
        let shared = &self.shared;
        let reports = Reports {
            state: None,
            counters: Some(shared.counters.clone()),
        };
        let link = Link::dial(&shared.config.connection, &shared.config.shown, reports)?;
        let writer = Arc::new(Writer::start(
            link,
            shared.config.clone(),
            shared.counters.clone(),
        ));
        *slot = Some(writer.clone());
        Ok(writer)
    }
}

impl Shared {
    pub(crate) fn check_open(&self, operation: &'static str) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            let say = "the transport is closed";
            return Err(Error::new(ErrorKind::Closed, operation, say));
        }
        Ok(())
    }

    /// The shared connection, within the transport's time-out.
    pub(crate) async fn live(&self, operation: &'static str) -> Result<(Live, Instant)> {
        self.check_open(operation)?;
        let deadline = Instant::now() + self.config.timeout;
        Ok((self.commands.live(operation, deadline).await?, deadline))
    }

    /// One command over the shared connection, within the transport's time-out. When the connection
    /// fails under it, it is sent again: all that goes this way may be done twice.
    pub(crate) async fn command(
        &self,
        operation: &'static str,
        command: &Cmd,
    ) -> Result<Value, Failure> {
        self.check_open(operation).map_err(Failure::ours)?;
        self.command_of_closing(operation, command).await
    }

    /// The same for those who close, while the transport may be closing too.
    pub(crate) async fn command_of_closing(
        &self,
        operation: &'static str,
        command: &Cmd,
    ) -> Result<Value, Failure> {
        let deadline = Instant::now() + self.config.timeout;
        let live = self.commands.live(operation, deadline).await;
        let mut live = live.map_err(Failure::ours)?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let failure = match live.command(operation, command, ANSWER_MAX.min(left)).await {
                Err(failure)
                    if failure.remedy == Remedy::Redial
                        && failure.error.is_retryable()
                        && Instant::now() < deadline =>
                {
                    failure
                }
                answer => return answer,
            };
            live = match self.commands.live(operation, deadline).await {
                Ok(live) => live,
                // What was wrong says more than that time is up.
                Err(error) if error.is_retryable() => return Err(failure),
                Err(error) => return Err(Failure::ours(error)),
            };
        }
    }
}

#[async_trait]
impl Transport for RedisTransport {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            ordering: Order::PerTopic,
            ack: Ack::Recorded,
            attempts: Attempts::Counted,
            release: Release::ToGroup,
            redelivery: Redelivery::AfterLease,
            unrouted: Unrouted::Kept,
            undeclared: Undeclared::Created,
            durability: Durability::Broker,
            starts: Starts::EarliestAndNew,
            max_message: self.shared.config.max_message,
            peek: Peek::Clean,
        }
    }

    fn state(&self) -> State {
        self.shared.state.get()
    }

    async fn changed(&self, since: State) -> State {
        self.shared.state.changed(since).await
    }

    async fn publisher(&self) -> Result<Arc<dyn Publisher>> {
        self.shared.live("open publisher").await?;
        Ok(Arc::new(RedisPublisher {
            shared: self.shared.clone(),
            writer: self.writer()?,
        }))
    }

    async fn subscriber(&self, to: &Subscription) -> Result<Arc<dyn Subscriber>> {
        let lease = to.lease.unwrap_or(self.shared.config.lease);
        if !LEASES.contains(&lease) {
            let say = "a lease is 100 ms to a day";
            let error = Error::new(ErrorKind::Config, "open subscriber", say);
            return Err(error.with("lease", format!("{lease:?}")));
        }
        self.declare(to).await?;
        self.shared.add_member(to).await?;
        let subscriber = RedisSubscriber::open(self.shared.clone(), to.clone(), lease)?;
        let subscriber = Arc::new(subscriber);
        remember(&self.subscribers, &subscriber);
        if let Err(closed) = self.shared.check_open("open subscriber") {
            let _ = subscriber.close().await;
            return Err(closed);
        }
        Ok(subscriber)
    }

    async fn declare(&self, to: &Subscription) -> Result<()> {
        let start = match to.start {
            Start::Earliest => "0",
            Start::New => "$",
        };
        self.shared
            .create_group(&to.topic, &to.group, start)
            .await
            .map(|_| ())
    }

    async fn status(&self, topic: &Topic, group: &Group) -> Result<GroupStatus> {
        self.shared.status(topic, group).await
    }

    async fn peek(
        &self,
        topic: &Topic,
        group: &Group,
        after: Option<MessageId>,
        max: usize,
    ) -> Result<Page> {
        self.shared.peek(topic, group, after, max).await
    }

    async fn delete_group(&self, topic: &Topic, group: &Group) -> Result<()> {
        self.shared.delete_group(topic, group).await
    }

    async fn delete_topic(&self, topic: &Topic, _groups: &[Group]) -> Result<()> {
        self.shared.delete_topic(topic).await
    }

    async fn reader(&self, topic: &Topic, start: Start) -> Result<Arc<dyn Reader>> {
        let reader = RedisReader::open(self.shared.clone(), topic.clone(), start).await?;
        let reader = Arc::new(reader);
        remember(&self.readers, &reader);
        if let Err(closed) = self.shared.check_open("open reader") {
            reader.close().await?;
            return Err(closed);
        }
        Ok(reader)
    }

    async fn describe(&self) -> Result<Description> {
        self.shared.describe().await
    }

    fn stats(&self) -> Stats {
        self.shared.counters.snapshot()
    }

    async fn close(&self) -> Result<()> {
        // From now on nothing is opened, and nothing is asked but by those who close.
        self.shared.closed.store(true, Ordering::Release);
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(writer) = writer {
            let deadline = Instant::now() + self.shared.config.timeout;
            writer.close(deadline).await;
        }
        for reader in opened(&self.readers) {
            reader.close().await?;
        }
        // Subscribers settle over our connection, so they go first, and all at once: each may have
        // to wait for the server.
        let subscribers = opened(&self.subscribers);
        let leaving = subscribers.iter().map(|subscriber| subscriber.close());
        let left = futures_util::future::join_all(leaving).await;
        self.shared.commands.close();
        self.shared.state.set(State::Closed);
        left.into_iter().collect()
    }
}

fn remember<T>(opened: &Mutex<Vec<Weak<T>>>, new: &Arc<T>) {
    let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
    opened.retain(|one| one.strong_count() > 0);
    opened.push(Arc::downgrade(new));
}

fn opened<T>(opened: &Mutex<Vec<Weak<T>>>) -> Vec<Arc<T>> {
    let opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
    opened.iter().filter_map(Weak::upgrade).collect()
}
