//! Do type and schema agree on every text, also on those that nobody thought of?
//!
//! Texts are made from valid events and from the samples, by changes that know JSON and the
//! contract. A failure prints the seed; `AGREEMENT_SEED` replays it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what helps a test may fail it"
)]

mod free_food;
mod mutate;
mod own_body;
mod rng;
mod text;
mod values;
