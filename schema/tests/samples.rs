//! Do type and schema give every committed sample the verdict that stands beside it?
//!
//! A sample that a consumer accepts must decode for ever: a change that breaks one is a change of
//! the contract.

#![allow(clippy::unwrap_used, reason = "what helps a test may fail it")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use potluck_core::envelope::{FreeFood, Payload, Problem};
use potluck_schema::{Profile, Validator};
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples")
}

fn verdicts() -> Vec<Value> {
    let text = fs::read(folder().join("verdicts.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn every_sample_has_its_verdict() {
    let consumer = Validator::new::<FreeFood>(Profile::Consumer).unwrap();
    let producer = Validator::new::<FreeFood>(Profile::Producer).unwrap();
    let mut wrong = Vec::new();
    for row in verdicts() {
        let file = row["file"].as_str().unwrap();
        let bytes = fs::read(folder().join(file)).unwrap();
        let payload = Payload::check(bytes.clone());
        let decodes = payload
            .as_ref()
            .is_ok_and(|payload| payload.decode::<FreeFood>().is_ok());
        let (by_consumer, by_producer) = (consumer.check(&bytes), producer.check(&bytes));
        for (judge, found, listed) in [
            ("the malformed check", payload.is_err(), "malformed"),
            ("the consumer's schema", by_consumer.is_valid(), "consumer"),
            ("the producer's schema", by_producer.is_valid(), "producer"),
            ("the type", decodes, "consumer"),
        ] {
            if found != row[listed].as_bool().unwrap() {
                wrong.push(format!("{file}: {judge} says {found}"));
            }
        }
        assert_eq!(by_consumer.malformed, payload.err(), "{file}");
        assert_eq!(by_consumer, consumer.check(&bytes), "{file}, asked twice");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_sample_is_listed_and_every_kind_is_there() {
    let rows = verdicts();
    let listed: BTreeSet<_> = rows
        .iter()
        .map(|row| row["file"].as_str().unwrap().to_owned())
        .collect();
    let there: BTreeSet<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "verdicts.json")
        .collect();
    assert_eq!(listed, there);
    for verdict in ["malformed", "consumer", "producer", "pydantic"] {
        for is in [true, false] {
            let count = rows.iter().filter(|row| row[verdict] == is).count();
            assert!(count > 20, "{count} samples with `{verdict}` {is}");
        }
    }
}

#[test]
fn over_the_size_limit_is_malformed_and_at_it_is_not() {
    let validator = Validator::new::<FreeFood>(Profile::Producer).unwrap();
    let mut event = fs::read(folder().join("ok-contract-sample.json")).unwrap();
    event.resize(1024 * 1024, b' ');
    assert!(validator.check(&event).is_valid());
    event.push(b' ');
    let verdict = validator.check(&event);
    let problem = verdict.malformed.map(|malformed| malformed.problem);
    assert_eq!(problem, Some(Problem::TooLarge));
    assert!(!verdict.is_valid() && verdict.errors.is_empty());
}
