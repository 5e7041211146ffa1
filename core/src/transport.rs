//! What a transport is: four object-safe traits, and the values that pass through them.
//!
//! Read this to write a transport. The traits speak in slices, because one round trip that serves
//! many messages is 20 to 35 times cheaper than many; they have no default methods, so that a
//! wrapper which forgets to forward one does not compile; and every method takes `&self`, so that
//! receiving, acknowledging and extending overlap.
//!
//! Three duties hold for every method:
//!
//! - **It ends.** A driver owns every time-out. A method of [`Transport`] other than `changed` and
//!   `close` waits at most for the connection's `timeout=` (10 s by default) and then fails as
//!   [`Unavailable`](crate::ErrorKind::Unavailable). Dialling goes on for ever behind it, with
//!   full-jitter back-off ([`Backoff::dialling`](crate::backoff::Backoff::dialling)).
//! - **It survives being dropped.** Users select over these futures. A task owns the I/O, so that a
//!   dropped future leaves at most one copy of a message, loses none that the broker had handed
//!   out, and leaves the handle usable.
//! - **It says what it knows.** An empty slice is no error; a settle that came too late is named
//!   stale, not acknowledged on a stranger's behalf; what may have happened is not reported as
//!   failed.

use std::num::NonZeroUsize;
use std::time::Duration;

use async_trait::async_trait;

use crate::capabilities::Capabilities;
use crate::error::Result;
use crate::message::{Defect, Message};
use crate::name::{Group, Topic};
use crate::publish::{MessageId, PublishError};
use crate::state::State;
use crate::stats::Stats;
use crate::subscription::{Start, Subscription};

/// A connection to a broker, from which publishers, subscribers and readers are opened.
///
/// `connect` of a transport's crate checks the URL and its options, starts dialling and returns at
/// once in [`State::Connecting`], or ready where there is nothing to dial. Wrong credentials fail
/// every call as [`Denied`](crate::ErrorKind::Denied) as soon as the broker has said so.
///
/// Implementations are shared as `Arc<dyn Transport>`; all methods may run at the same time.
#[async_trait]
pub trait Transport: std::fmt::Debug + Send + Sync + 'static {
    /// What this broker promises. Constant for the life of the transport.
    fn capabilities(&self) -> Capabilities;

    /// The state now.
    fn state(&self) -> State;

    /// Waits until the state is another than `since`, and returns it. It has no deadline.
    async fn changed(&self, since: State) -> State;

    /// Opens a publisher. Publishers of one transport may share a connection, but never with a
    /// subscriber's reads: a blocked read would stall them.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Denied`, `Closed`.
    async fn publisher(&self) -> Result<std::sync::Arc<dyn Publisher>>;

    /// Declares, then joins the group as a member.
    ///
    /// # Errors
    ///
    /// As [`declare`](Self::declare).
    async fn subscriber(&self, to: &Subscription) -> Result<std::sync::Arc<dyn Subscriber>>;

    /// Makes topic and group exist, durably, with the group's start position fixed before this
    /// returns. Nobody joins and nothing is read. What exists is used as it is: calling it again,
    /// also with another start, changes nothing.
    ///
    /// The classic mistake is to fix the start at the first receive instead: what is published
    /// between the two is lost to a group that starts at `new`.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Denied`, `Closed`; `Config` when what exists cannot serve; `Unsupported`
    /// when the start is not one of [`Capabilities::starts`].
    async fn declare(&self, to: &Subscription) -> Result<()>;

    /// How a group is doing. Each figure says whether it is exact.
    ///
    /// # Errors
    ///
    /// `NotFound` when topic or group does not exist; `Unavailable`, `Denied`, `Closed`.
    async fn status(&self, topic: &Topic, group: &Group) -> Result<GroupStatus>;

    /// Looks at up to `max` messages that the group has not acknowledged, in the topic's order, and
    /// settles nothing; see [`Capabilities::peek`] for what looking does. Pass the last page's
    /// [`next`](Page::next) as `after` to go on; `max` 0 gives an empty page.
    ///
    /// # Errors
    ///
    /// As [`status`](Self::status).
    async fn peek(
        &self,
        topic: &Topic,
        group: &Group,
        after: Option<MessageId>,
        max: usize,
    ) -> Result<Page>;

    /// Deletes a group. Its members' receives fail as `NotFound` or see it created again, as the
    /// transport documents; their receipts are stale. A group that does not exist is no error.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Denied`, `Closed`.
    async fn delete_group(&self, topic: &Topic, group: &Group) -> Result<()>;

    /// Deletes a topic, and these groups with it. The groups are given because AMQP cannot list
    /// them; where the broker can, all go. A topic that does not exist is no error.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Denied`, `Closed`.
    async fn delete_topic(&self, topic: &Topic, groups: &[Group]) -> Result<()>;

    /// Opens a reader that belongs to no group, settles nothing and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// `NotFound` when the topic does not exist; `Unavailable`, `Denied`, `Closed`.
    async fn reader(&self, topic: &Topic, start: Start) -> Result<std::sync::Arc<dyn Reader>>;

    /// The broker's product and version, and what in its settings endangers messages. What cannot
    /// be known is a notice, not an error.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Denied`, `Closed`.
    async fn describe(&self) -> Result<Description>;

    /// Counts since the transport was opened. Never waits.
    fn stats(&self) -> Stats;

    /// Closes: publishes under way are answered, subscribers give back what they hold, connections
    /// end. Every later call fails as `Closed`. Closing twice is no error.
    ///
    /// # Errors
    ///
    /// `Unavailable` when something could not be given back in time. It is closed all the same.
    async fn close(&self) -> Result<()>;
}

/// Publishes slices of messages.
#[async_trait]
pub trait Publisher: std::fmt::Debug + Send + Sync + 'static {
    /// Publishes `messages` to `topic` and waits, at most `within`, until the broker has answered
    /// for each. `Ok` has the ids, in order: the broker has accepted every one. An empty slice is
    /// `Ok` and sends nothing.
    ///
    /// The order of one call's messages is kept, and of two calls that follow each other. Calls
    /// that overlap share round trips, but none waits for another to come: on a quiet line a
    /// message goes at once.
    ///
    /// The slice is checked with [`admit`](crate::publish::admit) before anything of it is sent.
    /// What is refused for a reason of the broker's concerns that message alone.
    ///
    /// While the broker is away the call fails at `within`, not before and not long after: as
    /// `Refused` what was never written, as `Unknown` what was.
    ///
    /// **Dropped**, each message is stored once or not at all, and the publisher goes on.
    ///
    /// # Errors
    ///
    /// [`PublishError`], which has an [`Outcome`](crate::Outcome) for each message.
    async fn publish(
        &self,
        topic: &Topic,
        messages: &[Message],
        within: Duration,
    ) -> Result<Vec<MessageId>, PublishError>;
}

/// A member of a group: receives deliveries and settles them.
///
/// [`ack`](Self::ack) never waits behind a blocked [`receive`](Self::receive). A driver that does
/// both over one connection breaks that, and it is the commonest defect of all.
#[async_trait]
pub trait Subscriber: std::fmt::Debug + Send + Sync + 'static {
    /// Takes up to `max` deliveries, waiting at most `wait` for the first. It returns what there is
    /// and does not wait for more; empty is no error. It hands over nothing beyond
    /// [`Subscription::max_held`] unsettled deliveries.
    ///
    /// While the connection is lost it waits like any quiet time; the driver goes on by itself.
    /// One receive runs at a time: another waits for its turn, within its own `wait`.
    ///
    /// **Dropped**, nothing is lost: what the broker had handed out comes with the next receive.
    ///
    /// # Errors
    ///
    /// `Closed`; `Denied`; `NotFound` when the group was deleted and the transport does not create
    /// it again; `Unexpected`. `Unavailable` only where the driver cannot go on alone.
    async fn receive(&self, max: NonZeroUsize, wait: Duration) -> Result<Vec<Delivery>>;

    /// Settles deliveries as done. Stale receipts are named, the others are settled. Empty in,
    /// empty out. `Ok` means what [`Capabilities::ack`] says.
    ///
    /// # Errors
    ///
    /// `Unavailable` when it is not known to have arrived: call again, or let the message come
    /// again. `Closed`.
    async fn ack(&self, receipts: &[Receipt]) -> Result<Settled>;

    /// Gives deliveries back, now: they come again, to the member or to the group, as
    /// [`Capabilities::release`] says, well before a lease would end.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    async fn release(&self, receipts: &[Receipt]) -> Result<Settled>;

    /// How long this member may sit on a delivery before another may take it: `Some` where
    /// [`Capabilities::redelivery`] is after a lease, `None` where nothing expires. Constant for
    /// the subscriber's life. The transport's URL may have set it, so whoever keeps leases asks
    /// here, and [extends](Self::extend) well before it is over.
    fn lease(&self) -> Option<Duration>;

    /// Begins the leases of these deliveries anew. Where nothing expires it only names the stale.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    async fn extend(&self, receipts: &[Receipt]) -> Result<Settled>;

    /// Leaves the group: wakes a blocked receive, which ends as `Closed`, and gives back what is
    /// unsettled, so that others need not wait for leases. Closing twice is no error.
    ///
    /// # Errors
    ///
    /// `Unavailable` when something could not be given back in time. It is closed all the same.
    async fn close(&self) -> Result<()>;
}

/// Reads a topic without a group.
#[async_trait]
pub trait Reader: std::fmt::Debug + Send + Sync + 'static {
    /// Takes up to `max` messages, waiting at most `wait` for the first; empty is no error.
    ///
    /// **Dropped**, nothing is lost: the next call goes on behind what was last returned.
    ///
    /// # Errors
    ///
    /// `Closed`, `Denied`, `Unavailable`; `NotFound` when the topic was deleted.
    async fn receive(&self, max: NonZeroUsize, wait: Duration) -> Result<Vec<Peeked>>;

    /// Ends the reader. Closing twice is no error.
    ///
    /// # Errors
    ///
    /// None that the caller could act on; drivers return `Ok`.
    async fn close(&self) -> Result<()>;
}

/// One hand-over of a message to a member.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// The message's place in its topic, equal at every attempt.
    pub id: MessageId,
    /// What settles this hand-over.
    pub receipt: Receipt,
    /// Which hand-over this is: 1 at first, never lower than before for the same message, larger
    /// after every one that was not acknowledged, also across restarts. It counts hand-overs to
    /// members, so it may run ahead of handler starts and never behind: a guard against crash
    /// loops, not the retry count.
    pub attempt: u32,
    /// Why the record is not a good message, when it is not.
    pub defect: Option<Defect>,
}

impl Delivery {
    /// A delivery, for drivers; its defect is found by [`Message::defect`] unless they set another.
    #[must_use]
    pub fn new(
        message: Message,
        id: MessageId,
        receipt: Receipt,
        attempt: u32,
        max_message: usize,
    ) -> Self {
        let defect = message.defect(max_message);
        Self {
            message,
            id,
            receipt,
            attempt,
            defect,
        }
    }

    /// The same delivery with this defect.
    #[must_use]
    pub fn with_defect(mut self, defect: Defect) -> Self {
        self.defect = Some(defect);
        self
    }
}

/// What settles a delivery. 128 bits, `Copy`, meaningful to the subscriber that gave it only.
///
/// The epoch is the driver's generation of connection, channel or assignment; the slot is its
/// place in the table of what was handed out. A receipt of an epoch that ended is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// The generation.
    pub epoch: u64,
    /// The place in the driver's table.
    pub slot: u64,
}

/// What a settle did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "stale receipts tell that a message was, or will be, handled twice"]
pub struct Settled {
    /// Receipts that came too late or were settled before, in the order given.
    pub stale: Vec<Receipt>,
}

/// A message that was looked at. There is no receipt: it cannot be settled.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Peeked {
    /// The message.
    pub message: Message,
    /// Its place in the topic.
    pub id: MessageId,
    /// Why the record is not a good message, when it is not.
    pub defect: Option<Defect>,
}

impl Peeked {
    /// A look at a message, for drivers; its defect is found by [`Message::defect`].
    #[must_use]
    pub fn new(message: Message, id: MessageId, max_message: usize) -> Self {
        let defect = message.defect(max_message);
        Self {
            message,
            id,
            defect,
        }
    }

    /// The same with this defect.
    #[must_use]
    pub fn with_defect(mut self, defect: Defect) -> Self {
        self.defect = Some(defect);
        self
    }
}

/// One page of a look at a group's messages.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The messages, in the topic's order.
    pub messages: Vec<Peeked>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<MessageId>,
}

/// How a group is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct GroupStatus {
    /// Messages that were not handed to any member yet.
    pub backlog: Figure<u64>,
    /// Messages that were handed over at least once and are not acknowledged; also those that were
    /// given back and wait for their next hand-over.
    pub in_flight: Figure<u64>,
    /// The age of the oldest message that is not acknowledged, in milliseconds; 0 when there is
    /// none.
    pub oldest_ms: Figure<u64>,
    /// Members that have joined.
    pub members: Figure<u64>,
}

/// A number, and how far to trust it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure<T> {
    /// As the broker counts it.
    Exact(T),
    /// Near it.
    Estimated(T),
    /// The broker cannot tell.
    Unavailable,
}

impl<T> Figure<T> {
    /// The number, exact or not.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Exact(value) | Self::Estimated(value) => Some(value),
            Self::Unavailable => None,
        }
    }
}

/// What the broker is.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Description {
    /// Its product, such as `redis`.
    pub product: String,
    /// Its version, or empty when it does not tell.
    pub version: String,
    /// What in its settings endangers messages, a sentence each.
    pub notices: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traits_are_object_safe() {
        fn _all(_: &dyn Transport, _: &dyn Publisher, _: &dyn Subscriber, _: &dyn Reader) {}
        assert_eq!(size_of::<Receipt>(), 16);
    }
}
