//! Is a wrong setting of the service answered with what is wrong, the right exit code, and no
//! secret?

#![allow(clippy::unwrap_used, reason = "what helps a test may fail it")]
#![cfg(feature = "memory")]

mod common;

use std::process::Command;

use common::{Ran, command, file, finish, run};

fn check(ran: &Ran, code: i32, says: &str) {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{ran:?}");
    assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
    assert!(!ran.stderr.contains("canary"), "{}", ran.stderr);
}

fn both(args: &[&str]) -> [Command; 2] {
    let serve = command(&[&["serve"], args].concat());
    [
        serve,
        common::program(env!("CARGO_BIN_EXE_mq-consumer"), args),
    ]
}

#[test]
fn wrong_options_are_wrong_use() {
    for (args, says) in [
        (&["--count", "0"][..], "--count"),
        (&["--count", "ten"], "--count"),
        (
            &["--block", "5 s"],
            "a duration is a whole number and one of",
        ),
        (&["--concurrency", "0"], "--concurrency"),
        (
            &["--drain-timeout", "25"],
            "a duration is a whole number and one of",
        ),
        (
            &["--confidence-threshold", "1.1"],
            "it is a number from 0 to 1",
        ),
        (
            &["--confidence-threshold", "NaN"],
            "it is a number from 0 to 1",
        ),
        (&["--log", "xml"], "possible values: text, json"),
        (&["--group", "a b"], "--group"),
        (&["a topic"], "TOPIC"),
        (&["--flag"], "unexpected argument"),
        (&[], "no broker is named"),
    ] {
        for mut command in both(args) {
            check(&finish(&mut command), 2, says);
        }
    }
}

#[test]
fn wrong_variables_are_a_bad_configuration_and_are_named() {
    for (name, value, says) in [
        (
            "MQ_COUNT",
            "canary",
            "bad value of MQ_COUNT: it is a whole number of at least 1",
        ),
        ("MQ_CONCURRENCY", "0", "bad value of MQ_CONCURRENCY: "),
        (
            "MQ_BLOCK",
            "canary",
            "bad value of MQ_BLOCK: a duration is ",
        ),
        (
            "MQ_DRAIN_TIMEOUT",
            "25",
            "bad value of MQ_DRAIN_TIMEOUT: a duration is ",
        ),
        (
            "MQ_CONFIDENCE_THRESHOLD",
            "93",
            "bad value of MQ_CONFIDENCE_THRESHOLD: it is a number",
        ),
        ("MQ_LOG", "canary", "bad value of MQ_LOG: "),
        ("MQ_STREAM", "a canary", "bad value of MQ_STREAM: "),
        ("MQ_GROUP", "a canary", "bad value of MQ_GROUP: "),
        ("MQ_NAME", "a canary", "bad value of MQ_NAME: "),
    ] {
        for mut command in both(&["-u", "memory:"]) {
            let ran = finish(command.env(name, value));
            check(&ran, 78, says);
            assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        }
        let (_dir, path) = file("settings", format!("{name}='{value}'\n"));
        let ran = run(&["serve", "-u", "memory:", "--env-file", &path]);
        check(&ran, 78, &format!("bad value of {name}, in {path}: "));
    }
}

#[test]
fn a_file_that_is_none_is_a_bad_configuration_and_its_lines_are_not_shown() {
    check(
        &run(&["serve", "--env-file", "/no/such"]),
        78,
        "there is no such file",
    );
    let (_dir, path) = file(
        "settings",
        "MQ_COUNT=10\nREDIS_URL redis://u:canary@h canary\n",
    );
    let says = "has a line after MQ_COUNT that is not NAME=VALUE";
    check(&run(&["serve", "--env-file", &path]), 78, says);
    let (_dir, path) = file(
        "settings",
        "POTLUCK_URL='redis://u:canary@h?leese=canary'\n",
    );
    let ran = run(&["serve", "--env-file", &path]);
    check(&ran, 78, "option=leese");
    let (_dir, path) = file("settings", "REDIS_URL=@/no/such\n");
    check(
        &run(&["serve", "--env-file", &path]),
        78,
        "there is no such file",
    );
    // A broker of the file is a broker.
    let (_dir, path) = file("settings", "REDIS_URL=carrier-pigeon://h\n");
    check(
        &run(&["serve", "--env-file", &path]),
        78,
        "no transport serves this scheme",
    );
}

#[test]
fn errors_after_the_log_has_begun_are_in_it() {
    let ran = run(&["serve", "-u", "redis://u:canary@h?leese=1", "--log", "json"]);
    assert_eq!(ran.code, Some(78));
    let line: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert!(!ran.stderr.contains("canary"), "{}", ran.stderr);
}

#[test]
fn the_example_of_a_file_of_settings_is_one() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../.env.example");
    let text = std::fs::read_to_string(example).unwrap();
    // What is commented out is right, too.
    let (_dir, path) = file("settings", text.replace("# MQ_", "MQ_"));
    let ran = run(&["serve", "-u", "carrier-pigeon:", "--env-file", &path]);
    check(&ran, 78, "no transport serves this scheme");
    assert!(ran.stderr.starts_with("{\"timestamp\""), "{}", ran.stderr);
    for name in [
        "REDIS_URL=redis://localhost:6379/0\n",
        "MQ_STREAM=events.free-food\n",
    ] {
        assert!(text.contains(name), "{name}");
    }
}
