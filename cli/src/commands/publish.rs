//! `potluck publish`: messages in, one a line; receipts out, one for each that is confirmed.
//!
//! A thread reads and checks the next slice while the broker has this one. No two slices are under
//! way at once: only calls that follow each other keep the order of the lines.

mod read;

use std::io::{self, IsTerminal};
use std::time::Duration;

use potluck::{Error, ErrorKind, Outcome, Publisher};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::args::{Global, Publish};
use crate::connect;
use crate::exit::{Exit, Run, Stop};
use crate::lines::Lines;
use crate::log;
use crate::output::{self, Talk};
use crate::signals::Stopping;
use read::{Line, Slice};

/// How long the broker has to confirm a slice.
const WITHIN: Duration = Duration::from_secs(10);

/// A line of the output. Documented and stable.
#[derive(Serialize)]
struct Receipt<'a> {
    event_id: &'a str,
    /// The broker's.
    id: String,
    outcome: &'static str,
}

pub(crate) fn run(args: &Publish, global: &Global, talk: Talk) -> Run {
    if args.file.is_none() && io::stdin().is_terminal() {
        let text =
            "no FILE, and standard input is a terminal; usage: potluck publish TOPIC [FILE|-]";
        return Err(Stop::failed(Exit::Usage, text));
    }
    connect::with_broker(global, talk, async |broker| {
        let publisher = broker.answer(broker.transport.publisher()).await?;
        log::show(talk);
        let largest = broker.transport.capabilities().max_message;
        let mut slices = read::start(args, largest)?;
        let mut stopping = Stopping::listen(talk)?;
        let mut publishing = Publishing {
            args,
            publisher: &*publisher,
            talk,
            receipts: Some(Lines::to_stdout()?),
            stored: 0,
            refused: 0,
            unknown: 0,
            bad: 0,
            last_line: 0,
            broken: None,
        };
        publishing.all(&mut slices, &mut stopping).await?;
        publishing.conclude()
    })
}

struct Publishing<'a> {
    args: &'a Publish,
    publisher: &'a dyn Publisher,
    talk: Talk,
    /// None once nobody reads them.
    receipts: Option<Lines>,
    stored: u64,
    /// By the broker.
    refused: u64,
    unknown: u64,
    /// Refused before the broker was asked.
    bad: u64,
    /// The last line that something became of.
    last_line: u64,
    /// Why the broker took nothing of a whole slice.
    broken: Option<(Error, Exit)>,
}

impl Publishing<'_> {
    async fn all(
        &mut self,
        slices: &mut mpsc::Receiver<Result<Slice, Stop>>,
        stopping: &mut Stopping,
    ) -> Result<(), Stop> {
        loop {
            let slice = tokio::select! {
                biased;
                () = stopping.asked() => {
                    let last = self.last_line;
                    self.talk.note(format_args!("stopped after line {last}"));
                    return Ok(());
                }
                slice = slices.recv() => slice,
            };
            let Some(slice) = slice else {
                return Ok(());
            };
            self.slice(slice?).await?;
            if self.broken.is_some() {
                return Ok(());
            }
        }
    }

    async fn slice(&mut self, slice: Slice) -> Result<(), Stop> {
        let Slice {
            lines, messages, ..
        } = slice;
        let topic = &self.args.topic;
        let outcomes = match self.publisher.publish(topic, &messages, WITHIN).await {
            Ok(stored) => stored.into_iter().map(Outcome::Stored).collect(),
            Err(error) => error.into_outcomes(),
        };
        self.look_for_a_break(&outcomes);
        let mut outcomes = outcomes.into_iter();
        for Line { number, checked } in lines {
            self.last_line = number;
            match checked {
                Err(why) => {
                    self.bad += 1;
                    output::error(format_args!("line {number}: {why}"));
                }
                Ok(event_id) => match outcomes.next() {
                    Some(outcome) => self.tell(number, &event_id, &outcome),
                    None => self.tell_nothing(number),
                },
            }
        }
        self.write_receipts()
    }

    /// When nothing of a slice was taken for a reason that concerns all of it, the next ones would
    /// fare no better, and each would wait for its deadline.
    fn look_for_a_break(&mut self, outcomes: &[Outcome]) {
        let of_one =
            |error: &Error| matches!(error.kind(), ErrorKind::Invalid | ErrorKind::TooLarge);
        let concerns_all = |outcome: &Outcome| outcome.error().is_some_and(|e| !of_one(e));
        let unknown = |outcome: &Outcome| matches!(outcome, Outcome::Unknown(_));
        let Some(first) = outcomes
            .first()
            .filter(|_| outcomes.iter().all(concerns_all))
        else {
            return;
        };
        self.broken = first.error().map(|error| {
            let exit = match Stop::from(error.clone()) {
                Stop::Failed(Exit::Unreachable, _) if outcomes.iter().any(unknown) => {
                    Exit::TimedOut
                }
                Stop::Failed(exit, _) => exit,
                Stop::ClosedPipe => Exit::Failed,
            };
            (error.clone(), exit)
        });
    }

    fn tell(&mut self, number: u64, event_id: &str, outcome: &Outcome) {
        match outcome {
            Outcome::Stored(id) => {
                self.stored += 1;
                if let Some(receipts) = &mut self.receipts {
                    let receipt = Receipt {
                        event_id,
                        id: id.to_string(),
                        outcome: outcome.as_str(),
                    };
                    receipts.add(|text| {
                        // Writing to memory does not fail.
                        let _ = serde_json::to_writer(&mut *text, &receipt);
                        text.push(b'\n');
                    });
                }
            }
            Outcome::Refused(error) => {
                self.refused += 1;
                output::error(format_args!("line {number}: refused: {error}"));
            }
            Outcome::Unknown(error) => {
                self.unknown += 1;
                output::error(format_args!("line {number}: may be published: {error}"));
            }
        }
    }

    fn tell_nothing(&mut self, number: u64) {
        self.unknown += 1;
        output::error(format_args!(
            "line {number}: may be published: the transport has no outcome for it"
        ));
    }

    /// That nobody reads receipts is no reason to stop publishing.
    fn write_receipts(&mut self) -> Result<(), Stop> {
        match self.receipts.as_mut().map(Lines::write) {
            None | Some(Ok(())) => Ok(()),
            Some(Err((_, Stop::ClosedPipe))) => {
                self.receipts = None;
                Ok(())
            }
            Some(Err((_, stop))) => Err(stop),
        }
    }

    fn conclude(&self) -> Run {
        let Self {
            stored,
            refused,
            unknown,
            bad,
            ..
        } = self;
        let not = bad + refused;
        let mut text = format!("{stored} published");
        for (count, what) in [(not, "refused"), (*unknown, "unknown")] {
            if count > 0 {
                text = format!("{text}, {count} {what}");
            }
        }
        self.talk.note(text);
        if let Some((error, exit)) = &self.broken {
            let exit = if *stored == 0 { *exit } else { Exit::Partly };
            let last = self.last_line;
            let text = format!(
                "stopped after line {last}, the lines after it were not published: {error}"
            );
            return Err(Stop::failed(exit, text));
        }
        Ok(match (stored, not + unknown) {
            (_, 0) => Exit::Ok,
            (0, _) => Exit::BadData,
            _ => Exit::Partly,
        })
    }
}
