//! Do Python and Rust agree about what an event is, and about how it travels?
//!
//! Needs python3 with `venv` and a package index for pip, or a cache of it, and redis-server. Where
//! they are missing the tests are shown as ignored; with `CONFORMANCE_REQUIRED=1` that is a
//! failure.

mod emitted;
mod redis;
mod schema;
mod venv;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use venv::Venv;

/// The switch: `1` where a Python that is not there is a failure, as in CI.
const REQUIRED: &str = "CONFORMANCE_REQUIRED";

/// A test's name, whether it needs a Redis server, and what it does with a Python that has the
/// requirements.
type Test = (&'static str, bool, fn(&Venv) -> Result<(), String>);

const TESTS: [Test; 4] = [
    ("schemas_samples_and_emitted_events", false, schema::agrees),
    ("redis_py_reads_what_we_publish", true, redis::python_reads),
    (
        "redis_py_publishes_what_we_consume",
        true,
        redis::python_publishes,
    ),
    (
        "redis_py_and_we_fail_in_turn",
        true,
        redis::failures_go_round,
    ),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // Listing is asked for often and must not install anything.
    let venv = if arguments.list {
        Err("only listed".to_owned())
    } else {
        Venv::ready()
    };
    let required =
        std::env::var_os(REQUIRED).is_some_and(|value| !value.is_empty() && value != "0");
    let server = if potluck_brokers::redis::is_available() {
        Ok(())
    } else {
        Err("install redis-server".to_owned())
    };
    let ready = |on_redis: bool| {
        let server = if on_redis { server.clone() } else { Ok(()) };
        server.and_then(|()| venv.clone())
    };
    let trials = TESTS.map(|(name, on_redis, test)| match ready(on_redis) {
        Ok(venv) => Trial::test(name, move || test(&venv).map_err(Into::into)),
        Err(missing) => {
            let ignored = !required && !arguments.list;
            if ignored {
                println!("skipped: {name}: {missing}");
            }
            // Whoever asks for ignored tests gets to see why this one is.
            Trial::test(name, move || Err(missing.into())).with_ignored_flag(ignored)
        }
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}
