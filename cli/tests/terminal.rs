//! What changes when a person at a terminal runs it?

#![allow(clippy::unwrap_used, reason = "what helps a test may fail it")]
#![cfg(target_os = "linux")]

mod common;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use common::{command, file};
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

struct Terminal {
    screen: File,
    line: OwnedFd,
}

impl Terminal {
    fn new(columns: u16) -> Self {
        let screen = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&screen).unwrap();
        rustix::pty::unlockpt(&screen).unwrap();
        let name = rustix::pty::ptsname(&screen, Vec::new()).unwrap();
        let line = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&line, size).unwrap();
        Self {
            screen: screen.into(),
            line,
        }
    }

    fn line(&self) -> Stdio {
        self.line.try_clone().unwrap().into()
    }

    /// Runs with this terminal as standard output; gives what the screen shows.
    fn show(self, command: &mut Command) -> String {
        let mut child = command
            .stdout(self.line())
            .stderr(self.line())
            .spawn()
            .unwrap();
        let Self { mut screen, line } = self;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        drop(line);
        let mut shown = Vec::new();
        let mut buffer = [0; 4096];
        // The end of a terminal is an error.
        while let Ok(len @ 1..) = screen.read(&mut buffer) {
            shown.extend_from_slice(&buffer[..len]);
        }
        child.wait().unwrap();
        String::from_utf8(shown).unwrap().replace("\r\n", "\n")
    }
}

#[cfg(feature = "memory")]
#[test]
fn a_terminal_gets_colours_and_its_own_width() {
    let demo = |columns, variables: &[(&str, &str)]| {
        let mut command = command(&["demo"]);
        command.env("TERM", "xterm-256color");
        for (name, value) in variables {
            command.env(name, value);
        }
        Terminal::new(columns).show(&mut command)
    };
    let narrow = demo(80, &[("COLUMNS", "200")]);
    assert!(
        narrow.contains("\u{1b}[32m 95%") && !narrow.contains("WHY"),
        "{narrow}"
    );
    assert!(demo(130, &[]).contains("WHY"));
    for quiet in [("NO_COLOR", "1"), ("TERM", "dumb"), ("CLICOLOR", "0")] {
        assert!(!demo(80, &[quiet]).contains('\u{1b}'), "{quiet:?}");
    }
}

#[test]
fn validate_does_not_wait_for_a_person_who_named_nothing() {
    let terminal = Terminal::new(80);
    let output = command(&["validate"])
        .stdin(terminal.line())
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(2), &b""[..])
    );
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.starts_with("error: no FILE") && error.contains("usage: potluck validate"),
        "{error}"
    );
}

#[test]
fn publish_does_not_wait_for_a_person_who_named_nothing() {
    let terminal = Terminal::new(80);
    let output = command(&["publish", "t", "-u", "memory:"])
        .stdin(terminal.line())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.starts_with("error: no FILE") && error.contains("usage: potluck publish TOPIC"),
        "{error}"
    );
}

#[cfg(feature = "memory")]
#[test]
fn doctor_is_for_people_on_a_terminal() {
    let mut doctor = command(&["doctor", "-u", "memory:"]);
    let shown = Terminal::new(80).show(doctor.env("TERM", "xterm"));
    assert!(shown.contains("\u{1b}[32mreachable"), "{shown}");
    assert!(
        shown.contains("What it promises") && shown.contains("per topic"),
        "{shown}"
    );
}

#[cfg(feature = "memory")]
#[test]
fn conformance_shows_its_progress_on_a_terminal() {
    let args = ["conformance", "memory:", "--filter", "roundtrip"];
    let progress = |args: &[&str]| {
        let shown = Terminal::new(80).show(command(args).env("TERM", "xterm"));
        assert!(shown.contains("\"outcome\":\"passed\""), "{shown}");
        shown.contains("/3 ")
    };
    assert!(progress(&args));
    assert!(!progress(&[&args[..], &["--quiet"]].concat()));
}

#[test]
fn schema_diff_is_for_people_on_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    common::run(&["schema", "export", path]);
    let old = format!("{path}/event.schema.json");
    let text = std::fs::read_to_string(&old)
        .unwrap()
        .replace("\"minLength\": 1", "\"minLength\": 2");
    let (_dir, new) = file("new.json", text.replace(":1.0.0:", ":2.0.0:"));
    let shown = Terminal::new(80).show(&mut command(&["schema", "diff", &old, &new]));
    assert!(shown.contains("major  /title"), "{shown}");
    assert!(
        shown.contains("1.0.0 to 2.0.0: declared major, needed major"),
        "{shown}"
    );
}
