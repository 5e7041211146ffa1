//! How JSON text becomes an envelope: in one pass, without a detour over a generic value.
//!
//! The envelope's visitor takes the common fields and lends the body a view of the rest, so the
//! body's own derived `Deserialize` runs on the parser itself. serde's `flatten` would buffer every
//! field, and breaks floats when another crate turns on `serde_json/arbitrary_precision`.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use bytes::Bytes;
use serde::de::{
    self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Unexpected, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::{Map, Value};

use super::fields::Retries;
use super::{Envelope, EventBody, Payload, SchemaVersion, Text, Timestamp, Undecodable};

/// An event as it was received: decoded, and with its bytes.
#[derive(Clone, Debug)]
pub struct Received<B> {
    /// The event.
    pub event: Envelope<B>,
    /// The payload that it was decoded from, for re-publishing.
    pub payload: Payload,
}

impl<B: EventBody> Received<B> {
    /// Checks and decodes.
    ///
    /// # Errors
    ///
    /// [`Undecodable`], which says where and which rule, and never quotes the payload.
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, Undecodable> {
        let payload = Payload::check(bytes)?;
        let event = payload.decode()?;
        Ok(Self { event, payload })
    }
}

impl<B> Deref for Received<B> {
    type Target = Envelope<B>;
    fn deref(&self) -> &Envelope<B> {
        &self.event
    }
}

impl Payload {
    /// Decodes the payload as an event of type `B`, and holds it to every rule of its schema.
    ///
    /// # Errors
    ///
    /// [`Invalid`], which says which field and rule, and never quotes the payload.
    pub fn decode<B: EventBody>(&self) -> Result<Envelope<B>, Invalid> {
        let mut last = None;
        // Checked already; this costs little, and `from_str` then need not check each string.
        let text = std::str::from_utf8(self.bytes()).unwrap_or_default();
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let seed = Seed {
            last: &mut last,
            body: PhantomData,
        };
        seed.deserialize(&mut deserializer)
            .map_err(|error| Invalid::new(last, &error))
    }
}

impl<'de, B: EventBody> Deserialize<'de> for Envelope<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Seed {
            last: &mut None,
            body: PhantomData,
        }
        .deserialize(deserializer)
    }
}

/// Why a payload is no event of a type: which rule it breaks, and where. Holds nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The field, when one is to blame.
    pub field: Option<&'static str>,
    /// The rule that it breaks.
    pub rule: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

impl Invalid {
    fn new(field: Option<&'static str>, error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        let text = text
            .strip_suffix(&format!(" at line {line} column {column}"))
            .unwrap_or(&text);
        // serde's texts quote the value. What follows the last "expected" comes from the type, as
        // does the name of a missing field; anything else may come from the payload.
        let quotes = [
            "invalid type: ",
            "invalid value: ",
            "invalid length ",
            "unknown variant ",
        ];
        let missing = text.starts_with("missing field `");
        let rule = if missing || text.starts_with("duplicate field `") {
            text.to_owned()
        } else if quotes.iter().any(|quote| text.starts_with(quote)) {
            let rule = text
                .rsplit_once(", expected ")
                .map_or("another value", |(_, rule)| rule);
            format!("expected {rule}")
        } else {
            "does not fit the field's type".to_owned()
        };
        Self {
            field: field.filter(|_| !missing),
            rule,
            line,
            column,
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = self.field {
            write!(f, "field `{field}`: ")?;
        }
        write!(
            f,
            "{} (line {}, column {})",
            self.rule, self.line, self.column
        )
    }
}

impl std::error::Error for Invalid {}

/// Decodes an envelope and tells, through `last`, which field it was at when it failed.
struct Seed<'a, B> {
    last: &'a mut Option<&'static str>,
    body: PhantomData<B>,
}

impl<'de, B: EventBody> DeserializeSeed<'de> for Seed<'_, B> {
    type Value = Envelope<B>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, B: EventBody> Visitor<'de> for Seed<'_, B> {
    type Value = Envelope<B>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, the event envelope")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields {
            map,
            known: &[],
            takes_all: false,
            common: Common::default(),
            kind: B::TYPE,
            last: self.last,
        };
        let body = B::deserialize(&mut fields)?;
        // A body may stop before the end.
        while let Some(key) = fields.next_body_key()? {
            *fields.last = None;
            let value = fields.map.next_value()?;
            fields.common.unknown.insert(key.into_owned(), value);
        }
        fields.common.finish(body)
    }
}

/// The common fields as they come.
#[derive(Default)]
struct Common {
    schema_version: Option<SchemaVersion>,
    event_id: Option<Text>,
    source: Option<Text>,
    kind: Option<()>,
    published_at: Option<Timestamp>,
    retries: Option<Retries>,
    metadata: Option<Map<String, Value>>,
    unknown: Map<String, Value>,
}

impl Common {
    fn finish<B, E: de::Error>(self, body: B) -> Result<Envelope<B>, E> {
        fn required<T, E: de::Error>(field: &'static str, value: Option<T>) -> Result<T, E> {
            value.ok_or_else(|| E::missing_field(field))
        }
        required("type", self.kind)?;
        Ok(Envelope {
            schema_version: required("schema_version", self.schema_version)?,
            event_id: required("event_id", self.event_id)?,
            source: required("source", self.source)?,
            published_at: required("published_at", self.published_at)?,
            retries: required("retries", self.retries)?.0,
            metadata: required("metadata", self.metadata)?,
            body,
            unknown: self.unknown,
        })
    }
}

/// The object as the body sees it: without the common fields, and without fields that it does not
/// know, which are kept.
struct Fields<'a, A> {
    map: A,
    /// The body's fields, when it names them.
    known: &'static [&'static str],
    /// Whether the body did not name them and takes what comes.
    takes_all: bool,
    common: Common,
    kind: &'static str,
    last: &'a mut Option<&'static str>,
}

impl<'de, A: MapAccess<'de>> Fields<'_, A> {
    /// Reads on to the next field that is the body's.
    fn next_body_key(&mut self) -> Result<Option<Cow<'de, str>>, A::Error> {
        while let Some(Key(key)) = self.map.next_key::<Key<'de>>()? {
            if self.common_field(&key)? {
                continue;
            }
            let known = self.known.iter().find(|known| ***known == *key);
            *self.last = known.copied();
            if known.is_some() || self.takes_all {
                return Ok(Some(key));
            }
            let value = self.map.next_value()?;
            self.common.unknown.insert(key.into_owned(), value);
        }
        Ok(None)
    }

    /// Takes the value, if `key` is a common field's.
    fn common_field(&mut self, key: &str) -> Result<bool, A::Error> {
        let Self {
            map,
            common,
            last,
            kind,
            ..
        } = self;
        match key {
            "schema_version" => take("schema_version", &mut common.schema_version, last, || {
                map.next_value()
            }),
            "event_id" => take("event_id", &mut common.event_id, last, || map.next_value()),
            "source" => take("source", &mut common.source, last, || map.next_value()),
            "type" => take("type", &mut common.kind, last, || {
                map.next_value_seed(Kind(kind))
            }),
            "published_at" => take("published_at", &mut common.published_at, last, || {
                map.next_value()
            }),
            "retries" => take("retries", &mut common.retries, last, || map.next_value()),
            "metadata" => take("metadata", &mut common.metadata, last, || map.next_value()),
            _ => return Ok(false),
        }
        .map(|()| true)
    }
}

fn take<T, E: de::Error>(
    name: &'static str,
    slot: &mut Option<T>,
    last: &mut Option<&'static str>,
    value: impl FnOnce() -> Result<T, E>,
) -> Result<(), E> {
    *last = Some(name);
    if slot.is_some() {
        return Err(E::duplicate_field(name));
    }
    *slot = Some(value()?);
    Ok(())
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for &mut Fields<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        match self.next_body_key()? {
            Some(Cow::Borrowed(key)) => seed
                .deserialize(de::value::BorrowedStrDeserializer::new(key))
                .map(Some),
            Some(Cow::Owned(key)) => seed.deserialize(key.into_deserializer()).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

impl<'de, A: MapAccess<'de>> Deserializer<'de> for &mut Fields<'_, A> {
    type Error = A::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.known = fields;
        visitor.visit_map(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        self.takes_all = true;
        let value = visitor.visit_map(&mut *self);
        self.takes_all = false;
        value
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// A key, borrowed from the text unless it has escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E: de::Error>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }
            fn visit_str<E: de::Error>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(V)
    }
}

/// The value of `type` must be the body's.
struct Kind(&'static str);

impl<'de> DeserializeSeed<'de> for Kind {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Kind {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }

    fn visit_str<E: de::Error>(self, kind: &str) -> Result<(), E> {
        if kind == self.0 {
            Ok(())
        } else {
            Err(E::invalid_value(Unexpected::Str(kind), &self))
        }
    }
}
