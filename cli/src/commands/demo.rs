//! `potluck demo`: where is there free food on campus, and does it arrive?
//!
//! Calendar events go in; those that promise free food become events of the contract, are
//! published, consumed in a group, and shown. It knows no broker: it uses a bus to whatever the URL
//! names.

mod report;
mod select;
mod travel;

use std::path::Path;

use chrono::Utc;
use potluck::Bus;

use crate::args::{Demo, Global};
use crate::calendar::{self, NotACalendar};
use crate::connect::{self, Address};
use crate::exit::{Exit, Run, Stop};
use crate::files;
use crate::output::{self, Talk};
use select::Selection;
use travel::Trip;

/// The largest calendar that is read.
const CALENDAR_MAX: usize = 64 * 1024 * 1024;
/// The broker when nobody names one: this process's memory.
const URL_DEFAULT: &str = "memory:";

pub(crate) fn run(args: &Demo, global: &Global, talk: Talk) -> Run {
    let address = connect::named(global, talk)?.unwrap_or_else(|| Address {
        url: URL_DEFAULT.to_owned(),
        from: "the default".to_owned(),
    });
    let (selection, trip) = connect::block_on(async {
        // First, because a bad URL should not wait for a large calendar.
        let bus = potluck::bus(&address.url)?;
        let selection = select_from(args.file.as_deref(), talk)?;
        let trip = travel::travel(&bus, &selection.kept).await;
        end(&bus, talk).await;
        Ok::<_, Stop>((selection, trip?))
    })?;
    let mut out = output::for_people();
    let shown = report::Report {
        calendar: &calendar_name(args.file.as_deref()),
        broker: &address.shown()?,
        selection: &selection,
        trip: &trip,
    };
    shown
        .write(&mut out)
        .map_err(|error| Stop::at_output(&error))?;
    drop(out);
    conclude(&selection, &trip)
}

fn select_from(file: Option<&Path>, talk: Talk) -> Result<Selection, Stop> {
    let read;
    let page = match file {
        None => calendar::SAMPLE,
        Some(file) => {
            read =
                files::read(file, CALENDAR_MAX).map_err(|text| Stop::failed(Exit::Failed, text))?;
            &read[..]
        }
    };
    let entries = calendar::read(page).map_err(|error| {
        let what = match error {
            NotACalendar::Broken(at) => {
                format!("is not JSON at line {}, column {}", at.line, at.column)
            }
            NotACalendar::NoEvents => "has no list of events".to_owned(),
        };
        let name = calendar_name(file);
        Stop::failed(
            Exit::BadData,
            format!("{name} {what}; give it what a Localist calendar answers at /api/2/events"),
        )
    })?;
    Ok(Selection::of(entries, Utc::now(), talk))
}

fn calendar_name(file: Option<&Path>) -> String {
    match file {
        None => "the sample calendar".to_owned(),
        Some(file) if crate::args::is_stdin(file.as_os_str()) => "standard input".to_owned(),
        Some(file) => file.display().to_string(),
    }
}

async fn end(bus: &Bus, talk: Talk) {
    if let Err(error) = bus.close().await {
        talk.note(error);
    }
}

/// The exit code, and the error that goes with it.
fn conclude(selection: &Selection, trip: &Trip) -> Run {
    let mut problems = Vec::new();
    let mut exit = Exit::Ok;
    if selection.unreadable > 0 {
        problems.push(format!(
            "unreadable events in the calendar: {}",
            selection.unreadable
        ));
        exit = Exit::Partly;
    }
    if trip.invalid > 0 {
        problems.push(format!("events that arrived invalid: {}", trip.invalid));
        exit = Exit::Partly;
    }
    if let Some(error) = &trip.refused {
        let (lost, all) = (trip.not_stored, selection.kept.len());
        problems.push(format!("events not published: {lost} of {all}: {error}"));
        exit = match Stop::from(error.clone()) {
            Stop::Failed(exit, _) if lost == all => exit,
            _ => Exit::Partly,
        };
    }
    if trip.missing > 0 {
        problems.push(format!(
            "events that did not arrive within {} s: {}; run it again, or see what keeps the broker busy",
            travel::PATIENCE.as_secs(),
            trip.missing
        ));
        exit = Exit::TimedOut;
    }
    if problems.is_empty() {
        Ok(exit)
    } else {
        Err(Stop::failed(exit, problems.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use potluck::envelope::RawEvent;
    use potluck::{Error, ErrorKind, Group};

    use super::*;

    #[test]
    fn the_exit_code_tells_how_much_arrived() {
        let refused = |kind| Some(Error::new(kind, "publish", "no"));
        for (unreadable, not_stored, refused, invalid, missing, code) in [
            (0, 0, None, 0, 0, 0),
            (1, 0, None, 0, 0, 3),
            (0, 0, None, 1, 0, 3),
            (0, 1, refused(ErrorKind::Unavailable), 0, 0, 3),
            (0, 2, refused(ErrorKind::Unavailable), 0, 0, 69),
            (1, 2, refused(ErrorKind::Denied), 0, 0, 77),
            (1, 1, refused(ErrorKind::TooLarge), 1, 1, 75),
        ] {
            let selection = Selection {
                unreadable,
                kept: vec![RawEvent::default(); 2],
                ..Selection::default()
            };
            let trip = Trip {
                group: Group::new("g").unwrap(),
                stored: 2 - not_stored,
                not_stored,
                refused,
                arrived: Vec::new(),
                invalid,
                missing,
                latencies: Vec::new(),
            };
            match conclude(&selection, &trip) {
                Ok(exit) => assert_eq!(exit as u8, code),
                Err(Stop::Failed(exit, text)) => {
                    assert_eq!(exit as u8, code, "{text}");
                    assert!(!text.contains('\n'), "{text}");
                }
                Err(Stop::ClosedPipe) => panic!("{code}"),
            }
        }
    }
}
