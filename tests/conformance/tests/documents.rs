//! Do the documents say what the cases promise, the transports claim, and the last report shows?

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // tests

#[path = "targets/memory.rs"]
mod memory;
// What the documents say of Redis comes from the very target of its own test.
#[path = "../../../transports/redis/tests/target/mod.rs"]
mod redis;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use potluck_conformance::{Options, Outcome, Report, cases, run};
use potluck_core::Capabilities;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const COMMAND: &str = "POTLUCK_WRITE=1 cargo test -p potluck-conformance --test documents";
const REPORT: &str = "conformance-report.json";
/// Random choices are the same each time.
const SEED: u64 = 5;
/// Transports as reports and as documents name them.
const TRANSPORTS: [(&str, &str); 2] = [("memory", "In-memory"), ("redis", "Redis Streams")];
/// What each field of `Capabilities` says, in their order.
const MEANINGS: &[(&str, &str)] = &[
    (
        "ordering",
        "the scope in which publish order is delivery order, with one member and no failures",
    ),
    ("ack", "what `Ok` from an acknowledgement means"),
    ("attempts", "how hand-overs are counted"),
    ("release", "who receives what was given back"),
    (
        "redelivery",
        "what makes the unsettled come again when its member is gone",
    ),
    ("unrouted", "what becomes of a message when no group exists"),
    (
        "undeclared",
        "what becomes of a message to a topic that nobody declared",
    ),
    ("durability", "where a stored message is"),
    ("starts", "from where a new group can start"),
    ("max_message", "the largest body in bytes"),
    ("peek", "what a look at a group's messages does to them"),
];

/// What the suite found of one transport: nothing that differs from run to run.
#[derive(Deserialize, Serialize)]
struct Found {
    product: String,
    version: String,
    seed: u64,
    cases: BTreeMap<String, String>,
}

type Findings = BTreeMap<String, Found>;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(name)
}

fn name_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "failed",
        Outcome::NotRun => "not run",
    }
}

/// Runs the whole suite on every transport.
async fn find() -> Findings {
    let mut findings = Findings::new();
    for target in [
        memory::target(),
        redis::target().await.expect("a server to report on"),
    ] {
        let options = Options {
            seed: SEED,
            ..Options::default()
        };
        let report = run(&target, &options, |_| {}).await.unwrap();
        findings.insert(report.target.clone(), found(&report));
    }
    findings
}

/// What is kept of a report; why a case failed is printed, for it differs from run to run.
fn found(report: &Report) -> Found {
    let mut cases = BTreeMap::new();
    for case in &report.cases {
        cases.insert(case.name.to_owned(), name_of(case.outcome).to_owned());
        if let (Outcome::Failed, Some(why)) = (case.outcome, &case.reason) {
            println!("{} fails {}: {why}", report.target, case.name);
        }
    }
    Found {
        product: report.broker.product.clone(),
        version: report.broker.version.clone(),
        seed: report.seed,
        cases,
    }
}

/// A row of a table.
fn row(cells: &[&str]) -> String {
    let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn head(cells: &[&str]) -> String {
    format!("{}|{}\n", row(cells), "---|".repeat(cells.len()))
}

/// What was run on what, in a sentence.
fn brokers(findings: &Findings) -> String {
    let mut text = String::from("The last report:");
    for (at, (name, shown)) in TRANSPORTS.iter().enumerate() {
        let found = &findings[*name];
        let count = |outcome| found.cases.values().filter(|was| *was == outcome).count();
        let (passed, not_run) = (count("passed"), count("not run"));
        let comma = if at == 0 { "" } else { ";" };
        let broker = format!("{} {}", found.product, found.version);
        let _ = write!(
            text,
            "{comma} {shown} ({broker}) {passed} passed, {not_run} not run"
        );
    }
    text.push_str(".\n");
    text
}

/// Every case's promise, and whether it was kept.
fn promises(findings: &Findings) -> String {
    let mut cells = vec!["promise", "case", "level"];
    cells.extend(TRANSPORTS.map(|(_, shown)| shown));
    let mut text = head(&cells);
    for case in cases::all() {
        let name = format!("`{}`", case.name);
        let level = serde_json::to_value(case.level).unwrap();
        let mut cells = vec![case.promise, &name, level.as_str().unwrap()];
        let outcome = |(transport, _)| findings[transport].cases[case.name].as_str();
        cells.extend(TRANSPORTS.map(outcome));
        text.push_str(&row(&cells));
    }
    text
}

/// What each transport claims.
fn claims(claimed: &[Capabilities; 2]) -> String {
    let claimed: Vec<_> = claimed
        .iter()
        .map(|one| serde_json::to_value(one).unwrap())
        .collect();
    let fields: BTreeSet<_> = claimed[0]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let known: BTreeSet<_> = MEANINGS.iter().map(|(field, _)| *field).collect();
    assert_eq!(fields, known, "MEANINGS and the fields of Capabilities");
    let mut cells = vec!["capability", "says"];
    cells.extend(TRANSPORTS.map(|(_, shown)| shown));
    let mut text = head(&cells);
    for (field, says) in MEANINGS {
        let name = format!("`{field}`");
        let value = |all: &Value| match &all[*field] {
            Value::String(word) => format!("`{word}`"),
            other => other.to_string(),
        };
        let values: Vec<_> = claimed.iter().map(value).collect();
        let mut cells = vec![name.as_str(), says];
        cells.extend(values.iter().map(String::as_str));
        text.push_str(&row(&cells));
    }
    text
}

/// A document with what lies between the markers of this name replaced.
fn filled(document: &str, name: &str, table: &str) -> String {
    let begin = format!("<!-- generated: {name} -->\n");
    let Some((before, rest)) = document.split_once(&begin) else {
        panic!("no marker {begin}");
    };
    let Some((_, after)) = rest.split_once("<!-- end -->") else {
        panic!("no end of {name}");
    };
    format!("{before}{begin}\n{table}\n<!-- end -->{after}")
}

/// Cases that the suite has and a report has not, or the other way round.
fn unknown(findings: &Findings) -> Vec<String> {
    let suite: BTreeSet<_> = cases::all().map(|case| case.name).collect();
    let mut unknown = Vec::new();
    for (transport, _) in TRANSPORTS {
        let reported = findings.get(transport).map(|found| found.cases.keys());
        let reported: BTreeSet<_> = reported.into_iter().flatten().map(String::as_str).collect();
        let differ = suite.symmetric_difference(&reported);
        unknown.extend(differ.map(|name| format!("{transport}: {name}")));
    }
    unknown
}

/// Cases whose promise the last report shows broken.
fn failed(findings: &Findings) -> Vec<String> {
    let mut failed = Vec::new();
    for (transport, found) in findings {
        let cases = found.cases.iter().filter(|(_, was)| *was == "failed");
        failed.extend(cases.map(|(name, _)| format!("{transport}: {name}")));
    }
    failed
}

#[test]
fn the_documents_are_up_to_date() {
    let writes = std::env::var_os("POTLUCK_WRITE").is_some_and(|value| value == "1");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    if writes {
        let findings = runtime.block_on(find());
        let text = serde_json::to_string_pretty(&findings).unwrap();
        std::fs::write(path(REPORT), text + "\n").unwrap();
    }
    let text = std::fs::read_to_string(path(REPORT)).unwrap_or_else(|_| "{}".to_owned());
    let findings: Findings = serde_json::from_str(&text).unwrap();
    let unknown = unknown(&findings);
    assert!(
        unknown.is_empty(),
        "docs/{REPORT} and the suite differ in {unknown:?}: {COMMAND}"
    );
    let claimed = runtime.block_on(async {
        // Nobody listens there, and nobody has to.
        let redis = potluck_redis::connect("redis://127.0.0.1:9").unwrap();
        let memory = potluck_memory::connect("memory:").unwrap();
        [memory.capabilities(), redis.capabilities()]
    });
    let parts = [
        ("guarantees.md", "report", brokers(&findings)),
        ("guarantees.md", "promises", promises(&findings)),
        ("transports.md", "capabilities", claims(&claimed)),
    ];
    for (document, name, table) in parts {
        let kept = std::fs::read_to_string(path(document)).unwrap();
        let text = filled(&kept, name, &table);
        if writes {
            std::fs::write(path(document), &text).unwrap();
        }
        assert!(
            writes || kept == text,
            "docs/{document} is out of date: {COMMAND}"
        );
    }
    let failed = failed(&findings);
    assert!(
        failed.is_empty(),
        "the last report has failures: {failed:?}"
    );
}
