//! Reading a topic without a group.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use potluck_core::{Error, ErrorKind, MessageId, Peeked, Reader, Result, Start, Topic};
use redis::Value;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, timeout_at};

use crate::entry::{self, Entry};
use crate::error::{self, Failure, Remedy};
use crate::link::{ANSWER_MAX, Link, Live, Reports, deadline};
use crate::transport::Shared;

/// The most messages of one read: they come in one answer.
const READ_MAX: usize = 1000;
/// How long a read may take that does not wait for messages.
const ROUND_TRIP: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct RedisReader {
    shared: Arc<Shared>,
    link: Link,
    closing: Notify,
    topic: Topic,
    /// The last message that was returned.
    after: Mutex<MessageId>,
    closed: AtomicBool,
}

impl RedisReader {
    pub(crate) async fn open(shared: Arc<Shared>, topic: Topic, start: Start) -> Result<Self> {
        let mut ask = redis::cmd("XINFO");
        ask.arg("STREAM").arg(topic.as_str());
        let answer = match shared.command("open reader", &ask).await {
            Ok(answer) => answer,
            Err(failure) if failure.remedy == Remedy::Regroup => {
                let say = "the topic does not exist; publish to it or declare it";
                return Err(
                    Error::new(ErrorKind::NotFound, "open reader", say).with("topic", topic)
                );
            }
            Err(failure) => return Err(failure.error.with("topic", topic)),
        };
        let after = match start {
            Start::Earliest => entry::message_id(0, 0),
            // Fixed now, not at the first receive.
            Start::New => last_id(&answer).ok_or_else(|| error::shape("open reader"))?,
        };
        let reports = Reports {
            state: None,
            counters: Some(shared.counters.clone()),
        };
        let link = Link::dial(&shared.config.connection, &shared.config.shown, reports)?;
        Ok(Self {
            shared,
            link,
            closing: Notify::new(),
            topic,
            after: Mutex::new(after),
            closed: AtomicBool::new(false),
        })
    }
}

fn last_id(answer: &Value) -> Option<MessageId> {
    let Value::Array(parts) = answer else {
        return None;
    };
    let is_name =
        |value: &Value| matches!(value, Value::BulkString(name) if name == b"last-generated-id");
    let at = parts.iter().step_by(2).position(is_name)?;
    parts.get(at * 2 + 1).and_then(entry::id)
}

impl RedisReader {
    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            let say = "the reader is closed";
            return Err(Error::new(ErrorKind::Closed, "receive", say));
        }
        self.shared.check_open("receive")
    }

    /// Reads until there is something, or was nothing until `quiet_until`.
    async fn next(
        &self,
        max: usize,
        quiet_until: Instant,
        deadline: Instant,
    ) -> Result<Vec<Peeked>> {
        let mut after = self.after.lock().await;
        loop {
            self.check_open()?;
            let live = match self.link.live("receive", deadline).await {
                Ok(live) => live,
                // Dialling goes on, and a quiet time is no error.
                Err(error) if error.is_retryable() => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            let left = quiet_until.saturating_duration_since(Instant::now());
            let entries = match self.read(&live, *after, max, left).await {
                Ok(entries) => entries,
                Err(failure) if failure.remedy == Remedy::Redial => continue,
                Err(failure) => return Err(failure.error.with("topic", &self.topic)),
            };
            if let Some(last) = entries.last() {
                *after = last.id;
                let limit = self.shared.config.max_message;
                let look = |entry: Entry| {
                    let (message, defect) = entry.content?;
                    let peeked = Peeked::new(message, entry.id, limit);
                    Some(match defect {
                        Some(defect) => peeked.with_defect(defect),
                        None => peeked,
                    })
                };
                return Ok(entries.into_iter().filter_map(look).collect());
            }
            if Instant::now() >= quiet_until {
                return Ok(Vec::new());
            }
        }
    }

    /// One read. Nothing may mean that the topic is gone, which the read itself does not say.
    async fn read(
        &self,
        live: &Live,
        after: MessageId,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Entry>, Failure> {
        // The answer, and the look behind it, are to arrive before whoever waits gives up.
        let block = (wait - (wait / 4).min(ROUND_TRIP)).min(self.shared.config.block);
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(max.min(READ_MAX));
        if !block.is_zero() {
            read.arg("BLOCK")
                .arg(u64::try_from(block.as_millis()).unwrap_or(1).max(1));
        }
        read.arg("STREAMS")
            .arg(self.topic.as_str())
            .arg(after.to_string());
        let answer = live.command("receive", &read, block + ANSWER_MAX).await?;
        let entries = entry::stream_entries(answer, &self.shared.config.field)
            .ok_or_else(|| Failure::ours(error::shape("receive")))?;
        if entries.is_empty() {
            let mut exists = redis::cmd("EXISTS");
            exists.arg(self.topic.as_str());
            if live.command("receive", &exists, ANSWER_MAX).await? == Value::Int(0) {
                let error = Error::new(ErrorKind::NotFound, "receive", "the topic was deleted");
                return Err(Failure::ours(error));
            }
        }
        Ok(entries)
    }
}

#[async_trait]
impl Reader for RedisReader {
    async fn receive(&self, max: NonZeroUsize, wait: Duration) -> Result<Vec<Peeked>> {
        let closing = self.closing.notified();
        self.check_open()?;
        // A read that does not wait still takes what is there, which takes a round trip.
        let quiet_until = deadline(wait);
        let deadline = if wait.is_zero() {
            quiet_until + ROUND_TRIP
        } else {
            quiet_until
        };
        tokio::select! {
            biased;
            received = timeout_at(deadline, self.next(max.get(), quiet_until, deadline)) => {
                received.unwrap_or_else(|_| Ok(Vec::new()))
            }
            () = closing => self.check_open().map(|()| Vec::new()),
        }
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        self.closing.notify_waiters();
        self.link.close();
        Ok(())
    }
}
