//! The memory transport as the suite's target: for its own test, and for the documents.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use potluck_conformance::{Faults, Hook, Target};
use potluck_core::{Defect, Headers, Message, Topic};
use potluck_memory::Broker;

/// What of a broker in this process can be broken.
struct InProcess(Broker);

#[async_trait]
impl Faults for InProcess {
    fn offers(&self, hook: Hook) -> bool {
        // There are no bytes between it and its clients that could be swallowed.
        hook != Hook::Freeze
    }

    async fn cut(&self) {
        self.0.cut();
    }

    async fn freeze(&self) {}

    async fn restart(&self) {
        // All that it stores is in this process, so a restart costs what it costs elsewhere too:
        // the connections.
        self.0.cut();
    }

    async fn inject(&self, topic: &Topic, bytes: Bytes) {
        let mut headers = Headers::new();
        headers.set("foreign", bytes);
        let record = Message::received(Bytes::new(), headers, None);
        self.0
            .inject(topic, &record, Some(Defect::NoBody))
            .expect("there is room");
    }

    async fn trim(&self, topic: &Topic) {
        self.0.trim(topic);
    }
}

/// A target of its own, with what can be broken.
pub(crate) fn target() -> Target {
    let broker = Broker::new();
    let faults = Arc::new(InProcess(broker.clone()));
    let connect = move || {
        let broker = broker.clone();
        async move { Ok(broker.connect()) }
    };
    Target::new("memory", connect).with_faults(faults)
}
