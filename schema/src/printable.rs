//! How does a text that somebody else chose get into a report without harm?

/// The text without control and other invisible characters, and at most `chars_max` of it.
pub(crate) fn printable(text: &str, chars_max: usize) -> String {
    let mut shown = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == chars_max {
            shown.push('…');
            break;
        }
        match c {
            '"' | '\'' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_letters_and_escapes_what_acts_on_a_terminal() {
        assert_eq!(printable("prix d'été", 99), "prix d'été");
        assert_eq!(
            printable("a\n\u{1b}[2J\u{202e}\u{0}\\", 99),
            "a\\n\\u{1b}[2J\\u{202e}\\0\\\\"
        );
        assert_eq!(printable("abcd", 3), "abc…");
        assert_eq!(printable("abc", 3), "abc");
    }
}
