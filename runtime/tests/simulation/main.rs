//! Does the runtime keep its promises whatever fails, and whenever? Thousands of seeded runs over
//! the memory transport, in simulated time: delays, errors, duplicates, cut connections and crashes
//! at the awaits between receive and settle.
//!
//! `POTLUCK_FULL=1` runs 10,000 seeds instead of 500; `POTLUCK_SEED=n` runs one, and tells all that
//! happened in it. A seed's run is the same each time.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // tests

mod check;
mod events;
mod faulty;
mod plan;
mod run;
mod world;

use std::cell::RefCell;
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use plan::Plan;
use world::Entry;

thread_local! {
    /// Panics on this thread that were not planned.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Notes panics that no plan has, and keeps quiet about those that one has.
fn watch_panics() {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() == Some(&events::PLANNED) {
                return;
            }
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            before(info);
        }));
    });
}

/// What happened in a seed's run, and what is wrong with it.
fn simulate(seed: u64) -> (Vec<(Duration, Entry)>, Vec<String>) {
    watch_panics();
    // The runtime's own pauses draw from the thread's generator.
    fastrand::seed(seed);
    PANICS.take();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let run = runtime.block_on(run::run(Plan::of(seed)));
    let mut wrong = check::check(&run);
    drop(runtime);
    wrong.extend(PANICS.take());
    (run.world.entries(), wrong)
}

/// When so many seeds have failed, the others are not asked.
const ENOUGH: u64 = 20;

/// Runs seeds on as many threads as there are processors; returns those that failed.
fn failing(seeds: u64) -> Vec<(u64, Vec<String>)> {
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let work = || {
            let mut failing = Vec::new();
            loop {
                let seed = next.fetch_add(1, Relaxed);
                if seed >= seeds || failed.load(Relaxed) >= ENOUGH {
                    return failing;
                }
                let (_, wrong) = simulate(seed);
                if !wrong.is_empty() {
                    failed.fetch_add(1, Relaxed);
                    failing.push((seed, wrong));
                }
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut failing: Vec<_> = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        failing.sort_unstable();
        failing
    })
}

#[test]
fn nothing_is_lost_made_up_or_out_of_order() {
    if let Ok(seed) = std::env::var("POTLUCK_SEED") {
        return replay(seed.parse().expect("POTLUCK_SEED is a number"));
    }
    let full = std::env::var_os("POTLUCK_FULL").is_some_and(|full| full == "1");
    let seeds = if full { 10_000 } else { 500 };
    let failing = failing(seeds);
    if let Some((seed, wrong)) = failing.first() {
        let all: Vec<_> = failing.iter().map(|(seed, _)| seed).collect();
        panic!(
            "of {seeds} seeds {} fail, or more: {all:?}\nPOTLUCK_SEED={seed} replays the first:\n{}",
            failing.len(),
            wrong.join("\n")
        );
    }
}

fn replay(seed: u64) {
    println!("{:#?}", Plan::of(seed));
    let (entries, wrong) = simulate(seed);
    for (at, entry) in entries {
        println!("{:>10.3} {entry:?}", at.as_secs_f64());
    }
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in 0..40 {
        let (first, again) = (simulate(seed).0, simulate(seed).0);
        let differ = first.iter().zip(&again).position(|(a, b)| a != b);
        assert_eq!(
            differ.map(|at| (&first[at], &again[at])),
            None,
            "seed {seed}"
        );
        assert_eq!(first.len(), again.len(), "seed {seed}");
    }
}

/// Without faults there would be nothing to be proud of.
#[test]
fn the_seeds_have_what_they_are_to_have() {
    let all: Vec<_> = (0..120).flat_map(|seed| simulate(seed).0).collect();
    let count = |of: fn(&Entry) -> bool| all.iter().filter(|(_, entry)| of(entry)).count();
    assert!(count(|entry| matches!(entry, Entry::Crashed { .. })) > 60);
    assert!(count(|entry| matches!(entry, Entry::Cut)) > 20);
    assert!(count(|entry| matches!(entry, Entry::Stopped { .. })) > 40);
    for call in [
        "receive",
        "ack",
        "acked",
        "publish",
        "published",
        "extend",
        "released",
    ] {
        let errors = all
            .iter()
            .filter(|(_, entry)| matches!(entry, Entry::Error { what, .. } if *what == call));
        assert!(errors.count() > 0, "{call} never fails");
    }
}
