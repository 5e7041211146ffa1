//! What a broker promises, as data: each field changes what the conformance suite asserts.

use serde::Serialize;

/// What a transport promises. The suite exercises what is claimed, and expects
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) of what is not; a lie in either
/// direction fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// In what scope publish order is delivery order, with one member and no failures.
    pub ordering: Ordering,
    /// What `Ok` from [`ack`](crate::Subscriber::ack) means.
    pub ack: Ack,
    /// How exactly hand-overs are counted.
    pub attempts: Attempts,
    /// Who receives a released delivery.
    pub release: Release,
    /// What makes an unsettled delivery come again when its member is gone.
    pub redelivery: Redelivery,
    /// What becomes of a message when no group exists.
    pub unrouted: Unrouted,
    /// What becomes of a message to a topic that nobody declared.
    pub undeclared: Undeclared,
    /// What a stored message survives.
    pub durability: Durability,
    /// From where a new group can start.
    pub starts: Starts,
    /// The largest body in bytes.
    pub max_message: usize,
    /// What a look at a group's messages does to them.
    pub peek: Peek,
}

/// The scope of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ordering {
    /// No order.
    None,
    /// Messages of one ordering key keep their order.
    PerKey,
    /// All messages of a topic keep their order.
    PerTopic,
}

/// What an acknowledgement's `Ok` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ack {
    /// The broker has recorded it.
    Recorded,
    /// It was sent; the protocol has no answer.
    Sent,
}

/// How hand-overs are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Attempts {
    /// Each is counted, also across restarts.
    Counted,
    /// The first is told from later ones, no more.
    Flag,
}

/// Who receives what was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Release {
    /// Any member of the group.
    ToGroup,
    /// The member that held it, while it lives.
    ToHolder,
}

/// What makes the unsettled come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Redelivery {
    /// The loss of the member's connection.
    OnDisconnect,
    /// The end of the delivery's lease.
    AfterLease,
}

/// What becomes of a message that no group would receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unrouted {
    /// The topic keeps it for groups to come.
    Kept,
    /// Publishing is refused as `NotFound`.
    Refused,
}

/// What becomes of a message to an undeclared topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Undeclared {
    /// The topic is created.
    Created,
    /// Publishing is refused as `NotFound`.
    Refused,
}

/// What a stored message has survived to, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Durability {
    /// It is in this process's memory.
    Process,
    /// It is in the broker's memory or files; what a crash of the broker leaves depends on the
    /// broker's settings, which [`describe`](crate::Transport::describe) reports.
    Broker,
    /// It is on the disks of a majority.
    Majority,
}

/// From where a new group can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Starts {
    /// From all that the topic keeps, or from now.
    EarliestAndNew,
    /// The topic keeps nothing for groups to come, so both are the same.
    Same,
}

/// What looking does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Peek {
    /// Nothing: all that the group has not acknowledged is shown, and left as it is.
    Clean,
    /// It counts as an attempt, shows what waits only, and hides that while it runs.
    Counted,
}
