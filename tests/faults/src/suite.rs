//! Which cases run, with which seeds, and what is watched while they do?

use std::cell::Cell;
use std::env;
use std::panic;
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use potluck_brokers::skip;
use tokio::time::{Instant, sleep, timeout};

use crate::counts::Counts;
use crate::logs::Logs;
use crate::report::{self, Findings};
use crate::{Result, Trouble};

/// The switch for every case at full counts with three seeds.
const FULL: &str = "POTLUCK_FULL";
/// Replays one seed.
const SEED: &str = "POTLUCK_SEED";
/// Cases that run at once. Most of their time is spent waiting.
const THREADS: usize = 4;
/// No case may take longer.
const CASE_MAX: Duration = Duration::from_secs(180);
/// How much longer its thread may be busy, and the exit code when it is.
const STUCK_AFTER: Duration = Duration::from_secs(30);
const STUCK_CODE: i32 = 101;
/// How much the process may grow, in KiB: 64 MiB.
const GROWTH_MAX: u64 = 64 * 1024;
/// The most lines per second and subscription that a fault may cause to be logged.
const LINES_MAX: usize = 50;
/// How late the machine's ticks may be before that is no longer its own business.
const LATE_MAX: Duration = Duration::from_millis(400);

thread_local! {
    /// Panics of this thread, and so of the case that runs on it.
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// What a case does, given its run.
type Body = for<'a> fn(&'a Run) -> Pin<Box<dyn Future<Output = Result> + 'a>>;

/// One case: a row of a broker's table.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    name: &'static str,
    starred: bool,
    body: Body,
}

impl Case {
    /// A case of `make test`, at reduced counts there.
    #[must_use]
    pub const fn starred(name: &'static str, body: Body) -> Self {
        Self {
            name,
            starred: true,
            body,
        }
    }

    /// A case of `make test-all` only.
    #[must_use]
    pub const fn full(name: &'static str, body: Body) -> Self {
        Self {
            name,
            starred: false,
            body,
        }
    }
}

/// One run of a case.
#[derive(Debug)]
pub struct Run {
    /// Decides all that is left to chance.
    pub seed: u64,
    /// Whether counts are full.
    pub is_full: bool,
    /// What is logged.
    pub logs: Logs,
    name: String,
    started: Instant,
    memory_before: Option<u64>,
    late: Rc<Cell<Duration>>,
    findings: Mutex<Findings>,
}

impl Run {
    /// One count for the full tier, another for the reduced one.
    pub fn count<T>(&self, full: T, reduced: T) -> T {
        if self.is_full { full } else { reduced }
    }

    /// What to do by chance.
    #[must_use]
    pub fn chance(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed)
    }

    /// The deadline that is judged by: doubled where `CI` is set, and later by what the machine's
    /// ticks were late.
    #[must_use]
    pub fn limit(&self, deadline: Duration) -> Duration {
        let factor = if is_set("CI") { 2 } else { 1 };
        deadline * factor + self.late.get().min(LATE_MAX)
    }

    /// What was found until now, to add to.
    pub fn findings(&self) -> MutexGuard<'_, Findings> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What must hold of every case's ledger, where the broker may lose `may_lose` messages.
    pub fn judge(&self, counts: &Counts, may_lose: usize) {
        let limit = self.limit(Duration::from_millis(100));
        let mut findings = self.findings();
        findings.counts(counts);
        findings.holds(counts.lost <= may_lose, format!("lost: {}", counts.lost));
        findings.holds(counts.phantom == 0, format!("phantom: {}", counts.phantom));
        findings.holds(counts.hung == 0, format!("hung publishes: {}", counts.hung));
        let refused = counts.refused_but_handled;
        findings.holds(refused == 0, format!("refused but handled: {refused}"));
        let over = counts.over;
        findings.holds(
            over <= limit,
            format!("a publish outlived its deadline by {over:?}, at most {limit:?}"),
        );
    }

    /// Runs the case and what watches it.
    async fn watched(&self, body: Body) -> Result {
        let late = self.late.clone();
        let ticks = async move {
            loop {
                let due = Instant::now() + TICK;
                sleep(TICK).await;
                late.set(late.get().max(due.elapsed()));
            }
        };
        tokio::select! {
            ended = timeout(CASE_MAX, body(self)) => {
                ended.unwrap_or_else(|_| Err(format!("not over after {CASE_MAX:?}").into()))
            }
            () = ticks => Ok(()),
        }
    }

    /// What must hold of every case's process.
    fn conclude(self, ended: Result, panics: usize) -> Result<(), String> {
        let took = self.started.elapsed();
        let mut findings = self
            .findings
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if let Err(trouble) = ended {
            findings.holds(false, format!("it broke off: {trouble}"));
        }
        let panics = PANICS.with(Cell::get) - panics;
        findings.holds(panics == 0, format!("{panics} panics"));
        let grown = match (self.memory_before, memory()) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => 0,
        };
        findings.holds(grown <= GROWTH_MAX, format!("memory grew by {grown} KiB"));
        let lines = self.logs.most_in_second();
        findings.holds(
            lines <= LINES_MAX,
            format!(
                "{lines} lines logged in a second, such as {:?}",
                self.logs.first_errors()
            ),
        );
        let raw = self.logs.raw();
        findings.holds(raw == 0, format!("{raw} lines with control characters"));
        findings.say(format!(
            "logged {} (errors {}), grew {} MiB, ticks late {:.0?}, took {took:.1?}",
            self.logs.lines(),
            self.logs.errors(),
            grown / 1024,
            self.late.get(),
        ));
        findings.conclude(&self.name)
    }
}

const TICK: Duration = Duration::from_millis(5);

/// Runs a broker's cases. `missing` says what has to be installed first, if anything.
#[must_use]
pub fn main(broker: &'static str, missing: Option<String>, cases: &[Case]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    count_panics();
    if let Some(missing) = missing.as_ref().filter(|_| !arguments.list) {
        println!("not run: {missing}");
    }
    let is_full = is_set(FULL);
    let mut trials = Vec::new();
    for case in cases {
        for seed in seeds(is_full) {
            trials.push(trial(broker, *case, seed, is_full, missing.as_ref()));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    report::summary();
    conclusion.exit_code()
}

fn trial(broker: &str, case: Case, seed: u64, is_full: bool, missing: Option<&String>) -> Trial {
    let name = format!("{broker}::{}::seed_{seed}", case.name);
    if let Some(missing) = missing.cloned() {
        // Whoever asks for ignored tests gets to see why this one is.
        let ignored = !is_set(skip::REQUIRED);
        return Trial::test(name, || Err(missing.into())).with_ignored_flag(ignored);
    }
    let ignored = !case.starred && !is_full;
    let run = name.clone();
    Trial::test(name, move || start(run, case, seed, is_full)).with_ignored_flag(ignored)
}

/// Each case has a runtime of one thread, its own: what is logged and what panics there is its.
fn start(name: String, case: Case, seed: u64, is_full: bool) -> Result<(), Failed> {
    let panics = PANICS.with(Cell::get);
    let logs = Logs::new();
    let run = Run {
        seed,
        is_full,
        logs: logs.clone(),
        name,
        started: Instant::now(),
        memory_before: memory(),
        late: Rc::default(),
        findings: Mutex::default(),
    };
    let (over, watched) = mpsc::channel::<()>();
    let guarded = run.name.clone();
    std::thread::spawn(move || watch_thread(&guarded, &watched));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Trouble::from);
    let ended = runtime.and_then(|runtime| {
        let run = &run;
        tracing::dispatcher::with_default(&logs.dispatch(), || {
            runtime.block_on(run.watched(case.body))
        })
    });
    drop(over);
    run.conclude(ended, panics).map_err(Failed::from)
}

/// Ends the process when a case is not over long after it should have been broken off: something
/// keeps its thread busy without ever waiting, and nothing else can end that.
fn watch_thread(case: &str, over: &mpsc::Receiver<()>) {
    if over.recv_timeout(CASE_MAX + STUCK_AFTER) == Err(RecvTimeoutError::Timeout) {
        println!("BROKEN {case}: its thread is kept busy, so nothing can break it off");
        std::process::exit(STUCK_CODE);
    }
}

fn seeds(is_full: bool) -> Vec<u64> {
    match env::var(SEED).ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None if is_full => vec![1, 2, 3],
        None => vec![1],
    }
}

fn is_set(switch: &str) -> bool {
    env::var_os(switch).is_some_and(|value| !value.is_empty() && value != "0")
}

fn count_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICS.with(|panics| panics.set(panics.get() + 1));
        before(info);
    }));
}

/// What the process has in memory of its own, in KiB, where that can be known.
fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
