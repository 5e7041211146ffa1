//! Does `demo` show the free food, whatever the calendar and whoever reads?

#![allow(clippy::unwrap_used, reason = "what helps a test may fail it")]
#![cfg(feature = "memory")]

mod common;

use common::{Ran, command, file, finish, run, run_with};

fn counts(ran: &Ran) -> Vec<String> {
    let names = ["Read", "Skipped", "Kept", "Published", "Consumed"];
    names
        .iter()
        .filter_map(|name| ran.stdout.lines().find(|line| line.starts_with(name)))
        .map(|line| line.split_whitespace().nth(1).unwrap().to_owned())
        .collect()
}

#[test]
fn the_sample_arrives_in_full() {
    let ran = run(&["demo"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(counts(&ran), ["63", "41", "22", "22", "22"]);
    for text in [
        "CS Club Kickoff 🍕",
        "Thu 10 18:00",
        "September 2026",
        "No time given",
        "Young Alumni",
        "to demo.free-food on memory:\n",
        "22 valid, 0 invalid",
        "p50 ",
        "p90 ",
        "p99 ",
        "max ",
        "36 without free food, 3 without a title, 2 repeated",
    ] {
        assert!(ran.stdout.contains(text), "{text}: {}", ran.stdout);
    }
    for text in [
        "Cupboard",
        "Sundae",
        "Intro to Python",
        "RED ALERT",
        "\u{1b}",
        "\u{7}",
    ] {
        assert!(!ran.stdout.contains(text), "{text}");
    }
}

#[test]
fn the_table_fits_its_width() {
    for (columns, width) in [
        ("40", 40),
        ("80", 80),
        ("120", 120),
        ("nonsense", 80),
        ("", 80),
        ("9", 40),
    ] {
        let ran = finish(command(&["demo"]).env("COLUMNS", columns));
        let agenda = ran.stdout.split("\n\n").next().unwrap();
        let widest = agenda
            .lines()
            .map(|line| line.chars().count())
            .max()
            .unwrap();
        assert!(widest <= width && widest > width / 2, "{columns}: {widest}");
        assert_eq!(agenda.contains("WHY"), width >= 110, "{columns}");
        assert!(agenda.lines().all(|line| line == line.trim_end()));
    }
}

#[test]
fn colours_are_for_those_who_ask() {
    let colored = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = command(args);
        for (name, value) in variables {
            command.env(name, value);
        }
        finish(&mut command).stdout.contains('\u{1b}')
    };
    assert!(!colored(&["demo"], &[]));
    assert!(colored(&["demo", "--color", "always"], &[]));
    assert!(colored(
        &["demo", "--color", "always"],
        &[("NO_COLOR", "1")]
    ));
    assert!(colored(&["demo"], &[("CLICOLOR_FORCE", "1")]));
    assert!(!colored(
        &["demo", "--color", "never"],
        &[("CLICOLOR_FORCE", "1")]
    ));
}

#[test]
fn verbose_says_why_for_each_event() {
    let ran = run(&["demo", "-v"]);
    assert_eq!(ran.stderr.lines().count(), 63);
    assert!(
        ran.stderr
            .contains("kept \"CS Club Kickoff 🍕\" (5217340), 0.98: tag \"free food\"")
    );
    assert!(ran.stderr.contains("(5210386): it is cancelled"));
    assert!(!ran.stderr.contains('\u{1b}'));
}

#[test]
fn another_file_is_read_and_its_bad_events_are_counted() {
    let page = r#"{"events":[{"event":{"id":1,"title":"Free Pizza\u001b[2J"}},{"event":{"id":{}}},17,
        {"event":{"id":1,"title":"Free Pizza"}},{"event":{"title":""}},{"event":{"title":"Yoga"}}]}"#;
    let (_dir, path) = file("events.json", page);
    let ran = run(&["demo", "--file", &path]);
    assert_eq!(ran.code, Some(3));
    assert_eq!(counts(&ran), ["6", "5", "1", "1", "1"]);
    assert!(
        ran.stdout.contains("Free Pizza\u{fffd}[2J"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stderr
            .contains("note: event 2 is unreadable: its id is neither")
    );
    assert!(
        ran.stderr
            .contains("note: event 3 is unreadable: it is no object")
    );
    assert!(
        ran.stderr
            .ends_with("error: unreadable events in the calendar: 2\n")
    );
    assert_eq!(
        run(&["demo", "-q", "--file", &path]).stderr.lines().count(),
        1
    );

    let ran = run_with(&["demo", "--file", "-"], page.as_bytes());
    assert!(ran.stdout.contains("from standard input"));
}

#[test]
fn a_calendar_without_free_food_says_so() {
    let (_dir, path) = file("events.json", "[]");
    let ran = run(&["demo", "--file", &path]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(ran.stdout.starts_with("No event promises free food.\n"));
    assert!(!ran.stdout.contains("Latency"));
}

#[test]
fn a_file_that_is_no_calendar_is_an_error_in_one_line() {
    let (dir, html) = file("a.html", "<!doctype html>canary");
    let (_b, cut) = file("b.json", "{\"events\":[{\"event\":{\"title\":\"canary");
    let (_c, other) = file("c.json", "{\"error\":\"canary\"}");
    let (_d, binary) = file("d.bin", [0, 159, 146, 150]);
    for (path, code, says) in [
        (html.as_str(), 65, "is not JSON at line 1, column 1"),
        (&cut, 65, "is not JSON at line 1"),
        (&other, 65, "has no list of events"),
        (&binary, 65, "is not JSON"),
        ("/no/such", 1, "there is no such file"),
        (dir.path().to_str().unwrap(), 1, "it is a directory"),
    ] {
        let ran = run(&["demo", "--file", path]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{path}");
        assert!(
            ran.stderr.contains(says) && !ran.stderr.contains("canary"),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.lines().count() == 1);
    }
}

#[test]
fn what_the_broker_refuses_is_counted_and_said() {
    let long = format!(
        r#"[{{"event":{{"title":"Free Pizza","description":"{}"}}}},{{"event":{{"title":"Free Tea"}}}}]"#,
        "x".repeat(1_100_000)
    );
    let (_dir, path) = file("events.json", long);
    let ran = run(&["demo", "--file", &path]);
    assert_eq!(ran.code, Some(3));
    assert_eq!(counts(&ran), ["2", "0", "2", "1", "1"]);
    assert!(
        ran.stderr.contains("events not published: 1 of 2: "),
        "{}",
        ran.stderr
    );

    // None of them fits.
    let ran = run(&["demo", "-u", "memory:?max_bytes=50"]);
    assert_ne!(ran.code, Some(0));
    assert!(
        ran.stdout.starts_with("No event arrived.\n"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stderr
            .contains("events not published: 22 of 22: publish"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_small_broker_is_enough() {
    let ran = run(&["demo", "-u", "memory:?max_messages=3"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(counts(&ran), ["63", "41", "22", "22", "22"]);
}
