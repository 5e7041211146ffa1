//! What does a test need to see a real broker fail? Servers it owns, and faults on the way to them.
//!
//! [`redis::RedisServer`] starts a real server on a free loopback port, in a temporary folder,
//! and ends it by its process id. [`proxy::Proxy`] stands between a client and a server and
//! loses, delays or cuts what passes. [`silent::SilentServer`] accepts and never answers.
//! [`wait::until`] waits for a condition with a deadline; nothing here sleeps and hopes.
//!
//! A broker that is not installed is [`BrokerError::Missing`], which names the package;
//! [`skip::or_skip`] makes of it a visible skip, or a failure where the brokers are required.
//!
//! A test that ends in any way ends its servers: by `Drop` when it returns or panics, and by a
//! guard process when it is killed (see [`redis::RedisServer`]).
//!
//! Every async function here needs a Tokio runtime with I/O and time enabled.

mod error;
mod port;
mod process;
pub mod proxy;
pub mod redis;
pub mod resp;
pub mod silent;
pub mod skip;
pub mod wait;

pub use error::{BrokerError, Result};
