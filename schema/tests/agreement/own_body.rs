//! Do they agree on an application's own event, with a struct, enums, a list and a map in it?

use std::collections::{BTreeMap, BTreeSet};

use potluck_core::envelope::{Confidence, EventBody, Payload, SchemaVersion, Text, Timestamp};
use potluck_schema::{Profile, Validator, schema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mutate::{Members, mutate};
use crate::rng::{Rng, seed};
use crate::text::{Node, quoted};
use crate::values;

const CASES: u64 = 5_000;

#[derive(Serialize, Deserialize, JsonSchema)]
struct RoomChange {
    room: Text,
    kind: Kind,
    level: Level,
    #[serde(default)]
    before: Option<Level>,
    #[serde(default)]
    why: Option<Kind>,
    tags: Vec<Text>,
    #[serde(default)]
    levels: Vec<Level>,
    contacts: BTreeMap<String, Text>,
    /// The room itself may hold rooms.
    #[serde(default)]
    inside: Option<Box<Inside>>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Level {
    name: Text,
    lift: Option<bool>,
    #[serde(default)]
    since: Option<Timestamp>,
    #[serde(default)]
    share: Option<Confidence>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Inside {
    name: Text,
    #[serde(default)]
    inside: Option<Box<Inside>>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Moved,
    Cancelled,
}

impl EventBody for RoomChange {
    const TYPE: &'static str = "ROOM_CHANGE";
    const SCHEMA_VERSION: SchemaVersion = SchemaVersion::new(2, 1, 0);
}

const VALID: &str = r#"{
    "schema_version": "2.1.0", "event_id": "1", "source": "unknown", "type": "ROOM_CHANGE",
    "published_at": "2025-11-02T14:03:22Z", "retries": 0, "metadata": {"a": 1},
    "room": "150", "kind": "moved", "level": {"name": "first", "lift": true}, "why": "cancelled",
    "before": {"name": "second", "share": 0.5, "since": "2025-11-02T18:00:00Z"},
    "tags": ["a", "b"], "levels": [{"name": "third"}], "contacts": {"front desk": "150"},
    "inside": {"name": "hall", "inside": {"name": "corner"}}
}"#;

fn value_of(field: &str, rng: &mut Rng) -> Node {
    let several = |rng: &mut Rng, one: fn(&mut Rng) -> Node| {
        Node::Array((0..rng.below(4)).map(|_| one(rng)).collect())
    };
    match field {
        _ if rng.percent(20) => values::any(rng, 2),
        "schema_version" => Node::string(&values::version(rng)),
        "published_at" | "since" => Node::string(&values::timestamp(rng)),
        "share" | "retries" => Node::scalar(values::number(rng)),
        "metadata" => values::object(rng, 3),
        "kind" | "why" => Node::string(rng.pick(&["moved", "cancelled", "Moved", ""])),
        "level" | "before" => level(rng),
        "levels" => several(rng, level),
        "tags" => several(rng, |rng| Node::scalar(values::string(rng))),
        "lift" => Node::scalar(rng.pick(&["true", "false", "null", "0"])),
        "inside" => Node::Object(vec![
            (quoted("name"), Node::scalar(values::string(rng))),
            (quoted("inside"), values::any(rng, 1)),
        ]),
        _ => Node::scalar(values::string(rng)),
    }
}

fn level(rng: &mut Rng) -> Node {
    let mut members = vec![
        (quoted("name"), Node::string("x")),
        (quoted("lift"), Node::scalar("true")),
        (quoted("share"), Node::scalar("1")),
        (quoted("since"), Node::string("2025-11-02T18:00:00Z")),
    ];
    if rng.percent(70) {
        mutate(&mut members, value_of, rng);
    }
    Node::Object(members)
}

/// Takes out what `known_differences` asserts: an array for a nested struct, an object for an
/// enum, and keys that are repeated below the top level.
fn without_known_differences(members: &mut Members) {
    for (key, value) in members {
        let name = serde_json::from_str::<String>(key).unwrap_or_default();
        match (name.as_str(), &mut *value) {
            ("level" | "before" | "inside", Node::Array(_)) | ("kind" | "why", Node::Object(_)) => {
                *value = Node::scalar("7");
            }
            ("levels", Node::Array(items)) => {
                items.retain(|item| !matches!(item, Node::Array(_)));
                items.iter_mut().for_each(without_repeated_keys);
            }
            ("metadata", _) => {}
            (_, value) => without_repeated_keys(value),
        }
    }
}

fn without_repeated_keys(node: &mut Node) {
    if let Node::Object(members) = node {
        let mut seen = BTreeSet::new();
        members.retain(|(key, _)| seen.insert(serde_json::from_str::<String>(key).ok()));
        without_known_differences(members);
    }
}

fn decodes(text: &[u8]) -> bool {
    Payload::check(text.to_vec()).is_ok_and(|payload| payload.decode::<RoomChange>().is_ok())
}

fn changed(rng: &mut Rng) -> Vec<u8> {
    let value = serde_json::from_str(VALID).unwrap();
    let Node::Object(mut members) = Node::of(&value) else {
        panic!("the valid event is an object");
    };
    for _ in 0..rng.below(4) {
        mutate(&mut members, value_of, rng);
    }
    without_known_differences(&mut members);
    Node::Object(members).write(rng).into_bytes()
}

#[test]
fn type_and_schema_agree_on_an_own_body() {
    let consumer = Validator::new::<RoomChange>(Profile::Consumer).unwrap();
    let producer = Validator::new::<RoomChange>(Profile::Producer).unwrap();
    assert!(producer.check(VALID.as_bytes()).is_valid() && decodes(VALID.as_bytes()));
    let seed = seed();
    let mut accepted = 0;
    for case in 0..CASES {
        let text = changed(&mut Rng::new(seed, case));
        let verdict = consumer.check(&text);
        assert_eq!(
            verdict.is_valid(),
            decodes(&text),
            "AGREEMENT_SEED={seed}, case {case}: {verdict:?}\n{}",
            text.escape_ascii()
        );
        accepted += u64::from(verdict.is_valid());
    }
    let of = CASES;
    assert!(
        accepted > of / 10 && accepted < of * 9 / 10,
        "{accepted} of {of} accepted"
    );
}

/// What serde's derive does below the top level, JSON Schema does not, and the contract's own
/// event has no such field. Whoever changes one of these will want to know.
#[test]
fn known_differences() {
    let consumer = Validator::new::<RoomChange>(Profile::Consumer).unwrap();
    let level = r#""level": {"name": "first", "lift": true}"#;
    for (from, to, decoded) in [
        // An array for a struct.
        (level, r#""level": ["first", true]"#, true),
        // An object for a unit variant.
        (r#""kind": "moved""#, r#""kind": {"moved": null}"#, true),
        // A key repeated in a nested struct. In metadata it is allowed.
        (
            level,
            r#""level": {"name": "first", "name": "first"}"#,
            false,
        ),
        // Of values of one key the schema sees the last alone.
        (r#"{"front desk": "150"}"#, r#"{"a": 7, "a": "150"}"#, false),
    ] {
        let text = VALID.replace(from, to);
        assert_ne!(text, VALID);
        assert_eq!(decodes(text.as_bytes()), decoded, "{to}");
        assert_eq!(consumer.check(text.as_bytes()).is_valid(), !decoded, "{to}");
    }
}

#[test]
fn the_schema_is_named_after_the_type() {
    let schema = schema::<RoomChange>(Profile::Producer);
    assert_eq!(schema["$id"], "urn:potluck:room-change:2.1.0:producer");
    assert_eq!(schema["title"], "ROOM_CHANGE");
    assert_eq!(schema["properties"]["schema_version"]["const"], "2.1.0");
    assert_eq!(schema["additionalProperties"], false);
}
