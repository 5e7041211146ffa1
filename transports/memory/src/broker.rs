//! What outlives a connection: the broker, its topics, and the brokers that have names.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use potluck_core::message::BODY_MAX;
use potluck_core::{Defect, Message, MessageId, Result, Topic, Transport};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::Config;
use crate::error;
use crate::topic::{Append, Log};
use crate::transport::MemoryTransport;

/// How much each topic of a broker may hold.
///
/// ```
/// use potluck_memory::{Bounds, Broker};
///
/// let bounds = Bounds::default().max_messages(1000.try_into()?);
/// let broker = Broker::with_bounds(bounds);
/// # Ok::<(), std::num::TryFromIntError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// The most messages of a topic.
    pub max_messages: NonZeroUsize,
    /// The most bytes of a topic, counting bodies, headers and keys. What else a publisher keeps
    /// alive by sending a slice of a larger buffer is not counted.
    pub max_bytes: NonZeroUsize,
}

impl Default for Bounds {
    /// 100,000 messages and 64 MiB.
    fn default() -> Self {
        const MESSAGES: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();
        const BYTES: NonZeroUsize = NonZeroUsize::new(64 * 1024 * 1024).unwrap();
        Self {
            max_messages: MESSAGES,
            max_bytes: BYTES,
        }
    }
}

impl Bounds {
    /// Sets the most messages of a topic.
    #[must_use]
    pub fn max_messages(mut self, max_messages: NonZeroUsize) -> Self {
        self.max_messages = max_messages;
        self
    }

    /// Sets the most bytes of a topic.
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: NonZeroUsize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// The largest body that an application may publish.
    pub(crate) fn max_message(&self) -> usize {
        BODY_MAX.min(self.max_bytes.get())
    }
}

/// A broker in this process. It outlives its connections; clones are the same broker, and its
/// messages go with the last clone and connection.
///
/// ```
/// use potluck_core::{Message, Topic, Transport as _};
/// use potluck_memory::Broker;
///
/// let broker = Broker::new();
/// let (one, another) = (broker.connect(), broker.connect());
/// assert_eq!(one.capabilities(), another.capabilities());
/// ```
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    bounds: Bounds,
    /// By name, so that what concerns all of them happens in the same order each time.
    topics: Mutex<BTreeMap<Topic, Arc<TopicCell>>>,
    /// Numbers connections and generations of members.
    numbers: AtomicU64,
}

/// A topic as tasks share it.
pub(crate) struct TopicCell {
    log: Mutex<Log>,
    /// Wakes members and readers, all at once.
    pub(crate) receivers: Notify,
    /// Wakes the publisher whose turn it is.
    pub(crate) publishers: Notify,
    /// Publishers take turns, in the order of their coming, so that none is starved of room.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

/// The brokers of `memory://NAME`, for the life of the process.
static NAMED: Mutex<BTreeMap<String, Broker>> = Mutex::new(BTreeMap::new());

impl Default for Broker {
    fn default() -> Self {
        Self::with_bounds(Bounds::default())
    }
}

impl Broker {
    /// An empty broker with the default bounds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty broker whose topics hold so much each.
    #[must_use]
    pub fn with_bounds(bounds: Bounds) -> Self {
        Self(Arc::new(Inner {
            bounds,
            topics: Mutex::default(),
            numbers: AtomicU64::new(0),
        }))
    }

    /// A connection of its own: it has its own members, counts and state.
    #[must_use]
    pub fn connect(&self) -> Arc<dyn Transport> {
        Arc::new(MemoryTransport::new(self.clone()))
    }

    /// The topics that exist, by name.
    #[must_use]
    pub fn topics(&self) -> Vec<Topic> {
        lock(&self.0.topics).keys().cloned().collect()
    }

    /// Puts a record into a topic as a client outside of the contract would: nothing is checked
    /// but the topic's bounds. It is delivered with `defect`, or with the defect that
    /// [`Message::defect`] finds. For tests of code that meets foreign records.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the topic is full, `TooLarge` when the record never fits.
    pub fn inject(
        &self,
        topic: &Topic,
        record: &Message,
        defect: Option<Defect>,
    ) -> Result<MessageId> {
        let append = self
            .open(topic, |log| log.append(record, defect, Instant::now()))
            .1;
        match append {
            Append::Stored(id) => Ok(id),
            Append::Full => Err(error::full(topic)),
            Append::TooLarge(bytes) => {
                let limit = self.0.bounds.max_bytes.get();
                Err(error::too_large(topic, bytes, limit))
            }
        }
    }

    /// Cuts all connections, for tests: members lose what they hold, which goes back to their
    /// groups at once, and their receipts are stale. Each joins again by itself at its next
    /// receive, also at one that waits; its connection counts that as a reconnect.
    pub fn cut(&self) {
        self.each_topic(|log| log.leave_all(None));
    }

    /// Removes all messages of a topic, for tests, as a broker's retention may: also those that
    /// groups have not acknowledged. Their receipts are stale, and the next receive of a group's
    /// member counts them as lost.
    pub fn trim(&self, topic: &Topic) {
        if let Some(cell) = self.find(topic) {
            cell.change(Log::trim);
        }
    }

    /// How much each topic may hold.
    pub(crate) fn bounds(&self) -> Bounds {
        self.0.bounds
    }

    /// A number that was not given before.
    pub(crate) fn number(&self) -> u64 {
        self.0.numbers.fetch_add(1, Relaxed) + 1
    }

    /// The topic of this name, if there is one.
    pub(crate) fn find(&self, topic: &Topic) -> Option<Arc<TopicCell>> {
        lock(&self.0.topics).get(topic).cloned()
    }

    /// Changes the topic of this name, which is created if there is none.
    pub(crate) fn open<R>(
        &self,
        topic: &Topic,
        change: impl FnOnce(&mut Log) -> R,
    ) -> (Arc<TopicCell>, R) {
        loop {
            let cell = self.cell(topic);
            let mut log = cell.lock();
            // It may have been deleted since it was found.
            if log.is_deleted() {
                continue;
            }
            let result = change(&mut log);
            cell.wake(log);
            return (cell, result);
        }
    }

    /// The topic of this name, which is created if there is none.
    pub(crate) fn cell(&self, topic: &Topic) -> Arc<TopicCell> {
        let mut topics = lock(&self.0.topics);
        if let Some(cell) = topics.get(topic) {
            return cell.clone();
        }
        let cell = Arc::new(TopicCell {
            log: Mutex::new(Log::new(self.0.bounds)),
            receivers: Notify::new(),
            publishers: Notify::new(),
            turn: tokio::sync::Mutex::new(()),
        });
        topics.insert(topic.clone(), cell.clone());
        cell
    }

    /// Deletes a topic and all its groups.
    pub(crate) fn delete(&self, topic: &Topic) {
        let cell = lock(&self.0.topics).remove(topic);
        if let Some(cell) = cell {
            cell.change(Log::delete);
        }
    }

    /// Changes every topic.
    pub(crate) fn each_topic<R>(&self, mut change: impl FnMut(&mut Log) -> R) -> Vec<R> {
        let cells: Vec<_> = lock(&self.0.topics).values().cloned().collect();
        cells.iter().map(|cell| cell.change(&mut change)).collect()
    }

    /// The process's broker that the URL names, or a private one when it names none.
    pub(crate) fn of(config: &Config) -> Result<Self> {
        let Some(name) = &config.name else {
            return Ok(Self::with_bounds(config.bounds()));
        };
        let mut named = lock(&NAMED);
        let broker = named
            .entry(name.clone())
            .or_insert_with(|| Self::with_bounds(config.bounds()));
        if !config.agrees(broker.bounds()) {
            return Err(error::config(
                "a broker of this name exists with other bounds; give the same, or none",
            )
            .with("name", name));
        }
        Ok(broker.clone())
    }
}

impl TopicCell {
    /// Changes the log, and wakes whom that concerns. No lock is held when it returns.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Log) -> R) -> R {
        let mut log = self.lock();
        let result = change(&mut log);
        self.wake(log);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    fn wake(&self, mut log: MutexGuard<'_, Log>) {
        let wake = log.take_wake();
        drop(log);
        if wake.receivers {
            self.receivers.notify_waiters();
        }
        if wake.publishers {
            self.publishers.notify_waiters();
        }
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("bounds", &self.0.bounds)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TopicCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicCell").finish_non_exhaustive()
    }
}

/// A lock whose holder panicked is as good as any: no change of ours leaves things half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
