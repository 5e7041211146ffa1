//! One subscription of a consumer, the topic's or a retry lane's: what is held of it, and how that
//! is settled, a slice at a time.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use potluck_core::backoff::Backoff;
use potluck_core::{Delivery, ErrorKind, Receipt, Result, Subscriber};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::stats::Counters;

/// Where nothing expires, how long a delivery may have waited before its handler starts without a
/// look whether it is stale: a connection that was lost makes it so.
const FRESH_WITHOUT_LEASE: Duration = Duration::from_millis(100);
/// Receipts of one settle.
const SLICE_MAX: usize = 1024;

/// A subscription of a consumer.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) subscriber: Arc<dyn Subscriber>,
    /// The delay of the retry lane that it is of; `None` for the topic itself.
    pub(crate) lane: Option<Duration>,
    /// The most deliveries that are held.
    limit: usize,
    held: Mutex<Held>,
    /// A handler is done with something.
    news: Notify,
    /// Something was settled.
    room: Notify,
}

/// A place in the table of what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold(usize);

#[derive(Debug, Default)]
struct Held {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// What is to be acknowledged.
    done: Vec<Hold>,
    /// No more will come to be acknowledged.
    complete: bool,
}

#[derive(Debug)]
struct Slot {
    receipt: Receipt,
    /// When the broker was last known to count it as ours.
    fresh_at: Instant,
    /// The broker has given it to another.
    stale: bool,
    /// It was handled, so it is to be acknowledged and nothing else.
    done: bool,
}

impl Source {
    pub(crate) fn new(
        subscriber: Arc<dyn Subscriber>,
        lane: Option<Duration>,
        limit: NonZeroUsize,
    ) -> Self {
        Self {
            subscriber,
            lane,
            limit: limit.get(),
            held: Mutex::default(),
            news: Notify::new(),
            room: Notify::new(),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many deliveries are held.
    pub(crate) fn count(&self) -> usize {
        let held = self.held();
        held.slots.len() - held.free.len()
    }

    /// Waits until there is room for at least `slice` deliveries or a quarter of all that may be
    /// held, or until `hungry` says that nothing waits for a handler and there is any room. Reading
    /// one by one behind each settle would cost a round trip each.
    pub(crate) async fn room(&self, slice: usize, hungry: impl Fn() -> bool) -> NonZeroUsize {
        loop {
            let news = self.room.notified();
            let room = self.limit.saturating_sub(self.count());
            let enough = slice.min(self.limit / 4).max(1);
            match NonZeroUsize::new(room) {
                Some(room) if room.get() >= enough || hungry() => return room,
                _ => news.await,
            }
        }
    }

    /// Wakes who waits for room, because something else has changed.
    pub(crate) fn look_again(&self) {
        self.room.notify_one();
    }

    /// Takes deliveries into the table.
    pub(crate) fn take(&self, deliveries: &[Delivery], at: Instant) -> Vec<Hold> {
        let mut held = self.held();
        let slots = deliveries.iter().map(|delivery| {
            let slot = Some(Slot {
                receipt: delivery.receipt,
                fresh_at: at,
                stale: false,
                done: false,
            });
            if let Some(place) = held.free.pop() {
                held.slots[place] = slot;
                Hold(place)
            } else {
                held.slots.push(slot);
                Hold(held.slots.len() - 1)
            }
        });
        slots.collect()
    }

    /// Whether this is still ours, before its handler starts. Asks the broker if that is in doubt,
    /// which also begins the lease anew.
    pub(crate) async fn is_ours(&self, hold: Hold) -> bool {
        let now = Instant::now();
        let (receipt, fresh_at) = match self.held().slots[hold.0] {
            Some(ref slot) if !slot.stale => (slot.receipt, slot.fresh_at),
            _ => return false,
        };
        let lease = self.subscriber.lease();
        let fresh_for = lease.map_or(FRESH_WITHOUT_LEASE, |lease| lease / 2);
        if now.duration_since(fresh_at) < fresh_for {
            return true;
        }
        self.extend(&[(hold, receipt)]).await;
        // Where the broker could not be asked the handler starts: at worst the message is handled
        // twice, and without a broker it would wait for nothing.
        self.held().slots[hold.0]
            .as_ref()
            .is_some_and(|slot| !slot.stale)
    }

    /// Extends these, and notes which are stale.
    async fn extend(&self, holds: &[(Hold, Receipt)]) {
        let asked_at = Instant::now();
        for slice in holds.chunks(SLICE_MAX) {
            let receipts: Vec<_> = slice.iter().map(|(_, receipt)| *receipt).collect();
            let Ok(settled) = self.subscriber.extend(&receipts).await else {
                continue;
            };
            let mut held = self.held();
            for (hold, receipt) in slice {
                // It may have been settled meanwhile, and its place taken.
                if let Some(slot) = held.slots[hold.0].as_mut()
                    && slot.receipt == *receipt
                {
                    slot.stale = settled.stale.contains(receipt);
                    slot.fresh_at = asked_at;
                }
            }
        }
    }

    /// Keeps the leases of all that is held, for ever.
    pub(crate) async fn keep_leases(&self) {
        let Some(lease) = self.subscriber.lease() else {
            return std::future::pending().await;
        };
        loop {
            sleep(lease / 4).await;
            let now = Instant::now();
            let old = |slot: &Slot| !slot.stale && now.duration_since(slot.fresh_at) >= lease / 5;
            let old: Vec<_> = self.held().all(old).collect();
            self.extend(&old).await;
        }
    }

    /// It was handled: it will be acknowledged with the next slice.
    pub(crate) fn finish(&self, hold: Hold) {
        let mut held = self.held();
        if let Some(slot) = held.slots[hold.0].as_mut() {
            slot.done = true;
            held.done.push(hold);
        }
        drop(held);
        self.news.notify_one();
    }

    /// It is another's by now: nothing is left to settle.
    pub(crate) fn forget(&self, hold: Hold) {
        self.held().clear(&[hold]);
        self.room.notify_one();
    }

    /// Gives these back, in order, and counts what was stale.
    ///
    /// # Errors
    ///
    /// When the broker could not be told. They come again when their leases end, or at close.
    pub(crate) async fn give_back(&self, holds: &[Hold], counters: &Counters) -> Result<()> {
        let receipts = self.held().receipts(holds);
        let mut result = Ok(());
        for slice in receipts.chunks(SLICE_MAX) {
            match self.subscriber.release(slice).await {
                Ok(settled) => {
                    counters.stale.add(settled.stale.len());
                    counters.given_back.add(slice.len() - settled.stale.len());
                }
                Err(error) => result = Err(error),
            }
        }
        self.held().clear(holds);
        self.room.notify_one();
        result
    }

    /// Gives back all that was not handled.
    pub(crate) async fn give_back_rest(&self, counters: &Counters) -> Result<()> {
        let rest: Vec<_> = {
            let held = self.held();
            held.all(|slot| !slot.done).map(|(hold, _)| hold).collect()
        };
        if rest.is_empty() {
            return Ok(());
        }
        self.give_back(&rest, counters).await
    }

    /// Says that no more will be handled: [`settle`](Self::settle) ends when all is acknowledged.
    pub(crate) fn complete(&self) {
        self.held().complete = true;
        self.news.notify_one();
    }

    /// Acknowledges what was handled, in slices of what has gathered while the last one was under
    /// way: on a quiet line each goes at once, under load one round trip serves many.
    pub(crate) async fn settle(&self, counters: &Counters) {
        let mut slice = Vec::new();
        loop {
            {
                let mut held = self.held();
                let take = held.done.len().min(SLICE_MAX);
                slice.extend(held.done.drain(..take));
                if slice.is_empty() && held.complete {
                    return;
                }
            }
            if slice.is_empty() {
                self.news.notified().await;
                continue;
            }
            self.acknowledge(&slice, counters).await;
            self.held().clear(&slice);
            self.room.notify_one();
            slice.clear();
        }
    }

    async fn acknowledge(&self, holds: &[Hold], counters: &Counters) {
        let receipts = self.held().receipts(holds);
        let mut backoff = Backoff::dialling();
        loop {
            match self.subscriber.ack(&receipts).await {
                Ok(settled) => {
                    // Another has it, or will: it is handled twice.
                    counters.stale.add(settled.stale.len());
                    return;
                }
                // Given back by the close, or by the broker when it misses us.
                Err(error) if error.kind() == ErrorKind::Closed => return,
                Err(error) => {
                    tracing::debug!(%error, "an acknowledgement is tried again");
                    sleep(backoff.pause()).await;
                }
            }
        }
    }
}

impl Held {
    /// What settles these, in order.
    fn receipts(&self, holds: &[Hold]) -> Vec<Receipt> {
        let slot = |hold: &Hold| self.slots[hold.0].as_ref();
        let slots = holds.iter().filter_map(slot);
        slots.map(|slot| slot.receipt).collect()
    }

    fn all(&self, keep: impl Fn(&Slot) -> bool) -> impl Iterator<Item = (Hold, Receipt)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(move |(place, slot)| {
            let slot = slot.as_ref().filter(|slot| keep(slot))?;
            Some((Hold(place), slot.receipt))
        })
    }

    fn clear(&mut self, holds: &[Hold]) {
        for hold in holds {
            if self.slots[hold.0].take().is_some() {
                self.free.push(hold.0);
            }
        }
    }
}
