//! Does `validate` give one verdict for each message, whatever it is fed with?

#![allow(clippy::unwrap_used, reason = "what helps a test may fail it")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use common::{Ran, VALID, command, file, run, run_with};
use serde_json::Value;

fn verdicts(ran: &Ran) -> Vec<Value> {
    let lines = ran.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn lines_of(ran: &Ran) -> Vec<(u64, bool)> {
    let verdicts = verdicts(ran);
    let pair = |v: &Value| (v["line"].as_u64().unwrap(), v["valid"].as_bool().unwrap());
    verdicts.iter().map(pair).collect()
}

#[test]
fn a_valid_message_has_a_verdict_and_exit_0() {
    let ran = run_with(&["validate"], VALID.as_bytes());
    assert_eq!(ran.code, Some(0));
    let expected = "{\"file\":\"-\",\"line\":1,\"valid\":true,\"malformed\":null,\"errors\":[]}\n";
    assert_eq!(ran.stdout, expected);
    assert_eq!(ran.stderr, "note: 1 checked, 1 valid, 0 not valid\n");
    assert_eq!(
        run_with(&["-q", "validate", "-"], VALID.as_bytes()).stderr,
        ""
    );
}

#[test]
fn what_is_wrong_is_named_and_never_quoted() {
    let input = VALID
        .replace("\"retries\":0", "\"retries\":-1")
        .replace("Free Pizza", "")
        + "\n{\"canary\":\"canary\n\n";
    let ran = run_with(&["validate"], input.as_bytes());
    assert_eq!(ran.code, Some(65));
    let verdicts = verdicts(&ran);
    assert_eq!(verdicts.len(), 2);
    let paths: Vec<_> = verdicts[0]["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["path"].clone())
        .collect();
    assert_eq!(paths, ["/retries", "/title"]);
    assert_eq!(verdicts[0]["errors"][0]["rule"], "minimum 0");
    assert_eq!(verdicts[0]["malformed"], Value::Null);
    assert_eq!(verdicts[1]["malformed"]["reason"], "malformed");
    assert!(verdicts[1]["malformed"]["offset"].is_u64());
    assert!(!format!("{ran:?}").contains("canary"));
}

#[test]
fn the_profile_decides_about_unknown_fields() {
    let input = VALID.replacen('{', "{\"new\":1,", 1);
    for (args, code) in [
        (&["validate"][..], 0),
        (&["validate", "--profile", "consumer"], 0),
        (&["validate", "--profile", "producer"], 65),
    ] {
        assert_eq!(
            run_with(args, input.as_bytes()).code,
            Some(code),
            "{args:?}"
        );
    }
}

#[test]
fn lines_are_numbered_whatever_they_end_with() {
    let input = [
        VALID,
        "\r\n\n \t\r\n",
        VALID,
        "\n\u{feff}",
        VALID,
        "\nnull\n",
        VALID,
    ]
    .concat();
    let ran = run_with(&["validate"], input.as_bytes());
    assert_eq!(
        lines_of(&ran),
        [(1, true), (4, true), (5, false), (6, false), (7, true)]
    );
    let nothing = run_with(&["validate"], b"\n\n");
    assert_eq!((nothing.code, nothing.stdout.as_str()), (Some(0), ""));

    let mut bytes = b"\xff\xfe{}\n".to_vec();
    bytes.extend_from_slice(VALID.as_bytes());
    assert_eq!(
        lines_of(&run_with(&["validate"], &bytes)),
        [(1, false), (2, true)]
    );
}

#[test]
fn a_long_line_is_too_large_and_the_next_one_is_read() {
    let padded = |len: usize| format!("{VALID}{}", " ".repeat(len - VALID.len()));
    let mib = 1024 * 1024;
    let input = [
        padded(mib),
        padded(mib + 1),
        padded(40 * mib),
        VALID.to_owned(),
    ]
    .join("\n");
    let ran = run_with(&["validate"], input.as_bytes());
    assert_eq!(
        lines_of(&ran),
        [(1, true), (2, false), (3, false), (4, true)]
    );
    let verdicts = verdicts(&ran);
    for line in [1, 2] {
        assert_eq!(verdicts[line]["malformed"]["reason"], "too_large");
    }
}

#[test]
fn a_json_file_is_one_message_and_others_are_lines() {
    let pretty = VALID.replace(',', ",\n");
    let (_a, json) = file("m.JSON", format!("{pretty}\n"));
    let (_b, lines) = file("m.jsonl", format!("{VALID}\n{VALID}\n"));
    let (_c, empty) = file("empty.json", "");
    let (_d, none) = file("empty.txt", "");
    let ran = run(&["validate", &json, &lines, &empty, &none]);
    assert_eq!(ran.code, Some(65));
    let verdicts = verdicts(&ran);
    let files: Vec<_> = verdicts
        .iter()
        .map(|v| v["file"].as_str().unwrap())
        .collect();
    assert_eq!(files, [&json, &lines, &lines, &empty]);
    assert_eq!(
        lines_of(&ran),
        [(1, true), (1, true), (2, true), (1, false)]
    );
    let (_e, huge) = file("huge.json", " ".repeat(8 * 1024 * 1024));
    assert_eq!(run(&["validate", &huge]).code, Some(65));
}

#[test]
fn a_file_that_cannot_be_read_does_not_stop_the_others() {
    let (dir, good) = file("good.jsonl", VALID);
    let dir = dir.path().to_str().unwrap();
    let ran = run(&["validate", "/no/such", dir, &good, "/no/such.json"]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(lines_of(&ran), [(1, true)]);
    let errors: Vec<_> = ran
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(errors.len(), 3, "{}", ran.stderr);
    assert!(errors[0].contains("/no/such: there is no such file"));
    assert!(errors[1].contains("it is a directory; name the files in it"));
}

#[test]
fn verdicts_come_while_input_is_still_open() {
    let mut child = command(&["validate"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for number in 1..=3 {
        writeln!(stdin, "{VALID}").unwrap();
        let mut verdict = String::new();
        stdout.read_line(&mut verdict).unwrap();
        assert!(
            verdict.contains(&format!("\"line\":{number},\"valid\":true")),
            "{verdict}"
        );
    }
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_reader_that_had_enough_ends_it_without_an_error() {
    let (_dir, path) = file("m.jsonl", format!("{VALID}\n").repeat(20_000));
    let mut child = command(&["validate", &path])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), &b""[..])
    );
}
