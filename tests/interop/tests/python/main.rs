//! Do Python and Rust agree about what an event is?
//!
//! Needs python3 with `venv` and a package index for pip, or a cache of it. Where they are missing
//! the tests are shown as ignored; with `CONFORMANCE_REQUIRED=1` that is a failure.

mod emitted;
mod schema;
mod venv;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use venv::Venv;

/// The switch: `1` where a Python that is not there is a failure, as in CI.
const REQUIRED: &str = "CONFORMANCE_REQUIRED";

/// A test's name, and what it does with a Python that has the requirements.
type Test = (&'static str, fn(&Venv) -> Result<(), String>);

const TESTS: [Test; 1] = [("schemas_samples_and_emitted_events", schema::agrees)];

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
    let trials = TESTS.map(|(name, test)| match venv.clone() {
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
