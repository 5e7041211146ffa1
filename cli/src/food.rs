//! Does this event promise free food, how sure is that, and why? A rule of keywords, no more.
//!
//! The rule is data, in [`rule`]; this applies it, the same way each time:
//!
//! 1. Spans that only look like food or free ("food pantry", "bring your own lunch") are cut out.
//! 2. In each sentence of title and description, *phrases* that promise food are found, each with
//!    a weight. A phrase that its sentence denies ("no food") or sells ("for sale", "$2") is set
//!    aside. Tags and the title's own words count as weaker phrases.
//! 3. Different phrases add up as independent hints do: 0.8 and 0.5 make 0.9. An event that costs
//!    money counts half; one that was called off counts nothing.
//! 4. From [`THRESHOLD`] on, the event is kept.

mod rule;
mod words;

use std::collections::BTreeSet;

use crate::calendar::Entry;
use rule::Says;
use words::{Pattern, Sentence};

/// The least confidence that keeps an event.
pub(crate) const THRESHOLD: f64 = 0.5;
/// No keyword makes certain.
const CONFIDENCE_MAX: f64 = 0.98;
/// What is left of a promise of free food when there is a price beside it.
const WITH_PRICE: f64 = 0.7;
/// How many phrases a reason quotes.
const QUOTES_MAX: usize = 3;

/// What the rule says of an event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// From 0 to 0.98, in hundredths.
    pub(crate) confidence: f64,
    /// The phrases that were found, or why none counts.
    pub(crate) reason: String,
}

impl Verdict {
    /// Whether the event is kept.
    pub(crate) fn promises_food(&self) -> bool {
        self.confidence >= THRESHOLD
    }
}

/// The rule, compiled once.
#[derive(Debug)]
pub(crate) struct Rule {
    traps: Vec<Pattern>,
    promises: Vec<(Pattern, f64, Says)>,
    sold: Vec<Pattern>,
    no_charge: Vec<Pattern>,
    food: Pattern,
}

impl Rule {
    pub(crate) fn new() -> Self {
        let all = |patterns: &[&str]| patterns.iter().map(|p| Pattern::new(p)).collect();
        Self {
            traps: all(rule::TRAPS),
            promises: rule::PROMISES
                .iter()
                .map(|(pattern, weight, says)| (Pattern::new(pattern), *weight, *says))
                .collect(),
            sold: all(rule::SOLD),
            no_charge: all(rule::NO_CHARGE),
            food: Pattern::new("FOOD"),
        }
    }

    /// Applies the rule.
    pub(crate) fn judge(&self, entry: &Entry) -> Verdict {
        let called_off = Sentence::all_of(&entry.title)
            .iter()
            .any(|sentence| sentence.begins_with_any(rule::CALLED_OFF));
        if entry.cancelled || called_off {
            return nothing("it is cancelled");
        }
        let mut found = Found::default();
        self.read_texts(entry, &mut found);
        self.read_tags(entry, &mut found);
        let cost = entry.cost.as_deref().filter(|cost| words::is_a_price(cost));
        let share = if cost.is_some() { 0.5 } else { 1.0 };
        let confidence = found.sum().min(CONFIDENCE_MAX) * share;
        let mut verdict = Verdict {
            confidence: (confidence * 100.0).round() / 100.0,
            reason: found.hints(),
        };
        let aside = found.aside.first().filter(|_| !verdict.promises_food());
        let but = cost.map(|cost| format!("but it costs {cost}"));
        for more in aside.into_iter().chain(&but) {
            verdict.reason = format!("{}; {more}", verdict.reason);
        }
        verdict
    }

    fn read_texts(&self, entry: &Entry, found: &mut Found) {
        let mut foods = BTreeSet::new();
        let mut no_charge = None;
        for (text, is_title) in [(&entry.title, true), (&entry.description, false)] {
            for mut sentence in Sentence::all_of(text) {
                for trap in &self.traps {
                    sentence.cut(trap);
                }
                let sold = sentence.has_price() || self.sold.iter().any(|p| sentence.has(p));
                self.read_promises(&sentence, sold, found);
                let named = sentence.find(&self.food);
                foods.extend(named.iter().map(|span| sentence.text(*span).to_lowercase()));
                if is_title && let Some(span) = named.first() {
                    found.add(rule::TITLE_WEIGHT, Where::Title, sentence.text(*span));
                }
                for pattern in &self.no_charge {
                    let span = sentence.find(pattern).first().copied();
                    no_charge = no_charge.or(span.map(|span| sentence.text(span).to_owned()));
                }
            }
        }
        if let Some(phrase) = no_charge
            && foods.len() >= rule::FOODS_FOR_NO_CHARGE
        {
            found.add(rule::NO_CHARGE_WEIGHT, Where::Text, &phrase);
            for food in foods {
                found.add(0.0, Where::Text, &food);
            }
        }
    }

    fn read_promises(&self, sentence: &Sentence, sold: bool, found: &mut Found) {
        for (pattern, weight, says) in &self.promises {
            for span in sentence.find(pattern) {
                let phrase = sentence.text(span);
                if sentence.denies(span) {
                    found.set_aside(phrase, "is denied");
                } else if !sold {
                    found.add(*weight, Where::Text, phrase);
                } else if *says == Says::Free {
                    found.add(*weight * WITH_PRICE, Where::Text, phrase);
                } else {
                    found.set_aside(phrase, "is no gift");
                }
            }
        }
    }

    fn read_tags(&self, entry: &Entry, found: &mut Found) {
        for tag in &entry.tags {
            for sentence in Sentence::all_of(tag) {
                let says_free = self
                    .promises
                    .iter()
                    .any(|(pattern, _, says)| *says == Says::Free && sentence.has(pattern));
                if says_free {
                    found.add(rule::FREE_FOOD_TAG_WEIGHT, Where::Tag, tag);
                } else if sentence.has(&self.food) {
                    found.add(rule::FOOD_TAG_WEIGHT, Where::Tag, tag);
                }
            }
        }
    }
}

fn nothing(reason: &str) -> Verdict {
    Verdict {
        confidence: 0.0,
        reason: reason.to_owned(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Text,
    Title,
    Tag,
}

/// Phrases as they are found.
#[derive(Default)]
struct Found {
    hints: Vec<(f64, Where, String)>,
    aside: Vec<String>,
}

impl Found {
    /// Notes a phrase once, with the largest weight that it was found with. What is part of a
    /// phrase already noted says nothing new.
    fn add(&mut self, weight: f64, place: Where, phrase: &str) {
        let phrase = phrase.to_lowercase();
        let same = |known: &str| known.contains(&phrase) || phrase.contains(known);
        match self
            .hints
            .iter_mut()
            .find(|(_, at, known)| *at == place && same(known))
        {
            Some(hint) if hint.0 >= weight => {}
            Some(hint) => *hint = (weight, place, phrase),
            None => self.hints.push((weight, place, phrase)),
        }
    }

    fn set_aside(&mut self, phrase: &str, why: &str) {
        let text = format!("\"{}\" {why}", phrase.to_lowercase());
        if !self.aside.contains(&text) {
            self.aside.push(text);
        }
    }

    fn sum(&self) -> f64 {
        1.0 - self
            .hints
            .iter()
            .map(|(weight, ..)| 1.0 - weight)
            .product::<f64>()
    }

    /// The hints of most weight, quoted.
    fn hints(&self) -> String {
        if self.hints.is_empty() {
            return "no phrase promises food".to_owned();
        }
        let mut hints: Vec<_> = self.hints.iter().collect();
        hints.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
        let quotes: Vec<String> = hints
            .iter()
            .take(QUOTES_MAX)
            .map(|(_, place, phrase)| match place {
                Where::Text => format!("\"{phrase}\""),
                Where::Title => format!("\"{phrase}\" in the title"),
                Where::Tag => format!("tag \"{phrase}\""),
            })
            .collect();
        quotes.join(", ")
    }
}

#[cfg(test)]
mod tests;
