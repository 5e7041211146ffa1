//! How a text becomes sentences of words, and where in one a pattern of the rule is found.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::LazyLock;

use super::rule;

static FOODS: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| rule::FOODS.iter().copied().collect());

/// The most words and commas that `LIST` stands for.
const LIST_MAX: usize = 6;

/// Words of one sentence, with what divides them.
#[derive(Debug)]
pub(super) struct Sentence {
    text: String,
    tokens: Vec<Token>,
}

/// A run of tokens.
pub(super) type Span = (usize, usize);

#[derive(Debug)]
struct Token {
    kind: Kind,
    /// How many tokens from here are the name of a food; 0 when none is.
    food: usize,
    bytes: Range<usize>,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// In lower case.
    Word(String),
    Comma,
    Price,
    /// A bracket, colon, dash; or what a trap was cut out of.
    Break,
}

impl Token {
    fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }
}

impl Sentence {
    /// The sentences of a text. A line's end ends one too.
    pub(super) fn all_of(text: &str) -> Vec<Self> {
        let straight = text
            .replace(['’', '‘'], "'")
            .replace(['\u{2010}', '\u{2011}'], "-");
        let mut sentences = Vec::new();
        for line in straight.lines() {
            let mut rest = line;
            while !rest.is_empty() {
                let (sentence, behind) = rest.split_at(end_of_sentence(rest));
                sentences.push(Self::new(sentence));
                rest = behind;
            }
        }
        sentences
    }

    fn new(text: &str) -> Self {
        let mut tokens = Vec::new();
        let mut at = 0;
        while let Some(first) = text[at..].chars().next() {
            let rest = &text[at..];
            let (kind, len) = if first.is_alphanumeric() {
                let len = word_len(rest);
                (Some(Kind::Word(rest[..len].to_lowercase())), len)
            } else if let Some(len) = clitic_len(rest, tokens.last(), at) {
                (Some(Kind::Word(rest[..len].to_lowercase())), len)
            } else if matches!(first, '$' | '£' | '€') {
                let amount: String = rest
                    .chars()
                    .skip(1)
                    .take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ',' | '-'))
                    .collect();
                (
                    is_a_price(&amount).then_some(Kind::Price),
                    first.len_utf8() + amount.len(),
                )
            } else {
                (divider(first), first.len_utf8())
            };
            if let Some(kind) = kind {
                tokens.push(Token {
                    kind,
                    food: 0,
                    bytes: at..at + len,
                });
            }
            at += len;
        }
        let mut sentence = Self {
            text: text.to_owned(),
            tokens,
        };
        for at in 0..sentence.tokens.len() {
            sentence.tokens[at].food = sentence.food_at(at);
        }
        sentence
    }

    /// The longest name of a food that begins at a token, in tokens.
    fn food_at(&self, at: usize) -> usize {
        let words: Vec<&str> = self.tokens[at..]
            .iter()
            .take(3)
            .map_while(Token::word)
            .collect();
        (1..=words.len())
            .rev()
            .find(|len| is_food(&words[..*len].join(" ")))
            .unwrap_or(0)
    }

    /// The text of a span, as it was written.
    pub(super) fn text(&self, (from, to): Span) -> &str {
        match (self.tokens.get(from), self.tokens[..to].last()) {
            (Some(first), Some(last)) => &self.text[first.bytes.start..last.bytes.end],
            _ => "",
        }
    }

    /// Where a pattern is found, from left to right and without overlaps.
    pub(super) fn find(&self, pattern: &Pattern) -> Vec<Span> {
        let (mut spans, mut at) = (Vec::new(), 0);
        while at < self.tokens.len() {
            match self.matches(&pattern.0, at) {
                Some(end) if end > at => {
                    spans.push((at, end));
                    at = end;
                }
                _ => at += 1,
            }
        }
        spans
    }

    /// Whether a pattern is found.
    pub(super) fn has(&self, pattern: &Pattern) -> bool {
        !self.find(pattern).is_empty()
    }

    /// Whether a price is named.
    pub(super) fn has_price(&self) -> bool {
        let money = |word| matches!(word, "dollar" | "dollars" | "bucks" | "euros" | "cents");
        self.tokens.iter().any(|token| token.kind == Kind::Price)
            || self.tokens.iter().filter_map(Token::word).any(money)
    }

    /// Takes a pattern's words out, so that nothing is found in them.
    pub(super) fn cut(&mut self, pattern: &Pattern) {
        for (from, to) in self.find(pattern) {
            for token in &mut self.tokens[from..to] {
                token.kind = Kind::Break;
                token.food = 0;
            }
            // A food's name may have reached into what is cut.
            for at in from.saturating_sub(2)..from {
                self.tokens[at].food = self.food_at(at);
            }
        }
    }

    /// Whether the sentence denies what a span says.
    pub(super) fn denies(&self, (from, to): Span) -> bool {
        let denial = |word: &str| rule::DENIALS.contains(&word) || word.ends_with("n't");
        let before = self.tokens[..from]
            .iter()
            .rev()
            .map_while(Token::word)
            .take(3);
        let after = self.tokens[to..].iter().map_while(Token::word).take(2);
        before.into_iter().any(denial)
            || after
                .into_iter()
                .any(|word| word == "not" || word.ends_with("n't"))
    }

    /// Whether its first word is one of these.
    pub(super) fn begins_with_any(&self, words: &[&str]) -> bool {
        let first = self.tokens.iter().find_map(Token::word);
        first.is_some_and(|word| words.contains(&word))
    }

    /// Where a match of these elements that begins at a token ends.
    fn matches(&self, elements: &[Element], at: usize) -> Option<usize> {
        let Some((element, rest)) = elements.split_first() else {
            return Some(at);
        };
        let ends = self.ends_of(element, at);
        let found = ends.into_iter().find_map(|end| self.matches(rest, end));
        found.or_else(|| element.optional.then(|| self.matches(rest, at)).flatten())
    }

    /// Where one element that begins at a token can end.
    fn ends_of(&self, element: &Element, at: usize) -> Vec<usize> {
        let Some(token) = self.tokens.get(at) else {
            return Vec::new();
        };
        let word = token.word().unwrap_or_default();
        let next = self.tokens.get(at + 1).and_then(Token::word);
        let len = match &element.what {
            What::Words(words) => usize::from(words.iter().any(|known| known == word)),
            What::Food => token.food,
            What::Any => usize::from(!word.is_empty() && !rule::SMALL_WORDS.contains(&word)),
            What::Be if matches!(word, "will" | "to") && next == Some("be") => 2,
            What::Be => usize::from(is_be(word)),
            What::List => return self.list_ends(at),
        };
        if len == 0 { Vec::new() } else { vec![at + len] }
    }

    fn list_ends(&self, at: usize) -> Vec<usize> {
        let in_list = |token: &&Token| match &token.kind {
            Kind::Word(word) => !is_be(word) && word != "will",
            Kind::Comma => true,
            Kind::Price | Kind::Break => false,
        };
        let len = self.tokens[at..]
            .iter()
            .take(LIST_MAX)
            .take_while(in_list)
            .count();
        (1..=len).map(|len| at + len).collect()
    }
}

/// Where the first sentence ends, the mark included.
fn end_of_sentence(text: &str) -> usize {
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        match c {
            '!' | '?' | ';' | '…' | '•' => return end,
            '.' if text[end..].starts_with(|c: char| !c.is_whitespace()) => {}
            '.' if !is_abbreviation(&text[..at]) => return end,
            _ => {}
        }
    }
    text.len()
}

/// Whether what precedes a full stop is short for something, as in `3:30 p.m. in the lobby`.
fn is_abbreviation(before: &str) -> bool {
    let word = before
        .rsplit(|c: char| !c.is_alphabetic())
        .next()
        .unwrap_or_default();
    word.chars().count() == 1
        || matches!(
            word,
            "Dr" | "Prof" | "Mr" | "Ms" | "Mrs" | "St" | "vs" | "approx"
        )
}

/// The length of the word that a text begins with. A hyphen or apostrophe within belongs to it,
/// but not the `'s`, `'ll`, `'re`, `'ve` or `'d` at its end.
fn word_len(text: &str) -> usize {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let inner = |next: Option<&(usize, char)>| next.is_some_and(|(_, c)| c.is_alphanumeric());
        match c {
            '\'' if clitic(&text[at..]).is_some() => return at,
            '-' | '\'' if inner(chars.peek()) => {}
            _ if c.is_alphanumeric() => {}
            _ => return at,
        }
    }
    text.len()
}

/// The length of a clitic that follows a word without a space.
fn clitic_len(text: &str, last: Option<&Token>, at: usize) -> Option<usize> {
    last.filter(|last| last.bytes.end == at && last.word().is_some())?;
    clitic(text)
}

fn clitic(text: &str) -> Option<usize> {
    let ends = |len: usize| !text[len..].starts_with(char::is_alphanumeric);
    let lower = text
        .get(..text.len().min(3))
        .unwrap_or_default()
        .to_lowercase();
    ["'ll", "'re", "'ve", "'s", "'d"]
        .into_iter()
        .find(|clitic| lower.starts_with(clitic) && ends(clitic.len()))
        .map(str::len)
}

fn divider(c: char) -> Option<Kind> {
    match c {
        ',' => Some(Kind::Comma),
        '&' => Some(Kind::Word("and".to_owned())),
        '(' | ')' | '[' | ']' | '<' | '>' | ':' | '/' | '|' | '+' | '=' => Some(Kind::Break),
        '-' | '–' | '—' => Some(Kind::Break),
        _ if is_food(c.encode_utf8(&mut [0; 4])) => Some(Kind::Word(c.to_string())),
        // Quotes, stars, other emoji: what they decorate still belongs together.
        _ => None,
    }
}

fn is_be(word: &str) -> bool {
    matches!(word, "is" | "are" | "'s" | "'re" | "be")
}

fn is_food(words: &str) -> bool {
    let one = |ending| {
        words
            .strip_suffix(ending)
            .is_some_and(|one| FOODS.contains(one))
    };
    FOODS.contains(words) || one("s") || one("es")
}

/// Whether a text names an amount that is not nothing.
pub(super) fn is_a_price(text: &str) -> bool {
    text.contains(|c: char| matches!(c, '1'..='9'))
}

/// A pattern of the rule; see there for how it is written.
#[derive(Debug)]
pub(super) struct Pattern(Vec<Element>);

#[derive(Debug)]
struct Element {
    what: What,
    optional: bool,
}

#[derive(Debug)]
enum What {
    Words(Vec<String>),
    Food,
    Any,
    Be,
    List,
}

impl Pattern {
    pub(super) fn new(pattern: &str) -> Self {
        let element = |text: &str| {
            let name = text.strip_suffix('?').unwrap_or(text);
            Element {
                what: match name {
                    "FOOD" => What::Food,
                    "ANY" => What::Any,
                    "BE" => What::Be,
                    "LIST" => What::List,
                    words => What::Words(words.split('|').map(str::to_owned).collect()),
                },
                optional: name != text,
            }
        };
        Self(pattern.split(' ').map(element).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, pattern: &str) -> Vec<String> {
        let pattern = Pattern::new(pattern);
        let mut found = Vec::new();
        for sentence in Sentence::all_of(text) {
            found.extend(
                sentence
                    .find(&pattern)
                    .iter()
                    .map(|span| sentence.text(*span).to_owned()),
            );
        }
        found
    }

    #[test]
    fn patterns_match_words_and_not_parts_of_them() {
        for (text, pattern, expected) in [
            (
                "FREE Pizza, free pizzas",
                "free FOOD",
                vec!["FREE Pizza", "free pizzas"],
            ),
            (
                "gluten-free pizza; freedom; freepizza; free-pizza",
                "free FOOD",
                vec![],
            ),
            (
                "\"Free\" *hot dogs* 🎉 free 🍕",
                "free FOOD",
                vec!["Free\" *hot dogs", "free 🍕"],
            ),
            (
                "the pizza’s on her",
                "FOOD BE? on her",
                vec!["pizza’s on her".replace('’', "'").leak()],
            ),
            (
                "Lunch, a map and a pen will be provided.",
                "FOOD LIST BE? provided",
                vec!["Lunch, a map and a pen will be provided"],
            ),
            (
                "Lunch is at 1 and pens are provided",
                "FOOD LIST BE? provided",
                vec![],
            ),
            ("free. Pizza", "free FOOD", vec![]),
            ("tea at 3:30 p.m. provided", "FOOD LIST provided", vec![]),
            ("free (pizza)", "free FOOD", vec![]),
            (
                "free vegan pizza, free for pizza",
                "free ANY FOOD",
                vec!["free vegan pizza"],
            ),
            (
                "hors d'oeuvres and ice creams",
                "FOOD",
                vec!["hors d'oeuvres", "ice creams"],
            ),
            (
                "we'll serve soup",
                "we 'll serve FOOD",
                vec!["we'll serve soup"],
            ),
            ("", "free FOOD", vec![]),
        ] {
            assert_eq!(found(text, pattern), expected, "{text}");
        }
    }

    #[test]
    fn sentences_end_where_people_end_them() {
        for (text, count) in [
            ("One. Two! Three? Four; five…", 5),
            ("At 3:30 p.m. in the lobby, with Dr. Voss.", 1),
            ("$4.50 each, example.org", 1),
            ("a\nb\n\nc", 3),
        ] {
            assert_eq!(Sentence::all_of(text).len(), count, "{text}");
        }
        for (text, price) in [
            ("$4.50", true),
            ("£3", true),
            ("$0", false),
            ("4 bucks", true),
            ("room 4", false),
        ] {
            assert_eq!(Sentence::all_of(text)[0].has_price(), price, "{text}");
        }
    }

    #[test]
    fn hostile_text_costs_no_more_than_its_length() {
        for part in ["free ", "a-", "'", "food food ", "$1", ". ", "🍕"] {
            let text = part.repeat(100_000 / part.len());
            for pattern in ["FOOD LIST BE? provided", "free ANY? FOOD", "FOOD"] {
                found(&text, pattern);
            }
        }
    }
}
