//! What an application holds: a transport, and how to publish to it and consume from it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use potluck_core::envelope::{Envelope, EventBody};
use potluck_core::{
    Group, Message, MessageId, PublishError, Publisher, Result, State, Topic, Transport,
};
use tokio::sync::OnceCell;

use crate::builder::ConsumerBuilder;

/// How long a publish may take unless [`Bus::publish_within`] says otherwise.
const PUBLISH_WITHIN: Duration = Duration::from_secs(10);

/// A connection to a broker, as applications use it: publish events, run handlers over a group.
///
/// Clones are the same connection. The first publish opens the publisher, which all share;
/// publishes that overlap share round trips.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use potluck_core::Topic;
/// use potluck_core::envelope::{FreeFood, FreeFoodEvent, Text};
/// use potluck_runtime::Bus;
///
/// let bus = Bus::new(potluck_memory::connect("memory:")?);
/// let topic = Topic::new("events.free-food")?;
/// let event = FreeFoodEvent::builder(FreeFood::new(Text::new("Free Pizza Night")?)).build();
/// let id = bus.publish(&topic, &event).await?;
/// println!("stored as {id}");
/// bus.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Bus {
    shared: Arc<Shared>,
    within: Duration,
}

struct Shared {
    transport: Arc<dyn Transport>,
    publisher: OnceCell<Arc<dyn Publisher>>,
}

impl Bus {
    /// A bus over an open transport. It takes nothing from it: other users of the transport go on.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self {
            shared: Arc::new(Shared {
                transport,
                publisher: OnceCell::new(),
            }),
            within: PUBLISH_WITHIN,
        }
    }

    /// The same bus, whose publishes take at most this long instead of 10 s.
    #[must_use]
    pub fn publish_within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Publishes an event. It carries no ordering key; for one, or for headers, make a message of
    /// the event ([`Envelope::to_message`]) and [`send`](Self::send) that.
    ///
    /// **Dropped**, the event is stored once or not at all, and the bus goes on.
    ///
    /// # Errors
    ///
    /// [`PublishError`] with one outcome: `Refused` is certainly not stored, `Unknown` may be, and
    /// publishing it again with the same event id may store it twice. An event that cannot be
    /// encoded is refused before anything is sent.
    pub async fn publish<B: EventBody>(
        &self,
        topic: &Topic,
        event: &Envelope<B>,
    ) -> Result<MessageId, PublishError> {
        let ids = self.publish_all(topic, std::slice::from_ref(event)).await?;
        ids.first()
            .copied()
            .ok_or_else(|| PublishError::new(Vec::new()))
    }

    /// Publishes events in one slice, in order. `Ok` has the ids: the broker has accepted all.
    ///
    /// **Dropped**, each is stored once or not at all.
    ///
    /// # Errors
    ///
    /// [`PublishError`] with an outcome for each. When one cannot be encoded, or breaks a limit,
    /// none is sent.
    pub async fn publish_all<B: EventBody>(
        &self,
        topic: &Topic,
        events: &[Envelope<B>],
    ) -> Result<Vec<MessageId>, PublishError> {
        let messages: Result<Vec<_>> = events.iter().map(Envelope::to_message).collect();
        let messages = messages.map_err(|error| PublishError::refused(events.len(), &error))?;
        self.send(topic, &messages).await
    }

    /// Publishes messages in one slice, in order: what [`publish`](Self::publish) does, for those
    /// who set a key or headers, or have another payload than an event.
    ///
    /// **Dropped**, each is stored once or not at all.
    ///
    /// # Errors
    ///
    /// As [`publish_all`](Self::publish_all).
    pub async fn send(
        &self,
        topic: &Topic,
        messages: &[Message],
    ) -> Result<Vec<MessageId>, PublishError> {
        let refused = |error| PublishError::refused(messages.len(), &error);
        let publisher = self.publisher().await.map_err(refused)?;
        publisher.publish(topic, messages, self.within).await
    }

    /// Begins a consumer: handlers over the messages that `group` has of `topic`.
    pub fn consumer(&self, topic: &Topic, group: &Group) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone(), topic.clone(), group.clone())
    }

    /// The transport below, for what the bus does not offer.
    #[must_use]
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.shared.transport
    }

    /// How the connection is doing.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.transport.state()
    }

    /// Closes the transport, for all who use it: publishes under way are answered, connections
    /// end. Stop consumers first; what they hold is given back, but their handlers are not waited
    /// for. Closing twice is no error.
    ///
    /// # Errors
    ///
    /// `Unavailable` when something could not be given back in time. It is closed all the same.
    pub async fn close(&self) -> Result<()> {
        self.shared.transport.close().await
    }

    async fn publisher(&self) -> Result<&Arc<dyn Publisher>> {
        let open = || self.shared.transport.publisher();
        self.shared.publisher.get_or_try_init(open).await
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus")
            .field("transport", &self.shared.transport)
            .finish_non_exhaustive()
    }
}
