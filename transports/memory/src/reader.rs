//! How is a topic read without a group?

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use potluck_core::{Peeked, Reader, Result, Start, Topic};
use tokio::time::{Instant, timeout_at};

use crate::broker::TopicCell;
use crate::deadline::after;
use crate::error;
use crate::transport::Link;

/// Reads a topic from a place of its own, which nobody else knows of.
#[derive(Debug)]
pub(crate) struct MemoryReader {
    link: Arc<Link>,
    cell: Arc<TopicCell>,
    topic: Topic,
    /// The lowest id that was not returned. Changes under the topic's lock only.
    next: AtomicU64,
    /// Changes under the topic's lock only.
    closed: AtomicBool,
    /// One receive runs at a time.
    turn: tokio::sync::Mutex<()>,
}

impl MemoryReader {
    pub(crate) fn new(link: Arc<Link>, cell: Arc<TopicCell>, topic: Topic, start: Start) -> Self {
        let next = match start {
            Start::Earliest => 0,
            Start::New => cell.change(|log| log.next()),
        };
        Self {
            link,
            cell,
            topic,
            next: AtomicU64::new(next),
            closed: AtomicBool::new(false),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    fn check(&self) -> Result<()> {
        if self.closed.load(Relaxed) {
            return Err(error::closed("read"));
        }
        self.link.check("read")
    }

    fn look(&self, max: usize) -> Result<Vec<Peeked>> {
        self.cell.change(|log| {
            self.check()?;
            if log.is_deleted() {
                return Err(error::no_topic("read", &self.topic));
            }
            let (found, next) = log.read(self.next.load(Relaxed), max);
            self.next.store(next, Relaxed);
            Ok(found)
        })
    }
}

#[async_trait]
impl Reader for MemoryReader {
    async fn receive(&self, max: NonZeroUsize, wait: Duration) -> Result<Vec<Peeked>> {
        let deadline = after(Instant::now(), wait);
        let Ok(_turn) = timeout_at(deadline, self.turn.lock()).await else {
            return self.check().map(|()| Vec::new());
        };
        loop {
            // Before looking, so that no wake-up is missed between looking and waiting.
            let news = self.cell.receivers.notified();
            let found = self.look(max.get())?;
            if !found.is_empty() || Instant::now() >= deadline {
                return Ok(found);
            }
            // Either way there is something to look at.
            let _ = timeout_at(deadline, news).await;
        }
    }

    async fn close(&self) -> Result<()> {
        self.cell.change(|log| {
            self.closed.store(true, Relaxed);
            log.wake_all();
        });
        Ok(())
    }
}
