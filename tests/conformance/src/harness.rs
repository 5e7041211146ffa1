//! The suite as a test binary: filters, `--list` and what is not run, as test runners know them.

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use potluck_core::{Result, Transport};

use crate::cases;
use crate::report::Outcome;
use crate::run::{Options, run_case};
use crate::target::Target;

/// The whole of an author's test:
/// `fn main() -> ExitCode { potluck_conformance::main("mine", connect) }`.
///
/// `connect` opens a new connection to a broker that runs. Without a broker, return an error: the
/// cases fail. To offer [`Faults`](crate::Faults), use [`main_with`].
///
/// `CONFORMANCE_SEED` makes the random choices of an earlier run, and `POTLUCK_FULL=1` runs long
/// cases at full length. `CONFORMANCE_REQUIRED=1` is about brokers that cannot be had: whether that
/// skips the test or fails it is for the transport's own test to decide, before it calls this.
pub fn main<F>(name: &str, connect: impl Fn() -> F + Send + Sync + 'static) -> ExitCode
where
    F: Future<Output = Result<Arc<dyn Transport>>> + Send + 'static,
{
    main_with(Target::new(name, connect))
}

/// The same for a target that offers more. Cases whose hook it does not offer are shown as ignored,
/// always: memory, for one, has no bytes to freeze.
pub fn main_with(target: Target) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Cases that break the target must not run beside others, and there is no way to say so of
    // some; so those are kept apart by a lock, see below.
    arguments.test_threads.get_or_insert(8);
    let seed = match std::env::var("CONFORMANCE_SEED").map(|text| text.parse()) {
        Ok(Ok(seed)) => seed,
        Ok(Err(_)) => {
            eprintln!("error: CONFORMANCE_SEED is a whole number");
            return ExitCode::from(2);
        }
        Err(_) => fastrand::u64(..),
    };
    let full = std::env::var_os("POTLUCK_FULL").is_some_and(|value| value == "1");
    if !arguments.list {
        println!("conformance of {}, seed {seed}", target.name());
    }
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    else {
        eprintln!("error: no tokio runtime can be started");
        return ExitCode::FAILURE;
    };
    let runtime = Arc::new(runtime);
    // Readers are ordinary cases, a writer is one that breaks the target for all.
    let quiet = Arc::new(tokio::sync::RwLock::new(()));
    let options = Options {
        seed,
        full,
        ..Options::default()
    };
    let trial = |case: &'static crate::Case| {
        let (target, runtime, quiet) = (target.clone(), runtime.clone(), quiet.clone());
        let options = options.clone();
        let offered = case.needs.is_none_or(|hook| target.offers(hook));
        let test = move || {
            let report = runtime.block_on(async {
                if case.needs.is_some() {
                    let _alone = quiet.write().await;
                    run_case(&target, case, &options).await
                } else {
                    let _together = quiet.read().await;
                    run_case(&target, case, &options).await
                }
            });
            match report.outcome {
                Outcome::Passed => Ok(()),
                Outcome::Failed | Outcome::NotRun => {
                    let reason = report.reason.unwrap_or_default();
                    Err(Failed::from(format!("{}\n  {reason}", case.promise)))
                }
            }
        };
        Trial::test(case.name, test).with_ignored_flag(!offered)
    };
    let trials = cases::all().map(trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
