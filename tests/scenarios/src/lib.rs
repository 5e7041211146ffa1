//! Does a consumer do the same with the same events on every broker? The file `scenarios.json`
//! lists events, what a handler does with each, and the numbers that must come of it.
//!
//! [`run`](run::run) runs a scenario over a bus, and [`Table`] sets brokers side by side.

mod events;
pub mod run;
mod table;

use std::time::Duration;

use potluck::{OtherMajor, RetryPolicy};
use serde::Deserialize;

pub use table::Table;

/// What goes wrong here is told in a line.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Events for one consumer, and how it is set up.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called in the table.
    pub name: String,
    /// What the consumer does with events of another major version.
    pub other_major: Major,
    /// Its retry policy.
    pub retry: Retry,
    /// How long a try may take.
    pub time_limit_ms: u64,
    /// What is published, in order.
    pub events: Vec<Event>,
}

/// What a consumer does with events of another major version.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Major {
    /// It handles them.
    Warn,
    /// It dead-letters them.
    Reject,
}

/// A retry policy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    immediate: u32,
    delays_ms: Vec<u64>,
}

/// An event of a scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// What it is called in the table.
    pub name: String,
    /// What is wrong with it, or what its handler does.
    pub does: Does,
    /// What must come of it.
    pub expect: Numbers,
}

/// What is wrong with an event, or what its handler does.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Does {
    /// It fails before this try, and then succeeds.
    SucceedAt(u32),
    /// It fails before this try, and then rejects.
    RejectAt(u32),
    /// It fails always.
    Fail,
    /// It panics always.
    Panic,
    /// It never returns.
    Hang,
    /// The payload is no JSON text.
    Malformed,
    /// No handler is registered for its type.
    UnknownType,
    /// It is of major version 2.
    UnknownMajor,
}

/// What came of an event.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Numbers {
    /// How many tries began.
    pub tries: u32,
    /// `handled`, or the reason of its dead letter.
    pub ends: String,
    /// The payload's `retries`, as its handler saw it at the end, or in the dead letter. A payload
    /// that is malformed has none.
    pub retries: Option<u32>,
    /// The header `potluck-attempts` there. What comes from the topic itself has none.
    pub attempts: Option<u32>,
}

impl Scenario {
    /// All scenarios of the file.
    ///
    /// # Errors
    ///
    /// When the file is not what these types say.
    pub fn all() -> Result<Vec<Self>> {
        Ok(serde_json::from_str(include_str!("../scenarios.json"))?)
    }

    fn retry(&self) -> RetryPolicy {
        let delays = self.retry.delays_ms.iter().copied();
        RetryPolicy::immediate(self.retry.immediate).then_after(delays.map(Duration::from_millis))
    }

    fn other_major(&self) -> OtherMajor {
        match self.other_major {
            Major::Warn => OtherMajor::Warn,
            Major::Reject => OtherMajor::Reject,
        }
    }
}
