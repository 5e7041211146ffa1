//! Events over Redis Streams, RabbitMQ, Kafka or memory, with one contract for all of them.
//!
//! A URL picks the transport, an [`envelope`] gives events their form, a [`Bus`] publishes them,
//! and a [`Consumer`] runs handlers over a group. This publishes one event and handles it:
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use potluck::envelope::{FreeFood, FreeFoodEvent, Text};
//! use potluck::{Context, Failure, Group, Topic};
//!
//! async fn mail(event: FreeFoodEvent, _: Context) -> Result<(), Failure> {
//!     println!("{}", event.body.title);
//!     Ok(())
//! }
//!
//! let bus = potluck::bus("memory:")?;
//! let (topic, mailer) = (Topic::new("events.free-food")?, Group::new("mailer")?);
//! let consumer = bus.consumer(&topic, &mailer).on(mail).start().await?;
//!
//! let event = FreeFoodEvent::builder(FreeFood::new(Text::new("Free Pizza Night")?)).build();
//! bus.publish(&topic, &event).await?;
//! # while consumer.stats().events_processed == 0 {
//! #     tokio::task::yield_now().await;
//! # }
//!
//! consumer.stop(Duration::from_secs(5)).await?;
//! bus.close().await?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "memory"))]
//! # fn main() {}
//! ```
//!
//! Below the bus is the driver contract of [`transport`], for those who settle by hand or write a
//! transport: [`connect`] opens it alone.
//!
//! # Features
//!
//! Each transport's adds its crate and changes nothing else.
//!
//! | feature | schemes | by default |
//! |---|---|---|
//! | `redis` | `redis:`, and `rediss:` with `tls` | yes |
//! | `memory` | `memory:` | yes |
//! | `tls` | TLS for the transports that are there; needs a C compiler | no |

use std::sync::Arc;

pub use potluck_core::{
    Capabilities, Defect, Delivery, Description, Error, ErrorKind, Figure, Group, GroupStatus,
    Headers, Member, Message, MessageId, Outcome, Page, Peeked, PublishError, Publisher, Reader,
    Receipt, Result, Retention, Settled, Start, State, Stats, Subscriber, Subscription, Topic,
    Transport,
};
pub use potluck_core::{
    capabilities, envelope, error, headers, message, name, publish, state, stats, subscription,
    transport, url,
};
pub use potluck_runtime::{
    Bus, Consumer, ConsumerBuilder, ConsumerStats, Context, EventProcessor, Failure, Health,
    Latency, Monitor, OtherMajor, ProcessorStats, Reason, RetryPolicy, Signals, Unhandled, copies,
};

/// Opens a connection, of the transport that serves a URL's scheme.
type Connect = fn(&str) -> Result<Arc<dyn Transport>>;

/// Each scheme, the feature that brings its transport, and the transport if it is compiled in.
const SCHEMES: &[(&str, &str, Option<Connect>)] = &[
    ("redis", "redis", REDIS),
    ("rediss", "redis", REDIS),
    ("memory", "memory", MEMORY),
];

#[cfg(feature = "redis")]
const REDIS: Option<Connect> = Some(potluck_redis::connect);
#[cfg(not(feature = "redis"))]
const REDIS: Option<Connect> = None;

#[cfg(feature = "memory")]
const MEMORY: Option<Connect> = Some(potluck_memory::connect);
#[cfg(not(feature = "memory"))]
const MEMORY: Option<Connect> = None;

/// Opens a connection to the broker of a URL, by its scheme.
///
/// It checks the URL and its options, starts dialling and returns at once; see [`Transport`]. Call
/// it inside a tokio runtime with I/O and time enabled.
///
/// ```
/// let error = potluck::connect("carrier-pigeon://coop").unwrap_err();
/// assert_eq!(error.kind(), potluck::ErrorKind::Config);
/// assert!(error.to_string().contains("memory:"));
/// ```
///
/// # Errors
///
/// [`ErrorKind::Config`] when the URL is none, names an option that does not exist, or has a scheme
/// whose transport there is not: the error says which feature to turn on, or which schemes there
/// are. Nothing of the URL but its scheme is in it.
pub fn connect(url: &str) -> Result<Arc<dyn Transport>> {
    let scheme = url::BrokerUrl::scheme_of(url)?;
    match SCHEMES.iter().find(|(known, ..)| *known == scheme) {
        Some((_, _, Some(connect))) => connect(url),
        Some((_, feature, None)) => {
            let what = "the transport of this scheme is not compiled in; build with the feature";
            Err(refused(what, &scheme).with("feature", feature))
        }
        None => {
            let schemes: Vec<_> = SCHEMES
                .iter()
                .map(|(name, ..)| format!("{name}:"))
                .collect();
            let what = "no transport serves this scheme; use one of those that there are";
            Err(refused(what, &scheme).with("schemes", schemes.join(", ")))
        }
    }
}

/// Opens a [`Bus`] to the broker of a URL: [`connect`], for applications.
///
/// ```
/// # #[cfg(feature = "memory")]
/// let bus = potluck::bus("memory://campus")?;
/// # Ok::<(), potluck::Error>(())
/// ```
///
/// # Errors
///
/// As [`connect`].
pub fn bus(url: &str) -> Result<Bus> {
    connect(url).map(Bus::new)
}

fn refused(what: &'static str, scheme: &str) -> Error {
    // What stands before a colon may be a misplaced password as well as a scheme.
    let shown: String = scheme.chars().take(20).collect();
    Error::new(ErrorKind::Config, "connect", what).with("scheme", shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_schemes_are_answered_with_those_that_exist() {
        for url in [
            "amqp://u:canary@h/canary",
            "amqps://h",
            "kafka://h1,h2?password=canary",
            "http://h",
            "MEMORY-2:",
        ] {
            let error = connect(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            let text = error.to_string();
            assert!(text.contains("schemes=redis:, rediss:, memory:"), "{text}");
            assert!(!format!("{error:?}").contains("canary"), "{text}");
        }
        for url in ["", "localhost", "://", "re dis://h"] {
            assert_eq!(connect(url).expect_err(url).kind(), ErrorKind::Config);
        }
    }

    #[cfg(feature = "memory")]
    #[test]
    fn memory_is_served_and_checks_its_options() {
        assert!(connect("memory:").is_ok());
        assert!(connect("MEMORY://shared").is_ok());
        let error = connect("memory:?leese=1s").unwrap_err().to_string();
        assert!(error.contains("leese"), "{error}");
    }

    #[cfg(feature = "redis")]
    #[tokio::test]
    async fn redis_is_served_and_checks_its_options() {
        let transport = connect("REDIS://u:canary@localhost/3?lease=30s").unwrap();
        assert!(!format!("{transport:?}").contains("canary"));
        transport.close().await.unwrap();
        for url in ["redis://u:canary@h?leese=1s", "redis://u:canary@h/canary"] {
            let error = connect(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(
                !format!("{error} {error:?}").contains("canary"),
                "{error:?}"
            );
        }
        let without_tls = connect("rediss://u:canary@h");
        assert_eq!(without_tls.is_ok(), cfg!(feature = "tls"));
    }

    #[cfg(not(feature = "redis"))]
    #[test]
    fn what_is_not_compiled_in_is_named_with_its_feature() {
        for url in ["redis://u:canary@h", "rediss://h"] {
            let text = connect(url).unwrap_err().to_string();
            assert!(
                text.contains("feature=redis") && !text.contains("canary"),
                "{text}"
            );
        }
    }

    #[cfg(not(feature = "memory"))]
    #[test]
    fn memory_too_is_named_with_its_feature() {
        let error = connect("memory:").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("feature=memory"), "{error}");
    }
}
