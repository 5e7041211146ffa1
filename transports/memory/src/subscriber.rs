//! How does a member wait for deliveries, and what ends its hold on them?

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use potluck_core::subscription::LEASE_DEFAULT;
use potluck_core::{Delivery, Receipt, Result, Settled, Subscriber, Subscription};
use tokio::time::{Instant, timeout_at};

use crate::broker::TopicCell;
use crate::deadline::after;
use crate::error;
use crate::group::Seat;
use crate::topic::{Log, Look, Who};
use crate::transport::Link;

/// A member of a group. Dropped without a close it looks like a consumer that crashed: it is no
/// member any more, and what it held comes again when the leases end.
#[derive(Debug)]
pub(crate) struct MemorySubscriber {
    link: Arc<Link>,
    cell: Arc<TopicCell>,
    to: Subscription,
    /// Which group of its name it joined.
    born: u64,
    /// The member's generation; another after each cut. Changes under the topic's lock only.
    epoch: AtomicU64,
    /// Changes under the topic's lock only.
    closed: AtomicBool,
    /// One receive runs at a time.
    turn: tokio::sync::Mutex<()>,
}

impl MemorySubscriber {
    /// Declares, and joins the group.
    pub(crate) fn join(link: Arc<Link>, to: Subscription) -> Result<Self> {
        link.check("subscribe")?;
        let epoch = link.broker.number();
        let (cell, born): (_, Result<u64>) = link.broker.open(&to.topic, |log| {
            link.check("subscribe")?;
            let group = log.declare(&to.group, to.start);
            group.join(epoch, seat(&link, &to));
            Ok(group.born)
        });
        Ok(Self {
            born: born?,
            link,
            cell,
            to,
            epoch: AtomicU64::new(epoch),
            closed: AtomicBool::new(false),
            turn: tokio::sync::Mutex::new(()),
        })
    }

    fn who(&self) -> Who<'_> {
        Who {
            group: &self.to.group,
            born: self.born,
            epoch: self.epoch.load(Relaxed),
        }
    }

    fn check(&self, operation: &'static str) -> Result<()> {
        if self.closed.load(Relaxed) {
            return Err(error::closed(operation));
        }
        self.link.check(operation)
    }

    /// Takes what there is. Joins again first, when the connection was cut.
    fn look(&self, max: usize) -> Result<Look> {
        self.cell.change(|log| {
            self.check("receive")?;
            let gone = || error::no_group("receive", &self.to.topic, &self.to.group);
            let group = log.group(&self.to.group, self.born).ok_or_else(gone)?;
            if !group.has(self.who().epoch) {
                self.epoch.store(self.link.broker.number(), Relaxed);
                group.join(self.who().epoch, seat(&self.link, &self.to));
                self.link.counters.reconnects.add(1);
            }
            let trimmed = usize::try_from(group.take_trimmed()).unwrap_or(usize::MAX);
            self.link.counters.lost_by_trim.add(trimmed);
            log.take(self.who(), max, Instant::now()).ok_or_else(gone)
        })
    }

    fn settle(
        &self,
        operation: &'static str,
        settle: impl FnOnce(&mut Log) -> Settled,
    ) -> Result<Settled> {
        self.cell.change(|log| {
            self.check(operation)?;
            Ok(settle(log))
        })
    }
}

fn seat(link: &Link, to: &Subscription) -> Seat {
    Seat::new(link.number, lease(to), to.max_held.get())
}

fn lease(to: &Subscription) -> Duration {
    to.lease.unwrap_or(LEASE_DEFAULT)
}

#[async_trait]
impl Subscriber for MemorySubscriber {
    async fn receive(&self, max: NonZeroUsize, wait: Duration) -> Result<Vec<Delivery>> {
        let deadline = after(Instant::now(), wait);
        let Ok(_turn) = timeout_at(deadline, self.turn.lock()).await else {
            return self.check("receive").map(|()| Vec::new());
        };
        loop {
            // Before looking, so that no wake-up is missed between looking and waiting.
            let news = self.cell.receivers.notified();
            let until = match self.look(max.get())? {
                Look::Taken(deliveries) => {
                    self.link.counters.delivered.add(deliveries.len());
                    return Ok(deliveries);
                }
                Look::Nothing(lease_ends) => lease_ends.map_or(deadline, |end| end.min(deadline)),
            };
            if Instant::now() >= deadline {
                return Ok(Vec::new());
            }
            // Either way there is something to look at.
            let _ = timeout_at(until, news).await;
        }
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<Settled> {
        let retention = self.to.retention;
        let settled = self.settle("ack", |log| log.ack(self.who(), receipts, retention))?;
        let stale = settled.stale.len();
        self.link.counters.acked.add(receipts.len() - stale);
        self.link.counters.stale.add(stale);
        Ok(settled)
    }

    async fn release(&self, receipts: &[Receipt]) -> Result<Settled> {
        let settled = self.settle("release", |log| log.release(self.who(), receipts))?;
        let stale = settled.stale.len();
        self.link.counters.released.add(receipts.len() - stale);
        self.link.counters.stale.add(stale);
        Ok(settled)
    }

    fn lease(&self) -> Option<Duration> {
        Some(lease(&self.to))
    }

    async fn extend(&self, receipts: &[Receipt]) -> Result<Settled> {
        self.settle("extend", |log| {
            log.extend(self.who(), receipts, Instant::now())
        })
    }

    async fn close(&self) -> Result<()> {
        let given_back = self.cell.change(|log| {
            self.closed.store(true, Relaxed);
            log.leave(self.who())
        });
        self.link.counters.released.add(given_back);
        Ok(())
    }
}

impl Drop for MemorySubscriber {
    fn drop(&mut self) {
        // After a close there is no place left to give up.
        self.cell.change(|log| log.abandon(self.who()));
    }
}
