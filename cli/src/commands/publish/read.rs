//! Which lines may be published, and as what messages?

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::thread;

use potluck::envelope::{FreeFood, Payload};
use potluck::message::BODY_MAX;
use potluck::{Message, Topic};
use potluck_schema::{Validator, Verdict};
use tokio::sync::mpsc;

use crate::args::{Profile, Publish};
use crate::exit::{Exit, Stop};
use crate::files;

/// One byte more than a message may have is read of it, so that it is known to be too large.
const READ_MAX: usize = BODY_MAX + 1;
/// The most lines and bytes of a slice.
const LINES_MAX: usize = 512;
const BYTES_MAX: usize = 1024 * 1024;
/// The most broken rules that are named of one line.
const RULES_MAX: usize = 3;
/// The longest event id that travels as the header `message-id`.
const MESSAGE_ID_MAX: usize = 255;

/// Lines that follow each other, and the messages of the good ones.
#[derive(Default)]
pub(super) struct Slice {
    pub(super) lines: Vec<Line>,
    pub(super) messages: Vec<Message>,
    bytes: usize,
}

pub(super) struct Line {
    /// From 1.
    pub(super) number: u64,
    /// The event's id, or why it is not published.
    pub(super) checked: Result<String, String>,
}

/// Reads and checks on a thread of its own, at most a slice ahead.
pub(super) fn start(
    args: &Publish,
    largest: usize,
) -> Result<mpsc::Receiver<Result<Slice, Stop>>, Stop> {
    let profile = match args.profile {
        Profile::Consumer => potluck_schema::Profile::Consumer,
        Profile::Producer => potluck_schema::Profile::Producer,
    };
    let file = args.file.clone().unwrap_or_else(|| PathBuf::from("-"));
    let input = files::open(&file).map_err(|text| Stop::failed(Exit::Failed, text))?;
    let mut reading = Reading {
        input: BufReader::with_capacity(64 * 1024, input),
        validator: Validator::new::<FreeFood>(profile)?,
        topic: args.topic.clone(),
        largest,
        number: 0,
    };
    let (give, slices) = mpsc::channel(1);
    thread::spawn(move || {
        loop {
            let slice = reading.slice(&file);
            let is_last = !matches!(&slice, Ok(Some(_)));
            // Nobody takes it when publishing has ended.
            let taken = slice
                .transpose()
                .is_none_or(|slice| give.blocking_send(slice).is_ok());
            if is_last || !taken {
                return;
            }
        }
    });
    Ok(slices)
}

struct Reading<R> {
    input: BufReader<R>,
    validator: Validator,
    topic: Topic,
    largest: usize,
    number: u64,
}

impl<R: Read> Reading<R> {
    /// The next lines, as many as there are and fit; it waits for the first only.
    fn slice(&mut self, file: &Path) -> Result<Option<Slice>, Stop> {
        let mut slice = Slice::default();
        let mut text = Vec::new();
        while slice.lines.len() < LINES_MAX && slice.bytes < BYTES_MAX {
            // The next read may wait for whoever writes; what is here must not.
            if self.input.buffer().is_empty() && !slice.lines.is_empty() {
                break;
            }
            match files::next_line(&mut self.input, &mut text, READ_MAX) {
                Ok(true) => self.number += 1,
                Ok(false) if slice.lines.is_empty() => return Ok(None),
                Ok(false) => break,
                Err(error) => {
                    let text = files::unreadable(file, &error);
                    return Err(Stop::failed(Exit::Failed, text));
                }
            }
            let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r');
            if !text.iter().all(is_blank) {
                self.add(&mut slice, std::mem::take(&mut text));
            }
        }
        Ok(Some(slice))
    }

    fn add(&self, slice: &mut Slice, text: Vec<u8>) {
        slice.bytes += text.len();
        let checked = self.check(text).map(|(event_id, message)| {
            slice.messages.push(message);
            event_id
        });
        slice.lines.push(Line {
            number: self.number,
            checked,
        });
    }

    /// The event's id and its message, with the headers that the envelope layer would set.
    fn check(&self, text: Vec<u8>) -> Result<(String, Message), String> {
        let verdict = self.validator.check(&text);
        if !verdict.is_valid() {
            return Err(complaint(&verdict));
        }
        let payload = Payload::check(text).map_err(|malformed| malformed.to_string())?;
        let event_id = payload.event_id().unwrap_or_default().into_owned();
        let message = || {
            let message = Message::new(payload.bytes().clone())
                .with_header("content-type", "application/json")?;
            if event_id.len() <= MESSAGE_ID_MAX {
                message.with_header("message-id", event_id.clone())
            } else {
                Ok(message)
            }
        };
        let message = message().map_err(|error| error.to_string())?;
        let admitted = message.admit(&self.topic, self.largest);
        admitted.map_err(|error| error.to_string())?;
        Ok((event_id, message))
    }
}

/// Why a line is refused, without a byte of it.
fn complaint(verdict: &Verdict) -> String {
    if let Some(malformed) = verdict.malformed {
        return format!("malformed: {malformed}");
    }
    let rules = verdict.errors.iter().take(RULES_MAX);
    let mut text = rules.map(ToString::to_string).collect::<Vec<_>>();
    if verdict.errors.len() > RULES_MAX {
        text.push(format!("and {} more", verdict.errors.len() - RULES_MAX));
    }
    format!("not valid: {}", text.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = r#"{"schema_version":"1.0.0","event_id":"e1","title":"t","source":"s","type":"FREE_FOOD_EVENT","published_at":"2025-11-02T14:03:22Z","retries":0,"metadata":{}}"#;

    fn reading(text: &str) -> Reading<&[u8]> {
        Reading {
            input: BufReader::with_capacity(1 << 20, text.as_bytes()),
            validator: Validator::new::<FreeFood>(potluck_schema::Profile::Producer).unwrap(),
            topic: Topic::new("t").unwrap(),
            largest: BODY_MAX,
            number: 0,
        }
    }

    #[test]
    fn good_lines_become_messages_and_bad_ones_a_reason() {
        let text = format!("\n{VALID}\r\n{{}}\n \t\nx\n{VALID}");
        let mut reading = reading(&text);
        let slice = reading.slice(Path::new("-")).unwrap().unwrap();
        let lines: Vec<_> = slice
            .lines
            .iter()
            .map(|line| (line.number, line.checked.is_ok()))
            .collect();
        assert_eq!(lines, [(2, true), (3, false), (5, false), (6, true)]);
        let reasons: Vec<_> = slice
            .lines
            .iter()
            .filter_map(|line| line.checked.as_ref().err())
            .collect();
        assert!(reasons[0].starts_with("not valid: ") && reasons[0].contains("and 5 more"));
        assert_eq!(reasons[1], "malformed: not JSON (at byte 0)");
        let message = &slice.messages[0];
        assert_eq!(message.body(), format!("{VALID}\r").as_bytes());
        assert_eq!(message.headers().get("message-id").unwrap(), "e1");
        assert!(reading.slice(Path::new("-")).unwrap().is_none());
    }

    #[test]
    fn slices_are_bounded() {
        let text = format!("{VALID}\n").repeat(LINES_MAX + 1);
        let mut reading = reading(&text);
        let mut next = || {
            let slice = reading.slice(Path::new("-")).unwrap();
            slice.map(|slice| slice.lines.len())
        };
        assert_eq!((next(), next(), next()), (Some(LINES_MAX), Some(1), None));
        let large = VALID.replace("\"t\"", &format!("\"{}\"", "x".repeat(BYTES_MAX / 2)));
        let text = format!("{large}\n").repeat(3);
        assert_eq!(
            self::reading(&text)
                .slice(Path::new("-"))
                .unwrap()
                .unwrap()
                .lines
                .len(),
            2
        );
    }
}
