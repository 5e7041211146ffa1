//! Does a consumer do what its documents promise? One theme a file, over the memory transport, in
//! paused time, with exact counts.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // tests

mod batch;
mod bus;
mod dead_letters;
mod dedup;
mod drain;
mod handling;
mod health;
mod leases;
mod order;
mod policies;
mod retry;
mod start;
mod support;
mod switched;
