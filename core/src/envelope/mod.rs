//! The event envelope, version 1.0.0: one flat JSON object, the same on every broker.
//!
//! An [`Envelope<B>`] has the fields common to all events and a typed body `B`, flat beside them.
//! [`FreeFoodEvent`] is the envelope whose body is [`FreeFood`]; an application defines its own
//! with a struct and two constants, see [`EventBody`].
//!
//! Received bytes become an event in two steps, in the order in which things are refused:
//!
//! 1. [`Payload::check`] refuses what is *malformed*: what JSON parsers disagree about, or what is
//!    not JSON. It looks at every byte, unknown fields included, and allocates little.
//! 2. [`Payload::decode`] refuses what is *invalid*: what the event's JSON Schema refuses. Schema
//!    and type agree on every text.
//!
//! The [`Received`] event keeps its bytes. [`Payload::after_failure`] changes `retries` and
//! `metadata` inside them and copies every other byte, so that what one service does not know
//! survives it.

mod body;
mod builder;
mod decode;
mod fields;
mod finite;
mod free_food;
mod malformed;
mod patch;
mod payload;
mod scan;
mod schema;
mod seen;
mod timestamp;
mod version;

pub use body::EventBody;
pub use builder::{Builder, RawEvent};
pub use decode::{Invalid, Received};
pub use fields::{Confidence, Text};
pub use free_food::{FreeFood, FreeFoodEvent};
pub use malformed::{Malformed, Problem};
pub use payload::{Payload, Undecodable};
pub use scan::DEPTH_MAX;
pub use timestamp::Timestamp;
pub use version::{SchemaVersion, Verdict, VersionWatch};

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::headers::Headers;
use crate::message::{BODY_MAX, Message};

/// The longest event id that travels as the header `message-id`.
const MESSAGE_ID_MAX: usize = 255;

/// An event: the common fields of contract version 1.0.0, and a body.
///
/// Build one with [`Envelope::builder`]; decode one with [`Received::parse`], which checks more
/// than `Deserialize` can. Serialising writes the fields flat, in the contract's order.
///
/// ```
/// use potluck_core::envelope::{FreeFood, FreeFoodEvent, Received, Text};
///
/// let event = FreeFoodEvent::builder(FreeFood::new(Text::new("Free Pizza Night")?))
///     .source("umass-calendar")?
///     .build();
/// let message = event.to_message()?;
/// assert_eq!(message.headers().get("content-type").map(|v| &v[..]), Some(&b"application/json"[..]));
///
/// let received = Received::<FreeFood>::parse(message.body().clone())?;
/// assert_eq!(received.event, event);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope<B> {
    /// The version of the contract that the event was written by.
    pub schema_version: SchemaVersion,
    /// A unique id, stable across retries and re-publishing: a UUID or the source's own.
    pub event_id: Text,
    /// Where the event comes from, such as `umass-calendar`.
    pub source: Text,
    /// When the producer first published it.
    pub published_at: Timestamp,
    /// Failed processing attempts. Written by the runtime, never trusted by it.
    pub retries: u32,
    /// Free-form data.
    pub metadata: Map<String, Value>,
    /// The fields of this type of event.
    pub body: B,
    /// Fields that neither the envelope nor the body knows. They are kept by value; their bytes are
    /// kept by [`Received`].
    pub unknown: Map<String, Value>,
}

impl<B: EventBody> Envelope<B> {
    /// Begins an event with this body.
    pub fn builder(body: B) -> Builder<B> {
        Builder::new(body)
    }

    /// The event as JSON text.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when the body has a float that is not finite, or what it serialises
    /// to breaks the contract's rules for payloads (nesting, repeated keys, a body field that has
    /// a common field's name); [`ErrorKind::TooLarge`] over 1 MiB.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        finite::check(&self.body)?;
        let json = serde_json::to_vec(self).map_err(|_| {
            // The error's text may quote the value.
            refused(ErrorKind::Invalid, "the body does not serialise to JSON")
        })?;
        if json.len() > BODY_MAX {
            return Err(refused(
                ErrorKind::TooLarge,
                "the event is larger than 1 MiB; send less",
            )
            .with("bytes", json.len()));
        }
        match scan::scan(&json) {
            Ok(scanned) if scanned.is_object => Ok(json),
            Ok(_) => Err(refused(
                ErrorKind::Invalid,
                "the body does not serialise to an object's fields",
            )),
            Err(malformed) => Err(refused(ErrorKind::Invalid, "the event would be malformed")
                .with("because", malformed)),
        }
    }

    /// The event as a message, with `content-type: application/json` and, unless the event's id is
    /// longer than 255 bytes, `message-id`.
    ///
    /// # Errors
    ///
    /// As [`to_json`](Self::to_json).
    pub fn to_message(&self) -> Result<Message> {
        // Legal and unique as they stand, so they need not be checked one by one.
        let mut headers = Vec::with_capacity(2);
        headers.push((
            "content-type".into(),
            Bytes::from_static(b"application/json"),
        ));
        if self.event_id.len() <= MESSAGE_ID_MAX {
            let id = Bytes::copy_from_slice(self.event_id.as_bytes());
            headers.push(("message-id".into(), id));
        }
        Ok(Message::built(
            self.to_json()?.into(),
            Headers::from_unique(headers),
        ))
    }
}

impl<B: EventBody> Serialize for Envelope<B> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Flattening streams on the way out; only on the way in it would buffer.
        #[derive(Serialize)]
        struct Flat<'a, B> {
            schema_version: &'a SchemaVersion,
            event_id: &'a Text,
            #[serde(flatten)]
            body: &'a B,
            source: &'a Text,
            r#type: &'static str,
            published_at: &'a Timestamp,
            retries: u32,
            metadata: &'a Map<String, Value>,
            #[serde(flatten)]
            unknown: &'a Map<String, Value>,
        }
        Flat {
            schema_version: &self.schema_version,
            event_id: &self.event_id,
            body: &self.body,
            source: &self.source,
            r#type: B::TYPE,
            published_at: &self.published_at,
            retries: self.retries,
            metadata: &self.metadata,
            unknown: &self.unknown,
        }
        .serialize(serializer)
    }
}

fn refused(kind: ErrorKind, rule: &'static str) -> Error {
    Error::new(kind, "encode event", rule)
}
