//! Does the rule find the free food, and nothing else?

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::calendar;

/// The events of the sample that promise free food, as a person reads them.
const FREE_FOOD: &[&str] = &[
    "5278891",
    "5252935",
    "5290416",
    "5217340",
    "5273801",
    "5235025",
    "5212502",
    "5257916",
    "5257395",
    "5296931",
    "5278887",
    "5222886",
    "5293308",
    "5244003",
    "5227674",
    "5278493",
    "5278877",
    "9007199254740993",
    "5298755",
    "5230048",
    "5253992",
    "5265988",
    "5247997",
];

fn of_texts(title: &str, description: &str) -> Verdict {
    Rule::new().judge(&Entry {
        title: title.to_owned(),
        description: description.to_owned(),
        ..Entry::default()
    })
}

#[test]
fn finds_the_free_food_of_the_sample_and_no_trap() {
    let rule = Rule::new();
    let verdicts: BTreeMap<String, Verdict> = calendar::read(calendar::SAMPLE)
        .unwrap()
        .into_iter()
        .flatten()
        .map(|entry| (entry.id.clone().unwrap(), rule.judge(&entry)))
        .collect();
    let expected: BTreeSet<&str> = FREE_FOOD.iter().copied().collect();
    let kept: BTreeSet<&str> = verdicts
        .iter()
        .filter(|(_, verdict)| verdict.promises_food())
        .map(|(id, _)| id.as_str())
        .collect();
    let right = kept.intersection(&expected).count() as f64;
    let (precision, recall) = (right / kept.len() as f64, right / expected.len() as f64);
    let wrong: Vec<_> = kept
        .symmetric_difference(&expected)
        .map(|id| (id, &verdicts[*id]))
        .collect();
    assert!(
        precision >= 0.95 && recall >= 0.95,
        "{precision} {recall} {wrong:#?}"
    );
}

#[test]
fn finds_free_food_in_other_words() {
    let mut missed = Vec::new();
    for text in [
        "FREE PIZZA!!!",
        "Free food while supplies last",
        "There will be free vegan snacks.",
        "Lunch will be provided.",
        "Coffee, bagels and fruit will be provided",
        "Light refreshments",
        "Refreshments will be served at 3:30 p.m. in the lobby.",
        "A catered dinner follows the talk",
        "Complimentary breakfast for all who come",
        "Don't miss the free ice cream",
        "Tickets are not needed. Free hot dogs!",
        "We'll have cake",
        "Stop by; cookies are on us.",
        "Pizza’s on the house",
        "Eat for free all evening",
        "Burgers, hot dogs, lemonade. Everything is free.",
        "There's no charge: soup, salad and pie",
        "Free parking, free admission and free tacos",
        "Bring your own mug. Free coffee!",
        "Gluten-free and vegan pizza provided",
        "Snacks and drinks available",
        "✨FREE✨ 🍕",
        "Join us for food, drinks and free tea",
        "We will provide lunch",
        "Samosas courtesy of the alumni chapter",
    ] {
        let verdict = of_texts("An evening", text);
        if !verdict.promises_food() || !verdict.reason.contains('"') {
            missed.push((text, verdict));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn does_not_fall_into_traps() {
    let mut fallen = Vec::new();
    for text in [
        "",
        "Free parking and lunch trucks",
        "Gluten-free pizza for sale",
        "Free speech over dinner",
        "Feel free to bring a snack",
        "Bring your own lunch",
        "No food will be provided",
        "Lunch is not provided.",
        "Lunch will not be provided.",
        "We don't serve food",
        "There is no free lunch today",
        "There's no such thing as a free lunch",
        "Tickets $12, dinner included",
        "Popcorn $2, drinks available for purchase",
        "Food available for purchase",
        "The food pantry is open to all. There is no charge.",
        "Canned food drive: donate food",
        "Food trucks will be there. Admission is free.",
        "Free lunchtime concert",
        "freepizza",
        "sugar-free cookies, smoke-free campus",
        "Free yoga. Dinner is on your own.",
        "Treats provided for the dogs",
        "Refreshments were served last year",
        "Cash bar with snacks available",
        "Buy one burger, get one free",
        "A talk on food security; free and open to all",
        "Stay after lunch is over",
        "Free pie charts",
    ] {
        let verdict = of_texts("An evening", text);
        if verdict.promises_food() {
            fallen.push((text, verdict));
        }
    }
    assert!(fallen.is_empty(), "{fallen:#?}");
}

#[test]
fn what_is_called_off_or_costs_money_counts_less() {
    assert_eq!(of_texts("CANCELLED – Free Pizza", "").confidence, 0.0);
    assert_eq!(of_texts("[Postponed] Free Pizza", "").confidence, 0.0);
    let mut entry = Entry {
        title: "Free Pizza".to_owned(),
        cost: Some("$12-25".to_owned()),
        ..Entry::default()
    };
    let rule = Rule::new();
    let paid = rule.judge(&entry);
    assert!(
        !paid.promises_food() && paid.reason.ends_with("but it costs $12-25"),
        "{paid:?}"
    );
    entry.cost = Some("free".to_owned());
    assert!(rule.judge(&entry).promises_food());
    entry.cancelled = true;
    assert_eq!(rule.judge(&entry).reason, "it is cancelled");
}

#[test]
fn confidence_grows_with_the_phrases_and_says_which() {
    let one = of_texts("Talk", "Lunch provided.");
    let two = of_texts("Pizza Talk", "Free pizza. Lunch provided. Lunch provided.");
    assert_eq!(
        (one.confidence, one.reason.as_str()),
        (0.9, "\"lunch provided\"")
    );
    assert_eq!(two.confidence, 0.98);
    assert_eq!(
        two.reason,
        "\"free pizza\", \"lunch provided\", \"pizza\" in the title"
    );
    let denied = of_texts("Talk", "No free pizza.");
    assert_eq!(denied.confidence, 0.0);
    assert_eq!(
        denied.reason,
        "no phrase promises food; \"free pizza\" is denied"
    );
}

#[test]
fn a_long_text_costs_no_more_than_its_length() {
    let text = "No free pizza, $2 for lunch or dinner provided ".repeat(4_000);
    assert!(!of_texts(&text, &text).promises_food());
}
