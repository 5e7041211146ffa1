//! How is a slice stored in order, and what happens while its topic is full?

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use potluck_core::publish;
use potluck_core::{Error, Message, MessageId, Outcome, PublishError, Publisher, Topic};
use tokio::time::{Instant, timeout_at};

use crate::broker::TopicCell;
use crate::deadline::after;
use crate::error;
use crate::topic::Append;
use crate::transport::Link;

/// Publishes over a connection.
#[derive(Debug)]
pub(crate) struct MemoryPublisher(Arc<Link>);

/// How far storing a slice has come.
enum Progress {
    /// Each message has its outcome.
    Done,
    /// The rest waits for room.
    Full,
    /// The topic was deleted; another of its name takes the rest.
    Deleted,
}

impl MemoryPublisher {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self(link)
    }

    /// Stores messages in order, waiting for room until the deadline. Leaves off, with the reason
    /// why the rest is not stored, when that cannot go on. What is stored is counted as it is
    /// stored, for the future may be dropped while it waits.
    async fn store(
        &self,
        topic: &Topic,
        messages: &[Message],
        deadline: Instant,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<(), Error> {
        loop {
            self.0.check("publish")?;
            let cell = self.0.broker.cell(topic);
            let Ok(_turn) = timeout_at(deadline, cell.turn.lock()).await else {
                self.0.check("publish")?;
                return Err(error::full(topic));
            };
            loop {
                // Before looking, so that no wake-up is missed between looking and waiting.
                let room = cell.publishers.notified();
                match self.store_what_fits(&cell, topic, messages, outcomes)? {
                    Progress::Done => return Ok(()),
                    Progress::Deleted => break,
                    Progress::Full => {}
                }
                if timeout_at(deadline, room).await.is_err() {
                    return Err(error::full(topic));
                }
            }
        }
    }

    fn store_what_fits(
        &self,
        cell: &TopicCell,
        topic: &Topic,
        messages: &[Message],
        outcomes: &mut Vec<Outcome>,
    ) -> Result<Progress, Error> {
        let limit = self.0.broker.bounds().max_bytes.get();
        cell.change(|log| {
            self.0.check("publish")?;
            if log.is_deleted() {
                return Ok(Progress::Deleted);
            }
            let now = Instant::now();
            for message in &messages[outcomes.len()..] {
                outcomes.push(match log.append(message, None, now) {
                    Append::Stored(id) => {
                        self.0.counters.published.add(1);
                        Outcome::Stored(id)
                    }
                    Append::TooLarge(bytes) => {
                        Outcome::Refused(error::too_large(topic, bytes, limit))
                    }
                    Append::Full => return Ok(Progress::Full),
                });
            }
            Ok(Progress::Done)
        })
    }
}

#[async_trait]
impl Publisher for MemoryPublisher {
    async fn publish(
        &self,
        topic: &Topic,
        messages: &[Message],
        within: Duration,
    ) -> Result<Vec<MessageId>, PublishError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let counters = &self.0.counters;
        if let Err(error) = publish::admit(topic, messages, self.0.broker.bounds().max_message()) {
            counters.refused.add(messages.len());
            return Err(error);
        }
        let deadline = after(Instant::now(), within);
        let mut outcomes = Vec::with_capacity(messages.len());
        // A publish that waits is answered when the connection closes, also while it is the turn
        // of another connection's. Storing never stops half way through a message.
        let stored = tokio::select! {
            biased;
            stored = self.store(topic, messages, deadline, &mut outcomes) => stored,
            () = self.0.closed() => Err(error::closed("publish")),
        };
        if let Err(why) = stored {
            outcomes.resize(messages.len(), Outcome::Refused(why));
        }
        let refused = outcomes.iter().filter(|one| one.stored().is_none());
        counters.refused.add(refused.count());
        PublishError::collect(outcomes)
    }
}
