//! Which errors can this transport meet? All are here.

use potluck_core::{Error, ErrorKind, Topic};

/// The connection or this handle was closed.
pub(crate) fn closed(operation: &'static str) -> Error {
    Error::new(
        ErrorKind::Closed,
        operation,
        "it was closed; open another one",
    )
}

/// The topic does not exist, or was deleted.
pub(crate) fn no_topic(operation: &'static str, topic: &Topic) -> Error {
    let text = "the topic does not exist; declare it or publish to it";
    Error::new(ErrorKind::NotFound, operation, text).with("topic", topic)
}

/// The group does not exist, or was deleted.
pub(crate) fn no_group(
    operation: &'static str,
    topic: &Topic,
    group: &potluck_core::Group,
) -> Error {
    let text = "the group does not exist; declare it";
    Error::new(ErrorKind::NotFound, operation, text)
        .with("topic", topic)
        .with("group", group)
}

/// The topic is at its bound, and holds nothing that all its groups have acknowledged.
pub(crate) fn full(topic: &Topic) -> Error {
    let text = "the topic is full of messages that are not acknowledged by all its groups, or has no group; try later";
    Error::new(ErrorKind::Unavailable, "publish", text).with("topic", topic)
}

/// The message alone is over the topic's bound.
pub(crate) fn too_large(topic: &Topic, bytes: usize, limit: usize) -> Error {
    let text = "the message is larger than all that a topic may hold; send less or raise max_bytes";
    Error::new(ErrorKind::TooLarge, "publish", text)
        .with("topic", topic)
        .with("bytes", bytes)
        .with("limit", limit)
}

/// The URL asks for what there is not.
pub(crate) fn config(rule: &'static str) -> Error {
    Error::new(ErrorKind::Config, "connect", rule)
}
