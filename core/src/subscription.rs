//! Who joins what, and how.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::name::{Group, Member, Topic};

/// How long a member may sit on a delivery by default.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(60);
/// The most unsettled deliveries that a member holds by default.
pub const MAX_HELD_DEFAULT: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Who joins what, and how.
///
/// ```
/// use potluck_core::{Group, Start, Subscription, Topic};
///
/// let to = Subscription::new(Topic::new("events.free-food")?, Group::new("mailer")?)
///     .start(Start::New);
/// assert_eq!(to.max_held.get(), 1024);
/// # Ok::<(), potluck_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscription {
    /// The topic.
    pub topic: Topic,
    /// The group.
    pub group: Group,
    /// The member's name; unique by default. A clone has the same: give each member its own.
    pub member: Member,
    /// Where the group starts, if it does not exist yet.
    pub start: Start,
    /// How long the member may sit on a delivery before another may take it, where
    /// [`Capabilities::redelivery`](crate::Capabilities::redelivery) is after a lease. `None`: as
    /// the transport's URL says, or else [`LEASE_DEFAULT`].
    pub lease: Option<Duration>,
    /// The most unsettled deliveries that the member holds.
    pub max_held: NonZeroUsize,
    /// What an acknowledgement leaves of a message.
    pub retention: Retention,
}

impl Subscription {
    /// A subscription with the defaults: a unique member, from the earliest message, the
    /// transport's lease, 1,024 held at most, and acknowledged messages kept for other groups.
    #[must_use]
    pub fn new(topic: Topic, group: Group) -> Self {
        Self {
            topic,
            group,
            member: Member::unique(),
            start: Start::Earliest,
            lease: None,
            max_held: MAX_HELD_DEFAULT,
            retention: Retention::Keep,
        }
    }

    /// Sets the member's name.
    #[must_use]
    pub fn member(mut self, member: Member) -> Self {
        self.member = member;
        self
    }

    /// Sets where a new group starts.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Sets the lease.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Sets the most unsettled deliveries that the member holds.
    #[must_use]
    pub fn max_held(mut self, max_held: NonZeroUsize) -> Self {
        self.max_held = max_held;
        self
    }

    /// Sets what an acknowledgement leaves of a message.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }
}

/// Where a new group starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Start {
    /// At the earliest message that the topic still keeps.
    #[default]
    Earliest,
    /// At the first message that is published after the group exists.
    New,
}

/// What an acknowledgement leaves of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Retention {
    /// The topic keeps it, as the broker's own retention has it.
    #[default]
    Keep,
    /// It goes, for topics that have one group: retry lanes and dead letters. A release keeps it.
    UntilAcked,
}
