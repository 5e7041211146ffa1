//! What if the consumer's process ends? A consumer in a process of its own, and what it says.

use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use potluck_brokers::wait;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::stage::Stage;
use super::watched::Came;
use crate::Result;

/// How the consumer in the process works.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its lease.
    pub lease: Duration,
    /// How long handlers take, by chance, in milliseconds.
    pub hold_ms: Range<u64>,
    /// Handlers at once.
    pub concurrency: usize,
    /// Deliveries held.
    pub held: usize,
    /// How long it waits for handlers when it is told to stop.
    pub drain: Duration,
    /// Where it is killed by itself, if anywhere: at its first copy into a lane or the dead
    /// letters, just before that is sent, or just when it is stored.
    pub dies: Option<Came>,
    /// Decides what is left to chance.
    pub seed: u64,
}

impl Worker {
    /// As the fault tests have it: 16 handlers and 16 more deliveries, a lease of 3 s, a drain of
    /// 5 s.
    #[must_use]
    pub fn new(hold_ms: Range<u64>, seed: u64) -> Self {
        Self {
            lease: Duration::from_secs(3),
            hold_ms,
            concurrency: 16,
            held: 32,
            drain: Duration::from_secs(5),
            dies: None,
            seed,
        }
    }

    /// Starts it on the stage's topic, as a member of its group.
    ///
    /// # Errors
    ///
    /// When the program does not start.
    pub fn start(&self, program: &Path, url: &str, stage: &Stage<'_>) -> Result<Process> {
        let mut child = Command::new(program)
            .args([url, stage.topic.as_str(), stage.group.as_str()])
            .arg(self.lease.as_millis().to_string())
            .arg(self.hold_ms.start.to_string())
            .arg(self.hold_ms.end.to_string())
            .arg(self.concurrency.to_string())
            .arg(self.held.to_string())
            .arg(self.drain.as_millis().to_string())
            .arg(match self.dies {
                None => "lives",
                Some(Came::Before) => "dies-before-copy",
                Some(_) => "dies-after-copy",
            })
            .arg(self.seed.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("the worker has no output")?;
        let journal = stage.journal.clone();
        let heard = Arc::new(AtomicBool::new(false));
        let said = heard.clone();
        let reading = std::thread::spawn(move || {
            let mut errors = Vec::new();
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                said.store(true, Ordering::Release);
                match line.strip_prefix('!') {
                    Some(error) => errors.push(error.to_owned()),
                    None => journal.line(&line),
                }
            }
            errors
        });
        Ok(Process {
            child,
            heard,
            told: None,
            reading: Some(reading),
        })
    }
}

/// A consumer in a process of its own.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Whether it has said anything.
    heard: Arc<AtomicBool>,
    /// When it was told to stop.
    told: Option<Instant>,
    /// Writes down what the process says, until its end; returns its errors.
    reading: Option<JoinHandle<Vec<String>>>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// How long after it was told to.
    pub took: Duration,
    /// What its consumer's run failed with.
    pub errors: Vec<String>,
}

impl Process {
    /// Ends it by SIGKILL, and waits until all that it has said is written down.
    ///
    /// # Errors
    ///
    /// When it cannot be ended.
    pub fn kill(mut self) -> Result {
        self.child.kill()?;
        self.child.wait()?;
        self.read()?;
        Ok(())
    }

    /// Waits until it is at work: before that, it may not be listening for signals yet.
    ///
    /// # Errors
    ///
    /// When that takes longer than 10 s.
    pub async fn at_work(&self) -> Result {
        let has_spoken = async || self.heard.load(Ordering::Acquire);
        wait::until(Duration::from_secs(10), "the worker to begin", has_spoken).await?;
        Ok(())
    }

    /// Tells it to stop.
    ///
    /// # Errors
    ///
    /// When it has ended already.
    pub fn terminate(&mut self) -> Result {
        if let Some(status) = self.child.try_wait()? {
            return Err(format!("the worker has ended already: {status}").into());
        }
        self.told = Some(Instant::now());
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        Ok(())
    }

    /// Waits until it has ended by itself, and all that it has said is written down.
    ///
    /// # Errors
    ///
    /// When it is still there after `most`.
    pub async fn ended(mut self, most: Duration) -> Result<Ended> {
        let begun = self.told.unwrap_or_else(Instant::now);
        let mut status = None;
        let is_over = async || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        };
        wait::until(most, "the worker to end", is_over).await?;
        let took = begun.elapsed();
        let errors = self.read()?;
        let status = status.ok_or("the worker has no status")?;
        Ok(Ended {
            status,
            took,
            errors,
        })
    }

    fn read(&mut self) -> Result<Vec<String>> {
        let reading = self.reading.take().ok_or("it was read already")?;
        reading
            .join()
            .map_err(|_| "the worker's reader panicked".into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
