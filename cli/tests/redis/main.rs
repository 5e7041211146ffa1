//! Do the commands do what they say over a real Redis server?

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what helps a test may fail it"
)]
#![cfg(all(unix, feature = "redis"))]

#[path = "../common/mod.rs"]
mod common;

mod awkward;
mod conformance;
mod consuming;
mod failures;
mod interrupted;
mod looking;
mod publishing;
mod server;
mod serving;
