//! What is tested: how to connect to it, and what of it can be broken on purpose.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use potluck_core::{Result, Topic, Transport};

use crate::case::Hook;

/// Opens a connection of its own each time it is called.
type Connect = dyn Fn() -> BoxFuture<'static, Result<Arc<dyn Transport>>> + Send + Sync;

/// A transport, and a broker behind it.
#[derive(Clone)]
pub struct Target {
    name: String,
    connect: Arc<Connect>,
    nowhere: Option<Arc<Connect>>,
    faults: Option<Arc<dyn Faults>>,
    /// How long a delivery stays with a member that has vanished, as `connect` sets it up.
    redelivered_within: Duration,
}

impl Target {
    /// A target of this name. `connect` opens a new connection each time.
    pub fn new<F, C>(name: impl Into<String>, connect: C) -> Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Arc<dyn Transport>>> + Send + 'static,
    {
        Self {
            name: name.into(),
            connect: Arc::new(move || connect().boxed()),
            nowhere: None,
            faults: None,
            redelivered_within: Duration::from_secs(15),
        }
    }

    /// Offers what can be broken.
    #[must_use]
    pub fn with_faults(mut self, faults: Arc<dyn Faults>) -> Self {
        self.faults = Some(faults);
        self
    }

    /// Offers [`Hook::Nowhere`]. `connect` opens a connection of the same transport to where
    /// nothing listens, best with a short `timeout=`.
    #[must_use]
    pub fn with_nowhere<F>(mut self, connect: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Arc<dyn Transport>>> + Send + 'static,
    {
        self.nowhere = Some(Arc::new(move || connect().boxed()));
        self
    }

    /// Sets how long it may take until what a vanished member held comes again, where it is not a
    /// matter of leases.
    #[must_use]
    pub fn redelivered_within(mut self, limit: Duration) -> Self {
        self.redelivered_within = limit;
        self
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn connect(&self) -> Result<Arc<dyn Transport>> {
        (self.connect)().await
    }

    pub(crate) fn connect_nowhere(&self) -> Option<BoxFuture<'static, Result<Arc<dyn Transport>>>> {
        self.nowhere.as_ref().map(|connect| connect())
    }

    pub(crate) fn faults(&self) -> Option<&Arc<dyn Faults>> {
        self.faults.as_ref()
    }

    pub(crate) fn redelivery_limit(&self) -> Duration {
        self.redelivered_within
    }

    pub(crate) fn offers(&self, hook: Hook) -> bool {
        match hook {
            Hook::Nowhere => self.nowhere.is_some(),
            _ => self
                .faults
                .as_ref()
                .is_some_and(|faults| faults.offers(hook)),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What of a target can be broken on purpose. A hook that is not offered is never called. All of
/// them act on every connection of the target, so cases that use them run alone.
#[async_trait]
pub trait Faults: Send + Sync + 'static {
    /// Whether the target can do this.
    fn offers(&self, hook: Hook) -> bool;

    /// Ends all connections, as a network does: without a word to either side.
    async fn cut(&self);

    /// From now on no byte of the connections that there are arrives; new ones work.
    async fn freeze(&self);

    /// Stops the broker as hard as its durability allows, starts it again, and returns when it
    /// takes connections.
    async fn restart(&self);

    /// Writes a record without a body into a topic, as a foreign client could.
    async fn inject(&self, topic: &Topic, bytes: Bytes);

    /// Removes all messages of a topic.
    async fn trim(&self, topic: &Topic);
}
