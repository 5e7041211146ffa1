//! What does `consume` write, acknowledge and leave?

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::VALID;
use crate::server::{Running, Server, TOPIC, json_lines, numbered, wait};

const IDLE: [&str; 2] = ["--idle", "300ms"];

fn consume<'a>(group: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["consume", TOPIC, "-g", group], more].concat()
}

#[test]
fn what_a_foreign_client_wrote_is_consumed_just_as_well() {
    let Some(server) = Server::start() else {
        return;
    };
    let by_hand = server.xadd(&[b"data", VALID.as_bytes()]);
    server.xadd(&[b"data", b"{\n \"a\": [\"\xc3\xa9\"],\r\n \"n\": 1.10\n}"]);
    let fields: [&[u8]; 10] = [
        b"data",
        b"7",
        b"\xff\x00name",
        b"v",
        b"h:bin",
        b"\xff",
        b"key",
        b"\xfe",
        b"note",
        b"x",
    ];
    server.xadd(&fields);
    let ran = server.run(&consume("json", &[&IDLE[..], &["-o", "json"]].concat()));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let lines: Vec<_> = ran.stdout.lines().collect();
    let first = format!(
        "{{\"topic\":\"{TOPIC}\",\"id\":\"{by_hand}\",\"key\":null,\"headers\":{{}},\"attempt\":1,\"payload\":{VALID}}}"
    );
    assert_eq!(lines[0], first);
    assert!(
        lines[1].ends_with(",\"payload\":{  \"a\": [\"é\"],   \"n\": 1.10 }}"),
        "{}",
        lines[1]
    );
    let record = &json_lines(&ran)[2];
    assert_eq!(record["key"]["base64"], "/g==");
    assert_eq!(record["headers"]["bin"]["base64"], "/w==");
    assert_eq!(record["headers"]["note"], "x");
    assert_eq!(record["headers"].as_object().unwrap().len(), 3);
    assert_eq!(
        (lines.len(), &record["payload"]),
        (3, &serde_json::json!(7))
    );
    assert_eq!(server.open("json"), (0, 0));

    let ran = server.run(&consume("pretty", &[&IDLE[..], &["-o", "pretty"]].concat()));
    let rows: Vec<_> = ran.stdout.lines().collect();
    assert!(
        rows[0].starts_with("ID ") && rows.len() == 4,
        "{}",
        ran.stdout
    );
    assert!(rows[1].contains(&by_hand) && rows[1].ends_with("Free Pizza"));
    assert!(rows[2].contains("invalid: ") && !ran.stdout.contains('\u{1b}'));
}

#[test]
fn malformed_messages_are_named_and_left_unless_they_are_to_be_skipped() {
    let Some(server) = Server::start() else {
        return;
    };
    let bodyless = server.xadd(&[b"no", b"canary"]);
    let broken = server.xadd(&[b"data", b"{\"canary\":"]);
    server.publish(&numbered(3).concat());
    for _ in 0..2 {
        // Left to the group, so it meets them again.
        let ran = server.run(&consume("mailer", &[&IDLE[..], &["-o", "raw"]].concat()));
        assert_eq!(ran.code, Some(3));
        for (id, why) in [(&bodyless, "the record has no body"), (&broken, "not JSON")] {
            let text = format!("error: message {id} is malformed: {why}");
            assert_eq!(ran.stderr.matches(&text).count(), 1, "{}", ran.stderr);
        }
        assert!(!ran.stderr.contains("canary"), "{}", ran.stderr);
        assert_eq!(server.open("mailer"), (0, 2));
    }
    let skip = [&IDLE[..], &["-o", "raw", "--skip-malformed"]].concat();
    let ran = server.run(&consume("mailer", &skip));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
    assert!(ran.stderr.contains(&broken) && ran.stderr.contains("2 malformed skipped"));
    assert_eq!(server.open("mailer"), (0, 0));
    // Those before the good ones have not stopped them.
    let ran = server.run(&consume("other", &[&skip[..], &["--max", "5"]].concat()));
    assert_eq!((ran.code, ran.stdout), (Some(0), numbered(3).concat()));
}

#[test]
fn max_and_idle_end_it_and_nothing_more_is_taken() {
    let Some(server) = Server::start() else {
        return;
    };
    let lines = numbered(600);
    server.publish(&lines.concat());
    let mut got = String::new();
    for max in ["1", "1", "300", "297", "1"] {
        let ran = server.run(&consume("mailer", &["-o", "json", "--max", max]));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let records = json_lines(&ran);
        assert_eq!(records.len(), max.parse::<usize>().unwrap());
        assert!(records.iter().all(|record| record["attempt"] == 1));
        for line in ran.stdout.lines() {
            got.push_str(
                line.split_once("\"payload\":")
                    .unwrap()
                    .1
                    .strip_suffix('}')
                    .unwrap(),
            );
            got.push('\n');
        }
    }
    assert!(got == lines.concat(), "not in order, or not all");
    let begun = Instant::now();
    let ran = server.run(&consume("mailer", &["--idle", "700ms"]));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(700) && took < Duration::from_secs(5),
        "{took:?}"
    );
}

#[test]
fn a_reader_that_goes_away_ends_it_and_loses_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    // A few lines fit into the pipe; many do not, so that writing fails half way.
    for (group, count) in [("few", 10), ("many", 3_000)] {
        server.cli(&["DEL", TOPIC]);
        server.publish(&numbered(count).concat());
        let mut command = server.command(&consume(group, &["-o", "raw"]));
        let mut running = Running::start(command.stdout(Stdio::piped()));
        let mut reader = BufReader::with_capacity(64, running.child().stdout.take().unwrap());
        let mut first = String::new();
        reader.read_line(&mut first).unwrap();
        assert_eq!(first, numbered(1)[0]);
        drop(reader);
        let ran = running.finish();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let ran = server.run(&consume(group, &[&IDLE[..], &["-o", "raw"]].concat()));
        // What went into the pipe is done; what follows is all there, in one piece.
        let rest = ran.stdout.lines().count();
        assert!(rest < count, "{rest}");
        assert!(numbered(count).concat().ends_with(&ran.stdout), "{rest}");
        assert_eq!(server.open(group), (0, 0));
    }
}

#[test]
fn status_counts_what_waits_and_who_is_there() {
    let Some(server) = Server::start() else {
        return;
    };
    server.publish(&numbered(7).concat());
    for (group, start, backlog) in [("all", "earliest", 7), ("new", "new", 0)] {
        let ran = server.run(&["declare", TOPIC, "-g", group, "--start", start]);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(0), ""),
            "{}",
            ran.stderr
        );
        let status = server.status(group);
        assert_eq!(status["topic"], TOPIC);
        assert_eq!(status["group"], group);
        assert_eq!(status["backlog"]["exact"], backlog);
        assert_eq!(status["in_flight"]["exact"], 0);
        assert_eq!(status["members"]["exact"], 0);
    }
    assert_eq!(server.status("new")["oldest_ms"]["exact"], 0);
    assert!(server.status("all")["oldest_ms"]["estimated"].is_u64());
    server.xadd(&[b"data", b"malformed"]);
    let mut command = server.command(&consume("all", &["-o", "raw", "--member", "me"]));
    let mut running = Running::start(command.stdout(Stdio::piped()));
    wait("it holds the malformed one", || {
        server.open("all") == (0, 1)
    });
    assert_eq!(server.status("all")["members"]["exact"], 1);
    let pending = server.cli(&["XPENDING", TOPIC, "all", "-", "+", "9"]);
    let row = pending.items().unwrap()[0].items().unwrap().to_vec();
    assert_eq!(row[1].text().as_deref(), Some("me"));
    running.signal(rustix::process::Signal::TERM);
    let mut out = String::new();
    let mut stdout = running.child().stdout.take().unwrap();
    stdout.read_to_string(&mut out).unwrap();
    assert_eq!(out, numbered(7).concat());
    assert_eq!(running.finish().code, Some(3));
    let pretty = server.run(&["status", TOPIC, "-g", "all", "-o", "pretty"]);
    assert!(
        pretty.stdout.contains("In flight  1\n"),
        "{}",
        pretty.stdout
    );
}
