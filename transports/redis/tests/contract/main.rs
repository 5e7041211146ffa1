//! Does the transport keep the driver contract on a real server?

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // tests

mod attempts;
mod basics;
mod closing;
mod foreign;
mod groups;
mod looking;
mod outages;
mod publishing;
mod receiving;
mod retention;
mod settling;
mod support;
mod vanishing;
