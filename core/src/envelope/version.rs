//! Which schema versions there are, and what a consumer built for one does with another.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::error::{Error, ErrorKind, Result};

/// `MAJOR.MINOR.PATCH`, each of at most nine digits and without a leading zero.
///
/// ```
/// use potluck_core::envelope::{SchemaVersion, Verdict};
///
/// let built_for: SchemaVersion = "1.0.0".parse()?;
/// assert_eq!(built_for.verdict("1.0.7".parse()?), Verdict::Process);
/// assert_eq!(built_for.verdict("1.2.0".parse()?), Verdict::OtherMinor);
/// assert_eq!(built_for.verdict("2.0.0".parse()?), Verdict::OtherMajor);
/// assert!("1.0".parse::<SchemaVersion>().is_err());
/// # Ok::<(), potluck_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaVersion {
    /// Raised when the structure changes.
    pub major: u32,
    /// Raised when a field is removed or renamed.
    pub minor: u32,
    /// Raised when an optional field is added.
    pub patch: u32,
}

/// What the contract says of a message's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same minor version: process.
    Process,
    /// Another minor of the same major: process if it still validates, and warn.
    OtherMinor,
    /// Another major: as the application's policy has it.
    OtherMajor,
}

impl SchemaVersion {
    /// The version of these numbers. Numbers of more than nine digits are not versions, and what
    /// carries one is refused when it is read.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// What a consumer built for this version does with a message of `other`.
    #[must_use]
    pub fn verdict(self, other: Self) -> Verdict {
        if self.major != other.major {
            Verdict::OtherMajor
        } else if self.minor != other.minor {
            Verdict::OtherMinor
        } else {
            Verdict::Process
        }
    }
}

impl fmt::Display for SchemaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

fn parse(text: &str) -> Option<SchemaVersion> {
    let part = |text: &str| {
        let digits = (1..=9).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        (digits && (text == "0" || !text.starts_with('0'))).then(|| text.parse().ok())?
    };
    let mut parts = text.split('.');
    let version = SchemaVersion {
        major: part(parts.next()?)?,
        minor: part(parts.next()?)?,
        patch: part(parts.next()?)?,
    };
    parts.next().is_none().then_some(version)
}

const EXPECTED: &str = "a version MAJOR.MINOR.PATCH such as 1.0.0";

impl FromStr for SchemaVersion {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).ok_or_else(|| Error::new(ErrorKind::Invalid, "read version", EXPECTED))
    }
}

impl Serialize for SchemaVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SchemaVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = SchemaVersion;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<SchemaVersion, E> {
                parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(V)
    }
}

impl JsonSchema for SchemaVersion {
    fn schema_name() -> Cow<'static, str> {
        "SchemaVersion".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(0|[1-9][0-9]{0,8})\\.(0|[1-9][0-9]{0,8})\\.(0|[1-9][0-9]{0,8})$",
            "not": { "type": "string", "pattern": "[^0-9.]" },
        })
    }
}

/// The most versions that are told apart; whoever sends more is not owed a line for each.
const WATCHED_MAX: usize = 64;

/// Judges versions and warns of another one once, not once per message.
///
/// Cheap to ask for the version that it was built for; share one per consumer.
#[derive(Debug)]
pub struct VersionWatch {
    built_for: SchemaVersion,
    seen: Mutex<HashSet<SchemaVersion>>,
}

impl VersionWatch {
    /// A watch for a consumer built for this version.
    #[must_use]
    pub fn new(built_for: SchemaVersion) -> Self {
        Self {
            built_for,
            seen: Mutex::default(),
        }
    }

    /// Judges a message's version. The first time that it is another minor or major, one warning
    /// is logged that names both.
    pub fn judge(&self, version: SchemaVersion) -> Verdict {
        let verdict = self.built_for.verdict(version);
        if verdict != Verdict::Process && self.is_new(version) {
            let built_for = self.built_for;
            match verdict {
                Verdict::OtherMajor => {
                    tracing::warn!(%version, %built_for, "Unsupported schema version: {version}");
                }
                _ => {
                    tracing::warn!(%version, %built_for, "another minor schema version: {version}, built for {built_for}")
                }
            }
        }
        verdict
    }

    fn is_new(&self, version: SchemaVersion) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.len() < WATCHED_MAX && seen.insert(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_and_nothing_else() {
        for text in ["0.0.0", "1.0.0", "999999999.999999999.999999999"] {
            assert_eq!(text.parse::<SchemaVersion>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "1",
            "1.0",
            "v1.0.0",
            "01.0.0",
            "1.0.0.0",
            " 1.0.0",
            "1.0.0 ",
            "1.0.0\n",
            "１.0.0",
            "1.0.0-",
            "1.0.0-beta",
            "1.0.0+a",
            "1000000000.0.0",
            "-1.0.0",
            "1..0",
            "+1.0.0",
        ] {
            assert!(text.parse::<SchemaVersion>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn each_other_version_is_new_once_and_the_watch_stays_small() {
        let watch = VersionWatch::new("1.0.0".parse().unwrap());
        let other = "1.3.0".parse().unwrap();
        assert_eq!(watch.judge(other), Verdict::OtherMinor);
        assert!(!watch.is_new(other));
        for major in 2..1000 {
            watch.judge(SchemaVersion::new(major, 0, 0));
        }
        assert_eq!(watch.seen.lock().unwrap().len(), WATCHED_MAX);
    }
}
