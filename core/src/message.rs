//! What travels: body bytes, headers and an optional ordering key.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::headers::{self, HEADER_BYTES_MAX, HEADERS_MAX, Headers};
use crate::name::Topic;

/// The most bytes of a body: 1 MiB. A transport may carry less; see
/// [`Capabilities::max_message`](crate::Capabilities::max_message).
pub const BODY_MAX: usize = 1024 * 1024;
/// The most bytes of an ordering key.
pub const KEY_MAX: usize = 1024;

/// A message: opaque to transports, cheap to clone.
///
/// ```
/// use potluck_core::Message;
///
/// let message = Message::new(r#"{"hello":"world"}"#)
///     .with_key("building-7")?
///     .with_header("content-type", "application/json")?;
/// assert_eq!(message.key().map(|key| &key[..]), Some(&b"building-7"[..]));
/// # Ok::<(), potluck_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    body: Bytes,
    headers: Headers,
    key: Option<Bytes>,
    origin: Origin,
}

/// Who vouches for the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Built here: key and headers were checked as they were added.
    Built,
    /// Came from a broker: nothing was checked.
    Received,
    /// The runtime's copy of a message that may break limits: the broker decides.
    Copy,
}

impl Message {
    /// A message with this body, no key and no headers. The body's size is checked when it is
    /// published, against the transport's limit.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self::built(body.into(), Headers::new())
    }

    /// A message with headers that are known to be legal.
    pub(crate) fn built(body: Bytes, headers: Headers) -> Self {
        Self {
            body,
            headers,
            key: None,
            origin: Origin::Built,
        }
    }

    /// Sets the ordering key: messages of one key keep their order where
    /// [`Capabilities::ordering`](crate::Capabilities::ordering) is per key.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when it is longer than 1 KiB.
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Result<Self> {
        let key = key.into();
        if key.len() > KEY_MAX {
            return Err(Error::new(
                ErrorKind::Invalid,
                "set key",
                "an ordering key has at most 1 KiB",
            )
            .with("bytes", key.len()));
        }
        self.key = Some(key);
        Ok(self)
    }

    /// Adds a header; see [`Headers::insert`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when a rule of [`Headers`] is broken.
    pub fn with_header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Bytes>,
    ) -> Result<Self> {
        self.headers.insert(name, value)?;
        Ok(self)
    }

    /// A message as a broker gave it, for drivers. Nothing is checked; ask
    /// [`defect`](Self::defect).
    #[must_use]
    pub fn received(body: Bytes, headers: Headers, key: Option<Bytes>) -> Self {
        Self {
            body,
            headers,
            key,
            origin: Origin::Received,
        }
    }

    /// A copy of a received message, for a runtime that writes it to a retry lane or dead-letter
    /// topic. It is marked: a driver checks neither limits nor names, so that a message which
    /// broke them reaches the dead letters byte for byte, and the broker decides.
    #[must_use]
    pub fn copied(body: Bytes, headers: Headers, key: Option<Bytes>) -> Self {
        Self {
            body,
            headers,
            key,
            origin: Origin::Copy,
        }
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The ordering key.
    #[must_use]
    pub fn key(&self) -> Option<&Bytes> {
        self.key.as_ref()
    }

    /// Checks what every driver checks before it sends: sizes, header rules, and that no
    /// application publishes to a derived topic. The runtime's copies pass unchecked.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] when the body is over `max_message` bytes, [`ErrorKind::Invalid`]
    /// for any other rule. A driver answers [`Refused`](crate::Outcome::Refused) with it.
    pub fn admit(&self, topic: &Topic, max_message: usize) -> Result<()> {
        if self.origin == Origin::Copy {
            return Ok(());
        }
        if topic.is_derived() {
            return Err(refused(
                ErrorKind::Invalid,
                "retry lanes and dead-letter topics are written by the runtime only; publish to the source topic",
            )
            .with("topic", topic));
        }
        if self.origin == Origin::Received {
            if let Some(defect) = self.defect(max_message) {
                let kind = match defect {
                    Defect::TooLarge { .. } => ErrorKind::TooLarge,
                    _ => ErrorKind::Invalid,
                };
                return Err(refused(kind, defect.to_string()).with("topic", topic));
            }
            if let Some((name, _)) = self
                .headers
                .iter()
                .find(|(name, _)| name.starts_with(headers::RESERVED_PREFIX))
            {
                return Err(refused(
                    ErrorKind::Invalid,
                    "headers that begin `potluck-` are reserved; leave them out",
                )
                .with("name", name));
            }
        }
        if self.body.len() > max_message {
            return Err(refused(
                ErrorKind::TooLarge,
                "the message is larger than the transport carries; send less",
            )
            .with("topic", topic)
            .with("bytes", self.body.len())
            .with("limit", max_message));
        }
        Ok(())
    }

    /// The limit that this message breaks, if it breaks one. Drivers ask it of what they receive,
    /// and hand the message over with it.
    #[must_use]
    pub fn defect(&self, max_message: usize) -> Option<Defect> {
        if self.body.len() > max_message {
            return Some(Defect::TooLarge {
                bytes: self.body.len(),
                limit: max_message,
            });
        }
        let (count, bytes) = (self.headers.len(), self.headers.bytes());
        // The runtime adds headers of its own to a copy, so those do not count against the sender.
        if count > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
            let theirs = self
                .headers
                .iter()
                .filter(|(n, _)| !n.starts_with(headers::RESERVED_PREFIX));
            let (count, bytes) = theirs.fold((0, 0), |(c, b), (name, value)| {
                (c + 1, b + name.len() + value.len())
            });
            if count > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
                return Some(Defect::Headers { count, bytes });
            }
        }
        if self
            .headers
            .iter()
            .any(|(name, _)| headers::broken_name_rule(name).is_some())
        {
            return Some(Defect::HeaderName);
        }
        match &self.key {
            Some(key) if key.len() > KEY_MAX => Some(Defect::Key { bytes: key.len() }),
            _ => None,
        }
    }
}

/// Sizes only: a payload never reaches a log through `Debug`.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("body_bytes", &self.body.len())
            .field("headers", &self.headers)
            .field("key_bytes", &self.key.as_ref().map(Bytes::len))
            .finish()
    }
}

fn refused(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(kind, "publish", message)
}

/// Why a delivered record is not a good message. It is handed over all the same, with the bytes
/// that there are, so that it can be dead-lettered or skipped; it never ends a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Defect {
    /// The broker's record has no place that the contract reads a body from.
    NoBody,
    /// The body is over the limit.
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The transport's limit.
        limit: usize,
    },
    /// Too many headers, or too many bytes of them.
    Headers {
        /// How many there are.
        count: usize,
        /// Bytes of names and values.
        bytes: usize,
    },
    /// A header's name breaks a rule.
    HeaderName,
    /// The ordering key is over 1 KiB.
    Key {
        /// Its size.
        bytes: usize,
    },
    /// The driver cannot decode the record; the text says why and holds nothing of it.
    Undecodable(&'static str),
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBody => f.write_str("the record has no body"),
            Self::TooLarge { bytes, limit } => {
                write!(f, "the body has {bytes} bytes, over the limit of {limit}")
            }
            Self::Headers { count, bytes } => write!(
                f,
                "{count} headers of {bytes} bytes, over the limit of {HEADERS_MAX} and {HEADER_BYTES_MAX}"
            ),
            Self::HeaderName => {
                f.write_str("a header's name is empty, too long or has control characters")
            }
            Self::Key { bytes } => {
                write!(
                    f,
                    "the ordering key has {bytes} bytes, over the limit of {KEY_MAX}"
                )
            }
            Self::Undecodable(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Group;

    fn topic() -> Topic {
        Topic::new("events.free-food").unwrap()
    }

    #[test]
    fn oversize_is_refused_with_the_limit_and_without_the_payload() {
        let error = Message::new("canary-payload")
            .admit(&topic(), 5)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.to_string().contains("limit=5") && !error.to_string().contains("canary"));
        assert!(Message::new("12345").admit(&topic(), 5).is_ok());
    }

    #[test]
    fn derived_topics_take_copies_only() {
        let dead = topic().dead_letter(&Group::new("g").unwrap()).unwrap();
        assert_eq!(
            Message::new("x").admit(&dead, 10).unwrap_err().kind(),
            ErrorKind::Invalid
        );
        assert!(
            Message::copied("xx".into(), Headers::new(), None)
                .admit(&dead, 1)
                .is_ok()
        );
    }

    #[test]
    fn a_received_message_is_checked_again_when_it_is_published() {
        let mut reserved = Headers::new();
        reserved.set("potluck-reason", "exhausted");
        let message = Message::received("x".into(), reserved, None);
        assert_eq!(message.defect(10), None);
        assert_eq!(
            message.admit(&topic(), 10).unwrap_err().kind(),
            ErrorKind::Invalid
        );

        let long_key = Message::received("x".into(), Headers::new(), Some(vec![0; 1025].into()));
        assert_eq!(long_key.defect(10), Some(Defect::Key { bytes: 1025 }));
        assert!(long_key.admit(&topic(), 10).is_err());
    }

    #[test]
    fn defects_name_each_limit() {
        let many = (0..65)
            .map(|i| (Cow::from(format!("h{i}")), Bytes::new()))
            .collect();
        let message = Message::received("x".into(), Headers::from_unique(many), None);
        assert!(matches!(
            message.defect(10),
            Some(Defect::Headers { count: 65, .. })
        ));
        let bad = vec![(Cow::from("a\nb"), Bytes::new())];
        let message = Message::received("x".into(), Headers::from_unique(bad), None);
        assert_eq!(message.defect(10), Some(Defect::HeaderName));
        let big = Message::received("xxx".into(), Headers::new(), None);
        assert_eq!(big.defect(2), Some(Defect::TooLarge { bytes: 3, limit: 2 }));
    }

    #[test]
    fn debug_shows_sizes_only() {
        let message = Message::new("canary").with_key("canary").unwrap();
        assert!(!format!("{message:?}").contains("canary"));
    }
}
