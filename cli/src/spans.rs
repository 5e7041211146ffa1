//! Where in a JSON text are the elements of a list, when some of them may be bad?
//!
//! A parser gives up on the whole text when one string in it is no text. Here each element is cut
//! out first, checked for nothing but its ends, so that it can fail alone.

use std::ops::Range;

use serde::de::IgnoredAny;

/// Where the text ceased to be JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// The line, from 1.
    pub(crate) line: usize,
    /// The byte in it, from 1.
    pub(crate) column: usize,
}

/// The ranges of the list's elements: the text is the list, or an object that has it as `field`.
/// `None` when it is neither.
pub(crate) fn elements(text: &[u8], field: &str) -> Result<Option<Vec<Range<usize>>>, Broken> {
    let mut cursor = Cursor { text, at: 0 };
    let mut found = None;
    match cursor.peek() {
        Some(b'[') => found = Some(cursor.list()?),
        Some(b'{') => {
            cursor.at += 1;
            let mut first = true;
            while cursor.goes_on(b'}', &mut first)? {
                let key = cursor.value()?;
                cursor.expect(b':')?;
                let is_field =
                    serde_json::from_slice::<String>(&text[key]).is_ok_and(|key| key == field);
                if is_field && cursor.peek() == Some(b'[') {
                    found = Some(cursor.list()?);
                } else {
                    cursor.value()?;
                }
            }
        }
        _ => {
            cursor.value()?;
        }
    }
    match cursor.peek() {
        None => Ok(found),
        Some(_) => Err(cursor.broken()),
    }
}

struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let space = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        self.at += self.text[self.at..].iter().take_while(space).count();
        self.text.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Result<(), Broken> {
        if self.peek() != Some(byte) {
            return Err(self.broken());
        }
        self.at += 1;
        Ok(())
    }

    /// Passes over what stands between members: whether another one follows.
    fn goes_on(&mut self, end: u8, first: &mut bool) -> Result<bool, Broken> {
        if self.peek() == Some(end) {
            self.at += 1;
            return Ok(false);
        }
        if !std::mem::take(first) {
            self.expect(b',')?;
        }
        Ok(true)
    }

    fn list(&mut self) -> Result<Vec<Range<usize>>, Broken> {
        self.expect(b'[')?;
        let (mut ranges, mut first) = (Vec::new(), true);
        while self.goes_on(b']', &mut first)? {
            ranges.push(self.value()?);
        }
        Ok(ranges)
    }

    /// Passes over one value. The parser neither recurses nor decodes strings for this.
    fn value(&mut self) -> Result<Range<usize>, Broken> {
        self.peek();
        let start = self.at;
        let mut values =
            serde_json::Deserializer::from_slice(&self.text[start..]).into_iter::<IgnoredAny>();
        let read = values.next().is_some_and(|value| value.is_ok());
        self.at += values.byte_offset();
        if read {
            Ok(start..self.at)
        } else {
            Err(self.broken())
        }
    }

    fn broken(&self) -> Broken {
        let before = &self.text[..self.at.min(self.text.len())];
        let line_at = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        Broken {
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            column: 1 + before.len() - line_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Option<Vec<&str>> {
        elements(text.as_bytes(), "events")
            .unwrap()
            .map(|ranges| ranges.into_iter().map(|range| &text[range]).collect())
    }

    #[test]
    fn finds_the_elements() {
        assert_eq!(
            texts("[1, {\"a\":[2]} ,\"x\\ud800\"]"),
            Some(vec!["1", "{\"a\":[2]}", "\"x\\ud800\""])
        );
        assert_eq!(
            texts(" {\"page\":{\"events\":[0]},\"event\\u0073\" :[ ] , \"z\":1.5e3}\n"),
            Some(vec![])
        );
        assert_eq!(
            texts("{\"events\":[null,true]}"),
            Some(vec!["null", "true"])
        );
        for other in ["{}", "{\"events\":{}}", "7", "\"[1]\"", "null"] {
            assert_eq!(texts(other), None, "{other}");
        }
        let deep = format!("[{}{}]", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(texts(&deep).unwrap().len(), 1);
    }

    #[test]
    fn says_where_it_is_no_json() {
        for (text, line, column) in [
            ("", 1, 1),
            ("[1\n,\n  }", 3, 3),
            ("[1 2]", 1, 4),
            ("{\"a\" 1}", 1, 6),
            ("{\"events\":[", 1, 12),
            ("[1] x", 1, 5),
        ] {
            let broken = elements(text.as_bytes(), "events").unwrap_err();
            assert_eq!((broken.line, broken.column), (line, column), "{text}");
        }
    }

    #[test]
    fn a_long_list_costs_no_more_than_its_length() {
        let text = format!("[{}0]", "{},".repeat(100_000));
        assert_eq!(texts(&text).unwrap().len(), 100_001);
    }
}
