//! What does a topic keep, for which groups, and which messages may it drop?
//!
//! A pure state machine: the log and its groups. Each message counts the groups that wait for it;
//! those that none waits for are kept in a set of their own, oldest first, so that room is found
//! in logarithmic time. Only creating and deleting a group walk through the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use potluck_core::{
    Defect, Delivery, Figure, Group, GroupStatus, Message, MessageId, Page, Peeked, Receipt,
    Retention, Settled, Start,
};
use tokio::time::Instant;

use crate::broker::Bounds;
use crate::group::GroupState;

/// A topic's messages and groups.
#[derive(Debug)]
pub(crate) struct Log {
    bounds: Bounds,
    /// The id that the next message gets; the first is 1, and none is left out.
    next: u64,
    entries: BTreeMap<u64, Entry>,
    bytes: usize,
    /// The entries that no group waits for. They may go for room, unless there is no group at all:
    /// then they are for groups to come.
    done: BTreeSet<u64>,
    groups: HashMap<Group, GroupState>,
    births: u64,
    deleted: bool,
    wake: Wake,
}

#[derive(Debug)]
struct Entry {
    message: Message,
    /// A defect that a foreign client is supposed to have left.
    defect: Option<Defect>,
    bytes: usize,
    at: Instant,
    /// How many groups have not acknowledged it.
    waiting: usize,
}

/// Whom a change concerns.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wake {
    /// Members and readers: there is something to receive, or a reason not to wait.
    pub(crate) receivers: bool,
    /// Publishers: there may be room, or a reason not to wait.
    pub(crate) publishers: bool,
}

/// What became of an attempt to store a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Append {
    /// It is stored.
    Stored(MessageId),
    /// There is no room now.
    Full,
    /// There never will be: it has so many bytes.
    TooLarge(usize),
}

/// What a member finds.
#[derive(Debug)]
pub(crate) enum Look {
    /// Deliveries, one at least. They are its own from here on.
    Taken(Vec<Delivery>),
    /// Nothing, until a lease ends or something else changes.
    Nothing(Option<Instant>),
}

/// A member as the log knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    pub(crate) group: &'a Group,
    /// Which group of that name.
    pub(crate) born: u64,
    pub(crate) epoch: u64,
}

impl Log {
    /// An empty topic.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            next: 1,
            entries: BTreeMap::new(),
            bytes: 0,
            done: BTreeSet::new(),
            groups: HashMap::new(),
            births: 0,
            deleted: false,
            wake: Wake::default(),
        }
    }

    /// Whom to wake for what changed since the last call.
    pub(crate) fn take_wake(&mut self) -> Wake {
        std::mem::take(&mut self.wake)
    }

    /// Has everybody look again.
    pub(crate) fn wake_all(&mut self) {
        self.wake = Wake {
            receivers: true,
            publishers: true,
        };
    }

    /// Whether the topic was deleted: whoever still has it looks for another of its name.
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// Deletes the topic and its groups.
    pub(crate) fn delete(&mut self) {
        *self = Self::new(self.bounds);
        self.deleted = true;
        self.wake_all();
    }

    /// Removes all messages, whoever waits for them.
    pub(crate) fn trim(&mut self) {
        self.entries.clear();
        self.done.clear();
        self.bytes = 0;
        for group in self.groups.values_mut() {
            group.trim(self.next);
        }
        self.wake_all();
    }

    /// The id that the next message gets.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Stores a message at the end, and drops the oldest that all groups have acknowledged when
    /// it takes that.
    pub(crate) fn append(
        &mut self,
        message: &Message,
        defect: Option<Defect>,
        now: Instant,
    ) -> Append {
        let key = message.key().map_or(0, |key| key.len());
        let bytes = message.body().len() + message.headers().bytes() + key;
        if bytes > self.bounds.max_bytes.get() {
            return Append::TooLarge(bytes);
        }
        if !self.make_room(bytes) {
            return Append::Full;
        }
        let id = self.next;
        self.next += 1;
        self.bytes += bytes;
        if self.groups.is_empty() {
            self.done.insert(id);
        }
        // Whoever receives it vouches for nothing, whatever the sender's copy was allowed.
        let message = Message::received(
            message.body().clone(),
            message.headers().clone(),
            message.key().cloned(),
        );
        let entry = Entry {
            message,
            defect,
            bytes,
            at: now,
            waiting: self.groups.len(),
        };
        self.entries.insert(id, entry);
        self.wake.receivers = true;
        Append::Stored(MessageId::single(id))
    }

    /// The group of this name, which is created if there is none.
    pub(crate) fn declare(&mut self, group: &Group, start: Start) -> &mut GroupState {
        if !self.groups.contains_key(group) {
            self.births += 1;
            if start == Start::Earliest {
                self.done.clear();
                for entry in self.entries.values_mut() {
                    entry.waiting += 1;
                }
            }
            // The first group makes an end of keeping for groups to come.
            self.wake.publishers = true;
        }
        let (births, kept, next) = (self.births, self.entries.len(), self.next);
        self.groups
            .entry(group.clone())
            .or_insert_with(|| GroupState::new(births, start, kept, next))
    }

    /// The group of this name that was born then, if it still is.
    pub(crate) fn group(&mut self, group: &Group, born: u64) -> Option<&mut GroupState> {
        self.groups
            .get_mut(group)
            .filter(|found| found.born == born)
    }

    /// Deletes a group; what only it waited for is no longer waited for.
    pub(crate) fn delete_group(&mut self, group: &Group) {
        let Some(gone) = self.groups.remove(group) else {
            return;
        };
        let fresh = self.entries.range(gone.cursor()..).map(|(id, _)| *id);
        let ids: Vec<u64> = gone.pending(0).chain(fresh).collect();
        for id in ids {
            self.settle(id, Retention::Keep);
        }
        self.wake_all();
    }

    /// Hands up to `max` messages to a member. `None` when its group is gone.
    pub(crate) fn take(&mut self, who: Who<'_>, max: usize, now: Instant) -> Option<Look> {
        let (entries, limit) = (&self.entries, self.bounds.max_message());
        let group = self
            .groups
            .get_mut(who.group)
            .filter(|found| found.born == who.born)?;
        let fresh = |from| entries.range(from..).next().map(|(id, _)| *id);
        let taken = group.take(who.epoch, max, now, fresh);
        if taken.is_empty() {
            return Some(Look::Nothing(group.next_end()));
        }
        let deliver = |one: &crate::group::HandOver| {
            let entry = entries.get(&one.id)?;
            let (message, id) = (entry.message.clone(), MessageId::single(one.id));
            let delivery = Delivery::new(message, id, one.receipt, one.attempt, limit);
            Some(match &entry.defect {
                Some(defect) => delivery.with_defect(defect.clone()),
                None => delivery,
            })
        };
        Some(Look::Taken(taken.iter().filter_map(deliver).collect()))
    }

    /// Settles a member's deliveries as done.
    pub(crate) fn ack(
        &mut self,
        who: Who<'_>,
        receipts: &[Receipt],
        retention: Retention,
    ) -> Settled {
        let mut acked = Vec::new();
        let settled = self.each(who, receipts, |group, id| {
            group.ack(id);
            acked.push(id);
        });
        for id in acked {
            self.settle(id, retention);
        }
        settled
    }

    /// Gives a member's deliveries back to its group.
    pub(crate) fn release(&mut self, who: Who<'_>, receipts: &[Receipt]) -> Settled {
        let settled = self.each(who, receipts, GroupState::release);
        self.wake.receivers |= settled.stale.len() < receipts.len();
        settled
    }

    /// Begins the leases of a member's deliveries anew.
    pub(crate) fn extend(&mut self, who: Who<'_>, receipts: &[Receipt], now: Instant) -> Settled {
        self.each(who, receipts, |group, id| group.extend(id, now))
    }

    /// A member leaves, and gives back what it holds. Returns how much that was.
    pub(crate) fn leave(&mut self, who: Who<'_>) -> usize {
        self.wake.receivers = true;
        self.group(who.group, who.born)
            .map_or(0, |group| group.leave(who.epoch))
    }

    /// A member vanishes, and keeps what it holds until the leases end.
    pub(crate) fn abandon(&mut self, who: Who<'_>) {
        if let Some(group) = self.group(who.group, who.born) {
            group.abandon(who.epoch);
        }
    }

    /// All members of a connection leave, or all members. Returns how much they gave back.
    pub(crate) fn leave_all(&mut self, connection: Option<u64>) -> usize {
        let mut count = 0;
        for group in self.groups.values_mut() {
            for epoch in group.epochs(connection) {
                count += group.leave(epoch);
            }
        }
        self.wake_all();
        count
    }

    /// How a group is doing.
    pub(crate) fn status(&self, group: &Group, now: Instant) -> Option<GroupStatus> {
        let group = self.groups.get(group)?;
        let oldest = self.unacked(group, 0).next();
        let age = oldest.map(|(_, entry)| now.saturating_duration_since(entry.at));
        let ms = age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        Some(GroupStatus {
            backlog: Figure::Exact(group.backlog(self.next)),
            in_flight: Figure::Exact(group.in_flight()),
            oldest_ms: Figure::Exact(ms),
            members: Figure::Exact(group.members()),
        })
    }

    /// Up to `max` messages behind `after` that a group has not acknowledged.
    pub(crate) fn peek(&self, group: &Group, after: Option<MessageId>, max: usize) -> Option<Page> {
        let group = self.groups.get(group)?;
        let from = after.map_or(0, |id| id.parts().0.saturating_add(1));
        let mut found = self
            .unacked(group, from)
            .map(|(id, entry)| self.show(id, entry));
        let messages: Vec<Peeked> = found.by_ref().take(max).collect();
        let next = messages.last().map(|last| last.id);
        Some(Page {
            next: next.filter(|_| found.next().is_some()),
            messages,
        })
    }

    /// Up to `max` messages from `from` on, whoever has acknowledged them, and where to go on.
    pub(crate) fn read(&self, from: u64, max: usize) -> (Vec<Peeked>, u64) {
        let found = self.entries.range(from..).take(max);
        let messages: Vec<Peeked> = found.map(|(id, entry)| self.show(*id, entry)).collect();
        let next = messages.last().map_or(from, |last| last.id.parts().0 + 1);
        (messages, next)
    }

    fn show(&self, id: u64, entry: &Entry) -> Peeked {
        let limit = self.bounds.max_message();
        let peeked = Peeked::new(entry.message.clone(), MessageId::single(id), limit);
        match &entry.defect {
            Some(defect) => peeked.with_defect(defect.clone()),
            None => peeked,
        }
    }

    /// What a group has not acknowledged, from `from` on and in order.
    fn unacked<'a>(
        &'a self,
        group: &'a GroupState,
        from: u64,
    ) -> impl Iterator<Item = (u64, &'a Entry)> {
        let pending = group.pending(from);
        let pending = pending.filter_map(|id| Some((id, self.entries.get(&id)?)));
        let fresh = self.entries.range(from.max(group.cursor())..);
        pending.chain(fresh.map(|(id, entry)| (*id, entry)))
    }

    /// Applies `one` to each message whose receipt is good, and names the receipts that are not.
    fn each(
        &mut self,
        who: Who<'_>,
        receipts: &[Receipt],
        mut one: impl FnMut(&mut GroupState, u64),
    ) -> Settled {
        let mut settled = Settled::default();
        let Some(group) = self.group(who.group, who.born) else {
            settled.stale.extend_from_slice(receipts);
            return settled;
        };
        let was_full = group.is_full(who.epoch);
        for receipt in receipts {
            match group.find(who.epoch, receipt) {
                Some(id) => one(group, id),
                None => settled.stale.push(*receipt),
            }
        }
        // Its own receive may wait for this.
        if was_full && !group.is_full(who.epoch) {
            self.wake.receivers = true;
        }
        settled
    }

    /// One group less waits for a message.
    fn settle(&mut self, id: u64, retention: Retention) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry.waiting = entry.waiting.saturating_sub(1);
        if entry.waiting > 0 {
            return;
        }
        self.wake.publishers = true;
        match retention {
            Retention::Keep => {
                self.done.insert(id);
            }
            Retention::UntilAcked => self.remove(id),
        }
    }

    fn remove(&mut self, id: u64) {
        if let Some(entry) = self.entries.remove(&id) {
            self.bytes -= entry.bytes;
        }
    }

    /// Whether so many bytes and one message more are within the bounds now.
    fn make_room(&mut self, bytes: usize) -> bool {
        let (most, most_bytes) = (self.bounds.max_messages.get(), self.bounds.max_bytes.get());
        while self.entries.len() >= most || self.bytes + bytes > most_bytes {
            if self.groups.is_empty() {
                return false;
            }
            let Some(oldest) = self.done.pop_first() else {
                return false;
            };
            self.remove(oldest);
        }
        true
    }
}

#[cfg(test)]
#[path = "topic_tests.rs"]
mod tests;
