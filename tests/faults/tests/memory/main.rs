//! What becomes of events in memory when handlers fail? There is no broker, and nothing else that
//! could fail.

use std::process::ExitCode;

use potluck_faults::runtime::handlers;
use potluck_faults::suite::{self, Case};

const CASES: &[Case] = &[Case::starred("runtime_26_handlers_misbehave", |run| {
    Box::pin(handlers::misbehave(run, async || {
        Ok(potluck_memory::connect("memory:")?)
    }))
})];

fn main() -> ExitCode {
    suite::main("memory", None, CASES)
}
