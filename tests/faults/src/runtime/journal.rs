//! How often did a handler start with a message, and how often did it end? In this process or in
//! another that says so line by line.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use potluck_core::envelope::FreeFoodEvent;
use potluck_runtime::{Context, Failure};
use tokio::time::Instant;

use super::events::{self, Fate};
use crate::ledger::Ledger;

/// What handlers did with one message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Handled {
    /// Tries that began.
    pub begun: u32,
    /// Tries that succeeded.
    pub ended: u32,
    /// When the last one did.
    pub ended_at: Option<Instant>,
}

/// Every start and end. The ledger counts a message as handled when a handler of it has ended
/// with success, and no sooner: what a crash cut short does not count.
#[derive(Debug)]
pub struct Journal {
    ledger: Arc<Ledger>,
    pages: Mutex<HashMap<u64, Handled>>,
}

impl Journal {
    /// An empty one.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>) -> Self {
        Self {
            ledger,
            pages: Mutex::default(),
        }
    }

    fn pages(&self) -> MutexGuard<'_, HashMap<u64, Handled>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handler begins with the event of this title.
    pub fn begin(&self, title: &str) {
        if let Some(id) = self.ledger.id(title) {
            self.pages().entry(id).or_default().begun += 1;
        }
    }

    /// It has succeeded.
    pub fn end(&self, title: &str) {
        if let Some(id) = self.ledger.started(title.as_bytes()) {
            self.ledger.finished(id);
            let mut pages = self.pages();
            let page = pages.entry(id).or_default();
            page.ended += 1;
            page.ended_at = Some(Instant::now());
        }
    }

    /// Writes down a worker's line: `+TITLE` at a start, `-TITLE` at an end.
    pub fn line(&self, line: &str) {
        if let Some(title) = line.strip_prefix('+') {
            self.begin(title);
        } else if let Some(title) = line.strip_prefix('-') {
            self.end(title);
        }
    }

    /// What handlers did with a message.
    #[must_use]
    pub fn of(&self, id: u64) -> Handled {
        self.pages().get(&id).copied().unwrap_or_default()
    }

    /// How many of these no handler has begun.
    #[must_use]
    pub fn unbegun(&self, ids: &[u64]) -> usize {
        let pages = self.pages();
        let begun = |id: &&u64| pages.get(id).is_some_and(|page| page.begun > 0);
        ids.len() - ids.iter().filter(begun).count()
    }

    /// Tries that began.
    #[must_use]
    pub fn begun(&self) -> usize {
        self.pages().values().map(|page| page.begun as usize).sum()
    }

    /// Tries that began beyond `most(id)` of each message.
    #[must_use]
    pub fn begun_beyond(&self, most: impl Fn(u64) -> u32) -> usize {
        let beyond = |(id, page): (&u64, &Handled)| page.begun.saturating_sub(most(*id)) as usize;
        self.pages().iter().map(beyond).sum()
    }

    /// Runs one try as its script says; `work` is what a success takes.
    ///
    /// # Errors
    ///
    /// As the script says.
    pub async fn handle(
        &self,
        event: &FreeFoodEvent,
        context: &Context,
        work: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        let (title, script) = (event.body.title.as_str(), script(event));
        self.begin(title);
        if events::fate(script, context.tries()) == Fate::Succeed {
            work.await;
        }
        events::play(script, context.tries()).await?;
        self.end(title);
        Ok(())
    }
}

/// An event's script.
#[must_use]
pub fn script(event: &FreeFoodEvent) -> &str {
    event.body.description.as_deref().unwrap_or_default()
}
