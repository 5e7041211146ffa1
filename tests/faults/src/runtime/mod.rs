//! What becomes of events when handlers, workers and brokers fail under a `Consumer`? The cases
//! that any broker can be put through with the runtime on top.
//!
//! - [`events`] makes events whose handlers fail as their scripts say; [`journal`] writes down
//!   every start and end of a handler.
//! - [`stage`] has a bus, a topic and a group; [`process`] a consumer in a process of its own;
//!   [`watched`] a transport that tells of every copy it has written.
//! - [`crashes`], [`signals`], [`handlers`], [`full`], [`absent`] and [`hostile`] are the cases.

use std::time::Duration;

use async_trait::async_trait;
use potluck_core::Topic;
use potluck_runtime::RetryPolicy;

use crate::Result;
use crate::scene::Server;

pub mod absent;
pub mod corpus;
pub mod crashes;
pub mod events;
pub mod full;
pub mod handlers;
pub mod hostile;
pub mod journal;
pub mod process;
pub mod signals;
pub mod stage;
pub mod watched;

/// The one retry lane of these cases: just longer than what is waited for in the process.
pub const LANE: Duration = Duration::from_millis(1100);

/// What the broker's own tools can do to it and to its topics.
#[async_trait]
pub trait Target: Server {
    /// Makes it refuse copies, or takes that back. What it holds is consumed and acknowledged all
    /// the same.
    async fn refuse_copies(&self, refuse: bool) -> Result;
    /// Writes a record as a foreign client may, and returns its id as the driver spells it.
    async fn put(&self, topic: &Topic, record: &Foreign) -> Result<String>;
}

/// A record as a foreign client may write it.
#[derive(Clone, Debug, Default)]
pub struct Foreign {
    /// The body; `None` where the contract's place for it is empty.
    pub body: Option<Vec<u8>>,
    /// The ordering key.
    pub key: Option<Vec<u8>>,
    /// Headers.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Foreign {
    /// A record that is a body and nothing else.
    #[must_use]
    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: Some(body.into()),
            ..Self::default()
        }
    }
}

/// One try, and after a failure another out of the lane.
#[must_use]
pub fn one_retry() -> RetryPolicy {
    RetryPolicy::never().then_after([LANE])
}
