//! Do they agree on the contract's own event?

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use chrono::DateTime;
use potluck_core::envelope::{
    Confidence, FreeFood, FreeFoodEvent, Payload, SchemaVersion, Text, Timestamp,
};
use potluck_schema::{Profile, Validator, Violation};
use serde_json::{Map, Value};

use crate::mutate::{Members, damage, mutate};
use crate::rng::{Rng, seed};
use crate::text::{Node, quoted};
use crate::values;

const CASES: u64 = 100_000;
const EMITTED: u64 = 3_000;
const FIELDS: [&str; 13] = [
    "schema_version",
    "event_id",
    "title",
    "description",
    "location",
    "start_time",
    "source",
    "llm_confidence",
    "reason",
    "type",
    "published_at",
    "retries",
    "metadata",
];

fn value_of(field: &str, rng: &mut Rng) -> Node {
    if rng.percent(12) {
        return values::any(rng, 2);
    }
    if rng.percent(8) {
        return Node::scalar("null");
    }
    match field {
        "schema_version" => Node::string(&values::version(rng)),
        "start_time" | "published_at" => Node::string(&values::timestamp(rng)),
        "llm_confidence" | "retries" => Node::scalar(values::number(rng)),
        "metadata" if rng.percent(5) => values::deep(rng),
        "metadata" => values::object(rng, 3),
        "type" if rng.percent(50) => Node::string("FREE_FOOD_EVENT"),
        _ => Node::scalar(values::string(rng)),
    }
}

fn valid(rng: &mut Rng) -> Members {
    let mut members = Members::new();
    for field in FIELDS {
        let value = match field {
            "schema_version" => Node::string("1.0.0"),
            "type" => Node::string("FREE_FOOD_EVENT"),
            "published_at" => Node::string("2025-11-02T14:03:22.250000Z"),
            "retries" => Node::scalar("0"),
            "metadata" => values::object(rng, 2),
            "title" | "event_id" | "source" => Node::string("x"),
            _ if rng.percent(30) => continue,
            _ if rng.percent(30) => Node::scalar("null"),
            "start_time" => Node::string("2025-11-02T18:00:00Z"),
            "llm_confidence" => Node::scalar("0.93"),
            _ => Node::string("some text"),
        };
        members.push((quoted(field), value));
    }
    members
}

/// The samples that are objects.
fn samples() -> Vec<Members> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let texts = paths.iter().map(|path| fs::read(path).unwrap());
    texts
        .filter(|text| text.len() < 4096)
        .filter_map(|text| serde_json::from_slice::<Value>(&text).ok())
        .filter_map(|value| match Node::of(&value) {
            Node::Object(members) => Some(members),
            _ => None,
        })
        .collect()
}

fn text(samples: &[Members], rng: &mut Rng) -> Vec<u8> {
    let mut members = if rng.percent(40) {
        samples[rng.below(samples.len())].clone()
    } else {
        valid(rng)
    };
    for _ in 0..rng.below(4) {
        mutate(&mut members, value_of, rng);
    }
    let node = match rng.below(200) {
        0 => values::any(rng, 3),
        1 => Node::Array(vec![Node::Object(members)]),
        _ => Node::Object(members),
    };
    let mut text = node.write(rng).into_bytes();
    if rng.percent(4) {
        damage(&mut text, rng);
    }
    text
}

#[test]
fn type_and_schema_agree() {
    let consumer = Validator::new::<FreeFood>(Profile::Consumer).unwrap();
    let producer = Validator::new::<FreeFood>(Profile::Producer).unwrap();
    let samples = samples();
    let seed = seed();
    let (mut well_formed, mut accepted, mut emittable) = (0, 0, 0);
    let mut broken: BTreeSet<(String, String)> = BTreeSet::new();
    for case in 0..CASES {
        let mut rng = Rng::new(seed, case);
        let text = text(&samples, &mut rng);
        let decoded = Payload::check(text.clone()).map(|payload| payload.decode::<FreeFood>());
        let (by_consumer, by_producer) = (consumer.check(&text), producer.check(&text));
        // What the producer's profile adds, said in Rust.
        let exact = |event: &FreeFoodEvent| {
            event.unknown.is_empty() && event.schema_version == SchemaVersion::new(1, 0, 0)
        };
        let decodes = matches!(&decoded, Ok(Ok(_)));
        let is_exact = matches!(&decoded, Ok(Ok(event)) if exact(event));
        assert!(
            by_consumer.malformed == decoded.as_ref().err().copied()
                && by_consumer.is_valid() == decodes
                && by_producer.is_valid() == is_exact,
            "they disagree, AGREEMENT_SEED={seed}, case {case}:\n{}\n\
             type: {decoded:?}\nconsumer: {by_consumer:?}\nproducer: {by_producer:?}",
            text.escape_ascii()
        );
        if case % 64 == 0 {
            assert_eq!(by_consumer, consumer.check(&text), "AGREEMENT_SEED={seed}");
        }
        well_formed += u64::from(decoded.is_ok());
        accepted += u64::from(decodes);
        emittable += u64::from(is_exact);
        broken.extend(by_consumer.errors.iter().map(rule));
    }
    println!("seed {seed}: {well_formed} well-formed, {accepted} accepted, {emittable} emittable");
    let share = |count: u64| count * 100 / CASES;
    assert!(share(well_formed) >= 30, "{well_formed} well-formed");
    assert!(
        share(accepted) >= 5 && share(well_formed - accepted) >= 5,
        "{accepted} accepted"
    );
    assert!(
        share(emittable) >= 5 && share(accepted - emittable) >= 1,
        "{emittable} emittable"
    );
    assert_every_rule_was_broken(&broken);
}

fn rule(violation: &Violation) -> (String, String) {
    let keyword = violation.rule.split(' ').next().unwrap_or_default();
    if keyword == "required:" {
        return (String::new(), violation.rule.clone());
    }
    (violation.path.clone(), keyword.to_owned())
}

/// Otherwise a rule might be missing from both sides, and nobody would see it.
fn assert_every_rule_was_broken(broken: &BTreeSet<(String, String)>) {
    let schema = potluck_schema::schema::<FreeFood>(Profile::Consumer);
    let mut unbroken = Vec::new();
    for (field, rules) in schema["properties"].as_object().unwrap() {
        for keyword in rules.as_object().unwrap().keys() {
            let rule = (format!("/{field}"), keyword.clone());
            if keyword != "description" && !broken.contains(&rule) {
                unbroken.push(rule);
            }
        }
    }
    for field in schema["required"].as_array().unwrap() {
        let rule = format!("required: {}", field.as_str().unwrap());
        if !broken.contains(&(String::new(), rule.clone())) {
            unbroken.push((String::new(), rule));
        }
    }
    assert!(unbroken.is_empty(), "no text broke these: {unbroken:?}");
}

/// An event as an application may build one; nothing when it may not.
fn built(rng: &mut Rng) -> Option<FreeFoodEvent> {
    let text = |rng: &mut Rng| {
        let chars = (0..rng.below(12)).map(|_| rng.next() as u32 >> rng.below(32));
        chars.filter_map(char::from_u32).collect::<String>()
    };
    let mut body = FreeFood::new(Text::new(text(rng)).ok()?);
    let given = |rng: &mut Rng| rng.percent(60);
    body.description = given(rng).then(|| text(rng));
    body.location = given(rng).then(|| text(rng));
    body.reason = given(rng).then(|| text(rng));
    if given(rng) {
        let nanos = rng.next() as i64 >> rng.below(64);
        let years = rng.below(9_999) as i64 * 31_556_952;
        let seconds = DateTime::from_timestamp(years - 62_135_596_800, 0)?;
        let at = seconds
            + DateTime::from_timestamp_nanos(nanos).signed_duration_since(DateTime::UNIX_EPOCH);
        body.start_time = Timestamp::new(at).ok();
    }
    if given(rng) {
        let bits = f64::from_bits(rng.next());
        let share = rng.next() as f64 / u64::MAX as f64;
        body.llm_confidence = Confidence::new(if rng.percent(50) { bits } else { share }).ok();
    }
    let metadata = match serde_json::from_str(&values::object(rng, 5).write(rng)) {
        Ok(Value::Object(metadata)) => metadata,
        _ => Map::new(),
    };
    let mut builder = FreeFoodEvent::builder(body).metadata(metadata);
    if given(rng) {
        builder = builder.event_id(text(rng)).ok()?;
    }
    if given(rng) {
        builder = builder.source(text(rng)).ok()?;
    }
    Some(builder.build())
}

#[test]
fn what_is_emitted_is_what_a_producer_may_send() {
    let producer = Validator::new::<FreeFood>(Profile::Producer).unwrap();
    let seed = seed();
    let mut emitted = 0;
    for case in 0..EMITTED {
        let mut rng = Rng::new(seed, case);
        let Some(json) = built(&mut rng).and_then(|event| event.to_json().ok()) else {
            continue;
        };
        let verdict = producer.check(&json);
        assert!(
            verdict.is_valid(),
            "AGREEMENT_SEED={seed}, case {case}: {verdict:?}\n{}",
            json.escape_ascii()
        );
        let payload = Payload::check(json).unwrap();
        let again = payload
            .after_failure(rng.next() as u32, "\u{0}\u{1b}")
            .unwrap();
        assert!(
            producer.check(&again).is_valid(),
            "AGREEMENT_SEED={seed}, case {case}"
        );
        emitted += 1;
    }
    assert!(
        emitted >= EMITTED / 3,
        "{emitted} of {EMITTED} could be emitted"
    );
}
