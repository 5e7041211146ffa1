//! How loud is a fault? Counts what is logged while a case runs.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

/// How many errors are kept word for word.
const KEPT_MAX: usize = 20;
/// How many lines are kept word for word.
const LINES_KEPT_MAX: usize = 10_000;

/// Counts events of level `INFO` and above of the thread that it is the default of.
#[derive(Clone, Debug)]
pub struct Logs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    spans: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lines: usize,
    errors: usize,
    kept: Vec<String>,
    /// All lines, up to a bound.
    all: Vec<String>,
    /// Lines with control characters as they are.
    raw: usize,
    /// The second that is being counted, its lines, and the most lines of any.
    second: u64,
    in_second: usize,
    most_in_second: usize,
}

impl Logs {
    /// Counts from now on.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            started: Instant::now(),
            spans: AtomicU64::new(1),
            state: Mutex::default(),
        }))
    }

    /// What to make a thread's default.
    #[must_use]
    pub fn dispatch(&self) -> Dispatch {
        Dispatch::new(self.clone())
    }

    /// Lines logged.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.state(|state| state.lines)
    }

    /// Lines of level `ERROR`.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.state(|state| state.errors)
    }

    /// The most lines in any one second.
    #[must_use]
    pub fn most_in_second(&self) -> usize {
        self.state(|state| state.most_in_second.max(state.in_second))
    }

    /// The first errors, word for word.
    #[must_use]
    pub fn first_errors(&self) -> Vec<String> {
        self.state(|state| state.kept.clone())
    }

    /// Lines that have control characters in them as they are: whoever reads them in a terminal is
    /// at their mercy.
    #[must_use]
    pub fn raw(&self) -> usize {
        self.state(|state| state.raw)
    }

    /// Lines that hold this text.
    #[must_use]
    pub fn with(&self, text: &str) -> usize {
        self.state(|state| state.all.iter().filter(|line| line.contains(text)).count())
    }

    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self::new()
    }
}

impl Subscriber for Logs {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.0.spans.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let second = self.0.started.elapsed().as_secs();
        let is_error = *event.metadata().level() == Level::ERROR;
        self.state(|state| {
            state.lines += 1;
            if state.second != second {
                state.most_in_second = state.most_in_second.max(state.in_second);
                (state.second, state.in_second) = (second, 0);
            }
            state.in_second += 1;
            state.errors += usize::from(is_error);
            let mut line = Line(String::new());
            event.record(&mut line);
            state.raw += usize::from(line.0.chars().any(char::is_control));
            if is_error && state.kept.len() < KEPT_MAX {
                state.kept.push(line.0.clone());
            }
            if state.all.len() < LINES_KEPT_MAX {
                state.all.push(line.0);
            }
        });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_counted_and_debug_is_not() {
        let logs = Logs::new();
        tracing::dispatcher::with_default(&logs.dispatch(), || {
            tracing::error!(topic = "t", "gone");
            tracing::info!(error = ?"\x1b[2J", "escaped");
            tracing::warn!(error = %"\x1b[2J", "lost");
            tracing::debug!("details");
        });
        assert_eq!(
            (logs.lines(), logs.errors(), logs.most_in_second()),
            (3, 1, 3)
        );
        assert!(logs.first_errors()[0].contains("gone"));
        assert_eq!(
            (logs.raw(), logs.with("lost"), logs.with("found")),
            (1, 1, 0)
        );
    }
}
