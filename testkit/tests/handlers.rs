//! Are handlers that are not idempotent caught, with the schedule in words, and good ones not?

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // tests

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use potluck_core::Message;
use potluck_core::envelope::{Envelope, EventBody, SchemaVersion};
use potluck_runtime::{Context, Failure};
use potluck_testkit::Trial;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::yield_now;

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Deposit {
    account: String,
    amount: i64,
}

impl EventBody for Deposit {
    const TYPE: &'static str = "DEPOSIT";
    const SCHEMA_VERSION: SchemaVersion = SchemaVersion::new(1, 0, 0);
}

type State<T> = Arc<Mutex<T>>;
type Balances = State<BTreeMap<String, i64>>;

fn deposits(key: Option<&'static str>) -> Vec<Message> {
    let all = [("a", 1), ("b", 2), ("a", 4), ("b", 8), ("a", 16)];
    let message = |(account, amount): (&str, i64)| {
        let account = account.to_owned();
        let message = Envelope::builder(Deposit { account, amount }).build();
        let message = message.to_message().unwrap();
        match key {
            Some(key) => message.with_key(key).unwrap(),
            None => message,
        }
    };
    all.into_iter().map(message).collect()
}

fn seen<T: Clone>(state: &State<T>) -> T {
    state.lock().unwrap().clone()
}

async fn adds(balances: Balances, event: Envelope<Deposit>, _: Context) -> Result<(), Failure> {
    let Deposit { account, amount } = event.body;
    *balances.lock().unwrap().entry(account).or_default() += amount;
    Ok(())
}

#[test]
fn a_sum_is_caught_and_the_seed_tells_the_same_again() {
    let trial = Trial::of(deposits(None));
    let difference = trial.check(Balances::default, adds, seen).unwrap_err();
    assert_eq!(difference.seed, 0);
    let line = &difference.schedule[0];
    assert!(
        line.ends_with(" was handled twice: its ack was lost"),
        "{line}"
    );
    let again = trial.clone().seeds(difference.seed..difference.seed + 1);
    let again = again.check(Balances::default, adds, seen).unwrap_err();
    assert_eq!(again, difference);
    let text = difference.to_string();
    assert!(text.starts_with("the handler is not idempotent, as seed 0 shows:\n  event "));
    assert_eq!(format!("{difference:?}"), text);
}

#[test]
fn each_kind_of_fault_finds_the_sum() {
    for (seed, what) in [(0, "its ack was lost"), (3, "was published twice")] {
        let trial = Trial::of(deposits(None)).seeds(seed..seed + 1);
        let difference = trial.check(Balances::default, adds, seen).unwrap_err();
        assert!(difference.schedule[0].contains(what), "{difference}");
    }
}

/// Under its id, once.
async fn stores(
    stored: State<BTreeMap<String, i64>>,
    event: Envelope<Deposit>,
    _: Context,
) -> Result<(), Failure> {
    yield_now().await;
    let id = event.event_id.to_string();
    stored.lock().unwrap().insert(id, event.body.amount);
    yield_now().await;
    Ok(())
}

#[tokio::test]
async fn an_upsert_passes_also_from_an_async_test() {
    let trial = Trial::of(deposits(None)).seeds(0..300);
    trial.check(Balances::default, stores, seen).unwrap();
}

/// Writes down that it begins, and after an await what it did: twice begun is twice there.
async fn half(
    journal: State<Vec<String>>,
    event: Envelope<Deposit>,
    _: Context,
) -> Result<(), Failure> {
    let id = event.event_id.to_string();
    if journal.lock().unwrap().contains(&format!("{id} done")) {
        return Ok(());
    }
    journal.lock().unwrap().push(format!("{id} begun"));
    yield_now().await;
    journal.lock().unwrap().push(format!("{id} done"));
    Ok(())
}

#[test]
fn what_a_crash_leaves_half_done_is_caught() {
    let trial = Trial::of(deposits(Some("all")));
    let difference = trial.check(State::default, half, seen).unwrap_err();
    let line = &difference.schedule[0];
    assert!(
        line.contains("was cut off by a crash at its 1st await, then handled again"),
        "{line}"
    );
    assert_eq!(difference.found.len(), difference.expected.len() + 1);
    // The same when nothing but its future is dropped.
    let cancelled = (0..300).filter(|seed| seed % 6 == 2).find_map(|seed| {
        let trial = trial.clone().seeds(seed..seed + 1);
        trial.check(State::default, half, seen).err()
    });
    let line = &cancelled.unwrap().schedule[0];
    assert!(
        line.contains("was cut off at its 1st await, then handled again"),
        "{line}"
    );
}

/// Reads, waits and writes; each event once, by its id.
async fn read_and_write(
    state: State<(BTreeMap<String, i64>, i64)>,
    event: Envelope<Deposit>,
    _: Context,
) -> Result<(), Failure> {
    let id = event.event_id.to_string();
    let before = {
        let state = state.lock().unwrap();
        if state.0.contains_key(&id) {
            return Ok(());
        }
        state.1
    };
    yield_now().await;
    let mut state = state.lock().unwrap();
    state.0.insert(id, event.body.amount);
    state.1 = before + event.body.amount;
    Ok(())
}

#[test]
fn an_update_that_is_lost_across_an_await_is_caught() {
    let trial = Trial::of(deposits(None));
    let total = |state: &State<(BTreeMap<String, i64>, i64)>| state.lock().unwrap().1;
    let difference = trial
        .check(State::default, read_and_write, total)
        .unwrap_err();
    assert_eq!((difference.expected, difference.seed % 6), (31, 4));
    assert!(difference.found < 31, "{difference}");
    // With one key for all they are handled one after the other, and nothing is lost.
    let trial = Trial::of(deposits(Some("all"))).seeds(0..300);
    trial.check(State::default, read_and_write, total).unwrap();
}

/// The last one wins.
async fn last(last: State<i64>, event: Envelope<Deposit>, _: Context) -> Result<(), Failure> {
    *last.lock().unwrap() = event.body.amount;
    Ok(())
}

#[test]
fn dependence_on_the_order_of_different_keys_is_caught() {
    let trial = Trial::of(deposits(None));
    let ordered = (0..300).filter(|seed| seed % 6 == 4).find_map(|seed| {
        let trial = trial.clone().seeds(seed..seed + 1);
        trial.check(State::default, last, seen).err()
    });
    let difference = ordered.unwrap();
    assert_eq!(difference.schedule.len(), 1);
    let line = &difference.schedule[0];
    assert!(
        line.starts_with("events were finished in the order "),
        "{line}"
    );
    // With a key their order is kept.
    let trial = Trial::of(deposits(Some("all")));
    for seed in (0..300).filter(|seed| seed % 6 == 4) {
        let trial = trial.clone().seeds(seed..seed + 1);
        trial.check(State::default, last, seen).unwrap();
    }
}

#[test]
fn a_handler_that_fails_now_and_then_is_tried_again() {
    let tries: State<u32> = State::default();
    let handler = move |stored: Balances, event: Envelope<Deposit>, context: Context| {
        *tries.lock().unwrap() += 1;
        async move {
            if context.tries() == 1 {
                return Err(Failure::retry("the first try"));
            }
            stores(stored, event, context).await
        }
    };
    Trial::of(deposits(None))
        .check(Balances::default, handler, seen)
        .unwrap();
}
