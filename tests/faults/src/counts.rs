//! What is the verdict on a ledger? Its counts, in one line.

use std::collections::HashSet;
use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

/// The verdict: counts over the whole ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that were published, whatever came of it.
    pub published: usize,
    /// Messages that the broker acknowledged.
    pub acked: usize,
    /// Messages that were certainly not stored.
    pub refused: usize,
    /// Messages that may be stored.
    pub unknown: usize,
    /// Publishes without an outcome a second after their deadline.
    pub hung: usize,
    /// Messages that were handled at least once.
    pub handled: usize,
    /// Messages among the dead letters, and dead letters beyond the first of each.
    pub dead: usize,
    /// See `dead`.
    pub dead_twice: usize,
    /// Acknowledged, never handled, and no dead letter.
    pub lost: usize,
    /// Handlings beyond the first of each message.
    pub duplicated: usize,
    /// Handled, and never published.
    pub phantom: usize,
    /// Handled, and refused at every try.
    pub refused_but_handled: usize,
    /// First handlings that came after a later one of the same key.
    pub reordered: usize,
    /// Handlers that started while another had the same message.
    pub parallel: usize,
    /// Deliveries settled.
    pub settled: usize,
    /// Settles that came too late.
    pub stale: usize,
    /// Settles that failed, each try counted.
    pub unsettled: usize,
    /// By how much the slowest publish outlived its deadline.
    pub over: Duration,
    /// How long the slowest publish took.
    pub longest: Duration,
}

/// What a topic holds, against the ledger.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// Entries of this run.
    pub copies: usize,
    /// Messages stored more often than they were published.
    pub beyond_tries: usize,
    /// Acknowledged messages that are not there.
    pub acked_missing: usize,
    /// Refused messages that are.
    pub refused_present: usize,
    /// Which messages are there.
    pub ids: HashSet<u64>,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        *self = Self {
            published: self.published + other.published,
            acked: self.acked + other.acked,
            refused: self.refused + other.refused,
            unknown: self.unknown + other.unknown,
            hung: self.hung + other.hung,
            handled: self.handled + other.handled,
            dead: self.dead + other.dead,
            dead_twice: self.dead_twice + other.dead_twice,
            lost: self.lost + other.lost,
            duplicated: self.duplicated + other.duplicated,
            phantom: self.phantom + other.phantom,
            refused_but_handled: self.refused_but_handled + other.refused_but_handled,
            reordered: self.reordered + other.reordered,
            parallel: self.parallel + other.parallel,
            settled: self.settled + other.settled,
            stale: self.stale + other.stale,
            unsettled: self.unsettled + other.unsettled,
            over: self.over.max(other.over),
            longest: self.longest.max(other.longest),
        };
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "published {} = acked {} + refused {} + unknown {}, handled {}, dead {}; lost {}, twice {}, \
             phantom {}, refused-but-handled {}, hung {}, reordered {}, parallel {}, stale {}, \
             unsettled {}; slowest publish {:.2?}, past its deadline by {:.0?}",
            self.published,
            self.acked,
            self.refused,
            self.unknown,
            self.handled,
            self.dead,
            self.lost,
            self.duplicated,
            self.phantom,
            self.refused_but_handled,
            self.hung,
            self.reordered,
            self.parallel,
            self.stale,
            self.unsettled,
            self.longest,
            self.over,
        )
    }
}
