//! Does the example do what the original's script did, against a real server?

#![allow(clippy::unwrap_used, reason = "what helps a test may fail it")]
#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use potluck_brokers::redis::{RedisOptions, RedisServer};
use potluck_brokers::resp::Reply;
use potluck_brokers::skip::or_skip;
use potluck_brokers::wait::until;
use rustix::process::{Pid, Signal, kill_process};

const STREAM: &str = "events.free-food";

/// Cargo builds examples together with the tests of their package, one folder from this test.
fn mq_usage(url: &str, verb: &str) -> Command {
    let test: PathBuf = std::env::current_exe().unwrap();
    let built = test.ancestors().nth(2).unwrap().join("examples/mq_usage");
    assert!(
        built.exists(),
        "first: cargo build -p potluck-examples --examples"
    );
    let mut command = Command::new(built);
    command
        .arg(verb)
        .env("REDIS_URL", url)
        .env_remove("POTLUCK_URL")
        .env_remove("MQ_STREAM");
    command
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn texts(reply: &Reply) -> Vec<String> {
    match reply.items() {
        Some(items) => items.iter().flat_map(texts).collect(),
        None => reply.text().into_iter().collect(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_published_is_consumed_until_ctrl_c() {
    let started = RedisServer::start(RedisOptions::default()).await;
    let Some(server) = or_skip(started).unwrap() else {
        return;
    };
    let (code, published, errors) = run(&mut mq_usage(&server.url(), "publish"));
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let entry = texts(&server.cli(&["XRANGE", STREAM, "-", "+"]).await.unwrap());
    assert_eq!(published, format!("Published: {}\n", entry[0]));
    assert!(
        entry[2].contains(r#""title":"Free Pizza Night""#),
        "{}",
        entry[2]
    );
    let bad = ["XADD", STREAM, "*", "data", "{"];
    server.cli(&bad).await.unwrap();

    let mut command = mq_usage(&server.url(), "consume");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut complaints = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = "Received: Free Pizza Night at CS Building, Room 150";
    assert_eq!(said.next().unwrap().unwrap(), line);
    assert_eq!(said.next().unwrap().unwrap(), "Confidence: 95.00%");
    let members = server.cli(&["XINFO", "CONSUMERS", STREAM, "my_service"]);
    assert!(texts(&members.await.unwrap()).contains(&"worker_1".to_owned()));
    // What is malformed goes to the dead letters, confirmed, before it is acknowledged.
    let dead = "events.free-food.my_service.dead";
    let limit = Duration::from_secs(10);
    let is_dead = async || server.cli(&["XLEN", dead]).await.unwrap().int() == Some(1);
    until(limit, "a dead letter", is_dead).await.unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(said.next().unwrap().unwrap(), "Shutting down...");
    assert!(child.wait().unwrap().success());
    assert_eq!(complaints.next().unwrap().unwrap(), "dead letters: 1");
    let pending = server.cli(&["XPENDING", STREAM, "my_service"]);
    assert_eq!(pending.await.unwrap().items().unwrap()[0].int(), Some(0));
}

#[test]
fn a_wrong_use_is_answered_in_one_line_without_the_password() {
    let url = "redis://u:canary@127.0.0.1:1?timeout=50ms";
    for (verb, says) in [
        ("", "usage: "),
        ("publish", "0 stored, 1 refused, 0 unknown; the first: "),
    ] {
        let (code, said, errors) = run(&mut mq_usage(url, verb));
        assert_eq!((code, said.as_str()), (Some(1), ""));
        assert!(
            errors.starts_with(says) && errors.lines().count() == 1,
            "{errors}"
        );
        assert!(!errors.contains("canary"), "{errors}");
    }
}
