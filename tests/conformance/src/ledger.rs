//! What was published, delivered and settled, and what follows from it. Nothing is de-duplicated.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use potluck_core::{Delivery, Message, Outcome, Result};

use crate::case::{Broken, Verdict};

/// Everything that happened to numbered messages.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    next: u64,
    /// The ordering keys of messages that have one of their own.
    keys: HashMap<u64, String>,
    /// What the publisher was told of each message.
    published: BTreeMap<u64, Fate>,
    /// Hand-overs in the order in which they came, per reader (a group, or a member of it).
    delivered: HashMap<String, Vec<u64>>,
    /// Messages whose acknowledgement was not stale, per group.
    acked: HashMap<String, HashSet<u64>>,
    /// Hand-overs of messages that were acknowledged before.
    resurrected: u64,
    /// Hand-overs of bodies that nobody published.
    phantoms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stored,
    Refused,
    Unknown,
}

/// What went wrong, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Messages reported as stored.
    pub stored: u64,
    /// Stored, and never delivered.
    pub lost: u64,
    /// Deliveries of a message beyond its first.
    pub duplicated: u64,
    /// First deliveries that came before one of an older message.
    pub reordered: u64,
    /// Deliveries of a message that was acknowledged before.
    pub resurrected: u64,
    /// Deliveries of what nobody published, or what was refused.
    pub phantom: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} stored: {} lost, {} duplicated, {} re-ordered, {} resurrected, {} phantom",
            self.stored, self.lost, self.duplicated, self.reordered, self.resurrected, self.phantom
        )
    }
}

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next numbered message: its body is its number. All of these have the same ordering key,
    /// so that they are ordered also where order is per key.
    pub fn message(&self) -> Message {
        let message = self.number_one();
        // The key is short enough.
        message.clone().with_key("k").unwrap_or(message)
    }

    /// The next numbered message with an ordering key of its own.
    ///
    /// # Errors
    ///
    /// When the key is too long.
    pub fn keyed(&self, key: &str) -> Result<Message> {
        let message = self.number_one().with_key(key.to_owned())?;
        if let Some(number) = Self::number(&message) {
            self.book().keys.insert(number, key.to_owned());
        }
        Ok(message)
    }

    fn number_one(&self) -> Message {
        let mut book = self.book();
        let number = book.next;
        book.next += 1;
        Message::new(number.to_string())
    }

    /// The number in a numbered message's body.
    #[must_use]
    pub fn number(message: &Message) -> Option<u64> {
        std::str::from_utf8(message.body()).ok()?.parse().ok()
    }

    /// Notes what the publisher was told of a message.
    pub fn published(&self, message: &Message, outcome: &Outcome) {
        let Some(number) = Self::number(message) else {
            return;
        };
        let fate = match outcome {
            Outcome::Stored(_) => Fate::Stored,
            Outcome::Refused(_) => Fate::Refused,
            Outcome::Unknown(_) => Fate::Unknown,
        };
        self.book().published.insert(number, fate);
    }

    /// Notes a hand-over to a reader of this name. `group` is whose acknowledgements count.
    pub fn delivered(&self, group: &str, reader: &str, delivery: &Delivery) {
        let mut book = self.book();
        let number = Self::number(&delivery.message);
        let known = number.filter(|number| *number < book.next);
        let Some(number) = known.filter(|n| book.published.get(n) != Some(&Fate::Refused)) else {
            book.phantoms += 1;
            return;
        };
        if book
            .acked
            .get(group)
            .is_some_and(|acked| acked.contains(&number))
        {
            book.resurrected += 1;
        }
        book.delivered
            .entry(reader.to_owned())
            .or_default()
            .push(number);
    }

    /// Notes an acknowledgement that was not stale.
    pub fn acked(&self, group: &str, delivery: &Delivery) {
        if let Some(number) = Self::number(&delivery.message) {
            self.book()
                .acked
                .entry(group.to_owned())
                .or_default()
                .insert(number);
        }
    }

    /// How many different messages these readers have been handed.
    pub fn distinct<'a>(&self, readers: impl IntoIterator<Item = &'a str>) -> usize {
        let book = self.book();
        let delivered = readers
            .into_iter()
            .filter_map(|reader| book.delivered.get(reader));
        delivered.flatten().collect::<HashSet<_>>().len()
    }

    /// The numbers of a reader's hand-overs, in the order in which they came.
    #[must_use]
    pub fn handed(&self, reader: &str) -> Vec<u64> {
        let book = self.book();
        book.delivered.get(reader).cloned().unwrap_or_default()
    }

    /// Fails unless each message that was stored has come to one of these readers, once, and
    /// nothing else has.
    ///
    /// # Errors
    ///
    /// With the counts.
    pub fn exactly_once<'a>(&self, readers: impl IntoIterator<Item = &'a str>) -> Verdict {
        let counts = self.counts(readers);
        let wrong = counts.lost + counts.duplicated + counts.resurrected + counts.phantom;
        match wrong {
            0 => Ok(()),
            _ => Err(Broken(counts.to_string())),
        }
    }

    /// First hand-overs to a reader that came before one of an older message, whatever their keys.
    #[must_use]
    pub fn overtaken(&self, reader: &str) -> usize {
        let (mut seen, mut highest) = (HashSet::new(), None);
        let firsts = self
            .handed(reader)
            .into_iter()
            .filter(|number| seen.insert(*number));
        let overtaken = firsts.filter(|number| {
            let late = highest.is_some_and(|highest| *number < highest);
            highest = highest.max(Some(*number));
            late
        });
        overtaken.count()
    }

    /// How many hand-overs a reader had.
    #[must_use]
    pub fn handed_to(&self, reader: &str) -> usize {
        self.book().delivered.get(reader).map_or(0, Vec::len)
    }

    /// The verdict over these readers, taken as the members of one group. Order is judged within
    /// each reader and ordering key.
    pub fn counts<'a>(&self, readers: impl IntoIterator<Item = &'a str>) -> Counts {
        let book = self.book();
        let mut seen: HashMap<u64, u64> = HashMap::new();
        let mut reordered = 0;
        for reader in readers {
            let mut highest: HashMap<Option<&str>, u64> = HashMap::new();
            for number in book.delivered.get(reader).into_iter().flatten() {
                let times = seen.entry(*number).or_default();
                *times += 1;
                if *times == 1 {
                    let key = book.keys.get(number).map(String::as_str);
                    let highest = highest.entry(key).or_insert(*number);
                    reordered += u64::from(*number < *highest);
                    *highest = (*highest).max(*number);
                }
            }
        }
        let stored = book
            .published
            .iter()
            .filter(|(_, fate)| **fate == Fate::Stored);
        let stored: Vec<_> = stored.map(|(number, _)| *number).collect();
        Counts {
            stored: stored.len() as u64,
            lost: stored
                .iter()
                .filter(|number| !seen.contains_key(number))
                .count() as u64,
            duplicated: seen.values().map(|times| times - 1).sum(),
            reordered,
            resurrected: book.resurrected,
            phantom: book.phantoms,
        }
    }
}
