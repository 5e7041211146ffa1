//! Does a verdict say where and which rule, and nothing that the sender chose?

#![allow(clippy::unwrap_used, reason = "what helps a test may fail it")]

use potluck_core::envelope::FreeFood;
use potluck_schema::{Profile, VIOLATIONS_MAX, Validator};
use serde_json::{Value, json};

fn event(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut event = json!({
        "schema_version": "1.0.0", "event_id": "1", "title": "t", "source": "s",
        "type": "FREE_FOOD_EVENT", "published_at": "2025-11-02T14:03:22Z", "retries": 0,
        "metadata": {},
    });
    change(&mut event);
    event.to_string().into_bytes()
}

fn broken(profile: Profile, text: &[u8]) -> Vec<String> {
    let verdict = Validator::new::<FreeFood>(profile).unwrap().check(text);
    verdict.errors.iter().map(ToString::to_string).collect()
}

#[test]
fn the_rule_is_in_the_schemas_words() {
    let secret = "s3cret";
    for (change, expected) in [
        (
            json!({ "retries": 4_294_967_296_u64 }),
            "/retries: maximum 4294967295",
        ),
        (json!({ "retries": secret }), "/retries: type integer"),
        (json!({ "title": "" }), "/title: minLength 1"),
        (json!({ "type": secret }), "/type: const FREE_FOOD_EVENT"),
        (
            json!({ "llm_confidence": secret }),
            r#"/llm_confidence: type ["number","null"]"#,
        ),
        (
            json!({ "published_at": secret }),
            "/published_at: format date-time",
        ),
        (
            json!({ "published_at": null }),
            "/published_at: type string",
        ),
    ] {
        let text = event(|event| {
            for (field, value) in change.as_object().unwrap() {
                event[field] = value.clone();
            }
        });
        let found = broken(Profile::Consumer, &text);
        assert!(found.contains(&expected.to_owned()), "{found:?}");
        assert!(!found.iter().any(|line| line.contains(secret)), "{found:?}");
    }
    let missing = event(|event| drop(event.as_object_mut().unwrap().remove("title")));
    assert_eq!(broken(Profile::Consumer, &missing), ["/: required: title"]);
    assert_eq!(broken(Profile::Consumer, b"[]"), ["/: type object"]);
}

#[test]
fn keys_are_escaped_and_cut() {
    let unknown = event(|event| {
        event["a/b~\u{1b}[2J\n\u{202e}"] = json!(1);
    });
    let found = broken(Profile::Producer, &unknown);
    assert_eq!(
        found,
        ["/a~1b~0\\u{1b}[2J\\n\\u{202e}: additionalProperties false"]
    );
    assert!(broken(Profile::Consumer, &unknown).is_empty());

    let long = event(|event| event["k".repeat(100_000)] = json!(1));
    assert!(broken(Profile::Producer, &long)[0].len() < 400);
}

#[test]
fn a_verdict_has_a_bounded_size() {
    let many = event(|event| {
        for key in 0..10_000 {
            event[key.to_string()] = json!(null);
        }
        event["retries"] = json!(-1);
    });
    let found = broken(Profile::Producer, &many);
    assert_eq!(found.len(), VIOLATIONS_MAX);
    assert_eq!(found, broken(Profile::Producer, &many));
}

#[test]
fn a_schema_that_is_none_is_refused() {
    for schema in [
        json!({ "type": "strin" }),
        json!({ "required": "title" }),
        json!({ "pattern": "(" }),
        json!([]),
        json!("object"),
        json!({ "$schema": "http://json-schema.org/draft-07/schema#" }),
        json!({ "$ref": "#/$defs/nowhere" }),
        // What a linear-time engine cannot match.
        json!({ "pattern": "(a)\\1" }),
        json!({ "pattern": "(?=a)b" }),
    ] {
        assert!(Validator::from_schema(&schema).is_err(), "{schema}");
    }
}

#[test]
fn a_pattern_takes_linear_time() {
    let schema = json!({ "pattern": "^(a+)+$" });
    let validator = Validator::from_schema(&schema).unwrap();
    let text = Value::from(format!("{}!", "a".repeat(100_000))).to_string();
    // A backtracking engine would not be back this century.
    assert!(!validator.check(text.as_bytes()).is_valid());
}
