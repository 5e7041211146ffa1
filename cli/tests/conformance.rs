//! Does the suite's command answer for itself before and without a broker of its own?

#![allow(clippy::unwrap_used, reason = "what helps a test may fail it")]

mod common;

use common::run;

#[test]
fn help_says_what_it_does_to_a_broker_in_use() {
    let help = run(&["conformance", "--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for text in ["conformance-…", "--url <URL>", "Example:\n  potluck "] {
        assert!(help.stdout.contains(text), "{text}: {}", help.stdout);
    }
}

#[test]
fn the_list_needs_no_broker() {
    let all = run(&["conformance", "--list"]);
    assert_eq!((all.code, all.stderr.as_str()), (Some(0), ""));
    for line in all.stdout.lines() {
        let (name, promise) = line.split_once(' ').unwrap();
        assert!(
            !name.is_empty() && promise.trim().ends_with('.'),
            "{line:?}"
        );
    }
    let some = run(&["conformance", "--list", "--filter", "roundtrip"]);
    let expected: Vec<_> = all
        .stdout
        .lines()
        .filter(|line| line.contains("roundtrip"))
        .collect();
    assert!(expected.len() > 1 && expected.len() < all.stdout.lines().count());
    assert_eq!(some.stdout.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_wrong_command_line_is_said_before_the_broker_is_asked() {
    let url = "redis://u:canary@127.0.0.1:1";
    let wrong: [(&[&str], i32, &str); 5] = [
        (
            &[url, "--filter", "no-such-case"],
            2,
            "potluck conformance --list",
        ),
        (
            &["--list", "--filter", "no-such-case"],
            2,
            "no case has that",
        ),
        (&[url, "--report", "yaml"], 2, "json, junit, markdown"),
        (&[url, "--seed", "canary"], 2, "--seed"),
        (&[], 2, "no broker is named"),
    ];
    for (args, code, says) in wrong {
        let ran = run(&[&["conformance"], args].concat());
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(code), ""),
            "{args:?}: {ran:?}"
        );
        assert!(ran.stderr.contains(says), "{args:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("redis://u:canary"), "{}", ran.stderr);
    }
}

#[cfg(feature = "memory")]
#[test]
fn a_broker_in_memory_is_reached_by_all_connections() {
    for url in ["memory:", "memory:?max_messages=1000", "memory://mine"] {
        let ran = run(&["conformance", url, "--filter", "roundtrip", "--seed", "7"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stderr.ends_with("seed 7\n"), "{ran:?}");
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(report["broker"]["product"], "memory");
    }
    let quiet = run(&[
        "conformance",
        "-u",
        "memory:",
        "-q",
        "--filter",
        "roundtrip",
    ]);
    assert_eq!((quiet.code, quiet.stderr.as_str()), (Some(0), ""));
}
