//! Does any history of members that come, go, settle and die break at-least-once with groups?
//!
//! The same check runs on any transport. What it finds is shrunk by proptest; keep it below as a
//! named history.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // tests

mod check;
mod history;
mod redis;

use std::time::Duration;

use potluck_memory::Broker;
use proptest::prelude::*;

use crate::check::check;
use crate::history::Step::{self, *};
use crate::history::histories;

/// On memory, under a clock that jumps to whatever is waited for.
fn on_memory(history: &[Step]) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let broker = Broker::new();
    let connect = || {
        let broker = broker.clone();
        async move { Ok(broker.connect()) }
    };
    let lease = Duration::from_secs(1);
    runtime.block_on(check(history, connect, lease, Duration::ZERO))
}

fn config() -> ProptestConfig {
    let full = std::env::var_os("POTLUCK_FULL").is_some_and(|value| value == "1");
    ProptestConfig {
        // What is found is kept below, by name.
        failure_persistence: None,
        ..ProptestConfig::with_cases(if full { 20_000 } else { 300 })
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn histories_hold_on_memory(history in histories()) {
        on_memory(&history).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn what_another_took_after_a_lease_is_his() {
    let late = [
        Ack(0, vec![0]),
        Extend(0, vec![0]),
        Release(0, vec![0]),
        Close(0),
    ];
    let mut history = vec![Publish(1), Join(0), Receive(0, 1), Pass(7), Pass(4)];
    history.extend([Join(3), Receive(3, 1)]);
    history.extend(late);
    history.extend([Receive(3, 1), Extend(3, vec![0]), Ack(3, vec![0])]);
    assert_eq!(on_memory(&history), Ok(()));
}

#[test]
fn a_group_that_begins_late_and_loses_its_member_misses_nothing() {
    let before = [
        Publish(3),
        Join(2),
        Publish(3),
        Receive(2, 5),
        Ack(2, vec![1]),
    ];
    let history: Vec<_> = before
        .into_iter()
        .chain([Abort(2), Join(5), Receive(5, 5)])
        .collect();
    assert_eq!(on_memory(&history), Ok(()));
}
