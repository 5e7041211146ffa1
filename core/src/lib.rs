//! The contract of Potluck: what travels, how a transport carries it, and the event envelope.
//!
//! Three rooms, for two readers:
//!
//! - whoever **writes a transport** reads [`transport`]: four object-safe traits that speak in
//!   slices of opaque [`Message`]s, and [`Capabilities`], which say what a broker promises;
//! - whoever **publishes or consumes events** reads [`envelope`]: the typed event of version
//!   1.0.0, its strict decoding, and re-publishing that changes two fields and no other byte;
//! - both meet [`Error`], [`Topic`], [`Group`] and [`Member`].
//!
//! Nothing here talks to a broker, and no type of a broker's client crate appears in a signature.

pub mod backoff;
pub mod capabilities;
pub mod envelope;
pub mod error;
pub mod headers;
pub mod message;
pub mod name;
pub mod publish;
pub mod state;
pub mod stats;
pub mod subscription;
pub mod transport;
pub mod url;

pub use capabilities::Capabilities;
pub use error::{Error, ErrorKind, Result};
pub use headers::Headers;
pub use message::{Defect, Message};
pub use name::{Group, Member, Topic};
pub use publish::{MessageId, Outcome, PublishError};
pub use state::State;
pub use stats::Stats;
pub use subscription::{Retention, Start, Subscription};
pub use transport::{
    Delivery, Description, Figure, GroupStatus, Page, Peeked, Publisher, Reader, Receipt, Settled,
    Subscriber, Transport,
};
