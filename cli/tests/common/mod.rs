//! How do the tests run the binary, in an environment that says nothing?

#![allow(clippy::unwrap_used, reason = "what helps a test may fail it")]
// Each test binary uses a part of this.
#![allow(dead_code, unreachable_pub)]

use std::io::Write;
use std::process::{Command, Stdio};

/// The variables that the command line, or a library in it, looks at.
const VARIABLES: [&str; 17] = [
    "POTLUCK_URL",
    "REDIS_URL",
    "NO_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLUMNS",
    "TERM",
    "CI",
    "MQ_STREAM",
    "MQ_GROUP",
    "MQ_NAME",
    "MQ_BLOCK",
    "MQ_COUNT",
    "MQ_CONCURRENCY",
    "MQ_DRAIN_TIMEOUT",
    "MQ_CONFIDENCE_THRESHOLD",
    "MQ_LOG",
];

/// What a run did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

pub fn command(args: &[&str]) -> Command {
    program(env!("CARGO_BIN_EXE_potluck"), args)
}

/// `program`, without what the surroundings might bring.
pub fn program(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    for name in VARIABLES {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null());
    command
}

pub fn finish(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub fn run(args: &[&str]) -> Ran {
    finish(&mut command(args))
}

/// Runs with this standard input.
pub fn run_with(args: &[&str], input: &[u8]) -> Ran {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    finish(command(args).stdin(file))
}

/// Runs with a standard output that nobody reads.
pub fn run_unread(args: &[&str]) -> Ran {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = command(args)
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::new(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A valid message.
pub const VALID: &str = r#"{"schema_version":"1.0.0","event_id":"e1","title":"Free Pizza","source":"s","type":"FREE_FOOD_EVENT","published_at":"2025-11-02T14:03:22Z","retries":0,"metadata":{}}"#;

/// The path of a file in a new directory that lives as long as the first value.
pub fn file(name: &str, content: impl AsRef<[u8]>) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}
