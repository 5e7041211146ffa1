//! Which messages were lost, and which came twice? Every message is written down, with all that
//! was tried with it and all that came of it.
//!
//! As Jepsen's total-queue: each message has an id of its own and a place in its key's sequence,
//! and no verdict is passed on anything but the whole ledger.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use potluck_core::{Message, Outcome};
use tokio::time::Instant;

use crate::counts::{Counts, Stored};

/// What the book says of one publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// Certainly not stored.
    Refused,
    /// It may be stored.
    Unknown,
    /// The broker has it.
    Acked,
}

/// One message.
#[derive(Debug)]
struct Record {
    key: u32,
    seq: u32,
    begun: Instant,
    /// How often it was published.
    tries: u32,
    /// The best that was said of it.
    fate: Option<Fate>,
    /// When it was acknowledged.
    acked_at: Option<Instant>,
    /// Handlers that started, and those that have not finished.
    handled: u32,
    running: u32,
    /// Dead letters that tell of it.
    dead: u32,
}

/// What is known of all messages of one run. Shared by all who publish, consume and judge.
#[derive(Debug)]
pub struct Ledger {
    /// Tells this run's messages from what another left behind.
    run: u32,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    records: Vec<Record>,
    /// Per key, how many messages it has.
    places: BTreeMap<u32, u32>,
    /// Per key, the highest place that was handled.
    highest: BTreeMap<u32, u32>,
    in_flight: usize,
    acked: usize,
    handled: usize,
    totals: Totals,
    since: Option<Instant>,
    recovery: Recovery,
    errors: Vec<String>,
}

/// What cannot be told from the records.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    phantom: usize,
    hung: usize,
    reordered: usize,
    parallel: usize,
    settled: usize,
    stale: usize,
    unsettled: usize,
    over: Duration,
    longest: Duration,
}

/// How long after a mark the first message that was begun after it came through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recovery {
    /// To the publisher: acknowledged.
    pub publish: Option<Duration>,
    /// To a handler.
    pub handle: Option<Duration>,
}

impl Ledger {
    /// An empty ledger; `run` is written into every message.
    #[must_use]
    pub fn new(run: u32) -> Self {
        Self {
            run,
            book: Mutex::default(),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new message, the next of its key.
    pub fn begin(&self, key: u32) -> u64 {
        let mut book = self.book();
        let place = book.places.entry(key).or_default();
        let seq = *place;
        *place += 1;
        book.records.push(Record {
            key,
            seq,
            begun: Instant::now(),
            tries: 0,
            fate: None,
            acked_at: None,
            handled: 0,
            running: 0,
            dead: 0,
        });
        book.records.len() as u64 - 1
    }

    /// What is published for a message: who it is, and bytes to fill it.
    #[must_use]
    pub fn message(&self, id: u64, fill: usize) -> Message {
        let mut body = format!("{} {id} ", self.run);
        body.extend(std::iter::repeat_n('x', fill));
        Message::new(body)
    }

    /// One more try to publish it begins.
    pub fn trying(&self, id: u64) {
        let mut book = self.book();
        book.in_flight += 1;
        if let Some(record) = at(&mut book.records, id) {
            record.tries += 1;
        }
    }

    /// What came of a try that took so long; `None` when nothing came of it by a second after its
    /// deadline.
    pub fn tried(&self, id: u64, outcome: Option<&Outcome>, took: Duration, within: Duration) {
        let now = Instant::now();
        let mut book = self.book();
        let book = &mut *book;
        book.in_flight -= 1;
        book.totals.longest = book.totals.longest.max(took);
        book.totals.over = book.totals.over.max(took.saturating_sub(within));
        let fate = match outcome {
            Some(Outcome::Stored(_)) => Fate::Acked,
            Some(Outcome::Refused(_)) => Fate::Refused,
            Some(Outcome::Unknown(_)) => Fate::Unknown,
            None => {
                book.totals.hung += 1;
                Fate::Unknown
            }
        };
        let Some(record) = at(&mut book.records, id) else {
            return;
        };
        record.fate = record.fate.max(Some(fate));
        if fate == Fate::Acked && record.acked_at.is_none() {
            record.acked_at = Some(now);
            book.acked += 1;
            if let Some(since) = book.since.filter(|since| record.begun >= *since) {
                book.recovery.publish.get_or_insert(now - since);
            }
        }
    }

    /// A handler starts with this body. `None` when nobody has published it.
    pub fn started(&self, body: &[u8]) -> Option<u64> {
        let now = Instant::now();
        let mut book = self.book();
        let book = &mut *book;
        let id = parse(body, self.run);
        let record = id.and_then(|id| at(&mut book.records, id));
        let Some(record) = record.filter(|record| record.tries > 0) else {
            book.totals.phantom += 1;
            return None;
        };
        book.totals.parallel += usize::from(record.running > 0);
        record.running += 1;
        record.handled += 1;
        if record.handled == 1 {
            book.handled += 1;
            let highest = book.highest.entry(record.key).or_insert(record.seq);
            book.totals.reordered += usize::from(record.seq < *highest);
            *highest = record.seq.max(*highest);
        }
        if let Some(since) = book.since.filter(|since| record.begun >= *since) {
            book.recovery.handle.get_or_insert(now - since);
        }
        id
    }

    /// A handler is done with a message, and the message is settled or will come again.
    pub fn finished(&self, id: u64) {
        if let Some(record) = at(&mut self.book().records, id) {
            record.running = record.running.saturating_sub(1);
        }
    }

    /// It was found among the dead letters. `false` when nobody has published it.
    pub fn dead(&self, body: &[u8]) -> bool {
        let mut book = self.book();
        let id = parse(body, self.run);
        let record = id.and_then(|id| at(&mut book.records, id));
        match record.filter(|record| record.tries > 0) {
            Some(record) => record.dead += 1,
            None => book.totals.phantom += 1,
        }
        id.is_some()
    }

    /// The message that this text is of, if it is of this run.
    #[must_use]
    pub fn id(&self, text: &str) -> Option<u64> {
        parse(text.as_bytes(), self.run)
    }

    /// What came of one settle: so many done, so many too late.
    pub fn settled(&self, done: usize, stale: usize) {
        let totals = &mut self.book().totals;
        totals.settled += done;
        totals.stale += stale;
    }

    /// A settle failed and is tried again.
    pub fn unsettled(&self) {
        self.book().totals.unsettled += 1;
    }

    /// An error that no load should see; it fails the case.
    pub fn error(&self, error: impl fmt::Display) {
        let errors = &mut self.book().errors;
        if errors.len() < 20 {
            errors.push(error.to_string());
        }
    }

    /// The errors that no load should have seen.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        self.book().errors.clone()
    }

    /// From now on, measures how long it takes until something new comes through.
    pub fn mark(&self) {
        let mut book = self.book();
        book.since = Some(Instant::now());
        book.recovery = Recovery::default();
    }

    /// What came through since the mark.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.book().recovery
    }

    /// How many publishes wait for their outcome.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.book().in_flight
    }

    /// How many messages are acknowledged.
    #[must_use]
    pub fn acked(&self) -> usize {
        self.book().acked
    }

    /// How many messages are handled.
    #[must_use]
    pub fn handled(&self) -> usize {
        self.book().handled
    }

    /// How many deliveries are settled.
    #[must_use]
    pub fn acks(&self) -> usize {
        self.book().totals.settled
    }

    /// How many messages that were acknowledged before `then` are still not handled.
    #[must_use]
    pub fn waiting_since(&self, then: Instant) -> usize {
        let waits = |record: &&Record| {
            record.handled == 0 && record.acked_at.is_some_and(|acked| acked <= then)
        };
        self.book().records.iter().filter(waits).count()
    }

    /// The messages that were acknowledged before `then`.
    #[must_use]
    pub fn acked_before(&self, then: Instant) -> Vec<u64> {
        let acked = |record: &Record| record.acked_at.is_some_and(|acked| acked <= then);
        let book = self.book();
        let records = book.records.iter().zip(0..);
        records
            .filter_map(|(record, id)| acked(record).then_some(id))
            .collect()
    }

    /// Messages that were acknowledged, never handled, and are no dead letters.
    #[must_use]
    pub fn lost(&self) -> HashSet<u64> {
        let is_lost = |record: &Record| {
            record.fate == Some(Fate::Acked) && record.handled == 0 && record.dead == 0
        };
        let book = self.book();
        let records = book.records.iter().zip(0..);
        records
            .filter_map(|(record, id)| is_lost(record).then_some(id))
            .collect()
    }

    /// Compares with what the topic holds: copies beyond the tries, and acknowledged or refused
    /// messages that are, or are not, where they should be.
    #[must_use]
    pub fn compare(&self, bodies: &[Vec<u8>]) -> Stored {
        let mut copies: BTreeMap<u64, u32> = BTreeMap::new();
        for id in bodies.iter().filter_map(|body| parse(body, self.run)) {
            *copies.entry(id).or_default() += 1;
        }
        let mut stored = Stored::default();
        for (record, id) in self.book().records.iter().zip(0..) {
            let count = copies.get(&id).copied().unwrap_or(0);
            stored.copies += count as usize;
            stored.beyond_tries += usize::from(count > record.tries);
            stored.acked_missing += usize::from(record.fate == Some(Fate::Acked) && count == 0);
            stored.refused_present += usize::from(record.fate == Some(Fate::Refused) && count > 0);
        }
        stored.ids = copies.into_keys().collect();
        stored
    }

    /// The verdict.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let book = self.book();
        let totals = book.totals;
        let mut counts = Counts {
            published: book.records.len(),
            hung: totals.hung,
            phantom: totals.phantom,
            reordered: totals.reordered,
            parallel: totals.parallel,
            settled: totals.settled,
            stale: totals.stale,
            unsettled: totals.unsettled,
            over: totals.over,
            longest: totals.longest,
            ..Counts::default()
        };
        for record in &book.records {
            let handled = record.handled > 0;
            match record.fate {
                Some(Fate::Acked) => {
                    counts.acked += 1;
                    counts.lost += usize::from(!handled && record.dead == 0);
                }
                Some(Fate::Refused) => {
                    counts.refused += 1;
                    counts.refused_but_handled += usize::from(handled);
                }
                Some(Fate::Unknown) | None => counts.unknown += 1,
            }
            counts.handled += usize::from(handled);
            counts.dead += usize::from(record.dead > 0);
            counts.dead_twice += record.dead.saturating_sub(1) as usize;
            counts.duplicated += record.handled.saturating_sub(1) as usize;
        }
        counts
    }
}

fn at(records: &mut [Record], id: u64) -> Option<&mut Record> {
    records.get_mut(usize::try_from(id).ok()?)
}

fn parse(body: &[u8], run: u32) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?;
    let mut words = text.split(' ');
    let ours = words.next()?.parse() == Ok(run);
    let id = words.next()?.parse().ok()?;
    ours.then_some(id)
}

#[cfg(test)]
mod tests {
    use potluck_core::{Error, ErrorKind, MessageId};

    use super::*;

    const WITHIN: Duration = Duration::from_secs(1);

    fn publish(ledger: &Ledger, outcome: Option<Outcome>) -> Vec<u8> {
        let id = ledger.begin(7);
        ledger.trying(id);
        ledger.tried(id, outcome.as_ref(), WITHIN, WITHIN);
        ledger.message(id, 3).body().to_vec()
    }

    fn stored() -> Option<Outcome> {
        Some(Outcome::Stored(MessageId::single(1)))
    }

    fn error() -> Error {
        Error::new(ErrorKind::Unavailable, "publish", "away")
    }

    #[test]
    fn every_fault_is_counted_as_itself() {
        let ledger = Ledger::new(5);
        let first = publish(&ledger, stored());
        let second = publish(&ledger, Some(Outcome::Refused(error())));
        let third = publish(&ledger, Some(Outcome::Unknown(error())));
        let never = publish(&ledger, stored());
        let _hung = publish(&ledger, None);
        for body in [
            &third,
            &first,
            &first,
            &second,
            &b"5 99 ".to_vec(),
            &b"4 0 ".to_vec(),
        ] {
            ledger.started(body);
        }
        let counts = ledger.counts();
        assert_eq!(
            (
                counts.published,
                counts.acked,
                counts.refused,
                counts.unknown
            ),
            (5, 2, 1, 2)
        );
        assert_eq!((counts.handled, counts.lost, counts.duplicated), (3, 1, 1));
        assert_eq!(
            (counts.phantom, counts.refused_but_handled, counts.hung),
            (2, 1, 1)
        );
        assert_eq!((counts.reordered, counts.parallel), (2, 1));
        let there = ledger.compare(&[third.clone(), third, second]);
        assert_eq!(
            (
                there.beyond_tries,
                there.acked_missing,
                there.refused_present
            ),
            (1, 2, 1)
        );
        assert_eq!(ledger.lost().len(), 1);
        assert!(ledger.dead(&never) && ledger.dead(&never) && !ledger.dead(b"4 0 "));
        let counts = ledger.counts();
        assert_eq!((counts.lost, counts.dead, counts.dead_twice), (0, 1, 1));
        assert_eq!((ledger.lost().len(), counts.phantom), (0, 3));
    }

    #[test]
    fn a_later_success_is_the_fate() {
        let ledger = Ledger::new(1);
        let id = ledger.begin(0);
        for outcome in [Some(Outcome::Unknown(error())), stored()] {
            ledger.trying(id);
            ledger.tried(id, outcome.as_ref(), WITHIN * 2, WITHIN);
        }
        let counts = ledger.counts();
        assert_eq!((counts.acked, counts.unknown, counts.over), (1, 0, WITHIN));
    }
}
