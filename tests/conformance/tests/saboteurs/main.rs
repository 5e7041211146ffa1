//! Is the suite any good? Each saboteur, a transport with one promise broken, must fail the case
//! that names the promise; the honest transport must fail none; and every case must kill somebody.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // tests

#[path = "../model/check.rs"]
mod check;
#[path = "../model/history.rs"]
mod history;
mod matrix;
mod meddler;
mod publisher;
mod rows;
mod sabotage;
mod settle;
mod subscriber;
mod transport;
mod world;

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use potluck_conformance::cases;
use potluck_core::Transport;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::matrix::{Matrix, failed};
use crate::rows::ROWS;
use crate::sabotage::Sabotage;
use crate::transport::BrokenTransport;
use crate::world::World;

/// Cases that kill nobody here, and why.
const EXEMPT: &[(&str, &str)] = &[(
    "connect_errors_typed",
    "it needs an address where nothing listens, which memory has not",
)];

/// Running all takes most of the time, so it is done once.
static MATRIX: LazyLock<Matrix> = LazyLock::new(Matrix::run);

#[test]
fn the_honest_transport_fails_no_case() {
    assert_eq!(failed(&MATRIX.honest), Vec::<String>::new());
    let not_run = MATRIX.honest.count(potluck_conformance::Outcome::NotRun);
    assert_eq!(not_run, EXEMPT.len(), "cases that are not run kill nobody");
}

#[test]
fn every_saboteur_fails_the_case_that_names_its_promise() {
    let mut survivors = Vec::new();
    for (at, row) in ROWS.iter().enumerate() {
        let killers = MATRIX.killers(at);
        if !killers.iter().any(|(name, _)| *name == row.case) {
            let names: Vec<_> = killers.iter().map(|(name, _)| *name).collect();
            let name = row.sabotage.name();
            survivors.push(format!("{name} passes {}, and fails {names:?}", row.case));
        }
    }
    assert!(
        survivors.is_empty(),
        "the suite is wrong:\n{}",
        survivors.join("\n")
    );
}

#[test]
fn every_case_kills_a_saboteur() {
    let exempt: HashSet<_> = EXEMPT.iter().map(|(name, _)| *name).collect();
    let mut harmless = Vec::new();
    for case in cases::all() {
        let kills = !MATRIX.killed_by(case).is_empty();
        if kills == exempt.contains(case.name) {
            harmless.push(case.name);
        }
    }
    assert!(
        harmless.is_empty(),
        "kill nobody, or are exempt and kill: {harmless:?}"
    );
}

#[test]
fn rows_are_unique_and_name_cases() {
    let names: HashSet<_> = cases::all().map(|case| case.name).collect();
    let mut seen = HashSet::new();
    for row in ROWS {
        assert!(
            seen.insert(row.sabotage),
            "{} is there twice",
            row.sabotage.name()
        );
        assert!(
            names.contains(row.case),
            "{} names no case: {}",
            row.sabotage.name(),
            row.case
        );
    }
}

#[test]
fn the_document_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kill-matrix.md");
    let text = MATRIX.to_markdown(EXEMPT);
    if std::env::var_os("POTLUCK_WRITE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let command = "POTLUCK_WRITE=1 cargo test -p potluck-conformance --test saboteurs";
    assert!(
        kept == text,
        "docs/kill-matrix.md is out of date: {command}"
    );
}

/// What a random history breaks of a saboteur, if one of so many does.
fn model_finds(sabotage: Sabotage, histories: usize) -> Option<String> {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    (0..histories).find_map(|_| {
        let history = history::histories()
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let world = World::new(sabotage);
        let connect = || {
            let transport: Arc<dyn Transport> = Arc::new(BrokenTransport::new(world.clone()));
            async move { Ok(transport) }
        };
        let (lease, slack) = (Duration::from_secs(1), Duration::from_millis(5));
        runtime
            .block_on(check::check(&history, connect, lease, slack))
            .err()
    })
}

#[test]
fn the_model_finds_what_breaks_at_least_once_with_groups() {
    assert_eq!(model_finds(Sabotage::Nothing, 200), None);
    let unseen = |row: &&sabotage::Row| model_finds(row.sabotage, 200).is_none();
    let unseen: Vec<_> = ROWS
        .iter()
        .filter(|row| row.is_modelled())
        .filter(unseen)
        .collect();
    let names: Vec<_> = unseen.iter().map(|row| row.sabotage.name()).collect();
    assert!(names.is_empty(), "no history finds {names:?}");
}
