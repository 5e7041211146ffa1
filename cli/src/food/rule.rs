//! Which words promise free food? The rule's tables, to be read and changed by people.
//!
//! A pattern is words with spaces between. `a|b` is either word, a `?` behind an element makes it
//! optional, and four capitals stand for more: `FOOD` is a food or meal of [`FOODS`] (plurals
//! included), `BE` is `is`, `are`, `'s`, `be`, `will be` or `to be`, `ANY` is one word that is not
//! in [`SMALL_WORDS`], and `LIST` is up to six words and commas without a form of `BE`. No pattern
//! matches across the end of a sentence, a bracket, a colon or a dash. A hyphen makes one word of
//! two, so `free` is not found in `gluten-free`.

/// Whether a phrase itself says that the food is free, or only that there is some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    Free,
    There,
}
use Says::{Free, There};

/// Phrases that promise food, with their weights.
pub(crate) const PROMISES: &[(&str, f64, Says)] = &[
    ("free FOOD", 0.95, Free),
    ("free ANY FOOD", 0.85, Free),
    ("complimentary FOOD", 0.95, Free),
    ("complimentary ANY FOOD", 0.85, Free),
    ("FOOD for free", 0.9, Free),
    ("FOOD BE also? free", 0.9, Free),
    ("eat|eating|dine for free", 0.9, Free),
    ("eat|eats free", 0.8, Free),
    ("FOOD BE? provided? at no cost|charge", 0.9, Free),
    ("FOOD BE? free of charge", 0.9, Free),
    ("FOOD BE? on us|me|him|her|them", 0.9, Free),
    ("FOOD BE? on the house", 0.9, Free),
    ("FOOD BE? provided? courtesy of", 0.85, Free),
    ("FOOD BE? provided", 0.9, There),
    ("FOOD LIST BE? provided", 0.7, There),
    ("FOOD BE served", 0.85, There),
    ("FOOD LIST BE served", 0.7, There),
    ("FOOD served", 0.6, There),
    ("FOOD BE? catered", 0.8, There),
    ("catered ANY? FOOD", 0.85, There),
    ("FOOD BE? offered", 0.6, There),
    ("FOOD BE? included", 0.55, There),
    ("FOOD BE? available", 0.5, There),
    ("FOOD to follow", 0.6, There),
    ("light FOOD", 0.65, There),
    (
        "we|they|i 'll|will? provide|serve|have|bring|order|supply ANY? FOOD",
        0.7,
        There,
    ),
    (
        "we|they 're|are providing|serving|bringing|ordering|having ANY? FOOD",
        0.7,
        There,
    ),
    ("there 's|are ANY? FOOD", 0.65, There),
    ("there will be ANY? FOOD", 0.65, There),
    (
        "provide|provides|providing|serve|serves|serving ANY? FOOD",
        0.45,
        There,
    ),
    ("join us for ANY? FOOD", 0.45, There),
    ("enjoy ANY? FOOD", 0.45, There),
    ("stay for ANY? FOOD", 0.5, There),
    ("feed you", 0.6, There),
    ("come hungry", 0.6, There),
    ("pizza party", 0.5, There),
    ("ice cream social", 0.5, There),
];

/// Phrases that mean free food when an event names at least [`FOODS_FOR_NO_CHARGE`] foods.
pub(crate) const NO_CHARGE: &[&str] = &[
    "all BE? free",
    "everything BE free",
    "there BE no charge|cost",
    "at no cost|charge",
    "free of charge",
    "on us",
    "on the house",
];
pub(crate) const NO_CHARGE_WEIGHT: f64 = 0.6;
pub(crate) const FOODS_FOR_NO_CHARGE: usize = 2;

/// A food in the title.
pub(crate) const TITLE_WEIGHT: f64 = 0.3;
/// A tag that says free food, such as `Free Food`.
pub(crate) const FREE_FOOD_TAG_WEIGHT: f64 = 0.9;
/// A tag that names a food.
pub(crate) const FOOD_TAG_WEIGHT: f64 = 0.3;

/// What only looks like food, or like free: cut out before anything else is looked for.
pub(crate) const TRAPS: &[&str] = &[
    "free parking|admission|entry|speech|time|seating|range|play|will|wifi|shuttle",
    "admission|entry|parking BE? free",
    "feel free",
    "get one free",
    "no such thing as a free lunch",
    "don't|not miss|forget",
    "not only|just",
    "bring|bringing ANY? your own ANY? FOOD",
    "bring|bringing a|an|your|some ANY? FOOD",
    "brown bag lunch?",
    "brown-bag lunch?",
    "food for thought",
    "food pantry|pantries|bank|banks|shelf|drive|drives|donation|donations",
    "food court|truck|trucks|cart|carts|hall|stall|stalls|vendor|vendors",
    "food science|safety|security|insecurity|system|systems|policy|justice|studies|history|waste",
    "food allergy|allergies|web|chain|desert|deserts|fight|handler|handling|service|services",
    "baby|pet|dog|cat|canned|non-perishable|junk|fast food",
    "donate|donating|collect|collecting|donations of ANY? FOOD",
    "taco|coffee|snack|ice cream? truck|cart|bar|shop|house|machine",
    "lunch|dinner|coffee|tea break|hour|time",
    "after|before|during|over|skip lunch|dinner|breakfast",
    "dinner theater|theatre|jacket",
    "coffee|tea table|towel|cup|mug|set",
    "pie chart|charts",
    "piece of cake",
    "cookie policy|settings",
    "couch potato",
];

/// What makes a sentence's food no gift: it is sold, it is not for people, or it was once.
pub(crate) const SOLD: &[&str] = &[
    "for sale|purchase",
    "to buy|purchase",
    "sold|selling|buy|purchase",
    "bake sale",
    "cash bar",
    "pay your own",
    "pay as|for",
    "own expense|cost",
    "ticket|tickets include|includes|required",
    "registration|entry fee",
    "for the? dogs|cats|horses|birds|goats|animals|pets",
    "last year|week|month|term|semester|fall|spring|time",
    "was|were",
    "BE over",
];

/// A promise is denied when one of these is among the three words before it, or `not` or a word
/// ending in `n't` among the two behind it.
pub(crate) const DENIALS: &[&str] = &["no", "not", "never", "without", "neither", "nor", "cannot"];

/// A title that begins so is of an event that does not take place.
pub(crate) const CALLED_OFF: &[&str] = &["cancelled", "canceled", "postponed"];

/// What `ANY` does not stand for.
pub(crate) const SMALL_WORDS: &[&str] = &[
    "a", "an", "and", "any", "at", "but", "by", "for", "from", "if", "in", "into", "of", "on",
    "or", "our", "so", "than", "that", "the", "then", "to", "up", "with", "without", "your",
];

/// Food and meals as they are given away, in the singular unless nobody says it so.
pub(crate) const FOODS: &[&str] = &[
    "appetizer",
    "bagel",
    "baklava",
    "banana bread",
    "barbecue",
    "bbq",
    "beverage",
    "biryani",
    "biscuit",
    "bites",
    "boba",
    "bratwurst",
    "breakfast",
    "brownie",
    "brunch",
    "bubble tea",
    "buffet",
    "burger",
    "burrito",
    "cake",
    "candy",
    "canapé",
    "catering",
    "chai",
    "charcuterie",
    "cheese",
    "chili",
    "chips",
    "chocolate",
    "cider",
    "cocoa",
    "coffee",
    "cookie",
    "cookout",
    "corn",
    "cotton candy",
    "croissant",
    "cupcake",
    "curry",
    "dessert",
    "dinner",
    "donut",
    "doughnut",
    "drink",
    "dumpling",
    "empanada",
    "falafel",
    "finger food",
    "food",
    "fries",
    "frozen yogurt",
    "fruit",
    "gelato",
    "grub",
    "hamburger",
    "hors d'oeuvre",
    "hors d'oeuvres",
    "hot chocolate",
    "hot cocoa",
    "hot dog",
    "hotdog",
    "hummus",
    "ice cream",
    "kebab",
    "lasagna",
    "lemonade",
    "lunch",
    "luncheon",
    "macaron",
    "meal",
    "milkshake",
    "muffin",
    "munchies",
    "nachos",
    "naan",
    "nibbles",
    "noodle",
    "pancake",
    "pasta",
    "pastries",
    "pastry",
    "pie",
    "pierogi",
    "pizza",
    "popcorn",
    "popsicle",
    "potato",
    "pretzel",
    "punch and cookies",
    "ramen",
    "refreshment",
    "salad",
    "samosa",
    "sandwich",
    "scone",
    "smoothie",
    "snack",
    "snow cone",
    "soda",
    "sorbet",
    "soup",
    "spring roll",
    "strudel",
    "sub",
    "sundae",
    "supper",
    "sushi",
    "sweets",
    "taco",
    "tamale",
    "tapas",
    "tea",
    "tofurky",
    "treat",
    "turkey",
    "waffle",
    "watermelon",
    "wings",
    "wrap",
    "🍕",
    "🍔",
    "🌮",
    "🍩",
    "🍪",
    "🍦",
    "🥞",
    "🧋",
];
