//! Handlers, and which events they are for.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use potluck_core::envelope::{Envelope, EventBody, Invalid, Payload, Timestamp, VersionWatch};
use potluck_core::{Group, Headers, Message, MessageId, Topic};

use crate::bus::Bus;
use crate::failure::Failure;

/// What a handler knows beside the event: where it came from, how often it was tried, and the bus
/// to publish what follows from it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) consumer: Arc<Identity>,
    pub(crate) message: Message,
    pub(crate) id: MessageId,
    pub(crate) tries: u32,
}

/// Who handles.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) bus: Bus,
    pub(crate) topic: Topic,
    pub(crate) group: Group,
}

impl Context {
    /// The topic that the consumer is of; the same for an event that waited in a retry lane.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.consumer.topic
    }

    /// The consumer's group.
    #[must_use]
    pub fn group(&self) -> &Group {
        &self.consumer.group
    }

    /// The bus, which stays usable until every handler has ended.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.consumer.bus
    }

    /// Where the delivered message stands in the topic, or in the retry lane that it waited in.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// The message's headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        self.message.headers()
    }

    /// The message's ordering key.
    #[must_use]
    pub fn key(&self) -> Option<&Bytes> {
        self.message.key()
    }

    /// The payload as it was received.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        self.message.body()
    }

    /// Which try this is: 1 at first. Tries that a crash has cut short do not count.
    #[must_use]
    pub fn tries(&self) -> u32 {
        self.tries
    }
}

/// What a handler's future comes to.
pub(crate) type Handled = BoxFuture<'static, Result<(), Failure>>;

/// An event that was decoded for its handler, or its handler's future already.
pub(crate) struct Decoded<T> {
    pub(crate) call: T,
    pub(crate) published_at: Timestamp,
}

/// One event's body, whose type its batch handler knows.
pub(crate) type Erased = Box<dyn Any + Send>;

type DecodeAndCall = dyn Fn(&Payload, Context) -> Result<Decoded<Handled>, Invalid> + Send + Sync;
type Decode = dyn Fn(&Payload) -> Result<Decoded<Erased>, Invalid> + Send + Sync;
type CallBatch = dyn Fn(Vec<(Erased, Context)>) -> Handled + Send + Sync;

/// How the events of one type are handled.
pub(crate) enum Call {
    /// Each for itself.
    One(Box<DecodeAndCall>),
    /// Several at once.
    Batch {
        size: NonZeroUsize,
        decode: Box<Decode>,
        call: Box<CallBatch>,
    },
}

/// What is registered for one type of event.
pub(crate) struct Route {
    pub(crate) watch: VersionWatch,
    pub(crate) call: Call,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").finish_non_exhaustive()
    }
}

impl Route {
    /// A handler of one event at a time.
    pub(crate) fn one<B, H, F>(handler: H) -> Self
    where
        B: EventBody,
        H: Fn(Envelope<B>, Context) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let call = move |payload: &Payload, context: Context| {
            let event: Envelope<B> = payload.decode()?;
            let published_at = event.published_at;
            let call = handler(event, context).boxed();
            Ok(Decoded { call, published_at })
        };
        Self {
            watch: VersionWatch::new(B::SCHEMA_VERSION),
            call: Call::One(Box::new(call)),
        }
    }

    /// A handler of several events at once.
    pub(crate) fn batch<B, H, F>(size: NonZeroUsize, handler: H) -> Self
    where
        B: EventBody,
        H: Fn(Vec<(Envelope<B>, Context)>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let decode = |payload: &Payload| {
            let event: Envelope<B> = payload.decode()?;
            let published_at = event.published_at;
            let call: Erased = Box::new(event);
            Ok(Decoded { call, published_at })
        };
        let call = move |events: Vec<(Erased, Context)>| {
            let given = events.len();
            let typed = events.into_iter().filter_map(|(event, context)| {
                let event: Box<Envelope<B>> = event.downcast().ok()?;
                Some((*event, context))
            });
            let typed: Vec<_> = typed.collect();
            // What the same route has decoded is of its type.
            debug_assert_eq!(typed.len(), given);
            handler(typed).boxed()
        };
        Self {
            watch: VersionWatch::new(B::SCHEMA_VERSION),
            call: Call::Batch {
                size,
                decode: Box::new(decode),
                call: Box::new(call),
            },
        }
    }
}

/// All handlers of a consumer, by the type of event.
pub(crate) type Routes = BTreeMap<&'static str, Arc<Route>>;
