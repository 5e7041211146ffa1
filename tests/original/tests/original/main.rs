//! Does everything that the original project tested still hold, in memory and over a real Redis?

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // tests

mod basic;
mod errors;
mod integration;
mod performance;
mod rules;
mod schema;
mod surroundings;
