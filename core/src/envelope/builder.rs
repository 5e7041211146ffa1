//! How a producer makes an event: from a body, or from what a source tells of one.

use chrono::{DateTime, FixedOffset, Utc};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Confidence, Envelope, EventBody, FreeFood, FreeFoodEvent, Text, Timestamp};
use crate::error::{Error, ErrorKind, Result};

/// Builds an event around a body. Id, source and metadata have the contract's defaults: a new
/// UUID, `unknown`, and `{}`; `published_at` is the time of [`build`](Self::build), `retries` 0.
#[derive(Clone, Debug)]
pub struct Builder<B> {
    body: B,
    event_id: Option<Text>,
    source: Option<Text>,
    metadata: Map<String, Value>,
}

impl<B: EventBody> Builder<B> {
    pub(super) fn new(body: B) -> Self {
        Self {
            body,
            event_id: None,
            source: None,
            metadata: Map::new(),
        }
    }

    /// Sets the id: the source's own, stable across re-publishing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when it is empty.
    pub fn event_id(mut self, id: impl Into<String>) -> Result<Self> {
        self.event_id = Some(Text::new(id)?);
        Ok(self)
    }

    /// Sets where the event comes from.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when it is empty.
    pub fn source(mut self, source: impl Into<String>) -> Result<Self> {
        self.source = Some(Text::new(source)?);
        Ok(self)
    }

    /// Sets the free-form data.
    #[must_use]
    pub fn metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.metadata = metadata;
        self
    }

    /// The event, published now.
    #[must_use]
    pub fn build(self) -> Envelope<B> {
        Envelope {
            schema_version: B::SCHEMA_VERSION,
            event_id: self.event_id.unwrap_or_else(|| Uuid::now_v7().into()),
            source: self.source.unwrap_or_else(Text::unknown),
            published_at: Timestamp::now(),
            retries: 0,
            metadata: self.metadata,
            body: self.body,
            unknown: Map::new(),
        }
    }
}

/// What a source tells of an event that may announce free food, before it is one: everything is
/// optional, times have any offset, ids may be numbers.
///
/// ```
/// use potluck_core::envelope::RawEvent;
///
/// let raw: RawEvent = serde_json::from_str(
///     r#"{"id": 42, "title": "Free Pizza Night", "start_time": "2025-11-02T13:00:00-05:00"}"#,
/// )?;
/// let event = raw.into_event()?;
/// assert_eq!(&*event.event_id, "42");
/// assert_eq!(&*event.source, "unknown");
/// assert_eq!(event.body.start_time.map(|t| t.to_string()).as_deref(), Some("2025-11-02T18:00:00Z"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RawEvent {
    /// The source's id, a string or a whole number. Absent or empty: a new UUID.
    #[serde(deserialize_with = "string_or_integer")]
    pub id: Option<String>,
    /// What it is called; the one thing that must be there.
    pub title: Option<String>,
    /// What it is about.
    pub description: Option<String>,
    /// Where it is.
    pub location: Option<String>,
    /// When it begins.
    pub start_time: Option<DateTime<FixedOffset>>,
    /// Where the event comes from. Absent or empty: `unknown`.
    pub source: Option<String>,
    /// How sure a classifier is.
    pub llm_confidence: Option<f64>,
    /// Why the classifier thinks so.
    pub reason: Option<String>,
    /// Free-form data.
    pub metadata: Option<Map<String, Value>>,
}

impl RawEvent {
    /// The event to publish.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when there is no title, the confidence is not from 0 to 1, or the
    /// time's year is not from 1 to 9999.
    pub fn into_event(self) -> Result<FreeFoodEvent> {
        let no_title = || Error::new(ErrorKind::Invalid, "build event", "an event needs a title");
        let given = |text: Option<String>| text.and_then(|text| Text::new(text).ok());
        let title = given(self.title).ok_or_else(no_title)?;
        let mut builder = Builder::new(FreeFood {
            title,
            description: self.description,
            location: self.location,
            start_time: self
                .start_time
                .map(|at| Timestamp::new(at.with_timezone(&Utc)))
                .transpose()?,
            llm_confidence: self.llm_confidence.map(Confidence::new).transpose()?,
            reason: self.reason,
        })
        .metadata(self.metadata.unwrap_or_default());
        builder.event_id = given(self.id);
        builder.source = given(self.source);
        Ok(builder.build())
    }
}

fn string_or_integer<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(id) => Ok(Some(id)),
        Value::Number(id) if id.is_u64() || id.is_i64() => Ok(Some(id.to_string())),
        _ => Err(serde::de::Error::custom(
            "an id is a string or a whole number",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_contracts() {
        let raw = RawEvent {
            title: Some("t".into()),
            id: Some(String::new()),
            ..RawEvent::default()
        };
        let event = raw.into_event().unwrap();
        assert!(Uuid::parse_str(&event.event_id).is_ok());
        assert_eq!((&*event.source, event.retries), ("unknown", 0));
        assert!(event.metadata.is_empty());
        assert_eq!(event.schema_version.to_string(), "1.0.0");
    }

    #[test]
    fn refuses_what_cannot_be_an_event() {
        for title in [None, Some(String::new())] {
            assert!(
                RawEvent {
                    title,
                    ..RawEvent::default()
                }
                .into_event()
                .is_err()
            );
        }
        let title = || Some("t".to_owned());
        for confidence in [f64::NAN, 1.1, -0.1, f64::INFINITY] {
            let raw = RawEvent {
                title: title(),
                llm_confidence: Some(confidence),
                ..RawEvent::default()
            };
            assert!(raw.into_event().is_err());
        }
        assert!(serde_json::from_str::<RawEvent>(r#"{"id":1.5}"#).is_err());
    }
}
