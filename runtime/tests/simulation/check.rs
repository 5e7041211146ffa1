//! Was anything lost, made up, tried too often or out of order?

use std::collections::{BTreeMap, BTreeSet};

use potluck_core::Message;
use potluck_runtime::copies;

use crate::plan::{Plan, What};
use crate::run::Run;
use crate::world::{Entry, Key};

/// What happened to one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fate {
    stored: u32,
    failures: u32,
    successes: u32,
    /// Reason and attempts of each dead letter.
    dead: Vec<(String, u32)>,
}

/// What is wrong with a run; nothing, if all is well.
pub(crate) fn check(run: &Run) -> Vec<String> {
    let mut wrong = run.wrong.clone();
    let fates = fates(run, &mut wrong);
    let plan = &run.world.plan;
    let entries: Vec<Entry> = run.world.entries().into_iter().map(|(_, e)| e).collect();
    for (number, fate) in fates.iter().enumerate() {
        if let Some(what) = judge(plan, number, fate) {
            wrong.push(format!(
                "event {number}: {what}; {:?}, {fate:?}",
                plan.events[number]
            ));
        }
    }
    wrong.extend(one_of_a_key_at_a_time(plan, &entries));
    wrong.extend(as_received(plan, &entries));
    wrong.extend(not_ours(plan, &entries));
    if plan.exact {
        wrong.extend(first_tries_in_order(plan, &entries));
        wrong.extend(counted(run, &fates));
    }
    if plan.exact && plan.strict {
        wrong.extend(finished_in_order(plan, run, &entries));
    }
    if plan.dedup {
        wrong.extend(no_two_successes(&entries));
    }
    if plan.is_calm() && plan.faults.crashes == 0 {
        let twice = fates.iter().filter(|fate| fate.successes > fate.stored);
        wrong.extend(twice.map(|fate| format!("finished, and delivered again: {fate:?}")));
    }
    wrong
}

fn fates(run: &Run, wrong: &mut Vec<String>) -> Vec<Fate> {
    let mut fates = vec![Fate::default(); run.world.plan.events.len()];
    for (_, entry) in run.world.entries() {
        match entry {
            Entry::Stored { event, .. } => fates[event].stored += 1,
            Entry::Succeeded { event, .. } => fates[event].successes += 1,
            Entry::Failed {
                event, slice: 1, ..
            }
            | Entry::CutOff {
                event,
                by_limit: true,
                slice: 1,
                ..
            } => {
                fates[event].failures += 1;
            }
            Entry::Began { tries, .. } if tries > run.world.plan.retry.attempts() => {
                wrong.push(format!("{entry:?}: more tries than the policy has"));
            }
            _ => {}
        }
    }
    for message in &run.dead {
        let text = |name| {
            let value = message.headers().get(name).expect("a dead letter says so");
            String::from_utf8(value.to_vec()).unwrap()
        };
        let origin = text(copies::ORIGIN_ID).parse().unwrap();
        let Some(event) = run.world.event_at(origin) else {
            wrong.push(format!("a dead letter of nothing: {message:?}"));
            continue;
        };
        let attempts = text(copies::ATTEMPTS).parse().unwrap();
        fates[event].dead.push((text(copies::REASON), attempts));
        wrong.extend(body_is_as_sent(&run.world.plan, event, message, attempts));
    }
    fates
}

/// But for `retries` and `metadata.last_error`, and not even those if it was never handled.
fn body_is_as_sent(plan: &Plan, event: usize, message: &Message, attempts: u32) -> Option<String> {
    let sent = crate::events::message(plan, event);
    let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
    let (was, is) = (json(sent.body()), json(message.body()));
    let right = match (was, is) {
        (Some(mut was), Some(is)) => {
            was["published_at"] = is["published_at"].clone();
            if attempts > 0 {
                was["retries"] = attempts.into();
                was["metadata"]["last_error"] = is["metadata"]["last_error"].clone();
            }
            was == is && is["metadata"].get("last_error").is_some() == (attempts > 0)
        }
        _ => sent.body() == message.body(),
    };
    (!right).then(|| format!("event {event}: its dead letter's payload is not what was sent"))
}

fn judge(plan: &Plan, number: usize, fate: &Fate) -> Option<&'static str> {
    let what = plan.events[number].what;
    let attempts = plan.retry.attempts();
    if fate.successes == 0 && fate.dead.is_empty() {
        return Some("lost");
    }
    let (failures, succeeds, reason) = match what {
        What::SucceedsAt(at, _) if at <= attempts => (at - 1, true, ""),
        What::SucceedsAt(..) => (attempts, false, "exhausted"),
        What::RejectsAt(at) => (at, false, "rejected"),
        What::Malformed => (0, false, "malformed"),
        What::UnknownType => (0, false, "unregistered_type"),
        What::UnknownMajor => (0, false, "unsupported_version"),
    };
    if succeeds != (fate.successes > 0) || succeeds != fate.dead.is_empty() {
        return Some("ends as it should not");
    }
    if fate
        .dead
        .iter()
        .any(|(why, count)| why != reason || *count != failures)
    {
        return Some("a dead letter with the wrong reason or count");
    }
    let once = fate.successes as usize + fate.dead.len() == 1;
    if plan.exact && (fate.failures != failures || !once) {
        return Some("the tries are not exact");
    }
    None
}

/// What orders an event; in strict order all without a key are of one.
fn key(plan: &Plan, event: usize) -> Option<Key> {
    let key = plan.events[event].key;
    (key.is_some() || plan.strict).then_some(key)
}

fn one_of_a_key_at_a_time(plan: &Plan, entries: &[Entry]) -> Vec<String> {
    let mut running: BTreeMap<(u32, Key), usize> = BTreeMap::new();
    // In sixths of a handler, of which an event of a slice is so many.
    let mut at_once: BTreeMap<u32, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in entries {
        match entry {
            Entry::Began {
                life, event, slice, ..
            } => {
                if let Some(key) = key(plan, *event)
                    && let Some(other) = running.insert((*life, key), *event)
                {
                    wrong.push(format!("{entry:?} while {other} of its key is handled"));
                }
                let at_once = at_once.entry(*life).or_default();
                *at_once += 6 / slice;
                if *at_once > plan.concurrency.get() * 6 {
                    wrong.push(format!("{entry:?}: too many at once"));
                }
            }
            Entry::Succeeded { life, event, slice }
            | Entry::Failed { life, event, slice }
            | Entry::CutOff {
                life, event, slice, ..
            } => {
                if let Some(key) = key(plan, *event) {
                    running.remove(&(*life, key));
                }
                *at_once.entry(*life).or_default() -= 6 / slice;
            }
            _ => {}
        }
    }
    wrong
}

/// In strict order what a life begins is what it received, in that order, some of it left out.
fn as_received(plan: &Plan, entries: &[Entry]) -> Vec<String> {
    let mut received: BTreeMap<(u32, Key), Vec<usize>> = BTreeMap::new();
    let mut begun = received.clone();
    for entry in entries.iter().filter(|_| plan.strict) {
        let (of, life, event) = match entry {
            Entry::Received { life, event } => (&mut received, life, event),
            Entry::Began { life, event, .. } => (&mut begun, life, event),
            _ => continue,
        };
        let Some(key) = key(plan, *event) else {
            continue;
        };
        of.entry((*life, key)).or_default().push(*event);
    }
    let mut wrong = Vec::new();
    for (whose, mut begun) in begun {
        begun.dedup();
        let mut received = received.get(&whose).into_iter().flatten();
        if !begun.iter().all(|event| received.any(|one| one == event)) {
            wrong.push(format!("{whose:?}: begun out of order: {begun:?}"));
        }
    }
    wrong
}

/// What is known to be another's by now is not begun. A try after a failure at once asks nobody, a
/// slice may wait for its like, and a copy for the end of another.
fn not_ours(plan: &Plan, entries: &[Entry]) -> Vec<String> {
    let mut stale = BTreeSet::new();
    let mut wrong = Vec::new();
    for entry in entries {
        match entry {
            Entry::Stale { life, event } => {
                stale.insert((*life, *event));
            }
            Entry::Received { life, event } => {
                stale.remove(&(*life, *event));
            }
            Entry::Began {
                life,
                event,
                tries: 1,
                ..
            } if stale.contains(&(*life, *event)) => {
                let planned = plan.events[*event];
                if !planned.batch && !planned.twice && !plan.dedup {
                    wrong.push(format!("{entry:?}: it is another's by now"));
                }
            }
            _ => {}
        }
    }
    wrong
}

fn first_tries_in_order(plan: &Plan, entries: &[Entry]) -> Vec<String> {
    if plan.members > 1 {
        return Vec::new();
    }
    let mut last: BTreeMap<Key, usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for entry in entries {
        if let Entry::Began { event, .. } = entry
            && let Some(key) = key(plan, *event)
            && seen.insert(*event)
            && last
                .insert(key, *event)
                .is_some_and(|before| before > *event)
        {
            wrong.push(format!(
                "{entry:?}: before one that was published before it"
            ));
        }
    }
    wrong
}

/// Each is finished, its dead letter confirmed, before the next of its key begins.
fn finished_in_order(plan: &Plan, run: &Run, entries: &[Entry]) -> Vec<String> {
    let mut finished = BTreeSet::new();
    let mut wrong = Vec::new();
    for entry in entries {
        match entry {
            Entry::Succeeded { event, .. } => {
                finished.insert(*event);
            }
            Entry::DeadLettered { origin, .. } => {
                finished.extend(run.world.event_at(*origin));
            }
            Entry::Began { event, .. } => {
                let key = plan.events[*event].key;
                let mut before = (0..*event).filter(|one| plan.events[*one].key == key);
                if let Some(before) = before.find(|one| !finished.contains(one)) {
                    wrong.push(format!("{entry:?}: {before} of its key is not finished"));
                }
            }
            _ => {}
        }
    }
    wrong
}

/// A life that knows ids handles none of them twice with success.
fn no_two_successes(entries: &[Entry]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for entry in entries {
        if let Entry::Succeeded { life, event, .. } = entry
            && !seen.insert((*life, *event))
        {
            wrong.push(format!("{entry:?}: for the second time"));
        }
    }
    wrong
}

/// The consumers have counted what happened.
fn counted(run: &Run, fates: &[Fate]) -> Option<String> {
    let sum = |of: fn(&Fate) -> u64| fates.iter().map(of).sum::<u64>();
    let happened = (
        sum(|fate| u64::from(fate.successes)),
        sum(|fate| fate.dead.len() as u64),
        sum(|fate| u64::from(fate.failures)),
        (0, 0, 0),
    );
    let counts = run
        .stats
        .iter()
        .fold((0, 0, 0, (0, 0, 0)), |(p, d, f, (s, h, i)), one| {
            (
                p + one.events_processed,
                d + one.events_failed,
                f + one.failed_tries,
                (s + one.stale, h + one.in_flight, i + one.ignored),
            )
        });
    (counts != happened).then(|| format!("counted {counts:?}, and there were {happened:?}"))
}
