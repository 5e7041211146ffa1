//! What becomes of messages when brokers, networks and workers fail? The fault suite.
//!
//! Everything here is written once over the driver traits; what is special to a broker is in
//! `tests/BROKER`, where a row in a table makes a case of it.
//!
//! - [`ledger`] knows of every message what was tried and what came of it; [`counts`] is the
//!   verdict.
//! - [`load`] publishes and consumes; [`scene`] puts a fault proxy and a ledger around that.
//! - [`network`], [`server`], [`reads`] and [`workers`] are the cases that any broker can be put
//!   through.
//! - [`runtime`] has those that put a `Consumer` on top.
//! - [`suite`] runs cases, for each seed, and [`report`] says what was counted and measured.
//!
//! **Counts are binding** on every machine. **Times are deadlines**: reported as measured, doubled
//! where `CI` is set, and stretched by what the machine's own clock ticks were late.
//!
//! | variable | means |
//! |---|---|
//! | `POTLUCK_FULL=1` | every case, at full counts, with three seeds |
//! | `POTLUCK_SEED=N` | this seed only: replays a run |
//! | `CONFORMANCE_REQUIRED=1` | a broker that is not installed is a failure, not a skip |

pub mod counts;
pub mod ledger;
pub mod load;
pub mod logs;
pub mod network;
pub mod reads;
pub mod report;
pub mod runtime;
pub mod scene;
pub mod server;
pub mod suite;
pub mod workers;

/// Whatever ends a case before it has its counts.
pub type Trouble = Box<dyn std::error::Error + Send + Sync>;
/// What a case gives: its counts and times are in the [`Run`](suite::Run).
pub type Result<T = (), E = Trouble> = std::result::Result<T, E>;
