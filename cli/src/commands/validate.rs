//! `potluck validate`: is each of these messages valid, and if not, which rules does it break?

use std::io::{self, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};

use potluck::envelope::FreeFood;
use potluck::message::BODY_MAX;
use potluck_schema::{Validator, Verdict};
use serde::Serialize;

use crate::args::{Profile, Validate};
use crate::exit::{Exit, Run, Stop};
use crate::files;
use crate::output::{self, Talk};

/// One byte more than a message may have is read of it, so that it is known to be too large.
const READ_MAX: usize = BODY_MAX + 1;

/// A line of the output. Documented and stable.
#[derive(Serialize)]
struct Line<'a> {
    /// As it was named; `-` for standard input.
    file: &'a str,
    /// From 1.
    line: u64,
    valid: bool,
    /// Why it was refused before the schema was asked.
    malformed: Option<Malformed>,
    /// Which rules of the schema it breaks.
    errors: Vec<Broken<'a>>,
}

#[derive(Serialize)]
struct Malformed {
    /// `malformed` or `too_large`.
    reason: &'static str,
    problem: String,
    /// Where it was seen, in bytes from 0.
    offset: usize,
}

#[derive(Serialize)]
struct Broken<'a> {
    path: &'a str,
    rule: &'a str,
}

pub(crate) fn run(args: &Validate, talk: Talk) -> Run {
    if args.files.is_empty() && io::stdin().is_terminal() {
        let text = "no FILE, and standard input is a terminal; usage: potluck validate [--profile PROFILE] FILE...";
        return Err(Stop::failed(Exit::Usage, text));
    }
    let profile = match args.profile {
        Profile::Consumer => potluck_schema::Profile::Consumer,
        Profile::Producer => potluck_schema::Profile::Producer,
    };
    let mut checker = Checker {
        validator: Validator::new::<FreeFood>(profile)?,
        out: output::for_programs(),
        checked: 0,
        invalid: 0,
    };
    let stdin = [PathBuf::from("-")];
    let files = if args.files.is_empty() {
        &stdin[..]
    } else {
        &args.files
    };
    let mut unread = 0;
    for file in files {
        match checker.check_file(file) {
            Ok(()) => {}
            Err(Problem::Output(stop)) => return Err(stop),
            Err(Problem::Input(text)) => {
                output::error(text);
                unread += 1;
            }
        }
    }
    checker.flush()?;
    let Checker {
        checked, invalid, ..
    } = checker;
    talk.note(format_args!(
        "{checked} checked, {} valid, {invalid} not valid",
        checked - invalid
    ));
    Ok(match (unread, invalid) {
        (0, 0) => Exit::Ok,
        (0, _) => Exit::BadData,
        _ => Exit::Failed,
    })
}

enum Problem {
    /// A file cannot be read; the others can.
    Input(String),
    /// Verdicts cannot be written.
    Output(Stop),
}

impl From<Stop> for Problem {
    fn from(stop: Stop) -> Self {
        Self::Output(stop)
    }
}

struct Checker<W: Write> {
    validator: Validator,
    out: W,
    checked: u64,
    invalid: u64,
}

impl<W: Write> Checker<W> {
    fn check_file(&mut self, file: &Path) -> Result<(), Problem> {
        let is_one_message = file
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
        let name = file.to_string_lossy();
        if is_one_message {
            let message = files::read_to(file, READ_MAX).map_err(Problem::Input)?;
            return Ok(self.check(&name, 1, &message)?);
        }
        let input = files::open(file).map_err(Problem::Input)?;
        let mut input = BufReader::with_capacity(64 * 1024, input);
        let mut message = Vec::new();
        let mut line = 0;
        loop {
            if input.buffer().is_empty() {
                // The next read may wait for whoever writes; who reads us must not.
                self.flush()?;
            }
            match files::next_line(&mut input, &mut message, READ_MAX) {
                Ok(true) => line += 1,
                Ok(false) => return Ok(()),
                Err(error) => return Err(Problem::Input(files::unreadable(file, &error))),
            }
            if !message
                .iter()
                .all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
            {
                self.check(&name, line, &message)?;
            }
        }
    }

    fn check(&mut self, file: &str, line: u64, message: &[u8]) -> Result<(), Stop> {
        let verdict = self.validator.check(message);
        self.checked += 1;
        self.invalid += u64::from(!verdict.is_valid());
        self.write(&line_of(file, line, &verdict))
            .map_err(|error| Stop::at_output(&error))
    }

    fn write(&mut self, line: &Line<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }

    fn flush(&mut self) -> Result<(), Stop> {
        self.out.flush().map_err(|error| Stop::at_output(&error))
    }
}

fn line_of<'a>(file: &'a str, line: u64, verdict: &'a Verdict) -> Line<'a> {
    Line {
        file,
        line,
        valid: verdict.is_valid(),
        malformed: verdict.malformed.map(|malformed| Malformed {
            reason: malformed.reason(),
            problem: malformed.to_string(),
            offset: malformed.offset,
        }),
        errors: verdict
            .errors
            .iter()
            .map(|violation| Broken {
                path: &violation.path,
                rule: &violation.rule,
            })
            .collect(),
    }
}
