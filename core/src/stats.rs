//! What a transport counts, under the same names on every broker.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counted {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts since the transport was opened.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        #[non_exhaustive]
        pub struct Stats { $($(#[$doc])* pub $name: u64,)* }

        /// The counters behind [`Stats`], for drivers. Adding never waits.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: Counter,)* }

        impl Counters {
            /// The counts now. Each is exact; together they are not a snapshot of one instant.
            #[must_use]
            pub fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.get(),)* }
            }
        }
    };
}

counted! {
    /// Messages that the broker has accepted.
    published,
    /// Messages that were certainly not stored.
    refused,
    /// Messages that may be stored.
    unknown,
    /// Deliveries handed to members.
    delivered,
    /// Deliveries acknowledged.
    acked,
    /// Deliveries given back.
    released,
    /// Settles that came too late.
    stale,
    /// Connections made after the first.
    reconnects,
    /// Groups that had vanished and were created again, from the earliest message kept.
    groups_recreated,
    /// Messages that retention removed before their group had acknowledged them.
    lost_by_trim,
}

/// One counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Relaxed);
    }

    /// The count now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Counters {
    /// Counts the outcomes of one publish.
    pub fn count_outcomes(&self, outcomes: &[crate::Outcome]) {
        for outcome in outcomes {
            match outcome {
                crate::Outcome::Stored(_) => self.published.add(1),
                crate::Outcome::Refused(_) => self.refused.add(1),
                crate::Outcome::Unknown(_) => self.unknown.add(1),
            }
        }
    }
}
