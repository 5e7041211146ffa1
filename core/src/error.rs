//! What went wrong, where, and what the caller can do about it: the one error type.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an error. Programs act on this, never on the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting, URL or option is wrong, or what exists on the broker differs from what was asked
    /// for. Correct it; trying again changes nothing.
    Config,
    /// The broker refuses these credentials or this operation. Ask for permission.
    Denied,
    /// The topic or group does not exist, or no group would receive the message. Declare it.
    NotFound,
    /// The message is larger than the transport carries. Send less.
    TooLarge,
    /// The input breaks a rule of the contract: a name, a header, a payload. Mend the input.
    Invalid,
    /// The transport does not offer this, and its [`Capabilities`](crate::Capabilities) say so.
    Unsupported,
    /// This handle was closed. Open another one.
    Closed,
    /// The broker is away, full or too slow. It may work later.
    Unavailable,
    /// A case nobody thought of: a defect here, in a client crate or in the broker. Report it.
    Unexpected,
}

impl ErrorKind {
    /// The kind in one word, for logs, metrics and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::TooLarge => "too_large",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Closed => "closed",
            Self::Unavailable => "unavailable",
            Self::Unexpected => "unexpected",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error: its kind, whether trying again can help, what was being done, and what to do.
///
/// [`Display`](fmt::Display) is one line, without control characters and safe to print: whoever
/// makes an error puts neither a payload nor a secret into it. `Debug` is a page, for people who
/// look for a defect; it adds the source, which comes from a client crate and is not so careful.
///
/// Cloning is cheap. A slice of messages that fails for one reason shares one error.
///
/// ```
/// use potluck_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::TooLarge, "publish", "the message is larger than the limit; send less")
///     .with("topic", "events.free-food")
///     .with("limit", 1_048_576);
/// assert_eq!(error.kind(), ErrorKind::TooLarge);
/// assert!(!error.is_retryable());
/// assert_eq!(
///     error.to_string(),
///     "publish: the message is larger than the limit; send less (topic=events.free-food, limit=1048576)"
/// );
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    retryable: bool,
    operation: &'static str,
    message: Cow<'static, str>,
    context: Vec<(&'static str, String)>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` met during `operation`. The message says what failed and what to do.
    ///
    /// An [`ErrorKind::Unavailable`] error is retryable, any other is not, until
    /// [`retryable`](Self::retryable) says otherwise.
    pub fn new(
        kind: ErrorKind,
        operation: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Arc::new(Inner {
            kind,
            retryable: kind == ErrorKind::Unavailable,
            operation,
            message: message.into(),
            context: Vec::new(),
            source: None,
        }))
    }

    /// Adds a fact that helps to find the place: a topic, a line, a limit. Never a payload.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        Arc::make_mut(&mut self.0)
            .context
            .push((name, value.to_string()));
        self
    }

    /// Keeps the client crate's error, for those who downcast [`source`](StdError::source).
    #[must_use]
    pub fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.0).source = Some(Arc::new(source));
        self
    }

    /// Says whether trying again can help. Whoever gives up after trying clears it, so that an
    /// outer retry does not multiply the attempts.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        Arc::make_mut(&mut self.0).retryable = retryable;
        self
    }

    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// What was being done, such as `publish` or `receive`.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The facts added by [`with`](Self::with), in order.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0
            .context
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
    }
}

/// Writes `text` with control characters escaped, so that input cannot forge log lines or move a
/// terminal's cursor.
fn write_visible(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        if c.is_control() {
            write!(f, "{}", c.escape_default())?;
        } else {
            fmt::Write::write_char(f, c)?;
        }
    }
    Ok(())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.0.operation)?;
        write_visible(f, &self.0.message)?;
        for (i, (name, value)) in self.0.context.iter().enumerate() {
            write!(f, "{}{name}=", if i == 0 { " (" } else { ", " })?;
            write_visible(f, value)?;
        }
        if self.0.context.is_empty() {
            Ok(())
        } else {
            f.write_str(")")
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("retryable", &self.0.retryable)
            .field("operation", &self.0.operation)
            .field("message", &self.0.message)
            .field("context", &self.0.context)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_line_whatever_the_broker_said() {
        let error = Error::new(
            ErrorKind::Unexpected,
            "receive",
            "reply \u{1b}[31m\nforged line",
        )
        .with("reply", "a\tb\r\n");
        assert_eq!(
            error.to_string(),
            "receive: reply \\u{1b}[31m\\nforged line (reply=a\\tb\\r\\n)"
        );
    }

    #[test]
    fn only_unavailable_is_retryable_by_itself() {
        assert!(Error::new(ErrorKind::Unavailable, "publish", "away").is_retryable());
        assert!(!Error::new(ErrorKind::Closed, "publish", "closed").is_retryable());
        let gave_up = Error::new(ErrorKind::Unavailable, "publish", "away").retryable(false);
        assert!(!gave_up.is_retryable());
    }

    #[test]
    fn source_can_be_downcast() {
        let error = Error::new(ErrorKind::Unavailable, "connect", "refused")
            .caused_by(std::io::Error::other("refused"));
        let source = StdError::source(&error).and_then(|s| s.downcast_ref::<std::io::Error>());
        assert!(source.is_some());
    }
}
