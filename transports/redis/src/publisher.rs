//! How messages are published: at once on a quiet line, many to a round trip on a busy one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use potluck_core::publish;
use potluck_core::{Message, MessageId, PublishError, Publisher, Topic};

use crate::link::deadline;
use crate::transport::Shared;
use crate::writer::Writer;

#[derive(Debug)]
pub(crate) struct RedisPublisher {
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: Arc<Writer>,
}

#[async_trait]
impl Publisher for RedisPublisher {
    async fn publish(
        &self,
        topic: &Topic,
        messages: &[Message],
        within: Duration,
    ) -> Result<Vec<MessageId>, PublishError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let admitted = match self.shared.check_open("publish") {
            Err(closed) => Err(PublishError::refused(messages.len(), &closed)),
            Ok(()) => publish::admit(topic, messages, self.shared.config.max_message),
        };
        if let Err(refused) = admitted {
            self.shared.counters.count_outcomes(refused.outcomes());
            return Err(refused);
        }
        let outcomes = self.writer.publish(topic, messages, deadline(within)).await;
        self.shared.counters.count_outcomes(&outcomes);
        PublishError::collect(outcomes)
    }
}
