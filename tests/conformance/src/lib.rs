//! Does a transport keep the promises of the driver contract?
//!
//! One suite for every transport and any broker. There are three ways in:
//!
//! - **An author** of a transport adds this crate to the dev-dependencies, a test with
//!   `harness = false`, and one line. There is no list of cases to copy: a new case reaches every
//!   transport the day it is written.
//!
//!   ```no_run
//!   use std::process::ExitCode;
//!   # mod my_transport {
//!   #     use std::sync::Arc;
//!   #     use potluck_core::{Result, Transport};
//!   #     pub fn connect(_: &str) -> Result<Arc<dyn Transport>> { todo!() }
//!   # }
//!
//!   fn main() -> ExitCode {
//!       potluck_conformance::main("mine", || async { my_transport::connect("mine://localhost") })
//!   }
//!   ```
//!
//! - **An operator** points `potluck conformance URL` at a broker that may be live: the suite works
//!   in topics named `conformance-…` and deletes those that it made, also after a failure.
//! - **A program** calls [`run`] and reads the [`Report`].
//!
//! What a transport claims in its [`Capabilities`](potluck_core::Capabilities) changes what is
//! asserted; it never skips an assertion. What a case needs beside a connection, such as a broker
//! that can be restarted, a [`Target`] may offer as [`Faults`]; cases that need what is not offered
//! are shown as not run.
//!
//! Reads are not de-duplicated: a [`Ledger`] keeps every publish, delivery and settle, and verdicts
//! come from it as counts of what was lost, came twice, out of order, or from nowhere.

mod case;
pub mod cases;
mod context;
mod harness;
mod ledger;
mod member;
mod outage;
mod report;
mod run;
mod scene;
mod target;

pub use case::{Broken, Case, Hook, Level, Verdict};
pub use context::Context;
pub use harness::{main, main_with};
pub use ledger::{Counts, Ledger};
pub use report::{CaseReport, Outcome, Report};
pub use run::{Halt, Options, run};
pub use target::{Faults, Target};
