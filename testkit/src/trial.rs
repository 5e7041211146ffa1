//! What a user says of a handler, and what is told of it.

use std::fmt;
use std::ops::Range;

use potluck_core::Message;
use potluck_core::envelope::{Envelope, EventBody};
use potluck_runtime::{Context, Failure};

use crate::plan::Plan;
use crate::run;

const SEEDS: u64 = 200;

/// Events for a handler, and how often things go wrong for it.
#[derive(Clone, Debug)]
#[must_use = "a trial does nothing until it is asked to check a handler"]
pub struct Trial {
    messages: Vec<Message>,
    seeds: Range<u64>,
}

/// A seed whose run leaves another state than a clean run.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference<T> {
    /// [`Trial::seeds`] with this one alone is the same run again.
    pub seed: u64,
    /// What happened, in order; events are numbered from 1.
    pub schedule: Vec<String>,
    /// What a clean run leaves.
    pub expected: T,
    /// What this run left.
    pub found: T,
}

impl Trial {
    /// A trial with these messages, which [`Envelope::to_message`] makes of events. Give those
    /// whose order matters the same ordering key, as their producer does: all others are handled
    /// in any order.
    pub fn of(messages: Vec<Message>) -> Self {
        Self {
            messages,
            seeds: 0..SEEDS,
        }
    }

    /// Which seeds to run; the first 200 by default. `n..n + 1` runs seed `n` again.
    pub fn seeds(mut self, seeds: Range<u64>) -> Self {
        self.seeds = seeds;
        self
    }

    /// Runs the handler over each seed's schedule, and compares what it leaves.
    ///
    /// `fresh` makes an empty state, of which the handler gets a clone for each event: an `Arc`, or
    /// a struct of them. `observe` tells what is left at the end, in a form that can be compared:
    /// leave out what may differ, such as times.
    ///
    /// It returns when all seeds have run or one differs, and may be called from any test, async
    /// or not. Time is simulated, so a handler that sleeps costs nothing, and its state must be in
    /// this process: a fake of a database, not a server. A handler is cut off where it waits. An
    /// await at which it need not wait is no such place, so let a fake yield
    /// (`tokio::task::yield_now`) wherever the real one would take time.
    ///
    /// A handler's failure is tried again twice, then its event is given up.
    ///
    /// # Errors
    ///
    /// The first seed whose run leaves something else than a clean run does.
    pub fn check<B, S, H, F, T>(
        &self,
        fresh: impl Fn() -> S + Sync,
        handler: H,
        observe: impl Fn(&S) -> T + Sync,
    ) -> Result<(), Difference<T>>
    where
        B: EventBody,
        S: Clone + Send + Sync + 'static,
        H: Fn(S, Envelope<B>, Context) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
        T: PartialEq + fmt::Debug + Send,
    {
        let state_after = |plan: Plan| {
            let state = fresh();
            let schedule = run::run(&self.messages, plan, state.clone(), handler.clone());
            (schedule, observe(&state))
        };
        // A thread of its own has no runtime yet, whatever the caller has.
        let checked = std::thread::scope(|scope| {
            let seeds = || {
                let count = self.messages.len();
                let (_, mut expected) = state_after(Plan::clean(count));
                for seed in self.seeds.clone() {
                    let (schedule, found) = state_after(Plan::of(seed, count));
                    if schedule.is_endless || found != expected {
                        return Err(Difference {
                            seed,
                            schedule: schedule.lines,
                            expected,
                            found,
                        });
                    }
                    expected = found;
                }
                Ok(())
            };
            scope.spawn(seeds).join()
        });
        // The user's own panic goes on where it can be seen.
        checked.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl<T: fmt::Debug> fmt::Display for Difference<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "the handler is not idempotent, as seed {} shows:",
            self.seed
        )?;
        for line in &self.schedule {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "a clean run leaves {:?}", self.expected)?;
        write!(f, "and this one        {:?}", self.found)
    }
}

/// As [`Display`](fmt::Display), so that an `unwrap` in a test tells all.
impl<T: fmt::Debug> fmt::Debug for Difference<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T: fmt::Debug> std::error::Error for Difference<T> {}
