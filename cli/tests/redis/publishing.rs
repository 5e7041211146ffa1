//! What becomes of lines that may not, or cannot, be published?

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use potluck_brokers::redis::RedisOptions;
use rustix::process::Signal;

use crate::common::VALID;
use crate::server::{Running, Server, TOPIC, json_lines, numbered, wait};

#[test]
fn a_bad_line_does_not_stop_the_lines_after_it() {
    let Some(server) = Server::start() else {
        return;
    };
    let unknown = VALID.replace("\"retries\"", "\"tags\":[],\"retries\"");
    let input = [
        VALID.as_bytes(),
        b"\n\n{\"half\":\n",
        unknown.as_bytes(),
        b"\n\xff\xfe\n",
        VALID.as_bytes(),
    ]
    .concat();
    let ran = server.run_with(&["publish", TOPIC], &input);
    assert_eq!(ran.code, Some(3));
    assert_eq!(json_lines(&ran).len(), 2);
    for text in [
        "error: line 3: malformed: not JSON",
        "error: line 4: not valid: /tags",
        "error: line 5: malformed: not UTF-8",
        "note: 2 published, 3 refused",
    ] {
        assert!(ran.stderr.contains(text), "{text}: {}", ran.stderr);
    }
    assert!(!ran.stderr.contains("half"), "{}", ran.stderr);
    let args = ["publish", TOPIC, "--profile", "consumer"];
    let ran = server.run_with(&args, unknown.as_bytes());
    assert_eq!((ran.code, json_lines(&ran).len()), (Some(0), 1));
    let ran = server.run_with(&["publish", TOPIC], b"{}\n[]\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(65), ""));
    let ran = server.run_with(&["publish", TOPIC], b"\n \n");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
    let ran = server.run(&["publish", TOPIC, "/no/such/file"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);

    let fields = server.cli(&["XRANGE", TOPIC, "-", "+", "COUNT", "1"]);
    let entry = fields.items().unwrap()[0].items().unwrap()[1].clone();
    let texts: Vec<_> = entry
        .items()
        .unwrap()
        .iter()
        .map(|f| f.text().unwrap())
        .collect();
    let expected = [
        "data",
        VALID,
        "h:content-type",
        "application/json",
        "h:message-id",
        "e1",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn a_receipt_does_not_wait_for_the_next_line_and_ctrl_c_ends_it() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut command = server.command(&["publish", TOPIC]);
    let mut running = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut input = running.child().stdin.take().unwrap();
    let mut receipts = BufReader::new(running.child().stdout.take().unwrap()).lines();
    for line in numbered(3) {
        input.write_all(line.as_bytes()).unwrap();
        assert!(receipts.next().unwrap().unwrap().contains("stored"));
    }
    running.signal(Signal::INT);
    let ran = running.finish();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("stopped after line 3"),
        "{}",
        ran.stderr
    );
    drop(input);
}

#[test]
fn who_reads_no_receipts_still_publishes() {
    let Some(server) = Server::start() else {
        return;
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (_dir, path) = crate::common::file("in.jsonl", numbered(2_000).concat());
    let mut command = server.command(&["publish", TOPIC, &path]);
    let running = Running::start(command.stdout(writer));
    drop(command);
    let ran = running.finish();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(server.cli(&["XLEN", TOPIC]).int(), Some(2_000));
}

#[test]
fn what_the_broker_takes_nothing_of_ends_the_run() {
    let options = RedisOptions::default().config("user reader on >canary ~* +@all -xadd");
    let Some(server) = Server::start_with(options) else {
        return;
    };
    server.cli(&["SET", "not.a-stream", "1"]);
    let lines = numbered(2_000).concat();
    let ran = server.run_with(&["publish", "not.a-stream"], lines.as_bytes());
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(78), ""));
    let last = ran.stderr.lines().last().unwrap();
    assert!(last.contains("stopped after line 512"), "{last}");

    let url = format!("redis://reader:canary@{}", server.redis.addr());
    let ran = server.run_with(&["-u", &url, "publish", TOPIC], lines.as_bytes());
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(77), ""),
        "{}",
        ran.stderr
    );
    assert!(!format!("{ran:?}").contains("canary"));
}

#[test]
fn what_fails_half_way_is_partly_done() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut command = server.command(&["publish", TOPIC]);
    let mut running = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut input = running.child().stdin.take().unwrap();
    let mut receipts = BufReader::new(running.child().stdout.take().unwrap()).lines();
    input.write_all(numbered(1)[0].as_bytes()).unwrap();
    assert!(receipts.next().unwrap().unwrap().contains("stored"));
    server.runtime.block_on(server.redis.kill()).unwrap();
    let begun = std::time::Instant::now();
    input.write_all(numbered(2).concat().as_bytes()).unwrap();
    // It waits for the server up to the deadline of a publish, and then says where it stopped.
    let ran = running.finish();
    assert!(
        (8..15).contains(&begun.elapsed().as_secs()),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(ran.stderr.contains("error: line 2: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("stopped after line"), "{}", ran.stderr);
}

#[test]
fn what_nobody_answers_for_may_be_published() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut command = server.command(&["publish", TOPIC]);
    let mut running = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut input = running.child().stdin.take().unwrap();
    wait("both of its connections are there", || {
        let clients = server.cli(&["CLIENT", "LIST"]).text().unwrap();
        clients.lines().count() >= 3
    });
    server.runtime.block_on(server.redis.freeze()).unwrap();
    input.write_all(numbered(1)[0].as_bytes()).unwrap();
    drop(input);
    wait("it has given up", || {
        running.child().try_wait().unwrap().is_some()
    });
    let ran = running.finish();
    server.redis.thaw().unwrap();
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(75), ""),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("error: line 1: may be published: "),
        "{}",
        ran.stderr
    );
}
