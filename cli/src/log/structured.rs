//! How does a service keep its log? A line for each event on standard error: time, level, what
//! happened and its fields, for people or as JSON.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::OnceLock;

use chrono::{SecondsFormat, Utc};
use serde::Serializer;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::args::LogForm;
use crate::output::{self, Talk};
use crate::table;

/// The log of this process, once it keeps one.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    form: LogForm,
    most: Level,
    secrets: Vec<String>,
}

/// From now on the process keeps a log: of the events of our crates, and of all that is said on
/// standard error.
pub(crate) fn keep(form: LogForm, talk: Talk) {
    let most = match talk {
        Talk { quiet: true, .. } => Level::ERROR,
        Talk { verbose: true, .. } => Level::DEBUG,
        _ => Level::INFO,
    };
    let secrets = output::secrets();
    let first = LOG.set(Log {
        form,
        most,
        secrets,
    });
    if first.is_ok() {
        // Only a second one could fail.
        let _ = tracing::subscriber::set_global_default(Events);
    }
}

/// Writes what is said into the log; `false` when the process keeps none.
pub(crate) fn say(level: Level, text: &str) -> bool {
    let Some(log) = LOG.get() else { return false };
    let line = Line {
        message: text.to_owned(),
        fields: Vec::new(),
    };
    log.write(level, env!("CARGO_CRATE_NAME"), &line);
    true
}

impl Log {
    fn write(&self, level: Level, target: &str, line: &Line) {
        let time = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let text = match self.form {
            LogForm::Text => line.text(&time, level),
            LogForm::Json => line.json(&time, level, target),
        };
        let text = output::mask(&text, &self.secrets);
        // When nobody reads what is said there is nobody to tell.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Events of our crates. Spans are not shown, so they need no identity.
struct Events;

impl Subscriber for Events {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("potluck")
            && LOG.get().is_some_and(|log| *metadata.level() <= log.most)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        if let Some(log) = LOG.get() {
            log.write(*event.metadata().level(), event.metadata().target(), &line);
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

/// What happened, and its fields in their order.
#[derive(Default)]
struct Line {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Line {
    fn text(&self, time: &str, level: Level) -> String {
        let mut text = format!("{time} {level:>5} {}", self.message);
        for (name, value) in &self.fields {
            let bare = value.as_str().filter(|text| is_one_word(text));
            // Writing to a string does not fail.
            let _ = match bare {
                Some(word) => write!(text, " {name}={word}"),
                None => write!(text, " {name}={value}"),
            };
        }
        format!("{}\n", table::printable(&text))
    }

    fn json(&self, time: &str, level: Level, target: &str) -> String {
        let head = [
            ("timestamp", time.to_owned()),
            ("level", level.to_string()),
            ("message", self.message.clone()),
            ("target", target.to_owned()),
        ];
        let head = head.map(|(name, text)| (name, Value::String(text)));
        let all = head.iter().chain(&self.fields);
        let mut text = Vec::new();
        let mut serializer = serde_json::Serializer::new(&mut text);
        // Neither strings nor numbers fail to be written.
        let _ = serializer.collect_map(all.map(|(name, value)| (name, value)));
        text.push(b'\n');
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn is_one_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '"' || c == '=')
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.fields.push((field.name(), Value::String(text)));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields
            .push((field.name(), Value::String(value.to_owned())));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name(), value.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            message: "event processed".to_owned(),
            fields: vec![
                ("event_id", "a b\u{1b}\"".into()),
                ("source", "manual".into()),
                ("confidence", 0.5.into()),
                ("empty", "".into()),
            ],
        }
    }

    #[test]
    fn a_line_of_text_can_be_told_apart_again() {
        assert_eq!(
            line().text("T", Level::INFO),
            "T  INFO event processed event_id=\"a b\\u001b\\\"\" source=manual confidence=0.5 empty=\"\"\n"
        );
    }

    #[test]
    fn a_line_of_json_begins_with_when_and_how_bad() {
        assert_eq!(
            line().json("T", Level::WARN, "potluck_cli"),
            "{\"timestamp\":\"T\",\"level\":\"WARN\",\"message\":\"event processed\",\"target\":\"potluck_cli\",\
             \"event_id\":\"a b\\u001b\\\"\",\"source\":\"manual\",\"confidence\":0.5,\"empty\":\"\"}\n"
        );
    }
}
