//! Does the suite say of a real broker whether the promises hold, and leave nothing behind?

use std::collections::HashSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use potluck_brokers::proxy::Proxy;
use potluck_brokers::redis::RedisOptions;
use potluck_brokers::resp::Reply;
use serde_json::Value;

use crate::common::{self, Ran};
use crate::server::{Running, Server, wait};

fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| unreachable!("{error}: {ran:?}"))
}

fn outcomes(report: &Value, outcome: &str) -> usize {
    let cases = report["cases"].as_array().unwrap();
    cases
        .iter()
        .filter(|case| case["outcome"] == outcome)
        .count()
}

/// Checks that a run found its one case broken; gives the reason.
fn broken(ran: &Ran, name: &str) -> String {
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let report = report(ran);
    let cases = report["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 1, "{report}");
    assert_eq!(cases[0]["name"], name);
    assert_eq!(cases[0]["outcome"], "failed");
    let warning = format!("warning: {name}: ");
    assert!(ran.stderr.contains(&warning), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("0 held, 1 did not, 0 not run"),
        "{ran:?}"
    );
    cases[0]["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_plain_server_keeps_every_promise_and_no_key() {
    let Some(server) = Server::start() else {
        return;
    };
    let ran = server.run(&["conformance", "--seed", "5"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let report = report(&ran);
    assert_eq!(report["broker"]["product"], "redis");
    let info = server.cli(&["INFO", "server"]).text().unwrap();
    let version = format!(
        "redis_version:{}\r\n",
        report["broker"]["version"].as_str().unwrap()
    );
    assert!(info.contains(&version), "{report}");
    assert_eq!(report["seed"], 5);
    assert_eq!(report["capabilities"]["redelivery"], "after_lease");

    let list = common::run(&["conformance", "--list"]);
    let listed: Vec<_> = list.stdout.lines().collect();
    let cases = report["cases"].as_array().unwrap();
    assert_eq!(cases.len(), listed.len());
    for (case, line) in cases.iter().zip(listed) {
        let (name, promise) = line.split_once(' ').unwrap();
        assert_eq!(case["name"], name);
        assert_eq!(case["promise"], promise.trim_start());
        assert!(case["took_ms"].is_u64(), "{case}");
        // What is not run says why; what holds needs no reason.
        assert_eq!(case["reason"].is_null(), case["outcome"] == "passed");
    }
    let (passed, not_run) = (outcomes(&report, "passed"), outcomes(&report, "not_run"));
    assert_eq!(passed + not_run, cases.len(), "{report}");
    // No progress where nobody looks.
    let note = format!("note: {passed} held, 0 did not, {not_run} not run; seed 5\n");
    assert_eq!(ran.stderr, note);
    assert_eq!(server.cli(&["KEYS", "*"]), Reply::Array(Vec::new()));
}

#[test]
fn an_operators_own_keys_are_left_alone() {
    let options = RedisOptions::default().password("canary");
    let Some(server) = Server::start_with(options) else {
        return;
    };
    server.cli(&["SET", "conformance-mine", "1"]);
    let url = server.redis.url();
    let filters: [(&str, &[&str]); 2] = [
        (
            "roundtrip",
            &["roundtrip_bytes", "roundtrip_envelope", "roundtrip_headers"],
        ),
        ("connect_errors", &["connect_errors_typed"]),
    ];
    for (filter, names) in filters {
        for form in ["json", "junit", "markdown"] {
            let args = ["conformance", "--filter", filter, "--report", form];
            // By the environment, by the option, and by the argument.
            let by_option = [&args[..], &["-u", &url]].concat();
            let by_argument = [&args[..], &[&url]].concat();
            for ran in [
                server.run(&args),
                common::run(&by_option),
                common::run(&by_argument),
            ] {
                assert_eq!(ran.code, Some(0), "{ran:?}");
                assert!(!format!("{ran:?}").contains("canary"), "{ran:?}");
                for name in names {
                    assert_eq!(ran.stdout.matches(name).count(), 1, "{ran:?}");
                }
            }
        }
    }
    let mine = Reply::Bulk(b"conformance-mine".to_vec());
    assert_eq!(server.cli(&["KEYS", "*"]), Reply::Array(vec![mine]));
}

#[test]
fn junit_is_xml_and_markdown_has_tables() {
    let options = RedisOptions::default().config("maxmemory 1mb");
    let Some(server) = Server::start_with(options) else {
        return;
    };
    // Some hold, some do not, some are not run.
    let args = |form| ["conformance", "--filter", "ro", "--report", form];
    let junit = server.run(&args("junit"));
    let tags = xml(&junit.stdout);
    let known = HashSet::from(["testsuite", "testcase", "failure", "skipped"]);
    assert!(tags.iter().all(|tag| known.contains(&**tag)), "{tags:?}");
    let count = |tag| tags.iter().filter(|found| *found == tag).count();
    let json = report(&server.run(&args("json")));
    for outcome in ["passed", "failed", "not_run"] {
        assert_ne!(outcomes(&json, outcome), 0, "{outcome}: {json}");
    }
    assert_eq!(count("testsuite"), 1);
    assert_eq!(count("testcase"), json["cases"].as_array().unwrap().len());
    assert_eq!(count("failure"), outcomes(&json, "failed"));
    assert_eq!(count("skipped"), outcomes(&json, "not_run"));

    let markdown = server.run(&args("markdown")).stdout;
    for text in [
        "(redis ",
        "\n| claim | value |\n|---|---|\n",
        "| redelivery | after_lease |\n",
        "\n| case | promise | result | ms |\n|---|---|---|---|\n",
        "| `describe_names_product` | ",
        "| passed | ",
        "| **failed**: ",
        "| not run: ",
    ] {
        assert!(markdown.contains(text), "{text}: {markdown}");
    }
}

/// The elements of an XML text, each checked to be closed where it must be.
fn xml(text: &str) -> Vec<String> {
    let declaration = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    let mut rest = text.strip_prefix(declaration).unwrap();
    let (mut open, mut tags) = (Vec::new(), Vec::new());
    while let Some((before, after)) = rest.split_once('<') {
        let (tag, behind) = after.split_once('>').unwrap();
        assert!(
            !before.contains('>') && !open.is_empty() || before.is_empty(),
            "{before}"
        );
        let name = tag.split([' ', '/']).find(|part| !part.is_empty()).unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{text}");
        } else {
            assert!(tag.matches('"').count() % 2 == 0, "{tag}");
            tags.push(name.to_owned());
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        rest = behind;
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{text}");
    tags
}

#[test]
fn a_server_without_memory_breaks_what_needs_it() {
    let options = RedisOptions::default().config("maxmemory 1mb");
    let Some(server) = Server::start_with(options) else {
        return;
    };
    let ran = server.run(&["conformance", "--filter", "publish_empty_slice"]);
    let reason = broken(&ran, "publish_empty_slice");
    assert!(reason.contains("1 refused, 0 unknown"), "{reason}");
    assert!(
        reason.contains("the server is at its `maxmemory`"),
        "{reason}"
    );
    assert_eq!(server.cli(&["DBSIZE"]), Reply::Int(0));
}

#[test]
fn a_network_that_drops_replies_breaks_the_case_that_waits_for_them() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = server
        .runtime
        .block_on(Proxy::start(server.redis.addr()))
        .unwrap();
    // So slow that members come and go for seconds.
    proxy.latency(Duration::from_millis(20));
    let url = format!("redis://{}?timeout=1s", proxy.addr());
    let mut command = common::command(&["conformance", &url, "--filter", "churn_no_leaks"]);
    let running = Running::start(command.stdout(Stdio::piped()));
    // More than the suite and the case have of their own.
    wait("members come", || proxy.accepted() > 20);
    proxy.black_hole_replies();
    let reason = broken(&running.finish(), "churn_no_leaks");
    assert!(reason.contains("in time"), "{reason}");
}

#[test]
fn where_nothing_listens_no_case_is_run() {
    let begun = Instant::now();
    let url = "redis://u:canary@127.0.0.1:1?timeout=1s";
    let ran = common::run(&["conformance", url]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(69), ""), "{ran:?}");
    assert!(ran.stderr.contains("refuses connections"), "{ran:?}");
    assert!(!format!("{ran:?}").contains("canary"), "{ran:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    // A wrong option is said at once.
    let ran = common::run(&["conformance", "redis://u:canary@127.0.0.1:1?leese=canary"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(78), ""), "{ran:?}");
    assert!(ran.stderr.contains("option=leese"), "{ran:?}");
    assert!(!format!("{ran:?}").contains("canary"), "{ran:?}");
}

#[test]
fn an_interrupted_run_leaves_no_key() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut running = Running::start(server.command(&["conformance"]).stdout(Stdio::null()));
    let keys = || server.cli(&["KEYS", "*"]).items().map_or(0, <[_]>::len);
    wait("cases are under way", || keys() > 0);
    running.signal(rustix::process::Signal::INT);
    let ran = running.finish();
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("stopping"), "{}", ran.stderr);
    assert_eq!(keys(), 0);
}
