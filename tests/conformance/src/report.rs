//! What a run has shown, for programs and people.

use std::fmt::Write as _;

use potluck_core::{Capabilities, Description};
use serde::Serialize;

use crate::case::Level;

/// What came of one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The promise was kept.
    Passed,
    /// It was not.
    Failed,
    /// The target does not offer what the case needs.
    NotRun,
}

/// One case's result.
#[derive(Clone, Debug, Serialize)]
pub struct CaseReport {
    /// The case.
    pub name: &'static str,
    /// Its promise.
    pub promise: &'static str,
    /// Which transports it is for.
    pub level: Level,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it failed or was not run.
    pub reason: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// A run of the suite against one target.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The target's name.
    pub target: String,
    /// The broker.
    pub broker: Description,
    /// What the transport claims.
    pub capabilities: Capabilities,
    /// What the random choices came from; the same seed makes the same choices.
    pub seed: u64,
    /// Every case, in the table's order.
    pub cases: Vec<CaseReport>,
}

impl Report {
    /// How many cases had this outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.cases
            .iter()
            .filter(|case| case.outcome == outcome)
            .count()
    }

    /// As JSON, one object.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!(self)
    }

    /// As JUnit's XML, for continuous integration.
    #[must_use]
    pub fn to_junit(&self) -> String {
        let seconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">\n",
            escaped(&self.target),
            self.cases.len(),
            self.count(Outcome::Failed),
            self.count(Outcome::NotRun),
        );
        for case in &self.cases {
            let reason = escaped(case.reason.as_deref().unwrap_or_default());
            let _ = write!(
                xml,
                "  <testcase name=\"{}\" time=\"{}\"",
                case.name,
                seconds(case.took_ms)
            );
            let _ = match case.outcome {
                Outcome::Passed => writeln!(xml, "/>"),
                Outcome::Failed => {
                    let promise = escaped(case.promise);
                    writeln!(
                        xml,
                        "><failure message=\"{promise}\">{reason}</failure></testcase>"
                    )
                }
                Outcome::NotRun => writeln!(xml, "><skipped message=\"{reason}\"/></testcase>"),
            };
        }
        xml.push_str("</testsuite>\n");
        xml
    }

    /// As Markdown: the broker, what is claimed, and a row a case.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = format!(
            "# {} ({} {})\n\nSeed {}: {} passed, {} failed, {} not run.\n\n\
             | claim | value |\n|---|---|\n",
            self.target,
            self.broker.product,
            self.broker.version,
            self.seed,
            self.count(Outcome::Passed),
            self.count(Outcome::Failed),
            self.count(Outcome::NotRun),
        );
        if let serde_json::Value::Object(claims) = serde_json::json!(self.capabilities) {
            for (name, value) in claims {
                let value = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                let _ = writeln!(text, "| {name} | {value} |");
            }
        }
        text.push_str("\n| case | promise | result | ms |\n|---|---|---|---|\n");
        for case in &self.cases {
            let result = match (case.outcome, &case.reason) {
                (Outcome::Passed, _) => "passed".to_owned(),
                (Outcome::Failed, reason) => {
                    format!("**failed**: {}", reason.as_deref().unwrap_or(""))
                }
                (Outcome::NotRun, reason) => {
                    format!("not run: {}", reason.as_deref().unwrap_or(""))
                }
            };
            let result = result.replace('|', "\\|").replace('\n', " ");
            let _ = writeln!(
                text,
                "| `{}` | {} | {result} | {} |",
                case.name, case.promise, case.took_ms
            );
        }
        text
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            // Control characters have no place in XML 1.0, not even escaped.
            c if c.is_control() && c != '\n' && c != '\t' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_has_nothing_that_xml_forbids() {
        assert_eq!(
            escaped("<a & \"b\">\u{1b}\u{0}\n"),
            "&lt;a &amp; &quot;b&quot;&gt;\u{fffd}\u{fffd}\n"
        );
    }
}
