//! Does the transport keep every promise on a real server, with all its connections through a
//! proxy that can cut and freeze them?

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // tests

mod target;

use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts");
    match runtime.block_on(target::target()) {
        Ok(target) => potluck_conformance::main_with(target),
        Err(error) if std::env::var_os("CONFORMANCE_REQUIRED").is_none() => {
            println!("skipped: conformance of redis: {error}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
