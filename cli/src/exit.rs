//! With what does the command end, and what does it say when it fails?

use std::borrow::Cow;
use std::io;
use std::process::ExitCode;

use potluck::{Error, ErrorKind};

/// How a command ends. The numbers are documented and stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All went well.
    Ok = 0,
    /// It failed, for a reason without a number of its own.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Some of it failed.
    Partly = 3,
    /// What was given to read is bad.
    BadData = 65,
    /// The broker cannot be reached.
    Unreachable = 69,
    /// It took too long.
    TimedOut = 75,
    /// The broker does not permit it.
    Denied = 77,
    /// A setting is wrong.
    BadConfig = 78,
    /// It was told twice to stop.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command stops before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Nobody reads its output any more, which is no error.
    ClosedPipe,
    /// It failed; the text is one line that says what to do.
    Failed(Exit, Cow<'static, str>),
}

impl Stop {
    pub(crate) fn failed(exit: Exit, text: impl Into<Cow<'static, str>>) -> Self {
        Self::Failed(exit, text.into())
    }

    /// What becomes of an error while standard output is written.
    pub(crate) fn at_output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::ClosedPipe
        } else {
            Self::failed(
                Exit::Failed,
                format!("cannot write standard output: {error}"),
            )
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Config => Exit::BadConfig,
            ErrorKind::Denied => Exit::Denied,
            ErrorKind::TooLarge | ErrorKind::Invalid => Exit::BadData,
            ErrorKind::Unavailable => Exit::Unreachable,
            _ => Exit::Failed,
        };
        Self::failed(exit, error.to_string())
    }
}

/// What commands return.
pub(crate) type Run = Result<Exit, Stop>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_has_its_exit_code() {
        for (kind, code) in [
            (ErrorKind::Config, 78),
            (ErrorKind::Denied, 77),
            (ErrorKind::NotFound, 1),
            (ErrorKind::TooLarge, 65),
            (ErrorKind::Invalid, 65),
            (ErrorKind::Unsupported, 1),
            (ErrorKind::Closed, 1),
            (ErrorKind::Unavailable, 69),
            (ErrorKind::Unexpected, 1),
        ] {
            match Stop::from(Error::new(kind, "publish", "no")) {
                Stop::Failed(exit, text) => {
                    assert_eq!((exit as u8, &*text), (code, "publish: no"), "{kind}");
                }
                Stop::ClosedPipe => panic!("{kind}"),
            }
        }
        assert_eq!(
            [
                Exit::Ok as u8,
                Exit::Usage as u8,
                Exit::Partly as u8,
                Exit::TimedOut as u8
            ],
            [0, 2, 3, 75]
        );
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(matches!(Stop::at_output(&closed), Stop::ClosedPipe));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(matches!(
            Stop::at_output(&full),
            Stop::Failed(Exit::Failed, _)
        ));
    }
}
