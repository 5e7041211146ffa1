//! Why a message is not tried again, in words that stay.

use std::fmt;

/// Why a message is in the dead-letter topic: the header `potluck-reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The bytes are no JSON text that every parser reads alike, or the record breaks a limit.
    Malformed,
    /// The payload is over the size limit.
    TooLarge,
    /// The payload breaks a rule of its event's schema.
    Invalid,
    /// `schema_version` is not a version.
    BadVersion,
    /// Another major version, and the consumer rejects those.
    UnsupportedVersion,
    /// No handler is registered for its type.
    UnregisteredType,
    /// The handler rejected it.
    Rejected,
    /// All tries have failed.
    Exhausted,
    /// It was handed over again and again and never settled: it may end the process that handles
    /// it.
    CrashLoop,
}

impl Reason {
    /// The word in the header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Invalid => "invalid",
            Self::BadVersion => "bad_version",
            Self::UnsupportedVersion => "unsupported_version",
            Self::UnregisteredType => "unregistered_type",
            Self::Rejected => "rejected",
            Self::Exhausted => "exhausted",
            Self::CrashLoop => "crash_loop",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
