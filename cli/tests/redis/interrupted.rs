//! Is anything lost when `consume` is interrupted or killed?

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;

use crate::common::Ran;
use crate::server::{Running, Server, TOPIC, numbered, wait};

const COUNT: usize = 20_000;
const CONSUME: [&str; 6] = ["consume", TOPIC, "-g", "mailer", "-o", "raw"];

/// Consumes into a file and ends it by a signal in the midst of it.
fn interrupted(server: &Server, url: &str, path: &Path, signal: Signal) -> Ran {
    let mut command = server.command(&CONSUME);
    command.env("POTLUCK_URL", url);
    let mut running = Running::start(command.stdout(File::create(path).unwrap()));
    let length = || std::fs::metadata(path).unwrap().len();
    wait("some lines are written", || length() > 100_000);
    running.signal(signal);
    running.finish()
}

fn the_rest(server: &Server, url: &str) -> String {
    let mut command = server.command(&[&CONSUME[..], &["--idle", "2s"]].concat());
    let ran = crate::common::finish(command.env("POTLUCK_URL", url));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ran.stdout
}

#[test]
fn a_signal_under_load_loses_nothing_and_repeats_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    let lines = numbered(COUNT);
    let dir = tempfile::tempdir().unwrap();
    for signal in [Signal::INT, Signal::TERM] {
        server.cli(&["DEL", TOPIC]);
        server.publish(&lines.concat());
        let path = dir.path().join("out");
        let url = server.redis.url();
        let ran = interrupted(&server, &url, &path, signal);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let before = std::fs::read_to_string(&path).unwrap();
        assert!(
            before.lines().count() < COUNT,
            "it was not in the midst of it"
        );
        let mut all: Vec<_> = before.split_inclusive('\n').map(str::to_owned).collect();
        all.extend(
            the_rest(&server, &url)
                .split_inclusive('\n')
                .map(str::to_owned),
        );
        let mut sent = lines.clone();
        all.sort();
        sent.sort();
        assert!(all == sent, "{} of {COUNT}", all.len());
        assert_eq!(server.open("mailer"), (0, 0));
    }
}

#[test]
fn what_a_killed_one_held_comes_again() {
    let Some(server) = Server::start() else {
        return;
    };
    let lines = numbered(COUNT);
    server.publish(&lines.concat());
    let dir = tempfile::tempdir().unwrap();
    let url = format!("{}?lease=1s", server.redis.url());
    let mut all = String::new();
    for n in 0..3 {
        let path = dir.path().join(n.to_string());
        let ran = interrupted(&server, &url, &path, Signal::KILL);
        assert_eq!(ran.code, None);
        all.push_str(&std::fs::read_to_string(&path).unwrap());
        all.push('\n');
    }
    all.push_str(&the_rest(&server, &url));
    let got: std::collections::HashSet<_> = all.lines().collect();
    let lost = lines.iter().filter(|line| !got.contains(line.trim_end()));
    assert_eq!(lost.count(), 0);
    assert_eq!(server.open("mailer"), (0, 0));
}

#[test]
fn a_second_signal_stops_at_once() {
    let Some(server) = Server::start() else {
        return;
    };
    server.publish(&numbered(1).concat());
    let mut running = Running::start(server.command(&CONSUME).stdout(Stdio::null()));
    wait("it is consumed", || {
        let groups = server.cli(&["XINFO", "GROUPS", TOPIC]);
        groups.items().is_some_and(|groups| !groups.is_empty()) && server.open("mailer") == (0, 0)
    });
    // Leaving the group waits for the server.
    server.runtime.block_on(server.redis.freeze()).unwrap();
    running.signal(Signal::INT);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(running.child().try_wait().unwrap().is_none());
    running.signal(Signal::INT);
    let ran = running.finish();
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    server.redis.thaw().unwrap();
}
