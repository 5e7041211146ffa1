//! What a case is: a name, a promise as a sentence, and a function that finds whether it is kept.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::context::Context;

/// One promise, and how to find out. Rows of [`cases::all`](crate::cases::all).
#[derive(Clone, Copy)]
pub struct Case {
    /// A name that says what is asserted, unique in the suite.
    pub name: &'static str,
    /// The promise as a sentence, for people: printed on failure, listed, quoted in documents.
    pub promise: &'static str,
    /// Which transports it is for.
    pub level: Level,
    /// What the target must offer for it.
    pub needs: Option<Hook>,
    /// How long it may take.
    pub budget: Duration,
    /// Finds out.
    pub run: for<'a> fn(&'a Context) -> BoxFuture<'a, Verdict>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

/// Which transports a case is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Level {
    /// All.
    Core,
    /// All; what is asserted follows from what is claimed.
    Capability,
    /// Those whose target offers what the case breaks.
    Fault,
    /// The consumer runtime over any transport.
    Runtime,
}

/// What a target may offer beside connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Hook {
    /// Cutting all connections.
    Cut,
    /// Swallowing all bytes of the connections that there are, for ever.
    Freeze,
    /// Restarting the broker with what it had stored.
    Restart,
    /// Writing a record as a foreign client would.
    Inject,
    /// Removing a topic's messages behind its groups' backs.
    Trim,
    /// A connection to where nothing listens.
    Nowhere,
}

/// What a case has found: nothing wrong, or what.
pub type Verdict = Result<(), Broken>;

/// How a promise was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

impl From<potluck_core::Error> for Broken {
    fn from(error: potluck_core::Error) -> Self {
        Self(format!("a call failed that should not: {error}"))
    }
}

impl From<potluck_core::PublishError> for Broken {
    fn from(error: potluck_core::PublishError) -> Self {
        Self(format!("a publish failed that should not: {error}"))
    }
}

/// Fails a case, with the reason as `format!` has it.
#[macro_export]
macro_rules! broken {
    ($($reason:tt)*) => {
        return Err($crate::Broken(format!($($reason)*)))
    };
}

/// Fails a case unless the condition holds.
#[macro_export]
macro_rules! holds {
    ($condition:expr, $($reason:tt)*) => {
        if !$condition {
            $crate::broken!($($reason)*);
        }
    };
}
