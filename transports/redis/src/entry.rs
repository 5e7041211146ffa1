//! How a message becomes a stream entry, and an entry a message.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use potluck_core::{Defect, Headers, Message, MessageId};
use redis::{Cmd, Value};

const KEY_FIELD: &str = "key";
const HEADER_PREFIX: &str = "h:";

/// An entry's id as the number pair that it is.
pub(crate) fn id(value: &Value) -> Option<MessageId> {
    match value {
        Value::BulkString(text) => parse_id(text),
        Value::SimpleString(text) => parse_id(text.as_bytes()),
        _ => None,
    }
}

pub(crate) fn parse_id(text: &[u8]) -> Option<MessageId> {
    let dash = text.iter().position(|b| *b == b'-')?;
    let number = |digits: &[u8]| {
        let digit = |n: u64, b: &u8| {
            b.is_ascii_digit()
                .then(|| n.checked_mul(10)?.checked_add(u64::from(b - b'0')))?
        };
        if digits.is_empty() {
            None
        } else {
            digits.iter().try_fold(0, digit)
        }
    };
    Some(message_id(
        number(&text[..dash])?,
        number(&text[dash + 1..])?,
    ))
}

pub(crate) fn message_id(millis: u64, sequence: u64) -> MessageId {
    MessageId::pair(millis, sequence, '-')
}

/// The id behind `id`, for ranges that leave it out; servers before 6.2 have no `(`.
pub(crate) fn next_id(id: MessageId) -> MessageId {
    let (millis, sequence) = id.parts();
    match sequence.checked_add(1) {
        Some(sequence) => message_id(millis, sequence),
        None => message_id(millis.saturating_add(1), 0),
    }
}

/// `XADD topic * …` for a message.
pub(crate) fn xadd(topic: &str, field: &str, message: &Message) -> Cmd {
    let headers = message.headers();
    let size = topic.len() + message.body().len() + headers.bytes() + 64 + headers.len() * 8;
    let mut xadd = Cmd::with_capacity(7 + headers.len() * 2, size);
    xadd.arg("XADD")
        .arg(topic)
        .arg("*")
        .arg(field)
        .arg(&message.body()[..]);
    if let Some(key) = message.key() {
        xadd.arg(KEY_FIELD).arg(&key[..]);
    }
    let mut name = String::new();
    for (header, value) in headers.iter() {
        name.clear();
        name.push_str(HEADER_PREFIX);
        name.push_str(header);
        xadd.arg(name.as_str()).arg(&value[..]);
    }
    xadd
}

/// A stream entry that was read.
pub(crate) struct Entry {
    pub(crate) id: MessageId,
    /// `None` when it was deleted while it was pending.
    pub(crate) content: Option<(Message, Option<Defect>)>,
}

/// Reads an array of entries, `[id, [field, value, …]]` each. `None` when it is none.
pub(crate) fn entries(value: Value, field: &str) -> Option<Vec<Entry>> {
    match value {
        Value::Array(entries) => entries
            .into_iter()
            // XAUTOCLAIM of servers before 7.0 puts nil in place of deleted entries.
            .filter(|value| !matches!(value, Value::Nil))
            .map(|value| entry(value, field))
            .collect(),
        Value::Nil => Some(Vec::new()),
        _ => None,
    }
}

fn entry(value: Value, field: &str) -> Option<Entry> {
    let Value::Array(parts) = value else {
        return None;
    };
    let mut parts = parts.into_iter();
    let id = id(&parts.next()?)?;
    let content = match parts.next()? {
        Value::Array(fields) => Some(message(fields, field)),
        Value::Nil => None,
        _ => return None,
    };
    Some(Entry { id, content })
}

/// The first stream's entries of an XREAD or XREADGROUP answer; nil when the wait was in vain.
pub(crate) fn stream_entries(value: Value, field: &str) -> Option<Vec<Entry>> {
    let streams = match value {
        Value::Nil => return Some(Vec::new()),
        Value::Array(streams) => streams,
        _ => return None,
    };
    let Some(Value::Array(stream)) = streams.into_iter().next() else {
        return Some(Vec::new());
    };
    entries(stream.into_iter().nth(1)?, field)
}

/// A message from an entry's fields, and what is wrong with it. Nothing that a foreign client
/// writes is refused here: names that are no header's are escaped, what lacks a body is a defect.
fn message(fields: Vec<Value>, body_field: &str) -> (Message, Option<Defect>) {
    let mut body = None;
    let mut key = None;
    let mut headers = Collected::default();
    let mut defect = None;
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        let (Value::BulkString(name), Value::BulkString(value)) = (name, value) else {
            defect = Some(Defect::Undecodable(
                "the entry has a field that is no string",
            ));
            continue;
        };
        let value = Bytes::from(value);
        if name == body_field.as_bytes() {
            body = Some(value);
        } else if name == KEY_FIELD.as_bytes() {
            key = Some(value);
        } else if let Some(header) = name.strip_prefix(HEADER_PREFIX.as_bytes()) {
            headers.ours(header_name(header), value);
        } else {
            headers.foreign(header_name(&name), value);
        }
    }
    if body.is_none() {
        defect = Some(Defect::NoBody);
    }
    (
        Message::received(body.unwrap_or_default(), headers.finish(), key),
        defect,
    )
}

/// A header's name from a field's, with the bytes that no header name has as `%XX`.
fn header_name(field: &[u8]) -> Cow<'static, str> {
    match field {
        b"content-type" => return Cow::Borrowed("content-type"),
        b"message-id" => return Cow::Borrowed("message-id"),
        _ => {}
    }
    let mut name = String::with_capacity(field.len());
    for chunk in field.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                let mut utf8 = [0; 4];
                for byte in c.encode_utf8(&mut utf8).bytes() {
                    name.push_str(&format!("%{byte:02X}"));
                }
            } else {
                name.push(c);
            }
        }
        for byte in chunk.invalid() {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    Cow::Owned(name)
}

/// Headers as they come: the last of a name wins, and `h:NAME` over a field named NAME.
#[derive(Default)]
struct Collected {
    entries: Vec<(Cow<'static, str>, Bytes)>,
    ours: Vec<bool>,
    /// Places by name, once there are so many that looking through them would cost their square.
    index: HashMap<Cow<'static, str>, usize>,
}

impl Collected {
    const FEW: usize = 32;

    fn ours(&mut self, name: Cow<'static, str>, value: Bytes) {
        self.put(name, value, true);
    }

    fn foreign(&mut self, name: Cow<'static, str>, value: Bytes) {
        self.put(name, value, false);
    }

    fn put(&mut self, name: Cow<'static, str>, value: Bytes, ours: bool) {
        let there = if self.entries.len() < Self::FEW {
            self.entries.iter().position(|(known, _)| *known == name)
        } else {
            if self.index.is_empty() {
                let names = self.entries.iter().map(|(name, _)| name.clone());
                self.index = names.zip(0..).collect();
            }
            self.index.get(&name).copied()
        };
        match there {
            Some(at) if ours || !self.ours[at] => {
                self.entries[at].1 = value;
                self.ours[at] = ours;
            }
            Some(_) => {}
            None => {
                if !self.index.is_empty() {
                    self.index.insert(name.clone(), self.entries.len());
                }
                self.entries.push((name, value));
                self.ours.push(ours);
            }
        }
    }

    fn finish(self) -> Headers {
        Headers::from_unique(self.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(bytes: impl AsRef<[u8]>) -> Value {
        Value::BulkString(bytes.as_ref().to_vec())
    }

    fn read(fields: &[(&[u8], &[u8])]) -> (Message, Option<Defect>) {
        let fields = fields
            .iter()
            .flat_map(|(name, value)| [bulk(name), bulk(value)])
            .collect();
        message(fields, "data")
    }

    #[test]
    fn a_message_comes_back_as_it_went() {
        let message = Message::new("body")
            .with_key("k")
            .unwrap()
            .with_header("content-type", "application/json")
            .unwrap()
            .with_header("ü \"", vec![0, 255])
            .unwrap();
        let xadd = xadd("t", "data", &message);
        let args: Vec<Value> = xadd
            .args_iter()
            .skip(3)
            .map(|arg| match arg {
                redis::Arg::Simple(bytes) => bulk(bytes),
                _ => Value::Nil,
            })
            .collect();
        let (back, defect) = super::message(args, "data");
        assert_eq!(defect, None);
        assert_eq!(
            (back.body(), back.key(), back.headers()),
            (message.body(), message.key(), message.headers())
        );
    }

    #[test]
    fn foreign_entries_are_good_messages_or_defects() {
        let (message, defect) = read(&[
            (b"data", b"x"),
            (b"traceparent", b"1"),
            (b"\xff\n\xc2\x85", b"2"),
        ]);
        assert_eq!(defect, None);
        assert_eq!(message.headers().get("traceparent").unwrap().as_ref(), b"1");
        assert_eq!(
            message.headers().get("%FF%0A%C2%85").unwrap().as_ref(),
            b"2"
        );
        assert_eq!(message.defect(10), None);

        let (message, defect) = read(&[(b"payload", b"x")]);
        assert_eq!((defect, message.body().len()), (Some(Defect::NoBody), 0));
        assert!(message.headers().get("payload").is_some());
        assert!(read(&[(b"data", b"x"), (b"", b"y")]).0.defect(10).is_some());
    }

    #[test]
    fn ours_wins_over_foreign_and_the_last_over_the_first() {
        let fields: &[(&[u8], &[u8])] = &[
            (b"h:a", b"ours"),
            (b"a", b"foreign"),
            (b"b", b"1"),
            (b"b", b"2"),
            (b"h:b", b"3"),
        ];
        let (message, _) = read(fields);
        assert_eq!(message.headers().get("a").unwrap().as_ref(), b"ours");
        assert_eq!(message.headers().get("b").unwrap().as_ref(), b"3");

        let many: Vec<_> = (0..10_000)
            .flat_map(|i| [bulk(format!("n{}", i % 5000)), bulk("v")])
            .collect();
        assert_eq!(super::message(many, "data").0.headers().len(), 5000);
    }

    #[test]
    fn ids_are_two_numbers() {
        assert_eq!(
            parse_id(b"1700000000000-3"),
            Some(message_id(1_700_000_000_000, 3))
        );
        assert_eq!(message_id(5, 0).to_string(), "5-0");
        for bad in [
            &b""[..],
            b"1",
            b"-1",
            b"1-",
            b"a-1",
            b"1-1-1",
            b"99999999999999999999-0",
        ] {
            assert_eq!(parse_id(bad), None);
        }
        assert_eq!(next_id(message_id(1, u64::MAX)), message_id(2, 0));
    }
}
