//! What can go wrong while a test starts, breaks or asks a broker?

use std::{io, time::Duration};

/// The result of everything here.
pub type Result<T, E = BrokerError> = std::result::Result<T, E>;

/// What went wrong, said for the person who reads the test's output.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The broker is not installed.
    #[error("{program} is not installed: install {how_to_install}")]
    Missing {
        /// The program that was looked for.
        program: String,
        /// The package, and the command that installs it.
        how_to_install: &'static str,
    },

    /// The options contradict what this crate itself decides.
    #[error("{0}")]
    Options(String),

    /// The server ended when it should have run, or was not ready in time.
    #[error("{program} failed: {reason}; the last lines of its output:\n{log}")]
    Failed {
        /// The program that was started.
        program: String,
        /// How it ended, or what was waited for.
        reason: String,
        /// The last lines that it printed.
        log: String,
    },

    /// What was asked needs a running server, or one that has ended.
    #[error("the server on port {port} is {is}, so it cannot {cannot}")]
    State {
        /// The server's port.
        port: u16,
        /// What the server is: `running` or `not running`.
        is: &'static str,
        /// What was asked of it.
        cannot: &'static str,
    },

    /// A condition did not come true by its deadline.
    #[error("waited {after:?} in vain for {what}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// The deadline.
        after: Duration,
    },

    /// The server answered with an error.
    #[error("{command} was refused: {message}")]
    Replied {
        /// The command's name, without its arguments, which may be secret.
        command: String,
        /// The server's own words.
        message: String,
    },

    /// The server's answer is no RESP.
    #[error("not a RESP reply: {0}")]
    Reply(String),

    /// The operating system refused.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl BrokerError {
    /// For `map_err`: the operating system refused `what`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            what: what.into(),
            source,
        }
    }
}
