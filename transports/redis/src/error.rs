//! What Redis and its client say, and what that means to a caller: one table.

use potluck_core::{Error, ErrorKind};
use redis::{RedisError, Value};

/// What to do about a failed command beyond telling the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Nothing: the server has answered, and this connection is well.
    None,
    /// Dial anew: the connection is dead, or what is behind it does not serve.
    Redial,
    /// Create the group again.
    Regroup,
}

/// An error of Redis in our words.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) remedy: Remedy,
    /// Whether the server certainly did not do what it was asked.
    pub(crate) certain: bool,
    /// The first word of the server's reply, when it was one.
    code: Option<String>,
}

impl Failure {
    /// A failure that the server had no part in.
    pub(crate) fn ours(error: Error) -> Self {
        Self {
            error,
            remedy: Remedy::None,
            certain: true,
            code: None,
        }
    }

    /// Whether the server's reply begins with this word.
    pub(crate) fn is_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}

struct Row {
    /// The first word of the server's reply.
    code: &'static str,
    kind: ErrorKind,
    remedy: Remedy,
    say: &'static str,
}

const fn row(code: &'static str, kind: ErrorKind, remedy: Remedy, say: &'static str) -> Row {
    Row {
        code,
        kind,
        remedy,
        say,
    }
}

/// What the server's error codes mean.
const TABLE: &[Row] = &[
    row(
        "OOM",
        ErrorKind::Unavailable,
        Remedy::None,
        "the server is at its `maxmemory`; consume, trim or give it more",
    ),
    row(
        "MISCONF",
        ErrorKind::Unavailable,
        Remedy::None,
        "the server takes no writes because it cannot save to disk",
    ),
    row(
        "NOREPLICAS",
        ErrorKind::Unavailable,
        Remedy::None,
        "the server takes no writes because it has too few replicas",
    ),
    row(
        "READONLY",
        ErrorKind::Unavailable,
        Remedy::Redial,
        "the server is a replica, perhaps after a failover",
    ),
    row(
        "LOADING",
        ErrorKind::Unavailable,
        Remedy::Redial,
        "the server is loading its data",
    ),
    row(
        "MASTERDOWN",
        ErrorKind::Unavailable,
        Remedy::Redial,
        "the server has lost its primary",
    ),
    row(
        "CLUSTERDOWN",
        ErrorKind::Unavailable,
        Remedy::Redial,
        "the cluster is down",
    ),
    row(
        "TRYAGAIN",
        ErrorKind::Unavailable,
        Remedy::Redial,
        "the cluster is moving the topic",
    ),
    row(
        "MOVED",
        ErrorKind::Config,
        Remedy::None,
        "the server is part of a cluster, which is not supported yet",
    ),
    row(
        "CROSSSLOT",
        ErrorKind::Config,
        Remedy::None,
        "the server is part of a cluster, which is not supported yet",
    ),
    row(
        "NOAUTH",
        ErrorKind::Denied,
        Remedy::Redial,
        "the server wants a password; put it into the URL",
    ),
    row(
        "WRONGPASS",
        ErrorKind::Denied,
        Remedy::Redial,
        "the server refuses the user and password",
    ),
    row(
        "NOPERM",
        ErrorKind::Denied,
        Remedy::None,
        "the user may not do this; extend its ACL",
    ),
    row(
        "NOGROUP",
        ErrorKind::NotFound,
        Remedy::Regroup,
        "topic or group does not exist; declare it",
    ),
    // In words it may be a deleted stream instead.
    row(
        "UNBLOCKED",
        ErrorKind::Unavailable,
        Remedy::Redial,
        "the server has become a replica",
    ),
    row(
        "WRONGTYPE",
        ErrorKind::Config,
        Remedy::None,
        "the key of this name is no stream; use another topic",
    ),
    row(
        "DATABASE",
        ErrorKind::Config,
        Remedy::Redial,
        "the server has no database of this number; correct the URL's path",
    ),
    row(
        "BUSY",
        ErrorKind::Unavailable,
        Remedy::None,
        "the server is running a long script",
    ),
];

/// What some servers say in words, beside a code that says nothing.
const WORDS: &[(&str, &str)] = &[
    ("no such key", "NOGROUP"),
    ("key no longer exists", "NOGROUP"),
    // XGROUP DESTROY without the topic.
    ("requires the key to exist", "NOGROUP"),
    ("DB index is out of range", "DATABASE"),
];

/// Classifies a server's error reply.
pub(crate) fn server(operation: &'static str, code: &str, details: Option<&str>) -> Failure {
    let said = Some(code.to_owned());
    let details = details.unwrap_or_default();
    let in_words = WORDS.iter().find(|(words, _)| details.contains(words));
    let code = in_words.map_or(code, |(_, code)| code);
    let (error, remedy) = match TABLE.iter().find(|row| row.code == code) {
        Some(row) => (Error::new(row.kind, operation, row.say), row.remedy),
        None => {
            let say = "the server answers with an error that this version does not know";
            let code: String = code.chars().take(40).collect();
            (
                Error::new(ErrorKind::Unexpected, operation, say).with("code", code),
                Remedy::None,
            )
        }
    };
    Failure {
        error,
        remedy,
        certain: true,
        code: said,
    }
}

/// Classifies what the client reports.
pub(crate) fn client(operation: &'static str, error: RedisError) -> Failure {
    if let Some(code) = error.code() {
        return server(operation, code, error.detail());
    }
    let (kind, say) = match error.kind() {
        redis::ErrorKind::AuthenticationFailed => (
            ErrorKind::Denied,
            "the server refuses the user and password",
        ),
        redis::ErrorKind::InvalidClientConfig => (
            ErrorKind::Config,
            "the connection's settings are refused by the client",
        ),
        redis::ErrorKind::Parse | redis::ErrorKind::UnexpectedReturnType => (
            ErrorKind::Unexpected,
            "the server's answer makes no sense; is it Redis?",
        ),
        _ if error.is_connection_refusal() => {
            (ErrorKind::Unavailable, "the server refuses connections")
        }
        _ => (
            ErrorKind::Unavailable,
            "the connection to the server is lost",
        ),
    };
    Failure {
        error: Error::new(kind, operation, say).caused_by(error),
        remedy: Remedy::Redial,
        certain: false,
        code: None,
    }
}

/// A command that was not answered in time.
pub(crate) fn timed_out(operation: &'static str) -> Failure {
    let error = Error::new(
        ErrorKind::Unavailable,
        operation,
        "the server did not answer in time",
    );
    Failure {
        error,
        remedy: Remedy::Redial,
        certain: false,
        code: None,
    }
}

/// An answer of another shape than the command has.
pub(crate) fn shape(operation: &'static str) -> Error {
    Error::new(
        ErrorKind::Unexpected,
        operation,
        "the server's answer has an unknown shape; is it Redis?",
    )
}

/// Tells an error reply from a value.
pub(crate) fn reply(operation: &'static str, value: Value) -> Result<Value, Failure> {
    match value {
        Value::ServerError(error) => Err(server(operation, error.code(), error.details())),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_kind_and_is_certain() {
        for row in TABLE {
            let failure = server("publish", row.code, Some("canary detail"));
            assert_eq!(
                (failure.error.kind(), failure.remedy),
                (row.kind, row.remedy),
                "{}",
                row.code
            );
            assert!(failure.certain && !failure.error.to_string().contains("canary"));
            let retryable = row.kind == ErrorKind::Unavailable;
            assert_eq!(failure.error.is_retryable(), retryable, "{}", row.code);
        }
        let unknown = server("publish", "ERR", None);
        assert_eq!(unknown.error.kind(), ErrorKind::Unexpected);
    }

    #[test]
    fn a_deleted_stream_is_recognised_in_words() {
        let words = "the stream key no longer exists";
        assert_eq!(
            server("receive", "ERR", Some(words)).remedy,
            Remedy::Regroup
        );
        assert_eq!(
            server("receive", "UNBLOCKED", Some(words)).remedy,
            Remedy::Regroup
        );
        let demoted =
            "force unblock from blocking operation, instance state changed (master -> replica?)";
        assert_eq!(
            server("receive", "UNBLOCKED", Some(demoted)).remedy,
            Remedy::Redial
        );
    }

    #[test]
    fn client_errors_are_not_certain_and_want_a_new_connection() {
        let lost = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        let failure = client("ack", lost);
        assert_eq!(failure.error.kind(), ErrorKind::Unavailable);
        assert!(failure.remedy == Remedy::Redial && !failure.certain);
        let refused = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        assert!(
            client("ack", refused)
                .error
                .to_string()
                .contains("refuses connections")
        );
        assert_eq!(timed_out("ack").remedy, Remedy::Redial);
    }
}
