//! What travels beside a body: names with byte values, bounded and unique.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};

/// The most headers that a message may have.
pub const HEADERS_MAX: usize = 64;
/// The most bytes that a message's header names and values may have together.
pub const HEADER_BYTES_MAX: usize = 8 * 1024;
/// The most bytes of a header's name.
pub const HEADER_NAME_MAX: usize = 255;
/// Header names that begin so are reserved for the runtime's copies.
pub const RESERVED_PREFIX: &str = "potluck-";

/// Headers in the order in which they were set, each name once. Cheap to clone.
///
/// A name is 1 to 255 bytes of UTF-8 without control characters, a value any bytes; there are at
/// most 64 headers and 8 KiB of names and values.
///
/// ```
/// use potluck_core::Headers;
///
/// let mut headers = Headers::new();
/// headers.insert("content-type", "application/json")?;
/// assert_eq!(headers.get("content-type").map(|v| &v[..]), Some(&b"application/json"[..]));
/// assert!(headers.insert("potluck-reason", "mine").is_err());
/// # Ok::<(), potluck_core::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<Vec<Header>>>);

type Header = (Cow<'static, str>, Bytes);

impl Headers {
    /// No headers. Does not allocate.
    #[must_use]
    pub fn new() -> Self {
        Self(None)
    }

    /// Adds a header, for an application.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when the name is not legal, is reserved or is there already, or when
    /// there would be too many headers or too many bytes. Nothing is added then.
    pub fn insert(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Bytes>,
    ) -> Result<()> {
        let (name, value) = (name.into(), value.into());
        if let Some(rule) = broken_name_rule(&name) {
            return Err(refused(rule));
        }
        if name.starts_with(RESERVED_PREFIX) {
            return Err(refused("names that begin `potluck-` are reserved").with("name", name));
        }
        if self.get(&name).is_some() {
            return Err(
                refused("the header is there already; each name is used once").with("name", name),
            );
        }
        if self.len() == HEADERS_MAX {
            return Err(refused("a message has at most 64 headers"));
        }
        if self.bytes() + name.len() + value.len() > HEADER_BYTES_MAX {
            return Err(
                refused("header names and values have at most 8 KiB together").with("name", name),
            );
        }
        self.entries_mut().push((name, value));
        Ok(())
    }

    /// Sets a header without any check, for drivers and runtimes. Of two values for one name the
    /// last wins, as the contract has it for foreign duplicates.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) {
        let (name, value) = (name.into(), value.into());
        let entries = self.entries_mut();
        match entries.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = value,
            None => entries.push((name, value)),
        }
    }

    /// Headers from pairs that a driver knows to be unique, without any check. Linear, where
    /// calling [`set`](Self::set) for each would not be.
    #[must_use]
    pub fn from_unique(entries: Vec<(Cow<'static, str>, Bytes)>) -> Self {
        if entries.is_empty() {
            Self(None)
        } else {
            Self(Some(Arc::new(entries)))
        }
    }

    /// The value of a header.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.entries()
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.entries()
            .iter()
            .map(|(name, value)| (name.as_ref(), value))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.entries()
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    }

    fn entries(&self) -> &[Header] {
        self.0.as_ref().map_or(&[], |entries| entries.as_slice())
    }

    fn entries_mut(&mut self) -> &mut Vec<Header> {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

/// Names and sizes; values may hold what a log must not.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name, value.len())))
            .finish()
    }
}

/// The rule that a header's name breaks, if it breaks one.
#[must_use]
pub fn broken_name_rule(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.len() > HEADER_NAME_MAX {
        Some("a header's name has 1 to 255 bytes")
    } else if name.chars().any(char::is_control) {
        Some("a header's name has no control characters")
    } else {
        None
    }
}

fn refused(rule: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, "add header", rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_and_a_refused_header_changes_nothing() {
        let mut headers = Headers::new();
        for i in 0..HEADERS_MAX {
            headers.insert(format!("h{i}"), "v").unwrap();
        }
        assert_eq!(
            headers.insert("one-more", "v").unwrap_err().kind(),
            ErrorKind::Invalid
        );
        assert_eq!(headers.len(), HEADERS_MAX);

        let mut headers = Headers::new();
        headers
            .insert("big", vec![0; HEADER_BYTES_MAX - 3])
            .unwrap();
        assert!(headers.insert("x", "").is_err());
        assert_eq!(headers.bytes(), HEADER_BYTES_MAX);
    }

    #[test]
    fn illegal_reserved_and_repeated_names_are_refused() {
        let mut headers = Headers::new();
        for name in [
            "",
            "a\nb",
            "a\r\n",
            "\u{7f}",
            "\u{85}",
            "potluck-key",
            &"x".repeat(256),
        ] {
            assert!(headers.insert(name.to_owned(), "v").is_err(), "{name:?}");
        }
        for name in ["ü", "a b", "\"", "../..", "X-Y", &"x".repeat(255)] {
            headers.insert(name.to_owned(), "v").unwrap();
        }
        assert!(headers.insert("ü", "again").is_err());
        headers.set("ü", "last wins");
        assert_eq!(headers.get("ü").unwrap().as_ref(), b"last wins");
    }

    #[test]
    fn debug_shows_no_value() {
        let mut headers = Headers::new();
        headers.insert("authorization", "canary-secret").unwrap();
        assert_eq!(format!("{headers:?}"), r#"{"authorization": 13}"#);
    }
}
