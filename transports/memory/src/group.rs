//! What has a group seen, who holds what until when, and what comes again?
//!
//! A pure state machine without a clock or a lock of its own. A group keeps a cursor, before which
//! every message was handed out once, and the messages before it that are not acknowledged. So its
//! memory grows with what is unsettled, never with what was settled.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use potluck_core::{Receipt, Start};
use tokio::time::Instant;

use crate::deadline::after;

/// A group of a topic.
#[derive(Debug)]
pub(crate) struct GroupState {
    /// Tells this group from a later one of its name.
    pub(crate) born: u64,
    /// The lowest id that was never handed out.
    cursor: u64,
    /// What the topic held for it when it was created.
    inherited: u64,
    /// The topic's next id when it was created.
    created_at: u64,
    /// How many messages were handed out for the first time.
    begun: u64,
    /// Handed out and not acknowledged, by id; all below the cursor.
    pending: BTreeMap<u64, Pending>,
    /// Those of `pending` that any member may take: given back, or their lease is over.
    ready: BTreeSet<u64>,
    /// Those of `pending` whose lease runs, by its end.
    leases: BTreeSet<(Instant, u64)>,
    /// Members by epoch.
    members: BTreeMap<u64, Seat>,
    /// The slot given last.
    slot: u64,
    /// How many messages a trim took that nobody was told of yet.
    trimmed: u64,
}

/// A message that was handed out and is not acknowledged.
#[derive(Debug)]
struct Pending {
    attempts: u32,
    /// The last hand-over, until it is given back.
    holding: Option<Holding>,
}

#[derive(Clone, Copy, Debug)]
struct Holding {
    epoch: u64,
    slot: u64,
    ends: Instant,
    /// The lease was seen to be over. The receipt is good until another takes the message.
    lapsed: bool,
}

/// A member's place in its group.
#[derive(Debug)]
pub(crate) struct Seat {
    /// The connection that the member came over.
    pub(crate) connection: u64,
    /// How long it may sit on a delivery.
    pub(crate) lease: Duration,
    /// The most that it may hold.
    pub(crate) max_held: usize,
    /// Its deliveries whose lease runs.
    held: usize,
    /// The ids of its good receipts, by slot.
    slots: BTreeMap<u64, u64>,
}

impl Seat {
    /// A place without deliveries.
    pub(crate) fn new(connection: u64, lease: Duration, max_held: usize) -> Self {
        Self {
            connection,
            lease,
            max_held,
            held: 0,
            slots: BTreeMap::new(),
        }
    }
}

/// One message on its way to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandOver {
    pub(crate) id: u64,
    pub(crate) receipt: Receipt,
    pub(crate) attempt: u32,
}

impl GroupState {
    /// A group of a topic that keeps `kept` messages and will number the next one `next`.
    pub(crate) fn new(born: u64, start: Start, kept: usize, next: u64) -> Self {
        let (cursor, inherited) = match start {
            Start::Earliest => (0, kept as u64),
            Start::New => (next, 0),
        };
        Self {
            born,
            cursor,
            inherited,
            created_at: next,
            begun: 0,
            pending: BTreeMap::new(),
            ready: BTreeSet::new(),
            leases: BTreeSet::new(),
            members: BTreeMap::new(),
            slot: 0,
            trimmed: 0,
        }
    }

    /// Gives a member its place.
    pub(crate) fn join(&mut self, epoch: u64, seat: Seat) {
        self.members.insert(epoch, seat);
    }

    /// Whether the member has its place still.
    pub(crate) fn has(&self, epoch: u64) -> bool {
        self.members.contains_key(&epoch)
    }

    /// Whether the member holds as much as it may.
    pub(crate) fn is_full(&self, epoch: u64) -> bool {
        self.members
            .get(&epoch)
            .is_some_and(|seat| seat.held >= seat.max_held)
    }

    /// The members that came over this connection, or all.
    pub(crate) fn epochs(&self, connection: Option<u64>) -> Vec<u64> {
        let theirs = |seat: &Seat| connection.is_none_or(|id| id == seat.connection);
        self.members
            .iter()
            .filter(|(_, seat)| theirs(seat))
            .map(|(epoch, _)| *epoch)
            .collect()
    }

    /// Hands up to `max` messages to a member: first what comes again, then what `fresh` finds at
    /// or after the cursor; both in the topic's order.
    pub(crate) fn take(
        &mut self,
        epoch: u64,
        max: usize,
        now: Instant,
        fresh: impl Fn(u64) -> Option<u64>,
    ) -> Vec<HandOver> {
        self.lapse(now);
        let Some(seat) = self.members.get(&epoch) else {
            return Vec::new();
        };
        let (room, lease) = (seat.max_held.saturating_sub(seat.held), seat.lease);
        let ends = after(now, lease);
        let mut taken = Vec::new();
        while taken.len() < max.min(room) {
            let id = match self.ready.pop_first() {
                Some(id) => id,
                None => match fresh(self.cursor) {
                    Some(id) => {
                        self.cursor = id + 1;
                        self.begun += 1;
                        id
                    }
                    None => break,
                },
            };
            taken.push(self.hand_over(id, epoch, ends));
        }
        taken
    }

    /// When the next lease ends, if one runs.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.leases.first().map(|(ends, _)| *ends)
    }

    /// The message that a member's receipt settles. `None` when the receipt is stale.
    pub(crate) fn find(&self, epoch: u64, receipt: &Receipt) -> Option<u64> {
        if receipt.epoch != epoch {
            return None;
        }
        let seat = self.members.get(&epoch)?;
        seat.slots.get(&receipt.slot).copied()
    }

    /// Settles a message for this group.
    pub(crate) fn ack(&mut self, id: u64) {
        self.let_go(id);
        self.ready.remove(&id);
        self.pending.remove(&id);
    }

    /// Lets any member take the message, from now on.
    pub(crate) fn release(&mut self, id: u64) {
        self.let_go(id);
        self.ready.insert(id);
    }

    /// Begins the lease of a held message anew, also when it was over and nobody had taken it.
    pub(crate) fn extend(&mut self, id: u64, now: Instant) {
        let Some(holding) = self.pending.get_mut(&id).and_then(|p| p.holding.as_mut()) else {
            return;
        };
        let Some(seat) = self.members.get_mut(&holding.epoch) else {
            return;
        };
        if holding.lapsed {
            self.ready.remove(&id);
            seat.held += 1;
        } else {
            self.leases.remove(&(holding.ends, id));
        }
        holding.lapsed = false;
        holding.ends = after(now, seat.lease);
        self.leases.insert((holding.ends, id));
    }

    /// A member leaves in order: what it holds is given back. Returns how much that was.
    pub(crate) fn leave(&mut self, epoch: u64) -> usize {
        let Some(seat) = self.members.get(&epoch) else {
            return 0;
        };
        let ids: Vec<u64> = seat.slots.values().copied().collect();
        for id in &ids {
            self.release(*id);
        }
        self.members.remove(&epoch);
        ids.len()
    }

    /// A member vanishes: what it holds stays with it until the leases end.
    pub(crate) fn abandon(&mut self, epoch: u64) {
        self.members.remove(&epoch);
    }

    /// The topic, which numbers the next message `next`, has lost all that it kept.
    pub(crate) fn trim(&mut self, next: u64) {
        self.trimmed += self.in_flight() + self.backlog(next);
        let ids: Vec<u64> = self.pending.keys().copied().collect();
        for id in ids {
            self.ack(id);
        }
        (self.cursor, self.inherited) = (next, 0);
        (self.created_at, self.begun) = (next, 0);
    }

    /// How many messages trims took since the last call.
    pub(crate) fn take_trimmed(&mut self) -> u64 {
        std::mem::take(&mut self.trimmed)
    }

    /// How many messages of the topic, which numbers the next one `next`, were never handed out.
    pub(crate) fn backlog(&self, next: u64) -> u64 {
        // What is not acknowledged goes by a trim only, so counting what came and went is exact.
        self.inherited + (next - self.created_at) - self.begun
    }

    /// How many were handed out and are not acknowledged, those that were given back included.
    pub(crate) fn in_flight(&self) -> u64 {
        self.pending.len() as u64
    }

    /// How many members have a place.
    pub(crate) fn members(&self) -> u64 {
        self.members.len() as u64
    }

    /// The ids at or after `from` that were handed out and are not acknowledged.
    pub(crate) fn pending(&self, from: u64) -> impl Iterator<Item = u64> {
        self.pending.range(from..).map(|(id, _)| *id)
    }

    /// The lowest id that was never handed out.
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Makes ready what has outlived its lease.
    fn lapse(&mut self, now: Instant) {
        while let Some((ends, id)) = self.leases.first().copied() {
            if ends > now {
                break;
            }
            self.leases.pop_first();
            self.ready.insert(id);
            let Some(holding) = self.pending.get_mut(&id).and_then(|p| p.holding.as_mut()) else {
                continue;
            };
            holding.lapsed = true;
            // A member that vanished has no place any more.
            if let Some(seat) = self.members.get_mut(&holding.epoch) {
                seat.held -= 1;
            }
        }
    }

    fn hand_over(&mut self, id: u64, epoch: u64, ends: Instant) -> HandOver {
        // Whoever held it before has a stale receipt from here on.
        self.let_go(id);
        self.slot += 1;
        let slot = self.slot;
        let pending = self.pending.entry(id).or_insert(Pending {
            attempts: 0,
            holding: None,
        });
        pending.attempts = pending.attempts.saturating_add(1);
        pending.holding = Some(Holding {
            epoch,
            slot,
            ends,
            lapsed: false,
        });
        let attempt = pending.attempts;
        self.leases.insert((ends, id));
        if let Some(seat) = self.members.get_mut(&epoch) {
            seat.held += 1;
            seat.slots.insert(slot, id);
        }
        HandOver {
            id,
            receipt: Receipt { epoch, slot },
            attempt,
        }
    }

    /// Ends the message's last hand-over, if it has not ended: its lease and its receipt.
    fn let_go(&mut self, id: u64) {
        let Some(holding) = self.pending.get_mut(&id).and_then(|p| p.holding.take()) else {
            return;
        };
        if !holding.lapsed {
            self.leases.remove(&(holding.ends, id));
        }
        if let Some(seat) = self.members.get_mut(&holding.epoch) {
            seat.slots.remove(&holding.slot);
            if !holding.lapsed {
                seat.held -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    /// A group at the start of a topic that has messages 1 to 9.
    fn group(members: &[(u64, usize)]) -> GroupState {
        let mut group = GroupState::new(1, Start::Earliest, 9, 10);
        for (epoch, max_held) in members {
            group.join(*epoch, Seat::new(0, LEASE, *max_held));
        }
        group
    }

    fn take(group: &mut GroupState, epoch: u64, max: usize, now: Instant) -> Vec<HandOver> {
        group.take(epoch, max, now, |from| {
            Some(from.max(1)).filter(|id| *id < 10)
        })
    }

    fn ids(taken: &[HandOver]) -> Vec<u64> {
        taken.iter().map(|one| one.id).collect()
    }

    #[test]
    fn what_comes_again_comes_first_and_in_order() {
        let now = Instant::now();
        let mut group = group(&[(1, 100), (2, 100)]);
        let taken = take(&mut group, 1, 4, now);
        assert_eq!(ids(&taken), [1, 2, 3, 4]);
        group.release(3);
        group.release(1);
        let again = take(&mut group, 2, 3, now);
        assert_eq!(ids(&again), [1, 3, 5]);
        assert_eq!(
            again.iter().map(|one| one.attempt).collect::<Vec<_>>(),
            [2, 2, 1]
        );
        assert_eq!(group.find(1, &taken[0].receipt), None);
        assert_eq!(group.find(1, &taken[1].receipt), Some(2));
    }

    #[test]
    fn a_receipt_outlives_its_lease_until_another_takes_the_message() {
        let now = Instant::now();
        let mut group = group(&[(1, 1), (2, 1)]);
        let first = take(&mut group, 1, 1, now)[0];
        assert!(group.is_full(1) && take(&mut group, 1, 1, now).is_empty());

        let late = now + LEASE;
        assert_eq!(group.find(1, &first.receipt), Some(1));
        let again = take(&mut group, 2, 1, late)[0];
        assert_eq!((again.id, again.attempt), (1, 2));
        assert_eq!(group.find(1, &first.receipt), None);
        assert!(!group.is_full(1) && group.is_full(2));
        // A receipt is good at the member that has it only.
        assert_eq!(group.find(1, &again.receipt), None);
    }

    #[test]
    fn extending_what_was_over_takes_it_back() {
        let now = Instant::now();
        let mut group = group(&[(1, 10), (2, 10)]);
        let first = take(&mut group, 1, 1, now)[0];
        let late = now + LEASE;
        group.lapse(late);
        assert_eq!(group.next_end(), None);
        group.extend(first.id, late);
        assert_eq!(group.next_end(), Some(late + LEASE));
        assert_eq!(ids(&take(&mut group, 2, 1, late)), [2]);
    }

    #[test]
    fn nothing_is_kept_of_what_is_settled() {
        let now = Instant::now();
        let mut group = group(&[(1, 100)]);
        for one in take(&mut group, 1, 9, now) {
            group.ack(one.id);
        }
        assert!(group.pending.is_empty() && group.ready.is_empty() && group.leases.is_empty());
        let seat = &group.members[&1];
        assert!(seat.slots.is_empty() && seat.held == 0);
        assert_eq!((group.backlog(10), group.in_flight()), (0, 0));
    }

    #[test]
    fn who_vanishes_holds_until_the_leases_end_and_who_leaves_gives_back() {
        let now = Instant::now();
        let mut group = group(&[(1, 100), (2, 100), (3, 100)]);
        take(&mut group, 1, 2, now);
        take(&mut group, 2, 2, now);
        group.abandon(1);
        assert_eq!((group.leave(2), group.members()), (2, 1));
        assert_eq!(ids(&take(&mut group, 3, 2, now)), [3, 4]);
        assert_eq!(ids(&take(&mut group, 3, 2, now + LEASE)), [1, 2]);
    }
}
