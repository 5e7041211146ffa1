//! What does a scrap of HTML say? Tags, scripts, styles and comments go, entities become letters.
//!
//! Calendars hold what people pasted into an editor. This reads it as a browser would show it, in
//! one pass and without building a tree; what never ends (a comment, a script) ends with the text.

use std::borrow::Cow;

/// Elements whose content is not shown.
const HIDDEN: [&str; 3] = ["script", "style", "template"];

/// Elements that sit within a line. Any other begins a new one.
const INLINE: [&str; 24] = [
    "a", "abbr", "b", "bdi", "bdo", "cite", "code", "em", "font", "i", "img", "ins", "kbd",
    "label", "mark", "q", "s", "small", "span", "strong", "sub", "sup", "u", "wbr",
];

/// The text of `html`: white space collapsed, a line for each block, no empty lines.
pub(crate) fn text_of(html: &str) -> String {
    let mut text = Text::default();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        text.push(&rest[..at]);
        rest = &rest[at..];
        let tag = Tag::at_start_of(rest);
        match tag.kind {
            Kind::NoTag => text.push(&rest[..tag.len]),
            Kind::Silent => {}
            Kind::Block => text.end_line(),
        }
        rest = &rest[tag.len..];
    }
    text.push(rest);
    text.finish()
}

/// The text of `html` on one line.
pub(crate) fn line_of(html: &str) -> String {
    text_of(html).replace('\n', " ")
}

/// Lines as they grow.
#[derive(Default)]
struct Text {
    done: String,
    space: bool,
}

impl Text {
    fn push(&mut self, raw: &str) {
        let decoded: Cow<'_, str> = html_escape::decode_html_entities(raw);
        for c in decoded.chars() {
            if c.is_whitespace() {
                self.space = true;
                continue;
            }
            if self.space && !self.done.is_empty() && !self.done.ends_with('\n') {
                self.done.push(' ');
            }
            self.space = false;
            self.done.push(c);
        }
    }

    fn end_line(&mut self) {
        self.space = false;
        if !self.done.is_empty() && !self.done.ends_with('\n') {
            self.done.push('\n');
        }
    }

    fn finish(mut self) -> String {
        self.done.truncate(self.done.trim_end().len());
        self.done
    }
}

enum Kind {
    /// A `<` that begins no tag.
    NoTag,
    /// Gone, and the line goes on.
    Silent,
    /// Gone, and a new line begins.
    Block,
}

/// What begins with a `<`, and how many bytes of it to pass over.
struct Tag {
    kind: Kind,
    len: usize,
}

impl Tag {
    fn at_start_of(text: &str) -> Self {
        let silent = |len| Self {
            kind: Kind::Silent,
            len,
        };
        if let Some(comment) = text.strip_prefix("<!--") {
            return silent(comment.find("-->").map_or(text.len(), |at| 4 + at + 3));
        }
        if text.starts_with("<!") || text.starts_with("<?") {
            return silent(text.find('>').map_or(text.len(), |at| at + 1));
        }
        let closes = text.starts_with("</");
        let name_at = if closes { 2 } else { 1 };
        let name: String = text[name_at..]
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Self {
                kind: Kind::NoTag,
                len: 1,
            };
        }
        let end = end_of_tag(text);
        if !closes && HIDDEN.contains(&name.as_str()) {
            return silent(end + end_of_hidden(&text[end..], &name));
        }
        Self {
            kind: if INLINE.contains(&name.as_str()) {
                Kind::Silent
            } else {
                Kind::Block
            },
            len: end,
        }
    }
}

/// Where a tag ends: behind the first `>` that is not in an attribute's quotes.
fn end_of_tag(text: &str) -> usize {
    let mut quote = None;
    let mut value_may_begin = false;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'>') => return at + 1,
            (None, b'"' | b'\'') if value_may_begin => quote = Some(byte),
            (None, _) => {}
        }
        value_may_begin = byte == b'=' || (value_may_begin && byte.is_ascii_whitespace());
    }
    text.len()
}

/// How many bytes of `text` belong to a hidden element, its closing tag included.
fn end_of_hidden(text: &str, name: &str) -> usize {
    let mut from = 0;
    while let Some(at) = text[from..].find("</") {
        let closing = from + at;
        from = closing + 2;
        let named = text.as_bytes().get(from..from + name.len());
        if named.is_some_and(|named| named.eq_ignore_ascii_case(name.as_bytes())) {
            return closing + end_of_tag(&text[closing..]);
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_a_browser_shows() {
        for (html, text) in [
            ("plain", "plain"),
            ("<p>a</p>\r\n\r\n<p>b</p>\r\n", "a\nb"),
            ("a<br/>b<BR>c", "a\nb\nc"),
            ("<ul><li>one<ul><li>two</li></ul></li></ul>", "one\ntwo"),
            ("free <b>piz</b>za", "free pizza"),
            (
                "r&eacute;sum&#233;s &amp; doughnuts&nbsp;&mdash; &#x1F355;",
                "résumés & doughnuts — 🍕",
            ),
            ("3 < 5 && 2 > 1 <3", "3 < 5 && 2 > 1 <3"),
            (
                "a &lt;b&gt; c &amp;amp; &unknown; &",
                "a <b> c &amp; &unknown; &",
            ),
            ("<a href=\"x?a=1&amp;b=2\" title='a > b'>link</a>!", "link!"),
            ("<p don't>shown</p>", "shown"),
            (
                "a<!-- free pizza > --> b <!doctype x> c <?php ?> d",
                "a b c d",
            ),
            ("a<script type=x>if (1 < 2) '</b>'</SCRIPT >b", "ab"),
            ("a<style>p > b {}</style>b<scripted>c", "ab\nc"),
            ("a <!-- never ends", "a"),
            ("a <script>never ends", "a"),
            ("a <b class=\"never ends", "a"),
            ("a <script", "a"),
            ("<", "<"),
            ("</", "</"),
            ("", ""),
            ("<p> </p><div>\u{a0}</div>", ""),
        ] {
            assert_eq!(text_of(html), text, "{html}");
        }
        assert_eq!(line_of("<p>a</p><p>b</p>"), "a b");
    }

    #[test]
    fn hostile_text_costs_no_more_than_its_length() {
        // A scan that began anew at each `<` would take minutes.
        for part in [
            "<",
            "</",
            "<script>",
            "<!--",
            "<b a=\"",
            "<b a=\"\" ",
            "</s",
            "&lt;",
            "&",
        ] {
            let hostile = part.repeat(200_000 / part.len());
            assert!(text_of(&hostile).len() <= hostile.len());
        }
    }
}
