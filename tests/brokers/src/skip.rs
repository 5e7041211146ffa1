//! What does a test do where its broker is not installed?

use std::{env, io::Write};

use crate::{BrokerError, Result};

/// The switch: `1` where a broker that is not installed is a failure, as in CI.
pub const REQUIRED: &str = "CONFORMANCE_REQUIRED";

/// Says that a test is skipped, and gives `None`, where its broker is not installed.
///
/// With `CONFORMANCE_REQUIRED=1` a missing broker stays the error that it is.
///
/// ```no_run
/// use potluck_brokers::redis::{RedisOptions, RedisServer};
/// use potluck_brokers::skip::or_skip;
///
/// # async fn test() -> potluck_brokers::Result<()> {
/// let Some(server) = or_skip(RedisServer::start(RedisOptions::default()).await)? else {
///     return Ok(());
/// };
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Those of `started`, save for [`BrokerError::Missing`] where brokers are not required.
pub fn or_skip<T>(started: Result<T>) -> Result<Option<T>> {
    or_skip_unless(is_required(), started, |missing| {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        // Not `eprintln!`, whose text the test harness swallows when the test passes.
        writeln!(std::io::stderr(), "skipped: {test}: {missing}")
            .map_err(BrokerError::io("write to standard error"))
    })
}

fn or_skip_unless<T>(
    required: bool,
    started: Result<T>,
    say: impl FnOnce(BrokerError) -> Result<()>,
) -> Result<Option<T>> {
    match started {
        Err(missing @ BrokerError::Missing { .. }) if !required => say(missing).map(|()| None),
        started => started.map(Some),
    }
}

fn is_required() -> bool {
    env::var_os(REQUIRED).is_some_and(|value| !value.is_empty() && value != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing() -> Result<()> {
        Err(BrokerError::Missing {
            program: "nosuch".to_owned(),
            how_to_install: "it",
        })
    }

    fn never(said: BrokerError) -> Result<()> {
        panic!("{said}")
    }

    #[test]
    fn a_missing_broker_is_said_or_an_error() {
        let mut said = None;
        let skipped = or_skip_unless(false, missing(), |error| {
            said = Some(error.to_string());
            Ok(())
        });
        assert!(matches!(skipped, Ok(None)));
        assert_eq!(said.unwrap(), "nosuch is not installed: install it");
        let required = or_skip_unless(true, missing(), never);
        assert!(matches!(required, Err(BrokerError::Missing { .. })));
    }

    #[test]
    fn all_else_passes_through() {
        assert!(matches!(or_skip_unless(false, Ok(7), never), Ok(Some(7))));
        let broken: Result<()> = Err(BrokerError::Options("no".to_owned()));
        let broken = or_skip_unless(false, broken, never);
        assert!(matches!(broken, Err(BrokerError::Options(_))));
    }
}
