//! How cases are run: in parallel, each with names, a budget and a seed of its own.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt};
use potluck_core::Result;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::case::{Broken, Case, Verdict};
use crate::cases;
use crate::context::Context;
use crate::report::{CaseReport, Outcome, Report};
use crate::target::Target;

/// How long cleaning up after a case may take.
const CLEAN_UP_MAX: Duration = Duration::from_secs(30);

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Runs only cases whose names contain this.
    pub filter: Option<String>,
    /// Where random choices come from.
    pub seed: u64,
    /// Cases at once. Those that break the target run alone, after the others.
    pub parallel: usize,
    /// Long cases at full length.
    pub full: bool,
    /// Ends the run early.
    pub halt: Halt,
}

/// A way to end a run early: cases under way are given up and cleaned up after, others are not
/// begun. All of them are reported as not run.
#[derive(Clone, Debug)]
pub struct Halt(Arc<watch::Sender<bool>>);

impl Default for Halt {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Halt {
    /// Ends the run that has this in its [`Options`].
    pub fn halt(&self) {
        self.0.send_replace(true);
    }

    /// Whether the run was ended.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        *self.0.borrow()
    }

    async fn halted(&self) {
        // The sender is ours, so waiting cannot fail while we are borrowed.
        let _ = self.0.subscribe().wait_for(|halted| *halted).await;
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            filter: None,
            seed: fastrand::u64(..),
            parallel: 8,
            full: false,
            halt: Halt::default(),
        }
    }
}

impl Options {
    /// Whether a case is among those to run.
    #[must_use]
    pub fn takes(&self, case: &Case) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|part| case.name.contains(part.as_str()))
    }
}

/// Runs the suite. `done` is called with each result as it comes.
///
/// # Errors
///
/// When the target cannot be connected to or described at all.
pub async fn run(target: &Target, options: &Options, done: impl Fn(&CaseReport)) -> Result<Report> {
    let transport = target.connect().await?;
    let described = transport.describe().await;
    let capabilities = transport.capabilities();
    let _ = transport.close().await;
    let broker = described?;

    let chosen: Vec<&Case> = cases::all().filter(|case| options.takes(case)).collect();
    let (alone, together): (Vec<_>, Vec<_>) = chosen
        .iter()
        .copied()
        .partition(|case| case.needs.is_some());
    let done = &done;
    let one = |case: &'static Case| async move {
        let report = run_case(target, case, options).await;
        done(&report);
        report
    };
    let mut reports: Vec<_> = stream::iter(together)
        .map(one)
        .buffer_unordered(options.parallel.max(1))
        .collect()
        .await;
    for case in alone {
        reports.push(one(case).await);
    }
    reports.sort_by_key(|report| chosen.iter().position(|case| case.name == report.name));
    let (target, seed) = (target.name().to_owned(), options.seed);
    Ok(Report {
        target,
        broker,
        capabilities,
        seed,
        cases: reports,
    })
}

/// Runs one case.
pub(crate) async fn run_case(
    target: &Target,
    case: &'static Case,
    options: &Options,
) -> CaseReport {
    let started = Instant::now();
    let report = |outcome, reason| CaseReport {
        name: case.name,
        promise: case.promise,
        level: case.level,
        outcome,
        reason,
        took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    if let Some(hook) = case.needs.filter(|hook| !target.offers(*hook)) {
        return report(
            Outcome::NotRun,
            Some(format!("the target does not offer `{hook:?}`")),
        );
    }
    let verdict = judge(target, case, options).await;
    if options.halt.is_halted() {
        return report(Outcome::NotRun, Some("the run was ended".to_owned()));
    }
    match verdict {
        Ok(()) => report(Outcome::Passed, None),
        Err(Broken(reason)) => {
            let seed = options.seed;
            report(Outcome::Failed, Some(format!("{reason} (seed {seed})")))
        }
    }
}

async fn judge(target: &Target, case: &'static Case, options: &Options) -> Verdict {
    if options.halt.is_halted() {
        return Ok(());
    }
    // Short, because a broker's limits on names are spent by what is derived from them.
    let run = &uuid::Uuid::new_v4().simple().to_string()[..12];
    let prefix = format!("conformance-{run}-{}", case.name);
    let (seed, full) = (options.seed, options.full);
    let context = Arc::new(Context::open(target, prefix, seed, full).await?);
    let running = AssertUnwindSafe((case.run)(&context)).catch_unwind();
    let budget = if full { case.budget * 10 } else { case.budget };
    let judged = tokio::select! {
        biased;
        () = options.halt.halted() => Ok(Ok(Ok(()))),
        judged = timeout(budget, running) => judged,
    };
    let verdict = match judged {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(_)) => Err(Broken("the transport or the case panicked".to_owned())),
        Err(_) => Err(Broken(format!("not over after {budget:?}"))),
    };
    let cleaned = match timeout(CLEAN_UP_MAX, context.clean_up()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Broken(format!("cleaning up failed: {error}"))),
        Err(_) => Err(Broken(format!(
            "cleaning up was not over after {CLEAN_UP_MAX:?}"
        ))),
    };
    verdict.and(cleaned)
}
