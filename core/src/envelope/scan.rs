//! Is this text exactly one JSON value that every parser reads alike, and where are its fields?
//!
//! A strict scanner, because no parser answers this: serde_json does not look into what a type
//! ignores (nesting, numbers, surrogates), takes the last of repeated keys, and gives no byte
//! positions, which re-publishing needs. It looks at each byte once, does not recurse, and
//! allocates for top-level keys only. A property test holds it to serde_json's verdicts.

use std::borrow::Cow;
use std::ops::Range;

use super::malformed::{Malformed, Problem};
use super::seen::Seen;

/// The deepest nesting of objects and arrays; the outermost one counts.
pub const DEPTH_MAX: u32 = 64;

/// serde_json gives keys that begin so a meaning of its own when another crate of the build turns
/// one of its features on; a message must not depend on that.
const PRIVATE_PREFIX: &[u8] = b"$serde_json::private::";

/// Where the envelope's own fields stand, as byte ranges of their values.
#[derive(Clone, Debug, Default)]
pub(super) struct Scanned {
    pub(super) is_object: bool,
    pub(super) kind: Option<Range<usize>>,
    pub(super) schema_version: Option<Range<usize>>,
    pub(super) event_id: Option<Range<usize>>,
    pub(super) retries: Option<Range<usize>>,
    pub(super) metadata: Option<Range<usize>>,
}

/// Scans a payload.
pub(super) fn scan(bytes: &[u8]) -> Result<Scanned, Malformed> {
    if let Err(error) = std::str::from_utf8(bytes) {
        return Err(Malformed {
            problem: Problem::NotUtf8,
            offset: error.valid_up_to(),
        });
    }
    if bytes.starts_with("\u{feff}".as_bytes()) {
        return Err(Malformed {
            problem: Problem::ByteOrderMark,
            offset: 0,
        });
    }
    let mut found = Scanned::default();
    let is_object = scan_members(bytes, Keys::Unique, |key, value| match key {
        b"type" => found.kind = Some(value),
        b"schema_version" => found.schema_version = Some(value),
        b"event_id" => found.event_id = Some(value),
        b"retries" => found.retries = Some(value),
        b"metadata" => found.metadata = Some(value),
        _ => {}
    })?;
    found.is_object = is_object;
    Ok(found)
}

/// Whether a key may be there twice at the top level.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    Unique,
    Repeatable,
}

/// Scans UTF-8 text and calls `member` with each top-level key, unescaped, and its value's range.
/// Returns whether the value is an object.
pub(super) fn scan_members<'a>(
    text: &'a [u8],
    keys: Keys,
    mut member: impl FnMut(&[u8], Range<usize>),
) -> Result<bool, Malformed> {
    let mut scanner = Scanner {
        text,
        at: 0,
        depth: 0,
        objects: 0,
    };
    let mut seen = Seen::default();
    let mut open: Option<(Cow<'a, [u8]>, usize)> = None;
    scanner.space();
    if scanner.at == text.len() {
        return Err(scanner.problem(Problem::Empty));
    }
    let is_object = scanner.peek() == Some(b'{');
    let mut expects_key = false;
    loop {
        if expects_key {
            let key_at = scanner.at;
            let key = scanner.key()?;
            if scanner.depth == 1 {
                if keys == Keys::Unique && !seen.is_new(key.clone()) {
                    return Err(Malformed {
                        problem: Problem::RepeatedKey,
                        offset: key_at,
                    });
                }
                open = Some((key, scanner.at));
            }
        }
        match scanner.value()? {
            Value::Opened { is_object } => {
                expects_key = is_object;
                continue;
            }
            Value::Complete => {}
        }
        loop {
            if scanner.depth == 1
                && let Some((key, start)) = open.take()
            {
                member(&key, start..scanner.at);
            }
            if scanner.depth == 0 {
                scanner.space();
                let ended = scanner.at == text.len();
                return if ended {
                    Ok(is_object)
                } else {
                    Err(scanner.problem(Problem::TrailingData))
                };
            }
            if scanner.separator()? {
                break;
            }
        }
        expects_key = scanner.in_object();
    }
}

enum Value {
    /// A container with something in it was entered.
    Opened {
        is_object: bool,
    },
    Complete,
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth: u32,
    /// One bit per open container, the innermost lowest: is it an object?
    objects: u64,
}

impl<'a> Scanner<'a> {
    fn problem(&self, problem: Problem) -> Malformed {
        Malformed {
            problem,
            offset: self.at,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.peek() != Some(byte) {
            return Err(self.problem(Problem::Syntax));
        }
        self.at += 1;
        Ok(())
    }

    /// Reads a value that is complete in itself, or enters a container.
    fn value(&mut self) -> Result<Value, Malformed> {
        match self.peek() {
            Some(b'"') => {
                self.string()?;
            }
            Some(open @ (b'{' | b'[')) => return self.container(open == b'{'),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.literal(b"true")?,
            Some(b'f') => self.literal(b"false")?,
            Some(b'n') => self.literal(b"null")?,
            _ => return Err(self.problem(Problem::Syntax)),
        }
        Ok(Value::Complete)
    }

    fn container(&mut self, is_object: bool) -> Result<Value, Malformed> {
        if self.depth == DEPTH_MAX {
            return Err(self.problem(Problem::TooDeep));
        }
        self.at += 1;
        self.space();
        if self.peek() == Some(if is_object { b'}' } else { b']' }) {
            self.at += 1;
            return Ok(Value::Complete);
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u64::from(is_object);
        Ok(Value::Opened { is_object })
    }

    /// Behind a value: true when another follows a comma, false when the container ended.
    fn separator(&mut self) -> Result<bool, Malformed> {
        self.space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.space();
                Ok(true)
            }
            Some(close @ (b'}' | b']')) if (close == b'}') == self.in_object() => {
                self.at += 1;
                self.depth -= 1;
                self.objects >>= 1;
                Ok(false)
            }
            _ => Err(self.problem(Problem::Syntax)),
        }
    }

    /// A key and its colon; stands at the value after it.
    fn key(&mut self) -> Result<Cow<'a, [u8]>, Malformed> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.problem(Problem::Syntax));
        }
        let escaped = self.string()?;
        let quoted = &self.text[start..self.at];
        let key = if escaped {
            // Rare, and the scan has just found it correct.
            let key: String =
                serde_json::from_slice(quoted).map_err(|_| self.problem(Problem::Syntax))?;
            Cow::Owned(key.into_bytes())
        } else {
            Cow::Borrowed(&quoted[1..quoted.len() - 1])
        };
        if key.starts_with(PRIVATE_PREFIX) {
            return Err(Malformed {
                problem: Problem::ReservedKey,
                offset: start,
            });
        }
        self.space();
        self.expect(b':')?;
        self.space();
        Ok(key)
    }

    /// A string; returns whether it has escapes.
    fn string(&mut self) -> Result<bool, Malformed> {
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at = skip_plain(self.text, self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                // A control character, or the end.
                _ => return Err(self.problem(Problem::Syntax)),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let unit = self.unicode()?;
                match unit {
                    0xd800..=0xdbff => {
                        let start = self.at;
                        self.at += 6;
                        let low = self.text.get(self.at..self.at + 2) == Some(b"\\u")
                            && matches!(self.unicode()?, 0xdc00..=0xdfff);
                        if !low {
                            return Err(Malformed {
                                problem: Problem::LoneSurrogate,
                                offset: start,
                            });
                        }
                    }
                    0xdc00..=0xdfff => return Err(self.problem(Problem::LoneSurrogate)),
                    _ => {}
                }
                self.at += 6;
                Ok(())
            }
            _ => Err(self.problem(Problem::Syntax)),
        }
    }

    /// The code unit of the `\uXXXX` here.
    fn unicode(&self) -> Result<u32, Malformed> {
        let digits = self.text.get(self.at + 2..self.at + 6);
        digits
            .and_then(|digits| {
                digits
                    .iter()
                    .try_fold(0, |unit, d| Some(unit * 16 + char::from(*d).to_digit(16)?))
            })
            .ok_or_else(|| self.problem(Problem::Syntax))
    }

    fn digits(&mut self) -> Result<usize, Malformed> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            Err(self.problem(Problem::Syntax))
        } else {
            Ok(self.at - start)
        }
    }

    fn number(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let whole = if self.peek() == Some(b'0') {
            self.at += 1;
            1
        } else {
            self.digits()?
        };
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        let exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if exponent {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        // Anything else is far below 1.8e308.
        if exponent || whole > 300 {
            let text = std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default();
            if text.parse::<f64>().is_ok_and(f64::is_infinite) {
                return Err(Malformed {
                    problem: Problem::NumberOverflow,
                    offset: start,
                });
            }
        }
        Ok(())
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<(), Malformed> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.problem(Problem::Syntax));
        }
        self.at += word.len();
        Ok(())
    }
}

/// The first byte from `at` that is a quote, a backslash or a control character; eight at a time.
fn skip_plain(text: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero_byte = |word: u64| word.wrapping_sub(ONES) & !word;
    while let Some(chunk) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let below_space = word.wrapping_sub(ONES * 0x20) & !word;
        let special = (zero_byte(word ^ (ONES * u64::from(b'"')))
            | zero_byte(word ^ (ONES * u64::from(b'\\')))
            | below_space)
            & HIGH;
        if special != 0 {
            // The lowest marked byte is exact; borrows disturb only those above it.
            return at + (special.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let special = |b: &u8| matches!(b, b'"' | b'\\' | 0..0x20);
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(special).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests;
