//! What an application writes is a handler; what this crate owes it is the same behaviour on every
//! transport: retry that keeps nobody from going on, dead letters with their reasons, order by key,
//! leases that are kept, and a stop that loses nothing.
//!
//! A [`Bus`] publishes events and begins consumers. A [`Consumer`] receives in slices, decodes each
//! delivery once, runs its handler, and settles in slices:
//!
//! ```text
//! receive ─→ decode ─→ one of a key at a time ─→ handler ─→ what becomes of it ─→ settle
//!    ↑          │ malformed, unknown               │ retry, dead letter: the copy first,
//!    └── room ──┘                                  │ confirmed; only then the ack
//! ```
//!
//! **At least once.** A message is acknowledged after its handler succeeded, or after the copy of
//! it in a retry lane or among the dead letters was confirmed; never before. Handlers run again
//! after crashes and lost connections, so they must be idempotent.
//!
//! The topics beside the application's own, for a topic `T` and a group `G`: the retry lanes
//! `T.G.retry-<N>ms` and the dead letters `T.G.dead`, each with one group named `potluck`. No other
//! group sees them.

mod builder;
mod bus;
mod consumer;
pub mod copies;
mod dead_letter;
mod dedup;
mod engine;
mod failure;
mod handler;
mod health;
mod intake;
mod outlet;
mod policy;
mod processor;
mod receiver;
mod retry;
mod run_queue;
mod settings;
mod shown;
mod shutdown;
mod source;
mod stats;
mod throttle;
mod worker;

pub use builder::ConsumerBuilder;
pub use bus::Bus;
pub use consumer::{Consumer, Monitor};
pub use dead_letter::Reason;
pub use failure::Failure;
pub use handler::Context;
pub use health::Health;
pub use policy::{OtherMajor, Unhandled};
pub use processor::{EventProcessor, ProcessorStats};
pub use retry::RetryPolicy;
pub use shutdown::Signals;
pub use stats::{ConsumerStats, Latency};
