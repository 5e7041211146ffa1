//! How is a text from outside written into a log? Cut, and without control characters.

use std::fmt::{self, Write};

/// How many characters of an id are shown, which may be as long as a message.
const ID_MAX: usize = 128;
/// How many characters of a failure.
const FAILURE_MAX: usize = 1024;

/// The start of a text that may be long and hold anything.
pub(crate) struct Shown<'a> {
    text: &'a str,
    max: usize,
}

impl<'a> Shown<'a> {
    /// An id, or the name of a source.
    pub(crate) fn id(text: &'a str) -> Self {
        Self { text, max: ID_MAX }
    }

    /// What a handler says of its failure.
    pub(crate) fn failure(text: &'a str) -> Self {
        let max = FAILURE_MAX;
        Self { text, max }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.text.chars();
        for char in chars.by_ref().take(self.max) {
            f.write_char(if char.is_control() { '\u{fffd}' } else { char })?;
        }
        if chars.next().is_some() {
            f.write_char('…')?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_short_line() {
        let shown = |text: &str| Shown::id(text).to_string();
        assert_eq!(shown("a\nb\u{1b}🍕"), "a\u{fffd}b\u{fffd}🍕");
        assert_eq!(shown(&"ü".repeat(ID_MAX)), "ü".repeat(ID_MAX));
        assert_eq!(shown(&"ü".repeat(ID_MAX + 1)), "ü".repeat(ID_MAX) + "…");
    }
}
