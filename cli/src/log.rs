//! What do the transports say while they work? Their events become lines on standard error.

pub(crate) mod structured;

use std::fmt::{self, Write};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::output::{self, Talk};

/// How long the same line is not said again: a transport has several connections.
const ONCE_IN: Duration = Duration::from_secs(1);

/// Shows events of our crates from now on: of a connection lost and made again, a group that
/// vanished, messages lost by trimming. What fails before is told by the error that it becomes.
pub(crate) fn show(talk: Talk) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Only a second one could fail.
        let _ = tracing::subscriber::set_global_default(Lines {
            talk,
            last: Mutex::default(),
        });
    });
}

/// Lines on standard error. Spans are not shown, so they need no identity.
struct Lines {
    talk: Talk,
    /// The last line, and when it was said.
    last: Mutex<Option<(String, Instant)>>,
}

impl Lines {
    fn is_repeated(&self, text: &str) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |(said, at): &(String, Instant)| said == text && at.elapsed() < ONCE_IN;
        let repeated = last.as_ref().is_some_and(same);
        *last = Some((text.to_owned(), Instant::now()));
        repeated
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let most = match self.talk {
            Talk { quiet: true, .. } => Level::ERROR,
            Talk { verbose: true, .. } => Level::DEBUG,
            _ => Level::INFO,
        };
        metadata.target().starts_with("potluck") && *metadata.level() <= most
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let text = text.line();
        if self.is_repeated(&text) {
            return;
        }
        match *event.metadata().level() {
            Level::ERROR => output::error(text),
            Level::WARN => self.talk.warn(text),
            _ => self.talk.note(text),
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An event in words: its message, and its fields in brackets.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn line(self) -> String {
        if self.fields.is_empty() {
            self.message
        } else {
            format!("{} ({})", self.message, self.fields)
        }
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            let gap = if self.fields.is_empty() { "" } else { ", " };
            let _ = write!(self.fields, "{gap}{}={value:?}", field.name());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
