//! Does each example say what it promises, in memory and over a real server?

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // tests
#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use potluck_brokers::redis::{RedisOptions, RedisServer};
use potluck_brokers::skip::or_skip;
use potluck_brokers::wait::until;
use rustix::process::{Pid, Signal, kill_process};

/// Cargo builds examples together with the tests of their package, one folder from this test.
fn example(name: &str, url: &str) -> Command {
    let test: PathBuf = std::env::current_exe().unwrap();
    let built = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(
        built.exists(),
        "first: cargo build -p potluck-examples --examples"
    );
    let mut command = Command::new(built);
    command.env("POTLUCK_URL", url).stdout(Stdio::piped());
    command.stderr(Stdio::piped());
    command
}

/// Waits for its end, and returns what it said.
async fn finish(mut child: Child) -> String {
    let ended = until(Duration::from_secs(60), "the example's end", async || {
        child.try_wait().unwrap().is_some()
    });
    if let Err(error) = ended.await {
        child.kill().unwrap();
        panic!("{error}");
    }
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (said, errors) = (text(output.stdout), text(output.stderr));
    assert!(
        output.status.success() && errors.is_empty(),
        "{said}{errors}"
    );
    said
}

/// Runs it in memory and over a real server, and gives each time what it said, by lines.
async fn said(name: &str) -> Vec<Vec<String>> {
    let mut all = vec![finish(example(name, "memory:").spawn().unwrap()).await];
    let started = RedisServer::start(RedisOptions::default()).await;
    if let Some(server) = or_skip(started).unwrap() {
        all.push(finish(example(name, &server.url()).spawn().unwrap()).await);
    }
    let lines = |text: &String| text.lines().map(str::to_owned).collect();
    all.iter().map(lines).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn quickstart() {
    for said in said("quickstart").await {
        assert_eq!(said, ["Free Pizza Night at CS Building, Room 150, try 1"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn retry_and_dead_letter() {
    for mut said in said("retry_and_dead_letter").await {
        // Events without a key are handled beside each other.
        said.sort();
        assert_eq!(
            said,
            [
                "Burnt Toast: try 1",
                "Frozen Soup: try 1",
                "Frozen Soup: try 2",
                "Frozen Soup: try 3",
                "Frozen Soup: try 4",
                "Salad: served",
                "Salad: try 1",
                "Slow Stew: served",
                "Slow Stew: try 1",
                "Slow Stew: try 2",
                "Slow Stew: try 3",
                "dead letter: exhausted: it is still frozen",
                "dead letter: rejected: nobody eats that",
            ]
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn two_groups() {
    for said in said("two_groups").await {
        let mailer = "mailer: 100 of 100, by two members";
        assert_eq!(said, ["archive: 100 of 100", mailer]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn own_event() {
    for said in said("own_event").await {
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].starts_with("room: {") && said[0].contains("\"minLength\":1"));
        assert!(said[0].contains("Where to."), "{said:?}");
        assert_eq!(said[1], "now in Room 150 (ROOM_CHANGE 1.0.0)");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn own_transport() {
    for said in said("own_transport").await {
        assert_eq!(said, ["3 published"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn batch() {
    for said in said("batch").await {
        let (last, slices) = said.split_last().unwrap();
        assert_eq!(last, "49 inserted, 1 dead letter");
        let sizes = slices.iter().map(|line| {
            let size = line.strip_prefix("inserted ").unwrap();
            size.strip_suffix(" in one slice")
                .unwrap()
                .parse::<usize>()
                .unwrap()
        });
        let sizes: Vec<_> = sizes.collect();
        assert_eq!(sizes.iter().sum::<usize>(), 49, "{said:?}");
        assert!(sizes.iter().any(|size| *size > 1), "{said:?}");
        assert!(sizes.iter().all(|size| *size <= 20), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn graceful_shutdown() {
    let started = RedisServer::start(RedisOptions::default()).await;
    let server = or_skip(started).unwrap();
    let redis = server.as_ref().map(RedisServer::url);
    for url in ["memory:".to_owned()].into_iter().chain(redis) {
        let mut child = example("graceful_shutdown", &url).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said: Vec<_> = lines.by_ref().take(4).map(Result::unwrap).collect();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        said.extend(lines.map(Result::unwrap));
        assert_eq!(finish(child).await, "");

        let with = |start: &str| {
            let found = said.iter().filter_map(|line| line.strip_prefix(start));
            let mut found: Vec<_> = found.map(str::to_owned).collect();
            found.sort();
            found
        };
        let finished = with("finished ");
        assert_eq!(with("begun "), finished, "{said:?}");
        let rest = 100 - finished.len();
        assert!(rest > 0, "{said:?}");
        let last = format!("{} finished, {rest} given back", finished.len());
        assert_eq!(said.last(), Some(&last));
    }
}
