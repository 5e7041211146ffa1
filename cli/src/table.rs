//! How do rows fit a terminal? Widths as a terminal counts them, and nothing that could steer it.

use std::borrow::Cow;

use anstyle::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What stands between columns.
const GAP: usize = 2;
/// What a text that was cut ends with.
const ELLIPSIS: char = '…';
/// What stands for a character that a terminal would act on.
const REPLACEMENT: char = '\u{fffd}';

/// The most characters that are looked at for each column.
const CHARS_PER_COLUMN: usize = 8;

/// The width to fit when there is no terminal to ask.
const WIDTH_DEFAULT: usize = 80;
const WIDTH_MIN: usize = 40;
const WIDTH_MAX: usize = 400;

/// The width of the terminal that standard output is; else what `COLUMNS` says; else 80.
pub(crate) fn width_of_output() -> usize {
    let terminal = terminal_size::terminal_size_of(std::io::stdout());
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal
        .map(|(width, _)| usize::from(width.0))
        .or_else(columns)
        .unwrap_or(WIDTH_DEFAULT)
        .clamp(WIDTH_MIN, WIDTH_MAX)
}

/// One line that is safe to print: control characters, and those that turn the writing direction,
/// are replaced.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(steers) {
        Cow::Owned(
            text.chars()
                .map(|c| if steers(c) { REPLACEMENT } else { c })
                .collect(),
        )
    } else {
        Cow::Borrowed(text)
    }
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        // Tags are not shown; they can hide a text in another.
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

/// Whether a text shows nothing at all.
pub(crate) fn is_blank(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_whitespace() || steers(c) || c.width() == Some(0))
}

/// A text of exactly `width` columns: cut or padded.
pub(crate) fn cell(text: &str, width: usize) -> String {
    let mut cell = cut(&printable(text), width);
    let pad = width.saturating_sub(cell.width());
    cell.extend(std::iter::repeat_n(' ', pad));
    cell
}

/// A text of at most `width` columns, ending in `…` when it was cut, and never cut within what a
/// reader takes for one character.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    // Any number of accents fits one column.
    let text: &str = &text
        .chars()
        .take(width * CHARS_PER_COLUMN)
        .collect::<String>();
    let mut kept = 0;
    for (at, _) in text.char_indices().chain([(text.len(), ' ')]) {
        if text[..at].width() >= width {
            break;
        }
        if !joins(text, at) {
            kept = at;
        }
    }
    let mut cut = text[..kept].trim_end().to_owned();
    cut.push(ELLIPSIS);
    cut
}

/// Whether the characters on both sides of a place belong together: an accent, a skin tone, a
/// joined emoji, the second letter of a flag.
fn joins(text: &str, at: usize) -> bool {
    let is_flag = |c: &char| matches!(c, '\u{1f1e6}'..='\u{1f1ff}');
    let (Some(before), Some(after)) = (text[..at].chars().next_back(), text[at..].chars().next())
    else {
        return false;
    };
    let flags = text[..at].chars().rev().take_while(is_flag).count();
    before == '\u{200d}'
        || after.width() == Some(0)
        || matches!(after, '\u{1f3fb}'..='\u{1f3ff}')
        || (is_flag(&after) && flags % 2 == 1)
}

/// The widths of columns that together fit `width`, gaps included. `natural` are the widths that
/// the content would like. A column without a weight gets its own; the others share the rest by
/// their weights, and who needs less than that leaves the difference to the others.
pub(crate) fn fit(natural: &[usize], weights: &[usize], width: usize) -> Vec<usize> {
    let gaps = GAP * natural.len().saturating_sub(1);
    let mut widths = natural.to_vec();
    let (mut open, fixed): (Vec<usize>, Vec<usize>) =
        (0..natural.len()).partition(|column| weights[*column] > 0);
    let fixed: usize = fixed.iter().map(|column| natural[*column]).sum();
    let mut left = width.saturating_sub(gaps + fixed);
    let mut weight: usize = open.iter().map(|column| weights[*column]).sum();
    // Who is content with the smallest part of its share comes first.
    open.sort_by_key(|column| natural[*column] * weights.iter().sum::<usize>() / weights[*column]);
    for column in open {
        widths[column] = natural[column].min(left * weights[column] / weight.max(1));
        left -= widths[column];
        weight -= weights[column];
    }
    widths
}

/// Styled cells side by side, without white space at the end.
pub(crate) fn row(cells: impl IntoIterator<Item = (String, usize, Style)>) -> String {
    let mut row = String::new();
    let mut pad = 0;
    for (text, width, style) in cells {
        let cell = cell(&text, width);
        let shown = cell.trim_end();
        if !shown.is_empty() {
            row.extend(std::iter::repeat_n(' ', pad));
            row.push_str(&format!("{style}{shown}{style:#}"));
            pad = 0;
        }
        pad += cell.len() - shown.len() + GAP;
    }
    row
}

/// The columns that a text takes.
pub(crate) fn width(text: &str) -> usize {
    printable(text).width()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_their_width_whatever_is_in_them() {
        for (text, shown) in [
            ("", "          "),
            ("abc", "abc       "),
            ("0123456789", "0123456789"),
            ("0123456789a", "012345678…"),
            ("01234567 9a", "01234567… "),
            ("日本語日本語", "日本語日… "),
            ("\u{7}a\u{1b}[31m", "\u{fffd}a\u{fffd}[31m   "),
            ("a\u{202e}b\u{2028}", "a\u{fffd}b\u{fffd}      "),
        ] {
            assert_eq!(cell(text, 10), shown, "{text:?}");
        }
        for text in [
            "👨‍👩‍👧‍👦 Family Weekend 🥞",
            "🌍 Taste of Home 🇧🇷🇳🇬🇮🇳",
            "طاولة المحادثة العربية",
            "e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}",
        ] {
            for columns in 1..20 {
                assert_eq!(cell(text, columns).width(), columns, "{text} {columns}");
            }
        }
    }

    #[test]
    fn what_belongs_together_is_cut_together() {
        assert_eq!(cell("ab👨‍👩‍👧‍👦cdef", 4), "ab… ");
        assert_eq!(cell("ab👨‍👩‍👧‍👦cdef", 5), "ab👨‍👩‍👧‍👦…");
        assert_eq!(cell("a🇧🇷🇳🇬", 4), "a🇧🇷…");
        assert_eq!(cell("e\u{301}tudes", 3), "e\u{301}t…");
        assert_eq!(cell("🧗🏽x🧗🏽", 4), "🧗🏽x…");
    }

    #[test]
    fn accents_without_end_cost_no_more_than_their_length() {
        let text = format!("a{}bcdef", "\u{301}".repeat(100_000));
        assert_eq!(cell(&text, 3).width(), 3);
    }

    #[test]
    fn columns_share_what_there_is() {
        let weights = [0, 3, 2];
        assert_eq!(fit(&[10, 20, 20], &weights, 80), [10, 20, 20]);
        assert_eq!(fit(&[10, 50, 20], &weights, 64), [10, 30, 20]);
        assert_eq!(fit(&[10, 50, 60], &weights, 64), [10, 30, 20]);
        assert_eq!(fit(&[10, 20, 60], &weights, 64), [10, 20, 30]);
        assert_eq!(fit(&[10, 50, 60], &weights, 5), [10, 0, 0]);
        let plain = |text: &str, width| (text.to_owned(), width, Style::new());
        let cells = [plain("a", 3), plain("", 2), plain("b", 5), plain("", 9)];
        assert_eq!(row(cells), "a        b");
    }

    #[test]
    fn blank_is_what_shows_nothing() {
        for text in ["", " \n", "\u{200b}", "\u{7}\u{202e}"] {
            assert!(is_blank(text), "{text:?}");
        }
        assert!(!is_blank("a") && !is_blank("🍕"));
    }
}
