//! How cases are run: in parallel, each with names, a budget and a seed of its own.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt};
use potluck_core::Result;
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
}

impl Default for Options {
    fn default() -> Self {
        Self {
            filter: None,
            seed: fastrand::u64(..),
            parallel: 8,
            full: false,
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
        let report = run_case(target, case, options.seed, options.full).await;
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
    seed: u64,
    full: bool,
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
    match judge(target, case, seed, full).await {
        Ok(()) => report(Outcome::Passed, None),
        Err(Broken(reason)) => report(Outcome::Failed, Some(format!("{reason} (seed {seed})"))),
    }
}

async fn judge(target: &Target, case: &'static Case, seed: u64, full: bool) -> Verdict {
    // Short, because a broker's limits on names are spent by what is derived from them.
    let run = &uuid::Uuid::new_v4().simple().to_string()[..12];
    let prefix = format!("conformance-{run}-{}", case.name);
    let context = Arc::new(Context::open(target, prefix, seed, full).await?);
    let running = AssertUnwindSafe((case.run)(&context)).catch_unwind();
    let budget = if full { case.budget * 10 } else { case.budget };
    let verdict = match timeout(budget, running).await {
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
