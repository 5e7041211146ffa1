//! How is a message written: as a JSON record, as its bytes, or as a row for a person?

use std::collections::BTreeMap;
use std::io::Write;

use anstyle::Style;
use data_encoding::BASE64;
use potluck::envelope::{FreeFood, Payload, Received};
use potluck::{Defect, Message, MessageId, Topic};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::args::Form;
use crate::output::{self, FAINT, SURE, UNSURE};
use crate::table;

/// From this width on there is a column for the place.
const WIDTH_FOR_PLACE: usize = 100;
/// From this confidence on an event is shown as a sure one.
const SURE_FROM: f64 = 0.8;

/// A message, and what is known of it.
pub(crate) struct Item<'a> {
    pub(crate) topic: &'a Topic,
    pub(crate) id: MessageId,
    pub(crate) message: &'a Message,
    /// Which hand-over it is; unknown when it was only looked at.
    pub(crate) attempt: Option<u32>,
    /// Why it is malformed, when it is.
    pub(crate) problem: Option<String>,
}

/// Why a message is malformed: its defect, or what the contract says of its bytes.
pub(crate) fn problem(message: &Message, defect: Option<&Defect>) -> Option<String> {
    match defect {
        Some(defect) => Some(defect.to_string()),
        None => match Payload::check(message.body().clone()) {
            Ok(_) => None,
            Err(malformed) => Some(malformed.to_string()),
        },
    }
}

/// Writes items in one form.
pub(crate) struct Writer {
    pub(crate) form: Form,
    colored: bool,
    columns: Vec<Column>,
    headed: bool,
}

impl Writer {
    /// A writer for standard output, in this form or in the one that suits who reads it.
    pub(crate) fn new(form: Option<Form>) -> Self {
        let for_whom = if output::people_read() {
            Form::Pretty
        } else {
            Form::Json
        };
        Self {
            form: form.unwrap_or(for_whom),
            colored: output::is_colored(),
            columns: columns(table::width_of_output()),
            headed: false,
        }
    }

    /// Appends an item and the newline that ends it.
    pub(crate) fn write(&mut self, item: &Item<'_>, out: &mut Vec<u8>) {
        match self.form {
            Form::Raw => out.extend_from_slice(item.message.body()),
            Form::Json => write_json(item, out),
            Form::Pretty => {
                if !self.headed {
                    self.headed = true;
                    self.write_row(|column| (column.name.to_owned(), FAINT), out);
                    out.push(b'\n');
                }
                let row = Row::of(item);
                self.write_row(|column| (column.cell)(&row), out);
            }
        }
        out.push(b'\n');
    }

    fn write_row(&self, cell: impl Fn(&Column) -> (String, Style), out: &mut Vec<u8>) {
        let cells = self.columns.iter().map(|column| {
            let (text, style) = cell(column);
            (text, column.width, style)
        });
        let row = table::row(cells);
        if self.colored {
            out.extend_from_slice(row.as_bytes());
        } else {
            let plain = anstream::adapter::strip_str(&row).to_string();
            out.extend_from_slice(plain.as_bytes());
        }
    }
}

/// Documented and stable.
#[derive(Serialize)]
struct Head<'a> {
    topic: &'a str,
    id: String,
    key: Option<Text<'a>>,
    headers: BTreeMap<&'a str, Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    defect: Option<&'a str>,
}

/// Bytes: a string, or `{"base64": "…"}` when they are no text.
struct Text<'a>(&'a [u8]);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Encoded(self.0).serialize(serializer),
        }
    }
}

struct Encoded<'a>(&'a [u8]);

impl Serialize for Encoded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("base64", &BASE64.encode(self.0))?;
        map.end()
    }
}

/// A record on one line. The payload is spliced in as it is: nothing is parsed and written again.
fn write_json(item: &Item<'_>, out: &mut Vec<u8>) {
    let headers = item.message.headers();
    let head = Head {
        topic: item.topic.as_str(),
        id: item.id.to_string(),
        key: item.message.key().map(|key| Text(key)),
        headers: headers
            .iter()
            .map(|(name, value)| (name, Text(value)))
            .collect(),
        attempt: item.attempt,
        defect: item.problem.as_deref(),
    };
    let begin = out.len();
    // Writing to memory does not fail.
    if serde_json::to_writer(&mut *out, &head).is_err() {
        out.truncate(begin);
        return;
    }
    out.pop();
    out.extend_from_slice(b",\"payload\":");
    let body = item.message.body();
    if item.problem.is_some() {
        let _ = serde_json::to_writer(&mut *out, &Encoded(body));
    } else {
        // In well-formed JSON line breaks stand between tokens only.
        let one_line = |byte: &u8| match byte {
            b'\n' | b'\r' => b' ',
            other => *other,
        };
        out.extend(body.iter().map(one_line));
    }
    out.push(b'}');
}

/// A column of the table for people.
struct Column {
    name: &'static str,
    width: usize,
    cell: Cell,
}

type Cell = fn(&Row) -> (String, Style);

fn columns(width: usize) -> Vec<Column> {
    let has_place = width >= WIDTH_FOR_PLACE;
    let natural = [17, 16, 4, 200, 200];
    let weights = [0, 0, 0, 3, 2];
    let count = if has_place { 5 } else { 4 };
    let widths = table::fit(&natural[..count], &weights[..count], width);
    let columns: [(&str, Cell); 5] = [
        ("ID", |row| (row.id.clone(), FAINT)),
        ("BEGINS (UTC)", |row| (row.begins.clone(), Style::new())),
        ("SURE", |row| row.sure.clone()),
        ("TITLE", |row| row.title.clone()),
        ("WHERE", |row| (row.place.clone(), FAINT)),
    ];
    let columns = columns.into_iter().zip(widths);
    columns
        .map(|((name, cell), width)| Column { name, width, cell })
        .collect()
}

struct Row {
    id: String,
    begins: String,
    sure: (String, Style),
    title: (String, Style),
    place: String,
}

impl Row {
    fn of(item: &Item<'_>) -> Self {
        let mut row = Self {
            id: item.id.to_string(),
            begins: String::new(),
            sure: (String::new(), Style::new()),
            title: (String::new(), UNSURE),
            place: String::new(),
        };
        if let Some(problem) = &item.problem {
            row.title.0 = format!("malformed: {problem}");
            return row;
        }
        match Received::<FreeFood>::parse(item.message.body().clone()) {
            Err(undecodable) => row.title.0 = undecodable.to_string(),
            Ok(received) => {
                let body = &received.event.body;
                row.title = (body.title.trim().to_owned(), Style::new());
                row.place = body.location.clone().unwrap_or_default();
                if let Some(begin) = body.start_time {
                    row.begins = begin.get().format("%a %e %b %H:%M").to_string();
                }
                if let Some(sure) = body.llm_confidence.map(|sure| sure.get()) {
                    let style = if sure >= SURE_FROM { SURE } else { UNSURE };
                    row.sure = (format!("{:>3.0}%", sure * 100.0), style);
                }
            }
        }
        if let Some(again @ 2..) = item.attempt {
            row.title.0 = format!("({again}. attempt) {}", row.title.0);
        }
        row
    }
}

/// What is said of a malformed message: its id, and why.
pub(crate) fn complaint(id: MessageId, problem: &str) -> String {
    format!("message {id} is malformed: {problem}")
}

/// Writes a report of one JSON object.
pub(crate) fn write_report(out: &mut impl Write, report: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, report)?;
    out.write_all(b"\n")?;
    out.flush()
}
