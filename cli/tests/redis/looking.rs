//! What do `tail` and `doctor` show, and does the demo run over Redis?

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::Signal;

use crate::server::{Running, Server, TOPIC, json_lines, numbered, wait};

#[test]
fn tail_shows_all_or_what_is_new_and_settles_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    let ran = server.run(&["tail", TOPIC, "--idle", "1s"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    assert!(
        ran.stderr.contains("the topic does not exist"),
        "{}",
        ran.stderr
    );

    server.run(&["declare", TOPIC, "-g", "mailer"]);
    server.publish(&numbered(3).concat());
    let bad = server.xadd(&[b"data", b"\xff"]);
    let ran = server.run(&["tail", TOPIC, "--idle", "300ms"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let records = json_lines(&ran);
    assert_eq!(records.len(), 4);
    assert_eq!(records[0]["headers"]["message-id"], "e0");
    assert!(records[0].get("attempt").is_none() && records[0].get("defect").is_none());
    assert_eq!(records[3]["id"], bad.as_str());
    assert_eq!(records[3]["defect"], "not UTF-8 (at byte 0)");
    assert_eq!(records[3]["payload"]["base64"], "/w==");
    let ran = server.run(&["tail", TOPIC, "--max", "4", "-o", "raw"]);
    assert_eq!((ran.code, ran.stdout), (Some(0), numbered(3).concat()));
    assert!(
        ran.stderr.contains(&format!("message {bad} is malformed")),
        "{}",
        ran.stderr
    );
    assert_eq!(server.open("mailer"), (4, 0));

    let mut command = server.command(&["tail", TOPIC, "--start", "new", "-o", "raw"]);
    let mut running = Running::start(command.stdout(Stdio::piped()));
    let mut lines = BufReader::new(running.child().stdout.take().unwrap()).lines();
    wait("it reads", || {
        let clients = server.cli(&["CLIENT", "LIST"]).text().unwrap();
        clients.contains("cmd=xread")
    });
    server.publish(&numbered(2).concat());
    for line in numbered(2) {
        assert_eq!(lines.next().unwrap().unwrap(), line.trim_end());
    }
    running.signal(Signal::INT);
    assert_eq!(running.finish().code, Some(0));
}

#[test]
fn doctor_says_what_the_broker_is_and_where_settings_come_from() {
    let options = potluck_brokers::redis::RedisOptions::default().password("canary");
    let Some(server) = Server::start_with(options) else {
        return;
    };
    let url = format!("{}?lease=30s", server.redis.url());
    let mut command = server.command(&["doctor"]);
    let ran = crate::common::finish(command.env("POTLUCK_URL", &url).env("NO_COLOR", "1"));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(!ran.stdout.contains("canary"));
    let report = &json_lines(&ran)[0];
    assert_eq!(
        (&report["reachable"], &report["product"]),
        (&true.into(), &"redis".into())
    );
    assert!(report["version"].as_str().unwrap().contains('.'));
    assert!(
        report["notices"][0]
            .as_str()
            .unwrap()
            .contains("append-only")
    );
    assert_eq!(report["capabilities"]["redelivery"], "after_lease");
    let settings = report["settings"].as_array().unwrap();
    let shown: Vec<_> = settings
        .iter()
        .map(|s| ["name", "value", "from"].map(|key| s[key].as_str().unwrap()))
        .collect();
    let at = format!("redis://:***@{}", server.redis.addr());
    assert_eq!(shown[0], ["url", &at, "POTLUCK_URL"]);
    assert_eq!(shown[1], ["lease", "30s", "POTLUCK_URL"]);
    assert_eq!(shown[2], ["color", "never", "NO_COLOR"]);

    let (_dir, path) = crate::common::file("url", &url);
    let at_path = format!("@{path}");
    let ran = server.run(&["doctor", "-u", &at_path, "-o", "pretty"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(
        ran.stdout.contains(&format!("from --url, in {path}")),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("reachable, in ") && !ran.stdout.contains("canary"));
}

#[test]
fn the_demo_runs_over_it() {
    let Some(server) = Server::start() else {
        return;
    };
    for (ours, theirs) in [("POTLUCK_URL", "REDIS_URL"), ("REDIS_URL", "POTLUCK_URL")] {
        let mut command = server.command(&["demo"]);
        command.env_remove(theirs).env(ours, server.redis.url());
        let ran = crate::common::finish(&mut command);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
        assert!(ran.stdout.contains("22 valid, 0 invalid"), "{}", ran.stdout);
        assert!(
            ran.stdout.contains("on redis://127.0.0.1:"),
            "{}",
            ran.stdout
        );
    }
}
