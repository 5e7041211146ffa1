//! Does the memory transport, the reference implementation, keep every promise?

#![allow(clippy::expect_used)] // tests

#[path = "targets/memory.rs"]
mod memory;

use std::process::ExitCode;

fn main() -> ExitCode {
    potluck_conformance::main_with(memory::target())
}
