//! How a failed event is re-published: two fields change, every other byte is copied.

use std::ops::Range;

use bytes::Bytes;

use super::Payload;
use super::fields::Retries;
use super::scan::{Keys, scan_members};
use crate::error::{Error, ErrorKind, Result};

/// The most bytes of a failure's text that are written into an event.
const LAST_ERROR_MAX: usize = 1024;

impl Payload {
    /// The payload after `failures` more failed attempts: `retries` is that much larger (and stops
    /// at its largest value), `metadata.last_error` is `last_error`, cut to 1 KiB. Unknown fields,
    /// the spelling of numbers and keys, their order and white space stay as they are.
    ///
    /// ```
    /// use potluck_core::envelope::Payload;
    ///
    /// let payload = Payload::check(r#"{"retries": 0, "n": 1.10, "metadata": {"a":1}}"#)?;
    /// assert_eq!(
    ///     payload.after_failure(1, "no seats left")?,
    ///     r#"{"retries": 1, "n": 1.10, "metadata": {"a":1,"last_error":"no seats left"}}"#
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when `retries` or `metadata` are not as the contract has them: only
    /// a valid event is re-published, others are dead-lettered as they came.
    pub fn after_failure(&self, failures: u32, last_error: &str) -> Result<Bytes> {
        let rule = "the payload has no valid `retries` and `metadata`; dead-letter it as it came";
        let invalid = || Error::new(ErrorKind::Invalid, "re-publish event", rule);
        let (Some(retries), Some(metadata)) = (&self.fields().retries, &self.fields().metadata)
        else {
            return Err(invalid());
        };
        let before: Retries =
            serde_json::from_slice(&self.bytes()[retries.clone()]).map_err(|_| invalid())?;
        let after = before.0.saturating_add(failures).to_string();
        let (place, text) =
            last_error_edit(self.bytes(), metadata, last_error).ok_or_else(invalid)?;

        let mut edits = [(retries.clone(), after), (place, text)];
        edits.sort_by_key(|(place, _)| place.start);
        let mut patched =
            Vec::with_capacity(self.bytes().len() + edits[0].1.len() + edits[1].1.len());
        let mut copied = 0;
        for (place, text) in &edits {
            patched.extend_from_slice(&self.bytes()[copied..place.start]);
            patched.extend_from_slice(text.as_bytes());
            copied = place.end;
        }
        patched.extend_from_slice(&self.bytes()[copied..]);
        Ok(patched.into())
    }
}

/// Which bytes of the payload become which text, so that the metadata has this `last_error`.
fn last_error_edit(
    payload: &[u8],
    metadata: &Range<usize>,
    last_error: &str,
) -> Option<(Range<usize>, String)> {
    let mut end = last_error.len().min(LAST_ERROR_MAX);
    while !last_error.is_char_boundary(end) {
        end -= 1;
    }
    let text = serde_json::to_string(&last_error[..end]).ok()?;

    let (mut there, mut last) = (None, None);
    let members = scan_members(
        &payload[metadata.clone()],
        Keys::Repeatable,
        |key, value| {
            // Of repeated keys the last one counts.
            if key == b"last_error" {
                there = Some(value.clone());
            }
            last = Some(value.end);
        },
    );
    if !members.ok()? {
        return None;
    }
    let at = metadata.start;
    Some(match (there, last) {
        (Some(value), _) => (at + value.start..at + value.end, text),
        (None, Some(end)) => (at + end..at + end, format!(",\"last_error\":{text}")),
        (None, None) => (at + 1..at + 1, format!("\"last_error\":{text}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(text: &str) -> String {
        let payload = Payload::check(text.to_owned()).unwrap();
        String::from_utf8(payload.after_failure(2, "a\"b\n").unwrap().to_vec()).unwrap()
    }

    #[test]
    fn changes_two_spans_and_no_other_byte() {
        for (before, after) in [
            (
                "{ \"metadata\" :\t{ } ,\"n\":1.10,\"retrie\\u0073\":0.0 }\n",
                "{ \"metadata\" :\t{\"last_error\":\"a\\\"b\\n\" } ,\"n\":1.10,\"retrie\\u0073\":2 }\n",
            ),
            (
                r#"{"retries":4294967295,"metadata":{"last_error":{"x":[1]},"z":9007199254740993}}"#,
                r#"{"retries":4294967295,"metadata":{"last_error":"a\"b\n","z":9007199254740993}}"#,
            ),
            (
                r#"{"retries":1e2,"metadata":{"last_error":1,"last\u005ferror":null }}"#,
                r#"{"retries":102,"metadata":{"last_error":1,"last\u005ferror":"a\"b\n" }}"#,
            ),
            (
                r#"{"retries":-0,"metadata":{"deep":{"last_error":1} }}"#,
                r#"{"retries":2,"metadata":{"deep":{"last_error":1},"last_error":"a\"b\n" }}"#,
            ),
        ] {
            assert_eq!(patched(before), after);
        }
    }

    #[test]
    fn refuses_what_is_no_valid_event() {
        for text in [
            "{}",
            r#"{"retries":0}"#,
            r#"{"retries":-1,"metadata":{}}"#,
            r#"{"retries":0,"metadata":null}"#,
            r#"{"retries":0,"metadata":[]}"#,
            r#"{"retries":"0","metadata":{}}"#,
            "[]",
        ] {
            let payload = Payload::check(text).unwrap();
            assert_eq!(
                payload.after_failure(1, "x").unwrap_err().kind(),
                ErrorKind::Invalid,
                "{text}"
            );
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let payload = Payload::check(r#"{"retries":0,"metadata":{}}"#).unwrap();
        let long = format!("a{}", "é".repeat(LAST_ERROR_MAX));
        let patched = payload.after_failure(1, &long).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&patched).unwrap();
        assert_eq!(
            value["metadata"]["last_error"].as_str().unwrap().len(),
            LAST_ERROR_MAX - 1
        );
    }
}
