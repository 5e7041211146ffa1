//! Potluck's transport in memory: for tests, for programs of one process, and to be read. It is the
//! reference implementation of the driver contract, [`potluck_core::transport`].
//!
//! ```
//! use std::num::NonZeroUsize;
//! use std::time::Duration;
//!
//! use potluck_core::{Group, Message, Subscription, Topic};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let transport = potluck_memory::connect("memory:")?;
//! let topic = Topic::new("events.free-food")?;
//! let to = Subscription::new(topic.clone(), Group::new("mailer")?);
//! let member = transport.subscriber(&to).await?;
//!
//! let publisher = transport.publisher().await?;
//! publisher.publish(&topic, &[Message::new("pizza")], Duration::from_secs(10)).await?;
//!
//! let deliveries = member.receive(NonZeroUsize::MIN, Duration::from_secs(1)).await?;
//! assert_eq!(&deliveries[0].message.body()[..], b"pizza");
//! let settled = member.ack(&[deliveries[0].receipt]).await?;
//! assert!(settled.stale.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # The broker
//!
//! `memory:` connects to a broker that nobody else has. `memory://NAME` connects to the process's
//! broker of that name (upper and lower case are one), which is created by the first that asks and
//! kept, with its messages, until the process ends. A [`Broker`] of one's own is better in tests:
//! it goes when it is dropped, and it has the hooks [`inject`](Broker::inject),
//! [`cut`](Broker::cut) and [`trim`](Broker::trim).
//!
//! | option | default | means |
//! |---|---|---|
//! | `max_messages=` | 100000 | the most messages of a topic |
//! | `max_bytes=` | 67108864 | the most bytes of a topic: bodies, headers, keys |
//!
//! At its bound a topic drops the oldest messages that all its groups have acknowledged. When
//! there is none, or no group at all, a publish waits for room until its deadline, and what is
//! left of it is then refused as `Unavailable`. Publishers take turns, so a topic's order is the
//! order of the calls.
//!
//! # What the contract leaves open
//!
//! - **Leases.** When a lease is over any member may take the delivery, the same one too. Until
//!   somebody has, the old receipt still settles and extends it. What a member has outlived its
//!   lease on does not count against its `max_held`.
//! - **A subscriber that is dropped** without a close looks like a consumer that crashed: it is no
//!   member any more, and what it held comes again when the leases end.
//! - **A group or topic that is deleted** fails its members' receives as `NotFound`, also when one
//!   of its name is created again; their receipts are stale. A topic's readers fail likewise.
//! - **Status** counts what was given back as in flight until it is acknowledged, as Redis does,
//!   so that backlog and in flight together are all that the group has to do.
//! - **`Retention::UntilAcked`** drops a message with the last group's acknowledgement of it.

mod broker;
mod config;
mod deadline;
mod error;
mod group;
mod publisher;
mod reader;
mod subscriber;
mod topic;
mod transport;

use std::sync::Arc;

use potluck_core::{Result, Transport};

pub use broker::{Bounds, Broker};

/// The scheme of this transport's URLs.
pub const SCHEME: &str = "memory";

/// Connects to a broker of this process: `memory:` to a private one, `memory://NAME` to the one of
/// that name. The connection is ready at once.
///
/// # Errors
///
/// `Config` when the URL names users, ports, a path or options that there are not, or bounds other
/// than those of the named broker.
pub fn connect(url: &str) -> Result<Arc<dyn Transport>> {
    Ok(Broker::of(&config::Config::read(url)?)?.connect())
}
