//! Which server do the tests run against, and how is the binary run against it?

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use potluck_brokers::redis::{RedisOptions, RedisServer};
use potluck_brokers::resp::Reply;
use potluck_brokers::skip::or_skip;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::common::{self, Ran};

pub(crate) const TOPIC: &str = "events.free-food";
/// How long a condition is waited for, and between two looks at it.
const LONG: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

/// A server of this test's own.
pub(crate) struct Server {
    pub(crate) redis: RedisServer,
    pub(crate) runtime: Runtime,
}

impl Server {
    /// `None` where redis-server is not installed and need not be.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(RedisOptions::default())
    }

    pub(crate) fn start_with(options: RedisOptions) -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let redis = or_skip(runtime.block_on(RedisServer::start(options))).unwrap()?;
        Some(Self { redis, runtime })
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = common::command(args);
        command.env("POTLUCK_URL", self.redis.url());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        common::finish(&mut self.command(args))
    }

    /// Runs with this standard input.
    pub(crate) fn run_with(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(input).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        common::finish(self.command(args).stdin(file))
    }

    /// Publishes lines that must all be stored.
    pub(crate) fn publish(&self, lines: &str) {
        let args = ["publish", TOPIC, "-", "--profile", "consumer"];
        let ran = self.run_with(&args, lines.as_bytes());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }

    /// What `redis-cli` would do.
    pub(crate) fn cli<A: AsRef<[u8]>>(&self, args: &[A]) -> Reply {
        self.runtime.block_on(self.redis.cli(args)).unwrap()
    }

    /// A foreign client's entry of these fields and values.
    pub(crate) fn xadd(&self, fields: &[&[u8]]) -> String {
        let head: [&[u8]; 3] = [b"XADD", TOPIC.as_bytes(), b"*"];
        self.cli(&[&head, fields].concat()).text().unwrap()
    }

    pub(crate) fn status(&self, group: &str) -> Value {
        let ran = self.run(&["status", TOPIC, "-g", group]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// Backlog and what is in flight.
    pub(crate) fn open(&self, group: &str) -> (u64, u64) {
        let status = self.status(group);
        let exact = |name: &str| status[name]["exact"].as_u64().unwrap();
        (exact("backlog"), exact("in_flight"))
    }
}

/// A run of the binary that goes on.
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(Some(command.stderr(Stdio::piped()).spawn().unwrap()))
    }

    /// With its standard error where the command has it.
    pub(crate) fn start_as_it_is(command: &mut Command) -> Self {
        Self(Some(command.spawn().unwrap()))
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        kill_process(Pid::from_child(self.child()), signal).unwrap();
    }

    /// Waits for its end; the standard output is only there when it was a pipe.
    pub(crate) fn finish(mut self) -> Ran {
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // A test that failed leaves nothing running.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `count` valid messages, one a line, each with a newline.
pub(crate) fn numbered(count: usize) -> Vec<String> {
    let line = |n| common::VALID.replace("\"e1\"", &format!("\"e{n}\"")) + "\n";
    (0..count).map(line).collect()
}

pub(crate) fn json_lines(ran: &Ran) -> Vec<Value> {
    let lines = ran.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Waits until the condition holds.
pub(crate) fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LONG, "not in {LONG:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}
