//! What does a service see of the free-food events that pass through it? A line for each, and
//! counts.

use std::future::{Ready, ready};
use std::sync::Arc;

use potluck_core::envelope::{Confidence, FreeFoodEvent};
use potluck_core::stats::Counter;

use crate::failure::Failure;
use crate::handler::Context;
use crate::shown::Shown;
use crate::stats::{ConsumerStats, latency_of};

/// Below this an event counts as one of low confidence, unless
/// [`EventProcessor::confidence_threshold`] says otherwise.
const THRESHOLD: f64 = 0.5;

/// Handles free-food events by telling of them: one line at INFO for each, one more at WARN when
/// the classifier was not sure. Ids, source, confidence and latency are in a line, never what an
/// event says.
///
/// Cheap to clone; clones count together.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use potluck_core::{Group, Topic};
/// use potluck_runtime::{Bus, EventProcessor};
///
/// let processor = EventProcessor::new();
/// let bus = Bus::new(potluck_memory::connect("memory:")?);
/// let (topic, group) = (Topic::new("events.free-food")?, Group::new("mq-consumer")?);
/// let consumer = bus.consumer(&topic, &group).on(processor.handler()).start().await?;
///
/// let stats = consumer.stop(Duration::from_secs(5)).await?;
/// println!("{}", serde_json::to_string(&processor.stats(&stats))?);
/// # Ok(())
/// # }
/// ```
///
/// To do more with an event than to tell of it, call [`handle`](Self::handle) in a handler of
/// your own.
#[derive(Clone, Debug)]
pub struct EventProcessor {
    threshold: f64,
    low_confidence: Arc<Counter>,
}

impl Default for EventProcessor {
    fn default() -> Self {
        Self::new()
    }
}

impl EventProcessor {
    /// A processor that warns of a confidence below 0.5.
    #[must_use]
    pub fn new() -> Self {
        Self {
            threshold: THRESHOLD,
            low_confidence: Arc::default(),
        }
    }

    /// Warns of events whose confidence is below this. Of one without a confidence it never warns.
    #[must_use]
    pub fn confidence_threshold(mut self, threshold: Confidence) -> Self {
        self.threshold = threshold.get();
        self
    }

    /// Tells of an event that was received.
    pub fn handle(&self, event: &FreeFoodEvent, context: &Context) {
        let confidence = event.body.llm_confidence.map(Confidence::get);
        let event_id = Shown::id(&event.event_id);
        let latency_ms = latency_of(event.published_at);
        tracing::info!(
            %event_id, id = %context.id(), source = %Shown::id(&event.source),
            confidence, latency_ms, tries = context.tries(),
            "event processed"
        );
        if let Some(confidence) = confidence
            && confidence < self.threshold
        {
            self.low_confidence.add(1);
            tracing::warn!(
                %event_id, id = %context.id(), confidence, threshold = self.threshold,
                "low confidence"
            );
        }
    }

    /// A handler for [`ConsumerBuilder::on`](crate::ConsumerBuilder::on).
    pub fn handler(
        &self,
    ) -> impl Fn(FreeFoodEvent, Context) -> Ready<Result<(), Failure>> + Send + Sync + 'static {
        let processor = self.clone();
        move |event, context| {
            processor.handle(&event, &context);
            ready(Ok(()))
        }
    }

    /// The statistics of a consumer whose handler this is.
    #[must_use]
    pub fn stats(&self, consumer: &ConsumerStats) -> ProcessorStats {
        ProcessorStats {
            consumer: consumer.clone(),
            low_confidence: self.low_confidence.get(),
        }
    }
}

/// What a processor has seen, beside what its consumer has counted. It is written as one flat
/// object, with the original's `events_processed`, `events_failed`, `uptime_seconds` and
/// `events_per_second`, and more.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct ProcessorStats {
    /// What the consumer counted.
    #[serde(flatten)]
    pub consumer: ConsumerStats,
    /// Events below the confidence threshold, each time that one was handled.
    pub low_confidence: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_names_are_at_the_top() {
        let stats = serde_json::to_value(ProcessorStats::default()).unwrap();
        for name in [
            "events_processed",
            "events_failed",
            "uptime_seconds",
            "events_per_second",
            "low_confidence",
        ] {
            assert!(stats[name].is_number(), "{name}: {stats}");
        }
        assert!(stats["latency"]["p50_ms"].is_number(), "{stats}");
    }
}
