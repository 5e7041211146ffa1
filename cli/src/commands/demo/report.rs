//! What does a person want to see of it? The events as an agenda, then counts and latencies.

use std::io::{self, Write};
use std::time::Duration;

use anstyle::Style;
use chrono::{DateTime, Datelike, FixedOffset};
use potluck::envelope::FreeFoodEvent;

use super::select::Selection;
use super::travel::{TOPIC, Trip};
use crate::output::{FAINT, HEADING, SURE, UNSURE, styled};
use crate::table;

/// From this width on there is a column for the reason.
const WIDTH_FOR_REASON: usize = 110;
/// From this confidence on an event is shown as a sure one.
const SURE_FROM: f64 = 0.8;
/// What the agenda is indented by.
const INDENT: usize = 2;

/// What is reported.
pub(super) struct Report<'a> {
    pub(super) calendar: &'a str,
    pub(super) broker: &'a str,
    pub(super) selection: &'a Selection,
    pub(super) trip: &'a Trip,
}

impl Report<'_> {
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        self.write_agenda(out, table::width_of_output())?;
        writeln!(out)?;
        self.write_counts(out)?;
        out.flush()
    }

    fn write_agenda(&self, out: &mut impl Write, width: usize) -> io::Result<()> {
        let mut rows: Vec<Row> = self.trip.arrived.iter().map(Row::of).collect();
        if rows.is_empty() {
            let promised = !self.selection.kept.is_empty();
            let text = if promised {
                "No event arrived."
            } else {
                "No event promises free food."
            };
            return writeln!(out, "{text}");
        }
        rows.sort_by_key(|row| (row.begin.is_none(), row.begin));
        let agenda = Agenda::fitting(&rows, width);
        writeln!(out, "{}", agenda.heading())?;
        let mut month = None;
        for row in &rows {
            if month.as_ref() != Some(&row.month) {
                writeln!(out, "{}", styled(&row.month, HEADING))?;
                month = Some(row.month.clone());
            }
            writeln!(out, "{}", agenda.line(row))?;
        }
        Ok(())
    }

    fn write_counts(&self, out: &mut impl Write) -> io::Result<()> {
        let Self {
            selection, trip, ..
        } = self;
        let skipped = selection.read - selection.kept.len();
        let why = listed(&[
            (selection.foodless, "without free food"),
            (selection.untitled, "without a title"),
            (selection.repeated, "repeated"),
            (selection.unreadable, "unreadable"),
        ]);
        let kept = "with a promise of free food".to_owned();
        let timeless = listed(&[(selection.timeless, "whose time is unreadable")]);
        let not_stored = listed(&[(trip.not_stored, "not")]);
        let broker = self.broker;
        let (valid, invalid) = (trip.arrived.len(), trip.invalid);
        let group = &trip.group;
        for (name, count, texts) in [
            (
                "Read",
                selection.read,
                [
                    format!("from {}", table::printable(self.calendar)),
                    String::new(),
                ],
            ),
            ("Skipped", skipped, [why, String::new()]),
            ("Kept", selection.kept.len(), [kept, timeless]),
            (
                "Published",
                trip.stored,
                [format!("to {TOPIC} on {broker}"), not_stored],
            ),
            (
                "Consumed",
                valid + invalid,
                [
                    format!("by group {group}: {valid} valid, {invalid} invalid"),
                    String::new(),
                ],
            ),
        ] {
            let texts: Vec<String> = texts.into_iter().filter(|text| !text.is_empty()).collect();
            let line = format!("{count:>5}  {}", texts.join(", "));
            writeln!(out, "{}{}", heading(name), line.trim_end())?;
        }
        if trip.latencies.is_empty() {
            return Ok(());
        }
        let points =
            [("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)].map(|(name, percent)| {
                format!("{name} {}", shown(percentile(&trip.latencies, percent)))
            });
        writeln!(out, "{}       {}", heading("Latency"), points.join("   "))
    }
}

fn heading(name: &str) -> String {
    styled(format_args!("{name:<10}"), HEADING)
}

/// The counts that are not nothing, with what they count.
fn listed(counts: &[(usize, &str)]) -> String {
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let texts: Vec<String> = counts
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    texts.join(", ")
}

/// The least of the sorted values that `percent` of a hundred of them do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn shown(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    match micros {
        ..1e3 => format!("{micros:.0} µs"),
        ..1e6 => format!("{:.1} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

/// An event, in the words of the agenda.
struct Row {
    begin: Option<DateTime<FixedOffset>>,
    month: String,
    when: String,
    confidence: f64,
    title: String,
    place: String,
    reason: String,
}

impl Row {
    fn of(event: &FreeFoodEvent) -> Self {
        let body = &event.body;
        let text = |text: &Option<String>| {
            table::printable(text.as_deref().unwrap_or_default()).into_owned()
        };
        let begin = begin_of(event);
        let all_day = event
            .metadata
            .get("all_day")
            .is_some_and(|all_day| *all_day == true);
        Self {
            month: begin.map_or_else(
                || "No time given".to_owned(),
                |at| at.format("%B %Y").to_string(),
            ),
            when: match begin {
                None => String::new(),
                Some(at) if all_day => at.format("%a %e all day").to_string(),
                Some(at) => at.format("%a %e %H:%M").to_string(),
            },
            begin,
            confidence: body
                .llm_confidence
                .map_or(0.0, |confidence| confidence.get()),
            title: table::printable(&body.title).trim().to_owned(),
            place: text(&body.location),
            reason: text(&body.reason),
        }
    }

    fn style_of_confidence(&self) -> Style {
        if self.confidence >= SURE_FROM {
            SURE
        } else {
            UNSURE
        }
    }
}

/// When an event begins, by the clock on its wall if that is known and true, else in UTC.
fn begin_of(event: &FreeFoodEvent) -> Option<DateTime<FixedOffset>> {
    let utc = event.body.start_time?.get().fixed_offset();
    let local = event
        .metadata
        .get("local_start_time")
        .and_then(|text| text.as_str());
    let local = local.and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    local
        .filter(|local| *local == utc && local.year() > 0)
        .or(Some(utc))
}

/// The columns and their widths: when, how sure, what, where, and why if there is room.
struct Agenda(Vec<usize>);

impl Agenda {
    const NAMES: [&str; 5] = ["WHEN", "SURE", "TITLE", "WHERE", "WHY"];

    fn fitting(rows: &[Row], width: usize) -> Self {
        let columns = if width >= WIDTH_FOR_REASON { 5 } else { 4 };
        let natural: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = rows.iter().map(|row| table::width(&row.cell(column)));
                cells
                    .chain([Self::NAMES[column].len()])
                    .max()
                    .unwrap_or_default()
            })
            .collect();
        let weights = [0, 0, 3, 2, 2];
        Self(table::fit(&natural, &weights[..columns], width - INDENT))
    }

    fn heading(&self) -> String {
        self.cells(|column| (Self::NAMES[column].to_owned(), FAINT))
    }

    fn line(&self, row: &Row) -> String {
        self.cells(|column| {
            let style = match column {
                1 => row.style_of_confidence(),
                3 | 4 => FAINT,
                _ => Style::new(),
            };
            (row.cell(column), style)
        })
    }

    fn cells(&self, content: impl Fn(usize) -> (String, Style)) -> String {
        let cells = self.0.iter().enumerate().map(|(column, width)| {
            let (text, style) = content(column);
            (text, *width, style)
        });
        format!("{:INDENT$}{}", "", table::row(cells))
    }
}

impl Row {
    fn cell(&self, column: usize) -> String {
        match column {
            0 => self.when.clone(),
            1 => format!("{:>3.0}%", self.confidence * 100.0),
            2 => self.title.clone(),
            3 => self.place.clone(),
            _ => self.reason.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use potluck::envelope::RawEvent;
    use serde_json::{Map, json};

    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        for (percent, millis) in [(50, 100), (90, 180), (99, 198), (100, 200)] {
            assert_eq!(percentile(&values, percent).as_millis(), millis);
        }
        assert_eq!(percentile(&values[..1], 50).as_millis(), 1);
        assert_eq!(percentile(&[], 50), Duration::ZERO);
        for (nanos, text) in [
            (53_400, "53 µs"),
            (1_250_000, "1.2 ms"),
            (2_344_000_000, "2.34 s"),
        ] {
            assert_eq!(shown(Duration::from_nanos(nanos)), text);
        }
    }

    fn row(start: &str, metadata: serde_json::Value) -> Row {
        let event = RawEvent {
            title: Some(" \u{1b}[2J Pizza\n ".to_owned()),
            start_time: start.parse().ok(),
            metadata: serde_json::from_value::<Map<_, _>>(metadata).ok(),
            ..RawEvent::default()
        };
        Row::of(&event.into_event().unwrap())
    }

    #[test]
    fn times_are_the_walls_where_that_is_known() {
        let utc = "2026-11-01T02:30:00Z";
        for (start, metadata, month, when) in [
            (
                utc,
                json!({"local_start_time": "2026-10-31T22:30:00-04:00"}),
                "October 2026",
                "Sat 31 22:30",
            ),
            (
                utc,
                json!({"local_start_time": "2026-10-31T22:30:00-05:00"}),
                "November 2026",
                "Sun  1 02:30",
            ),
            (
                utc,
                json!({"local_start_time": 5}),
                "November 2026",
                "Sun  1 02:30",
            ),
            (
                utc,
                json!({"all_day": true}),
                "November 2026",
                "Sun  1 all day",
            ),
            ("", json!({"local_start_time": utc}), "No time given", ""),
        ] {
            let row = row(start, metadata);
            assert_eq!((row.month.as_str(), row.when.as_str()), (month, when));
            assert_eq!(row.title, "\u{fffd}[2J Pizza\u{fffd}");
        }
    }
}
