//! Nothing but tests: see `tests/`, and below the examples of the README, which are compiled and
//! run.

#[doc = include_str!("../../../README.md")]
mod readme {}
