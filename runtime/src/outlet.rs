//! A topic that copies are written to, for as long as it takes.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use potluck_core::backoff::Backoff;
use potluck_core::{ErrorKind, Message, PublishError, Retention, Subscription, Topic};
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::bus::Bus;
use crate::copies::Copy;

/// A retry lane or the dead-letter topic. While it cannot be written, one copy after the other is
/// tried with growing pauses, and all others wait: whatever is stuck, the broker is asked seldom.
#[derive(Debug)]
pub(crate) struct Outlet {
    /// The topic and its one group; declared again if it has vanished.
    declared: Subscription,
    troubled: AtomicBool,
    turn: Mutex<Backoff>,
}

impl Outlet {
    pub(crate) fn new(topic: Topic) -> Self {
        let group = potluck_core::Group::of_derived();
        let declared = Subscription::new(topic, group).retention(Retention::UntilAcked);
        // Between half a second and ten: what is stuck is not late for long after it is mended.
        let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
        Self {
            declared,
            troubled: AtomicBool::new(false),
            turn: Mutex::new(backoff),
        }
    }

    /// What to declare, and to read it by.
    pub(crate) fn subscription(&self) -> &Subscription {
        &self.declared
    }

    /// Whether it cannot be written for now.
    pub(crate) fn is_troubled(&self) -> bool {
        self.troubled.load(Relaxed)
    }

    /// Writes a copy, and returns when the broker has confirmed it. It gives up never.
    ///
    /// An unknown outcome counts as a failure: a copy may be stored twice, and none is lost.
    pub(crate) async fn store(&self, bus: &Bus, copy: &Copy) {
        if !self.is_troubled() && self.try_store(bus, copy).await {
            return;
        }
        let mut backoff = self.turn.lock().await;
        // It may have been mended while this one waited for its turn.
        let mut pause = self.is_troubled();
        loop {
            if pause {
                sleep(Duration::from_millis(250) + backoff.pause()).await;
            }
            if self.try_store(bus, copy).await {
                backoff.reset();
                return;
            }
            pause = true;
        }
    }

    async fn try_store(&self, bus: &Bus, copy: &Copy) -> bool {
        let topic = &self.declared.topic;
        let mut result = self.send(bus, &copy.full).await;
        if let Err(error) = &result {
            let error = error.first();
            if error.kind() == ErrorKind::NotFound {
                // Whoever deleted it did not stop us first.
                if bus.transport().declare(&self.declared).await.is_ok() {
                    result = self.send(bus, &copy.full).await;
                }
            } else if !error.is_retryable() {
                result = self.send(bus, &copy.short).await;
            }
        }
        match result {
            Ok(_) => {
                if self.troubled.swap(false, Relaxed) {
                    tracing::info!(%topic, "the topic takes copies again");
                }
                true
            }
            Err(error) => {
                if !self.troubled.swap(true, Relaxed) {
                    tracing::error!(%topic, %error, "a copy cannot be written; what it is of stays unacknowledged");
                }
                false
            }
        }
    }

    async fn send(
        &self,
        bus: &Bus,
        message: &Message,
    ) -> Result<Vec<potluck_core::MessageId>, PublishError> {
        bus.send(&self.declared.topic, std::slice::from_ref(message))
            .await
    }
}
