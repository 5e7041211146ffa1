//! What a member has been given: what it holds, and what was read for it but not handed out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use potluck_core::{Defect, Delivery, Message, MessageId, Receipt};
use tokio::time::Instant;

use crate::settle::SLICE;

/// Epochs are unique in the process, so that a receipt of one subscriber means nothing to another.
static EPOCHS: AtomicU64 = AtomicU64::new(1);

#[derive(Debug)]
pub(crate) struct Table {
    epoch: u64,
    next_slot: u64,
    held: HashMap<u64, Held>,
    ready: VecDeque<Ready>,
    /// What was settled since somebody went to look for what comes again, while he is away: he may
    /// bring it all the same.
    settled: Option<HashSet<MessageId>>,
    max_held: usize,
    max_message: usize,
}

#[derive(Debug)]
struct Held {
    id: MessageId,
    lease_until: Instant,
}

/// A message that was read and waits to be handed out.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) id: MessageId,
    pub(crate) message: Message,
    pub(crate) defect: Option<Defect>,
    pub(crate) attempt: u32,
    pub(crate) lease_until: Instant,
}

/// Receipts that can be settled, in the order of their ids.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) live: Vec<(MessageId, Receipt)>,
    pub(crate) stale: Vec<Receipt>,
    /// Whether every lease is surely alive, so that the owner need not be checked.
    pub(crate) surely_ours: bool,
}

impl Table {
    pub(crate) fn new(max_held: usize, max_message: usize) -> Self {
        Self {
            epoch: EPOCHS.fetch_add(1, Ordering::Relaxed),
            next_slot: 0,
            held: HashMap::new(),
            ready: VecDeque::new(),
            settled: None,
            max_held,
            max_message,
        }
    }

    /// How many more may be read.
    pub(crate) fn free(&self) -> usize {
        self.max_held
            .saturating_sub(self.held.len() + self.ready.len())
    }

    /// Those that are held and whose lease is over, in order: the server may give them to anybody,
    /// also to us. No more than one command takes.
    pub(crate) fn lapsed(&self, now: Instant) -> Vec<MessageId> {
        let lapsed = self.held.values().filter(|held| held.lease_until <= now);
        let mut ids: Vec<_> = lapsed.map(|held| held.id).collect();
        ids.sort_unstable();
        ids.truncate(SLICE);
        ids
    }

    /// Forgets those of these whose lease is over: somebody else has them, or settled them.
    pub(crate) fn drop_lapsed(&mut self, gone: &[MessageId], now: Instant) {
        if !gone.is_empty() {
            let gone: HashSet<_> = gone.iter().collect();
            self.held
                .retain(|_, held| held.lease_until > now || !gone.contains(&held.id));
        }
    }

    /// Somebody goes to look for what comes again. What is settled meanwhile is remembered until
    /// [`take_again`](Self::take_again).
    pub(crate) fn look_again(&mut self) {
        self.settled = Some(HashSet::new());
    }

    /// Takes what was read for the first time.
    pub(crate) fn take_new(&mut self, entries: Vec<Ready>) {
        self.ready.extend(entries);
    }

    /// Takes what came again. It replaces the hand-over before, whose receipt is stale from now on,
    /// unless that was settled or extended in the meantime. Says whether any was settled: a
    /// released one may be ours again all the same.
    pub(crate) fn take_again(&mut self, mut entries: Vec<Ready>) -> bool {
        let settled = self.settled.take().unwrap_or_default();
        if entries.is_empty() {
            return false;
        }
        let now = Instant::now();
        let alive = self.held.values().filter(|held| held.lease_until > now);
        let alive: HashSet<_> = alive.map(|held| held.id).collect();
        let all = entries.len();
        entries.retain(|entry| !settled.contains(&entry.id));
        let dropped = entries.len() < all;
        entries.retain(|entry| !alive.contains(&entry.id));
        let ids: HashSet<_> = entries.iter().map(|entry| entry.id).collect();
        self.held.retain(|_, held| !ids.contains(&held.id));
        self.ready.retain(|ready| !ids.contains(&ready.id));
        // Older than what waits, so handed out before it.
        for entry in entries.into_iter().rev() {
            self.ready.push_front(entry);
        }
        dropped
    }

    /// Those that have waited for an eighth of their leases, which are begun anew before they are
    /// handed out: whoever receives counts a lease from then.
    pub(crate) fn waited(&self, now: Instant, lease: Duration, max: usize) -> Vec<MessageId> {
        let first = self.ready.iter().take(max);
        first
            .filter(|ready| ready.lease_until <= now + lease / 8 * 7)
            .map(|ready| ready.id)
            .collect()
    }

    /// Has all that waits looked after before it is handed out.
    pub(crate) fn distrust_ready(&mut self) {
        let now = Instant::now();
        for ready in &mut self.ready {
            ready.lease_until = ready.lease_until.min(now);
        }
    }

    /// After those were looked after: begins their leases, drops those that are not ours any more.
    pub(crate) fn refreshed(
        &mut self,
        ids: &[MessageId],
        gone: &[MessageId],
        lease_until: Instant,
    ) {
        let ids: HashSet<_> = ids.iter().collect();
        self.ready.retain(|ready| !gone.contains(&ready.id));
        for ready in self
            .ready
            .iter_mut()
            .filter(|ready| ids.contains(&ready.id))
        {
            ready.lease_until = lease_until;
        }
    }

    /// Hands out up to `max`.
    pub(crate) fn hand_out(&mut self, max: usize) -> Vec<Delivery> {
        let count = max.min(self.ready.len());
        let mut deliveries = Vec::with_capacity(count);
        for ready in self.ready.drain(..count) {
            let receipt = Receipt {
                epoch: self.epoch,
                slot: self.next_slot,
            };
            self.next_slot += 1;
            self.held.insert(
                receipt.slot,
                Held {
                    id: ready.id,
                    lease_until: ready.lease_until,
                },
            );
            let delivery = Delivery::new(
                ready.message,
                ready.id,
                receipt,
                ready.attempt,
                self.max_message,
            );
            deliveries.push(match ready.defect {
                Some(defect) => delivery.with_defect(defect),
                None => delivery,
            });
        }
        deliveries
    }

    /// Looks receipts up. `margin` before its end a lease counts as over: a settle takes time.
    pub(crate) fn find(&self, receipts: &[Receipt], margin: Duration) -> Found {
        let safe_until = Instant::now() + margin;
        let mut found = Found {
            surely_ours: true,
            ..Found::default()
        };
        for receipt in receipts {
            let held = self
                .held
                .get(&receipt.slot)
                .filter(|_| receipt.epoch == self.epoch);
            match held {
                Some(held) => {
                    found.surely_ours &= held.lease_until > safe_until;
                    found.live.push((held.id, *receipt));
                }
                None => found.stale.push(*receipt),
            }
        }
        found.live.sort_unstable_by_key(|(id, _)| *id);
        // The same receipt twice in one slice: the second is stale.
        let mut seen = HashSet::with_capacity(found.live.len());
        let stale = &mut found.stale;
        found.live.retain(|(_, receipt)| {
            let first = seen.insert(receipt.slot);
            if !first {
                stale.push(*receipt);
            }
            first
        });
        found
    }

    /// Forgets what we have settled.
    pub(crate) fn forget(&mut self, settled: impl IntoIterator<Item = (MessageId, Receipt)>) {
        for (id, receipt) in settled {
            if receipt.epoch != self.epoch {
                continue;
            }
            if self.held.remove(&receipt.slot).is_none() {
                // It came again while it was being settled.
                self.ready.retain(|ready| ready.id != id);
            }
            if let Some(settled) = &mut self.settled {
                settled.insert(id);
            }
        }
    }

    /// Forgets what is not ours any more.
    pub(crate) fn forget_stale(&mut self, stale: &[Receipt]) {
        for receipt in stale {
            if receipt.epoch == self.epoch {
                self.held.remove(&receipt.slot);
            }
        }
    }

    /// Begins leases anew.
    pub(crate) fn extend(
        &mut self,
        receipts: impl IntoIterator<Item = Receipt>,
        lease_until: Instant,
    ) {
        for receipt in receipts {
            if let Some(held) = self
                .held
                .get_mut(&receipt.slot)
                .filter(|_| receipt.epoch == self.epoch)
            {
                held.lease_until = lease_until;
            }
        }
    }

    /// The ids of all that is held or waits.
    pub(crate) fn ids(&self) -> HashSet<MessageId> {
        self.held
            .values()
            .map(|held| held.id)
            .chain(self.ready.iter().map(|ready| ready.id))
            .collect()
    }

    /// Empties the table and ends its epoch, because the group is another one or the member leaves.
    /// Returns the ids that it had.
    pub(crate) fn end_epoch(&mut self) -> Vec<MessageId> {
        self.epoch = EPOCHS.fetch_add(1, Ordering::Relaxed);
        let mut ids: Vec<_> = self.ids().into_iter().collect();
        ids.sort_unstable();
        self.held.clear();
        self.ready.clear();
        self.settled = None;
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::message_id;

    fn ready(id: u64, lease: Duration) -> Ready {
        Ready {
            id: message_id(id, 0),
            message: Message::new("x"),
            defect: None,
            attempt: 1,
            lease_until: Instant::now() + lease,
        }
    }

    const LEASE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn what_comes_again_makes_the_receipt_before_stale() {
        let mut table = Table::new(10, 100);
        table.take_new(vec![ready(1, LEASE), ready(2, LEASE)]);
        let first = table.hand_out(1);
        tokio::time::advance(LEASE).await;
        table.take_again(vec![ready(1, LEASE)]);
        let again = table.hand_out(10);
        assert_eq!(
            again.iter().map(|d| d.id).collect::<Vec<_>>(),
            [message_id(1, 0), message_id(2, 0)]
        );
        let receipts = [first[0].receipt, again[0].receipt, again[0].receipt];
        let found = table.find(&receipts, Duration::ZERO);
        assert_eq!(found.stale, [first[0].receipt, again[0].receipt]);
        assert_eq!(found.live, [(message_id(1, 0), again[0].receipt)]);
        assert_eq!(table.free(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_settled_or_extended_meanwhile_does_not_come_again() {
        let mut table = Table::new(10, 100);
        table.take_new((1..=4).map(|id| ready(id, LEASE)).collect());
        let held = table.hand_out(4);
        let pairs: Vec<_> = held.iter().map(|d| (d.id, d.receipt)).collect();
        table.look_again();
        tokio::time::advance(LEASE).await;
        table.forget([pairs[0]]);
        table.extend([held[1].receipt], Instant::now() + LEASE);
        assert!(table.take_again((1..=4).map(|id| ready(id, LEASE)).collect()));
        // One whose settling was answered only now.
        table.forget([pairs[2]]);
        let again: Vec<_> = table.hand_out(4).iter().map(|d| d.id).collect();
        assert_eq!(again, [pairs[3].0]);
        assert_eq!(table.free(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_near_its_end_is_not_surely_ours() {
        let mut table = Table::new(10, 100);
        table.take_new(vec![ready(1, LEASE)]);
        let delivery = table.hand_out(1).remove(0);
        assert!(
            table
                .find(&[delivery.receipt], Duration::from_secs(2))
                .surely_ours
        );
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(
            !table
                .find(&[delivery.receipt], Duration::from_secs(2))
                .surely_ours
        );
        table.extend([delivery.receipt], Instant::now() + LEASE);
        assert!(
            table
                .find(&[delivery.receipt], Duration::from_secs(2))
                .surely_ours
        );
    }

    #[tokio::test(start_paused = true)]
    async fn receipts_of_an_ended_epoch_are_stale() {
        let mut table = Table::new(10, 100);
        table.take_new(vec![ready(1, LEASE), ready(2, LEASE)]);
        let delivery = table.hand_out(1).remove(0);
        assert_eq!(table.end_epoch(), [message_id(1, 0), message_id(2, 0)]);
        assert_eq!(
            table.find(&[delivery.receipt], Duration::ZERO).stale,
            [delivery.receipt]
        );
        assert_eq!(table.free(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waited_is_begun_anew_before_it_is_handed_out() {
        let mut table = Table::new(10, 100);
        table.take_new(vec![ready(1, LEASE), ready(2, LEASE)]);
        assert!(table.waited(Instant::now(), LEASE, 10).is_empty());
        tokio::time::advance(Duration::from_secs(31)).await;
        let waited = table.waited(Instant::now(), LEASE, 10);
        assert_eq!(waited.len(), 2);
        table.refreshed(&waited, &[message_id(1, 0)], Instant::now() + LEASE);
        assert!(table.waited(Instant::now(), LEASE, 10).is_empty());
        assert_eq!(table.hand_out(10).len(), 1);
    }
}
