//! Does each way to fail have its exit code, and does none show the password?

use potluck_brokers::redis::RedisOptions;

use crate::common::{self, Ran, VALID};
use crate::server::{Server, TOPIC, wait};

const VERBS: [&[&str]; 6] = [
    &["publish", TOPIC, "-"],
    &["consume", TOPIC, "-g", "g", "--idle", "1s"],
    &["tail", TOPIC, "--idle", "1s"],
    &["declare", TOPIC, "-g", "g"],
    &["status", TOPIC, "-g", "g"],
    &["doctor"],
];

fn each_verb(url: &str, code: i32, says: &str) {
    for verb in VERBS {
        let ran = common::finish(common::command(verb).env("POTLUCK_URL", url));
        check(&ran, code, says, verb);
        let args = [&["-u", url], verb].concat();
        check(&common::run_with(&args, VALID.as_bytes()), code, says, verb);
    }
}

fn check(ran: &Ran, code: i32, says: &str, verb: &[&str]) {
    assert_eq!(ran.code, Some(code), "{verb:?}: {ran:?}");
    assert!(!format!("{ran:?}").contains("canary"), "{verb:?}: {ran:?}");
    assert!(ran.stderr.contains(says), "{verb:?}: {}", ran.stderr);
    let errors = ran
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "));
    assert_eq!(errors.count(), 1, "{verb:?}: {}", ran.stderr);
}

#[test]
fn a_wrong_port_password_option_or_path() {
    let options = RedisOptions::default().password("right-canary");
    let Some(server) = Server::start_with(options) else {
        return;
    };
    let at = server.redis.addr();
    let wrong = format!("redis://u:canary@{at}");
    each_verb(&wrong, 77, "refuses the user and password");
    each_verb(&format!("redis://{at}"), 77, "wants a password");
    each_verb(&format!("{wrong}?leese=canary"), 78, "option=leese");
    each_verb(&format!("{wrong}/canary"), 78, "the database's number");
    // Nobody listens there any more.
    server.runtime.block_on(server.redis.kill()).unwrap();
    each_verb(&format!("{wrong}?timeout=200ms"), 69, "refuses connections");
}

#[test]
fn an_unreachable_broker_has_a_report_too() {
    let url = "redis://u:canary@127.0.0.1:1?timeout=200ms";
    let ran = common::run(&["doctor", "-u", url]);
    assert_eq!(ran.code, Some(69), "{}", ran.stderr);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&report["reachable"], &report["product"]),
        (&false.into(), &"".into())
    );
    assert_eq!(report["settings"][1]["name"], "timeout");
    assert!(!format!("{ran:?}").contains("canary"));
}

#[test]
fn a_person_is_told_what_is_waited_for() {
    let url = "redis://u:canary@127.0.0.1:1?timeout=1500ms";
    let ran = common::run(&["doctor", "-u", url]);
    assert_eq!(ran.code, Some(69));
    let note = "note: waiting for redis://u:***@127.0.0.1:1, which is connecting";
    assert!(ran.stderr.starts_with(note), "{}", ran.stderr);
}

#[test]
fn a_quiet_time_without_a_broker_is_no_good_end() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut command = server.command(&["consume", TOPIC, "-g", "g", "--idle", "3s"]);
    let running = crate::server::Running::start(command.stdout(std::process::Stdio::null()));
    wait("it has joined", || {
        let ran = server.run(&["status", TOPIC, "-g", "g"]);
        ran.stdout.contains("\"members\":{\"exact\":1}")
    });
    server.runtime.block_on(server.redis.kill()).unwrap();
    let ran = running.finish();
    assert_eq!(ran.code, Some(69), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("warning: connection lost"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("the broker is away"), "{}", ran.stderr);
}
