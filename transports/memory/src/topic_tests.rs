//! What does a topic do at its bounds, and does it count right?

use std::time::Duration;

use potluck_core::Headers;

use super::*;
use crate::group::Seat;

fn log(max_messages: usize, max_bytes: usize) -> Log {
    Log::new(
        Bounds::default()
            .max_messages(max_messages.try_into().unwrap())
            .max_bytes(max_bytes.try_into().unwrap()),
    )
}

fn name(name: &str) -> Group {
    Group::new(name).unwrap()
}

fn put(log: &mut Log, body: &'static str) -> Append {
    log.append(&Message::new(body), None, Instant::now())
}

fn stored(id: u64) -> Append {
    Append::Stored(MessageId::single(id))
}

/// Joins a group, and acknowledges what it takes and `which` picks.
fn ack_some(log: &mut Log, group: &Group, retention: Retention, which: impl Fn(u64) -> bool) {
    let state = log.declare(group, Start::Earliest);
    state.join(99, Seat::new(0, Duration::from_secs(60), 100));
    let who = Who {
        group,
        born: state.born,
        epoch: 99,
    };
    let Some(Look::Taken(taken)) = log.take(who, 100, Instant::now()) else {
        panic!("nothing to take");
    };
    let receipts: Vec<Receipt> = taken
        .iter()
        .filter(|one| which(one.id.parts().0))
        .map(|one| one.receipt)
        .collect();
    assert!(log.ack(who, &receipts, retention).stale.is_empty());
    log.leave(who);
}

fn kept(log: &Log) -> Vec<u64> {
    // What the counts say must be what there is.
    let bytes: usize = log.entries.values().map(|entry| entry.bytes).sum();
    assert_eq!(bytes, log.bytes);
    let unwaited = log.entries.iter().filter(|(_, entry)| entry.waiting == 0);
    let unwaited: BTreeSet<u64> = unwaited.map(|(id, _)| *id).collect();
    assert_eq!(unwaited, log.done);
    log.entries.keys().copied().collect()
}

#[test]
fn only_what_all_groups_have_acknowledged_is_dropped_and_the_oldest_first() {
    let (a, b) = (name("a"), name("b"));
    let mut log = log(4, 1000);
    log.declare(&a, Start::Earliest);
    log.declare(&b, Start::Earliest);
    for id in 1..=4 {
        assert_eq!(put(&mut log, "x"), stored(id));
    }
    ack_some(&mut log, &a, Retention::Keep, |_| true);
    assert_eq!(put(&mut log, "x"), Append::Full);
    ack_some(&mut log, &b, Retention::Keep, |id| id == 2 || id == 4);
    assert_eq!(kept(&log), [1, 2, 3, 4]);
    assert_eq!(put(&mut log, "x"), stored(5));
    assert_eq!(kept(&log), [1, 3, 4, 5]);
    assert_eq!(put(&mut log, "x"), stored(6));
    assert_eq!(kept(&log), [1, 3, 5, 6]);
    assert_eq!(put(&mut log, "x"), Append::Full);
}

#[test]
fn a_topic_without_groups_keeps_all_for_groups_to_come() {
    let mut log = log(2, 1000);
    put(&mut log, "x");
    put(&mut log, "x");
    assert_eq!(put(&mut log, "x"), Append::Full);
    // A group that starts at new waits for none of them.
    log.declare(&name("new"), Start::New);
    assert!(log.take_wake().publishers);
    assert_eq!(put(&mut log, "x"), stored(3));
    assert_eq!(kept(&log), [2, 3]);
    // One that starts at the earliest waits for all that there is.
    log.declare(&name("earliest"), Start::Earliest);
    assert_eq!(kept(&log), [2, 3]);
    assert_eq!(put(&mut log, "x"), Append::Full);
}

#[test]
fn deleting_a_group_frees_what_only_it_waited_for() {
    let (a, b) = (name("a"), name("b"));
    let mut log = log(3, 1000);
    log.declare(&a, Start::Earliest);
    log.declare(&b, Start::Earliest);
    for _ in 0..3 {
        put(&mut log, "x");
    }
    ack_some(&mut log, &a, Retention::Keep, |id| id != 2);
    assert_eq!(put(&mut log, "x"), Append::Full);
    log.delete_group(&b);
    assert!(log.take_wake().publishers);
    assert_eq!(kept(&log), [1, 2, 3]);
    assert_eq!(put(&mut log, "x"), stored(4));
    assert_eq!(kept(&log), [2, 3, 4]);
    log.delete_group(&b);
    log.delete_group(&a);
    assert_eq!(kept(&log), [2, 3, 4]);
    assert_eq!(put(&mut log, "x"), Append::Full);
}

#[test]
fn bytes_of_bodies_headers_and_keys_count() {
    let mut log = log(100, 10);
    let mut headers = Headers::new();
    headers.set("abc", "de");
    let message = Message::copied("fg".into(), headers, Some("hij".into()));
    assert_eq!(log.append(&message, None, Instant::now()), stored(1));
    assert_eq!(put(&mut log, "x"), Append::Full);
    assert_eq!(put(&mut log, "eleven bytes"), Append::TooLarge(12));
    assert_eq!(log.bytes, 10);
}

#[test]
fn until_acked_drops_with_the_last_acknowledgement() {
    let (a, b) = (name("a"), name("b"));
    let mut log = log(100, 1000);
    put(&mut log, "x");
    put(&mut log, "x");
    log.declare(&b, Start::Earliest);
    ack_some(&mut log, &a, Retention::UntilAcked, |_| true);
    assert_eq!(kept(&log), [1, 2]);
    ack_some(&mut log, &b, Retention::UntilAcked, |id| id == 1);
    assert_eq!(kept(&log), [2]);
}

#[test]
fn counts_hold_when_the_log_has_gaps() {
    let (a, late) = (name("a"), name("late"));
    let mut log = log(100, 1000);
    for _ in 0..5 {
        put(&mut log, "x");
    }
    ack_some(&mut log, &a, Retention::UntilAcked, |id| id % 2 == 0);
    log.declare(&late, Start::Earliest);
    put(&mut log, "x");
    let status = log.status(&late, Instant::now()).unwrap();
    assert_eq!(status.backlog, Figure::Exact(4));
    ack_some(&mut log, &late, Retention::Keep, |id| id == 1);
    let status = log.status(&late, Instant::now()).unwrap();
    assert_eq!(
        (status.backlog, status.in_flight),
        (Figure::Exact(0), Figure::Exact(3))
    );
    let page = log.peek(&late, Some(MessageId::single(3)), 1).unwrap();
    assert_eq!(page.messages[0].id, MessageId::single(5));
    assert_eq!(page.next, Some(MessageId::single(5)));
}
