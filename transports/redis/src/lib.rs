//! Redis Streams as a Potluck transport.
//!
//! A topic is a stream of its name, a group a consumer group. What a message looks like inside is
//! the contract's: field `data` holds the body, `key` the ordering key, `h:NAME` a header.
//!
//! ```no_run
//! # async fn example() -> potluck_core::Result<()> {
//! use potluck_core::{Group, Message, Subscription, Topic};
//! use std::{num::NonZeroUsize, time::Duration};
//!
//! let transport = potluck_redis::connect("redis://localhost:6379")?;
//! let to = Subscription::new(Topic::new("events.free-food")?, Group::new("mailer")?);
//! let subscriber = transport.subscriber(&to).await?;
//! let publisher = transport.publisher().await?;
//! publisher.publish(&to.topic, &[Message::new("{}")], Duration::from_secs(5)).await?;
//! for delivery in subscriber.receive(NonZeroUsize::MIN, Duration::from_secs(5)).await? {
//!     subscriber.ack(&[delivery.receipt]).await?;
//! }
//! # Ok(()) }
//! ```
//!
//! # URL
//!
//! `redis://[[USER]:PASSWORD@]HOST[:6379][/DATABASE]`, or `rediss://` with the feature `tls`.
//!
//! | option | means | default |
//! |---|---|---|
//! | `lease=` | how long a member may sit on a delivery before another takes it | `60s` |
//! | `block=` | how long one read waits on the server, at most `500ms` | `500ms` |
//! | `timeout=` | how long a call of the transport waits for the server | `10s` |
//! | `field=` | the entry field that holds the body | `data` |
//! | `keep=` | a number of messages, or an age such as `7d`: older ones are trimmed when something is published, but none that a group has not acknowledged | all |
//! | `trim=force` | trims those too, and counts them as lost | `safe` |
//! | `min_replicas=` | how many replicas must have received a message before it counts as stored | `0` |
//!
//! # What it does beyond the contract
//!
//! A group that vanishes (`FLUSHALL`, `DEL`, `XGROUP DESTROY`, eviction) is created again from the
//! earliest message while a member receives: messages come again, none is lost, and it is logged
//! as an error and counted. What is given back belongs to a consumer named `:released` until
//! somebody takes it; that consumer stays with the group.

mod admin;
mod answer;
mod config;
mod entry;
mod error;
mod fetch;
mod link;
mod members;
mod publisher;
mod queue;
mod reader;
mod retention;
mod settle;
mod subscriber;
mod table;
mod transport;
mod writer;

use std::sync::Arc;

use potluck_core::{Result, Transport};

/// Checks the URL, starts dialling and returns at once. Dialling goes on for ever.
///
/// Must be called inside a tokio runtime.
///
/// # Errors
///
/// [`ErrorKind::Config`](potluck_core::ErrorKind::Config) when the URL or one of its options is
/// wrong, or when there is no tokio runtime.
pub fn connect(url: &str) -> Result<Arc<dyn Transport>> {
    Ok(Arc::new(transport::RedisTransport::connect(url)?))
}
