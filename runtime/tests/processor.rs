//! Does the event processor tell of each event, and never what is in it? Alone in its program: what
//! one thread is the first to log, tracing may hide from another that begins to listen just then.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // tests

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use potluck_core::envelope::{Confidence, FreeFood, FreeFoodEvent, Text};
use potluck_core::{Group, Message, Topic};
use potluck_runtime::{Bus, Consumer, EventProcessor, RetryPolicy};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Remembers what is logged: level, message and fields in a line.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("potluck_runtime")
    }
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn event(id: &str, confidence: Option<f64>) -> FreeFoodEvent {
    let body = FreeFood {
        description: Some("canary".to_owned()),
        location: Some("canary".to_owned()),
        reason: Some("canary".to_owned()),
        llm_confidence: confidence.map(|value| Confidence::new(value).unwrap()),
        ..FreeFood::new(Text::new("canary").unwrap())
    };
    let event = FreeFoodEvent::builder(body).event_id(id).unwrap();
    event.source("umass-calendar").unwrap().build()
}

async fn until(consumer: &Consumer, processed: u64, failed: u64) {
    let done = async {
        loop {
            let stats = consumer.stats();
            if (stats.events_processed, stats.events_failed) == (processed, failed) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), done)
        .await
        .unwrap();
}

#[tokio::test]
async fn each_event_has_a_line_an_unsure_one_a_warning_and_the_counts_are_the_consumers() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let bus = Bus::new(potluck_memory::connect("memory:").unwrap());
    let (topic, group) = (Topic::new("t").unwrap(), Group::new("g").unwrap());
    let processor = EventProcessor::new().confidence_threshold(Confidence::new(0.6).unwrap());
    let consumer = bus.consumer(&topic, &group).on(processor.handler());
    let consumer = consumer.retry(RetryPolicy::never()).start().await.unwrap();
    let sent = [
        event("sure", Some(0.6)),
        event("unsure", Some(0.59)),
        event("silent", None),
    ];
    bus.publish_all(&topic, &sent).await.unwrap();
    let bad = Message::new(r#"{"title":"canary"}"#);
    bus.send(&topic, &[bad]).await.unwrap();
    until(&consumer, 3, 1).await;

    let stats = processor.stats(&consumer.stop(Duration::from_secs(1)).await.unwrap());
    assert_eq!(stats.low_confidence, 1);
    let json = serde_json::to_value(&stats).unwrap();
    assert_eq!(
        (&json["events_processed"], &json["events_failed"]),
        (&3.into(), &1.into())
    );
    assert!(json["events_per_second"].as_f64().unwrap() > 0.0);

    let lines = log.0.lock().unwrap().clone();
    let of = |start: &str| {
        lines
            .iter()
            .filter(|l| l.starts_with(start))
            .cloned()
            .collect::<Vec<_>>()
    };
    let told = of("INFO message=event processed");
    assert_eq!(told.len(), 3, "{lines:#?}");
    for (line, id) in told.iter().zip(["sure", "unsure", "silent"]) {
        assert!(line.contains(&format!(" event_id={id} ")), "{line}");
        assert!(line.contains(" source=umass-calendar "), "{line}");
        assert!(line.contains(" latency_ms="), "{line}");
    }
    assert!(told[0].contains(" confidence=0.6 ") && !told[2].contains("confidence"));
    let warned = of("WARN message=low confidence");
    assert_eq!(warned.len(), 1, "{lines:#?}");
    assert!(warned[0].contains("event_id=unsure") && warned[0].contains("threshold=0.6"));
    assert_eq!(of("ERROR").len(), 1, "{lines:#?}");
    assert!(!lines.concat().contains("canary"), "{lines:#?}");
}
