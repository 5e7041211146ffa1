//! Does the service handle what comes, tell of it, and lose nothing when it is told to stop?

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{self, Ran};
use crate::server::{Running, Server, TOPIC, numbered, wait};

const GROUP: &str = "mq-consumer";
const DEAD: &str = "events.free-food.mq-consumer.dead";

/// `mq-consumer`, over a server.
fn mq_consumer(server: &Server, args: &[&str]) -> Command {
    let mut command = common::program(env!("CARGO_BIN_EXE_mq-consumer"), args);
    command.env("POTLUCK_URL", server.redis.url());
    command
}

/// An event with a canary wherever text may stand.
fn event(id: &str, confidence: f64) -> String {
    format!(
        r#"{{"schema_version":"1.0.0","event_id":"{id}","title":"canary","description":"canary","location":"canary","reason":"canary","source":"manual","llm_confidence":{confidence},"type":"FREE_FOOD_EVENT","published_at":"2025-11-02T14:03:22Z","retries":0,"metadata":{{"canary":"canary"}}}}"#
    )
}

/// A service that runs. Its log goes into a file, because a pipe that nobody reads would stop it.
struct Service {
    running: Running,
    log: tempfile::NamedTempFile,
}

impl Service {
    fn start(command: &mut Command) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let stderr = log.reopen().unwrap();
        let running = Running::start_as_it_is(command.stdout(Stdio::piped()).stderr(stderr));
        Self { running, log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// Waits until its log says this.
    fn says(&self, text: &str) {
        wait(text, || self.log().contains(text));
    }

    /// Tells it to stop, and waits for its end.
    fn stop(mut self) -> Ran {
        self.running.signal(Signal::TERM);
        let mut ran = self.running.finish();
        ran.stderr = std::fs::read_to_string(self.log.path()).unwrap();
        ran
    }
}

/// Runs it until the group has nothing open.
fn serve_all(server: &Server, command: &mut Command, group: &str) -> Ran {
    let service = Service::start(command);
    wait("all is settled", || {
        let status = server.run(&["status", TOPIC, "-g", group]).stdout;
        let none = |name| status.contains(&format!("\"{name}\":{{\"exact\":0}}"));
        none("backlog") && none("in_flight")
    });
    service.stop()
}

fn log(ran: &Ran) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    ran.stderr.lines().map(parse).collect()
}

fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"))
}

/// The lines of the log that say this.
fn lines<'a>(log: &'a [Value], message: &str) -> Vec<&'a Value> {
    let lines = log.iter().filter(|line| line["message"] == message);
    lines.collect()
}

fn ids(log: &[Value]) -> Vec<String> {
    let processed = lines(log, "event processed").into_iter();
    processed
        .map(|line| line["event_id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn events_are_processed_and_a_report_ends_it() {
    let Some(server) = Server::start() else {
        return;
    };
    let published = [event("sure", 0.9), event("unsure", 0.3)].join("\n")
        + "\n"
        + &common::VALID.replace("1.0.0", "2.0.0")
        + "\n";
    server.publish(&published);
    server.xadd(&[b"data", b"{\"title\":\"canary\""]);
    let other = event("other", 0.9).replace("FREE_FOOD_EVENT", "CANARY_EVENT");
    server.xadd(&[b"data", other.as_bytes()]);

    let ran = serve_all(
        &server,
        &mut mq_consumer(&server, &["--log", "json"]),
        GROUP,
    );
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let report = report(&ran);
    for (name, count) in [
        ("received", 5),
        ("events_processed", 3),
        ("events_failed", 2),
        ("low_confidence", 1),
        ("in_flight", 0),
    ] {
        assert_eq!(report[name], count, "{name}: {report}");
    }
    assert_eq!(
        (&report["topic"], &report["group"]),
        (&TOPIC.into(), &GROUP.into())
    );
    assert!(report["uptime_seconds"].as_f64().unwrap() > 0.0);
    assert!(report["events_per_second"].as_f64().unwrap() > 0.0);
    assert!(report["latency"]["p50_ms"].as_u64().unwrap() > 1000);

    let log = log(&ran);
    assert_eq!(ids(&log), ["sure", "unsure", "e1"]);
    let sure = lines(&log, "event processed")[0];
    assert_eq!(
        (&sure["level"], &sure["confidence"]),
        (&"INFO".into(), &0.9.into())
    );
    assert!(
        sure["latency_ms"].is_u64() && sure["source"] == "manual",
        "{sure}"
    );
    for (message, level, count) in [
        ("low confidence", "WARN", 1),
        ("Unsupported schema version: 2.0.0", "WARN", 1),
        ("a message was dead-lettered", "ERROR", 2),
        ("stopped", "INFO", 1),
    ] {
        let found = lines(&log, message);
        assert_eq!(found.len(), count, "{message}: {}", ran.stderr);
        assert!(found.iter().all(|line| line["level"] == level), "{found:?}");
    }
    assert_eq!(lines(&log, "stopped")[0]["events_processed"], 3);
    let said = format!("{ran:?}").to_lowercase();
    assert!(!said.contains("canary"), "{said}");
    assert_eq!(server.cli(&["XLEN", DEAD]).int(), Some(2));
}

#[test]
fn the_text_log_is_for_people_and_holds_no_payload_either() {
    let Some(server) = Server::start() else {
        return;
    };
    server.publish(&(event("unsure", 0.7) + "\n"));
    let args = [
        "serve",
        "--confidence-threshold",
        "0.8",
        "-o",
        "pretty",
        "-g",
        "another",
    ];
    let ran = serve_all(&server, &mut server.command(&args), "another");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stdout
            .starts_with("another of events.free-food\n  Processed   1, "),
        "{ran:?}"
    );
    assert!(
        ran.stdout.contains("\n  Unsure      1 of low confidence\n"),
        "{ran:?}"
    );
    let line = ran
        .stderr
        .lines()
        .find(|line| line.contains(" INFO event processed "));
    assert!(
        line.unwrap().contains(" event_id=unsure "),
        "{}",
        ran.stderr
    );
    let line = ran
        .stderr
        .lines()
        .find(|line| line.contains(" WARN low confidence "));
    assert!(
        line.unwrap().ends_with(" confidence=0.7 threshold=0.8"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr
            .contains(" INFO stopped events_processed=1 events_failed=0 ")
    );
    assert!(!format!("{ran:?}").contains("canary"), "{ran:?}");
}

#[test]
fn a_signal_under_load_loses_nothing_repeats_nothing_and_strands_nothing() {
    const COUNT: usize = 20_000;
    let Some(server) = Server::start() else {
        return;
    };
    server.publish(&numbered(COUNT).concat());
    let args = ["--log", "json", "--count", "1000"];
    let service = Service::start(&mut mq_consumer(&server, &args));
    wait("some are handled", || service.log().len() > 100_000);
    let ran = service.stop();
    assert_eq!(ran.code, Some(0), "{}", ran.stdout);
    let first = ids(&log(&ran));
    assert!(first.len() < COUNT, "it was not in the midst of it");
    // What was received and not begun was given back.
    let report = report(&ran);
    let number = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(report["events_processed"], first.len());
    assert_eq!(
        number("received"),
        number("events_processed") + number("given_back")
    );
    assert_eq!((number("in_flight"), number("stale")), (0, 0));
    // No member is left that could hold anything.
    assert_eq!(server.status(GROUP)["members"]["exact"], 0);

    // So it is there for others at once, not after a lease, which is a minute.
    let began = Instant::now();
    let rest = serve_all(&server, &mut mq_consumer(&server, &args), GROUP);
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
    let rest = ids(&log(&rest));
    assert_eq!(
        first.len() + rest.len(),
        COUNT,
        "something came twice or was lost"
    );
    let distinct: BTreeSet<_> = first.iter().chain(&rest).collect();
    assert_eq!(distinct.len(), COUNT);
}

#[test]
fn without_a_broker_it_waits_and_a_signal_ends_it() {
    let Some(server) = Server::start() else {
        return;
    };
    server.runtime.block_on(server.redis.stop()).unwrap();
    let service = Service::start(&mut mq_consumer(&server, &["--log", "json"]));
    service.says("not connected to the broker; waiting for it");
    let began = Instant::now();
    let ran = service.stop();
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(report(&ran)["events_processed"], 0);
    let log = log(&ran);
    let away = lines(&log, "not connected to the broker; waiting for it");
    assert_eq!(away[0]["level"], "ERROR");

    // It goes on as soon as there is one.
    let service = Service::start(&mut mq_consumer(&server, &["--log", "json"]));
    service.says("not connected to the broker; waiting for it");
    server.runtime.block_on(server.redis.restart()).unwrap();
    service.says("\"consuming\"");
    let ran = service.stop();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

#[test]
fn a_second_signal_cuts_it_short_and_a_third_one_ends_it() {
    let Some(server) = Server::start() else {
        return;
    };
    for third in [false, true] {
        let mut service = Service::start(&mut mq_consumer(&server, &[]));
        service.says("consuming");
        // Leaving the group waits for the server.
        server.runtime.block_on(server.redis.freeze()).unwrap();
        let began = Instant::now();
        service.running.signal(Signal::TERM);
        service.says("stopping");
        assert!(service.running.child().try_wait().unwrap().is_none());
        let ran = if third {
            service.running.signal(Signal::TERM);
            service.says("cutting off");
            service.stop()
        } else {
            service.stop()
        };
        let took = began.elapsed();
        server.redis.thaw().unwrap();
        assert_eq!(ran.code, Some(130), "{}", ran.stderr);
        assert_eq!(ran.stdout.is_empty(), third, "{ran:?}");
        let within = if third { 2 } else { 10 };
        assert!(took < Duration::from_secs(within), "{took:?}");
    }
}

/// The topic and the group of its report, for settings of a file and a command line.
fn topic_of(dir: &Path, env: &[(&str, &str)], args: &[&str]) -> (String, String) {
    let mut command = common::program(env!("CARGO_BIN_EXE_mq-consumer"), args);
    let service = Service::start(command.current_dir(dir).envs(env.iter().copied()));
    service.says("\"consuming\"");
    let ran = service.stop();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let report = report(&ran);
    let text = |name: &str| report[name].as_str().unwrap().to_owned();
    (text("topic"), text("group"))
}

#[test]
fn an_option_counts_before_the_environment_before_the_file_before_the_default() {
    let Some(server) = Server::start() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let url = server.redis.url();
    let file = |text: String| std::fs::write(dir.path().join(".env"), text).unwrap();
    let topic = |env: &[(&str, &str)], args: &[&str]| topic_of(dir.path(), env, args);
    let is = |topic: &str, group: &str| (topic.to_owned(), group.to_owned());

    file(format!(
        "# ours\nREDIS_URL={url}\nMQ_LOG=json\nMQ_GROUP=''\n"
    ));
    assert_eq!(topic(&[], &[]), is("events.free-food", "mq-consumer"));
    // The environment's broker counts before the file's, whatever the variables are called.
    file(
        "POTLUCK_URL=redis://127.0.0.1:1\nMQ_STREAM=of.file\nMQ_GROUP=g-of-file\nMQ_LOG=json\n"
            .to_owned(),
    );
    let env = ("REDIS_URL", url.as_str());
    assert_eq!(topic(&[env], &[]), is("of.file", "g-of-file"));
    let stream = ("MQ_STREAM", "of.env");
    assert_eq!(topic(&[env, stream], &[]), is("of.env", "g-of-file"));
    assert_eq!(
        topic(&[env, stream], &["of.option", "-g", "g"]),
        is("of.option", "g")
    );
    assert_eq!(
        topic(&[env, ("MQ_STREAM", "")], &[]),
        is("of.file", "g-of-file")
    );

    let (_other, path) = common::file(
        "other.env",
        format!("POTLUCK_URL='{url}'\nMQ_STREAM=of.other\n"),
    );
    let args = ["--env-file", &path, "--log", "json"];
    assert_eq!(topic(&[], &args), is("of.other", "mq-consumer"));
}
