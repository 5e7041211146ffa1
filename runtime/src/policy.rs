//! What a consumer does with messages that no handler of its is for.

/// What becomes of a message that cannot be handled at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unhandled {
    /// It goes to the dead-letter topic, byte for byte, with the reason beside it.
    #[default]
    DeadLetter,
    /// It is logged, counted and acknowledged: nobody sees it again.
    Ignore,
    /// The consumer gives it back, drains and ends with an error.
    Stop,
}

/// What becomes of an event whose schema version is of another major than its handler's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtherMajor {
    /// A warning, once per version, and it is handled if it is valid all the same.
    #[default]
    Warn,
    /// It goes to the dead-letter topic.
    Reject,
}
