//! Field types whose rules hold by construction: a text that is not empty, a confidence, retries.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// A string that is not empty.
///
/// ```
/// use potluck_core::envelope::Text;
///
/// assert_eq!(&*Text::new("Free Pizza Night")?, "Free Pizza Night");
/// assert!(Text::new("").is_err());
/// # Ok::<(), potluck_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Text(String);

impl Text {
    /// Takes a string.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when it is empty.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        if text.is_empty() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "build event",
                "the text must not be empty",
            ));
        }
        Ok(Self(text))
    }

    /// The source of an event that names none.
    pub(super) fn unknown() -> Self {
        Self("unknown".to_owned())
    }

    /// The string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<uuid::Uuid> for Text {
    fn from(id: uuid::Uuid) -> Self {
        Self(id.to_string())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string that is not empty")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                self.visit_string(text.to_owned())
            }
            fn visit_string<E: de::Error>(self, text: String) -> Result<Text, E> {
                if text.is_empty() {
                    return Err(E::invalid_value(
                        Unexpected::Other("an empty string"),
                        &self,
                    ));
                }
                Ok(Text(text))
            }
        }
        deserializer.deserialize_string(V)
    }
}

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

/// How sure a classifier is: a number from 0 to 1, ends included.
///
/// ```
/// use potluck_core::envelope::Confidence;
///
/// assert_eq!(Confidence::new(0.93)?.get(), 0.93);
/// assert!(Confidence::new(f64::NAN).is_err());
/// # Ok::<(), potluck_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Confidence(f64);

impl Confidence {
    /// Takes a number.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when it is not from 0 to 1.
    pub fn new(value: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&value) {
            return Err(Error::new(
                ErrorKind::Invalid,
                "build event",
                "a confidence is a number from 0 to 1",
            ));
        }
        Ok(Self(value))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Confidence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Confidence;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number from 0 to 1")
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Confidence, E> {
                Confidence::new(value)
                    .map_err(|_| E::invalid_value(Unexpected::Float(value), &self))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Confidence, E> {
                // Only 0 and 1 pass, and those are exact.
                self.visit_f64(value as f64)
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Confidence, E> {
                self.visit_f64(value as f64)
            }
        }
        deserializer.deserialize_f64(V)
    }
}

impl JsonSchema for Confidence {
    fn schema_name() -> Cow<'static, str> {
        "Confidence".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": 1 })
    }
}

/// The envelope's `retries` on the wire: JSON Schema calls `0.0` an integer, so it is one here.
pub(super) struct Retries(pub(super) u32);

impl<'de> Deserialize<'de> for Retries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Retries;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer from 0 to 4294967295")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Retries, E> {
                u32::try_from(value)
                    .map(Retries)
                    .map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Retries, E> {
                Err(E::invalid_value(Unexpected::Signed(value), &self))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Retries, E> {
                if value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value) {
                    return Ok(Retries(value as u32));
                }
                Err(E::invalid_value(Unexpected::Float(value), &self))
            }
        }
        // As a float, because serde_json's integer methods refuse `0.0` before a visitor sees it.
        deserializer.deserialize_f64(V)
    }
}

impl JsonSchema for Retries {
    fn schema_name() -> Cow<'static, str> {
        "Retries".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": u32::MAX })
    }
}
