//! Received bytes that are known to be well-formed, before anybody asks what event they are.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::malformed::{Malformed, Problem};
use super::scan::{self, Scanned};
use super::{Invalid, SchemaVersion};
use crate::message::BODY_MAX;

/// A payload that is not malformed. Its bytes stay as they were received; cloning is cheap.
///
/// Ask it for its [`kind`](Self::kind) and [`version`](Self::version) to decide what to do with it,
/// then [`decode`](Self::decode) it.
///
/// ```
/// use potluck_core::envelope::Payload;
///
/// let payload = Payload::check(r#"{"type":"FREE_FOOD_EVENT","schema_version":"1.0.0"}"#)?;
/// assert_eq!(payload.kind().as_deref(), Some("FREE_FOOD_EVENT"));
/// assert!(Payload::check("{} {}").is_err());
/// # Ok::<(), potluck_core::envelope::Malformed>(())
/// ```
#[derive(Clone)]
pub struct Payload {
    bytes: Bytes,
    fields: Scanned,
}

impl Payload {
    /// Checks every byte, unknown fields included.
    ///
    /// # Errors
    ///
    /// [`Malformed`], when the bytes are over 1 MiB, or not exactly one JSON value that every
    /// parser reads alike.
    pub fn check(bytes: impl Into<Bytes>) -> Result<Self, Malformed> {
        let bytes = bytes.into();
        if bytes.len() > BODY_MAX {
            return Err(Malformed {
                problem: Problem::TooLarge,
                offset: BODY_MAX,
            });
        }
        let fields = scan::scan(&bytes)?;
        Ok(Self { bytes, fields })
    }

    /// The bytes as they were received.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The value of `type`, when it is there and a string.
    #[must_use]
    pub fn kind(&self) -> Option<Cow<'_, str>> {
        self.text(self.fields.kind.as_ref())
    }

    /// The value of `event_id`, when it is there and a string.
    #[must_use]
    pub fn event_id(&self) -> Option<Cow<'_, str>> {
        self.text(self.fields.event_id.as_ref())
    }

    /// The value of `schema_version`, when it is there; an error when it is not a version.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), whose text does not quote the value.
    pub fn version(&self) -> Option<crate::Result<SchemaVersion>> {
        let span = self.fields.schema_version.as_ref();
        span.map(|_| self.text(span).unwrap_or_default().parse())
    }

    /// Where a field's value stands.
    pub(super) fn fields(&self) -> &Scanned {
        &self.fields
    }

    pub(super) fn text(&self, span: Option<&Range<usize>>) -> Option<Cow<'_, str>> {
        let quoted = self.bytes.get(span?.clone())?;
        let inner = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        if memchr::memchr(b'\\', inner).is_some() {
            return serde_json::from_slice(quoted).ok().map(Cow::Owned);
        }
        std::str::from_utf8(inner).ok().map(Cow::Borrowed)
    }
}

/// Sizes only.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

/// Why bytes are no event of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undecodable {
    /// They are no payload.
    Malformed(Malformed),
    /// They are a payload that the event's schema refuses.
    Invalid(Invalid),
}

impl Undecodable {
    /// The stable word for dead letters and reports: `too_large`, `malformed` or `invalid`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(malformed) => malformed.reason(),
            Self::Invalid(_) => "invalid",
        }
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => write!(f, "malformed: {malformed}"),
            Self::Invalid(invalid) => write!(f, "invalid: {invalid}"),
        }
    }
}

impl std::error::Error for Undecodable {}

impl From<Malformed> for Undecodable {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Invalid> for Undecodable {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_the_limit_is_refused_before_parsing() {
        let error = Payload::check(vec![b' '; BODY_MAX + 1]).unwrap_err();
        assert_eq!(
            (error.problem, error.reason()),
            (Problem::TooLarge, "too_large")
        );
        let mut exactly = vec![b' '; BODY_MAX];
        exactly[..2].copy_from_slice(b"{}");
        assert!(Payload::check(exactly).is_ok());
    }

    #[test]
    fn kind_and_version_are_read_whatever_their_spelling() {
        let payload =
            Payload::check(r#"{"typ\u0065":"A\u0042","schema_version":"1.2.3","event_id":7}"#)
                .unwrap();
        assert_eq!(payload.kind().as_deref(), Some("AB"));
        assert_eq!(
            payload.version().unwrap().unwrap(),
            SchemaVersion::new(1, 2, 3)
        );
        assert_eq!(payload.event_id(), None);
        let payload = Payload::check(r#"{"schema_version":1,"type":null}"#).unwrap();
        assert!(payload.version().unwrap().is_err() && payload.kind().is_none());
        assert!(Payload::check("[]").unwrap().version().is_none());
    }
}
