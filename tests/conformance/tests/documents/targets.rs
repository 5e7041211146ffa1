//! What the report is about: a broker in this process, and a real server behind a proxy.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use potluck_brokers::proxy::Proxy;
use potluck_brokers::redis::{Persistence, RedisOptions, RedisServer};
use potluck_conformance::{Faults, Hook, Target};
use potluck_core::{Defect, Headers, Message, Topic};
use potluck_memory::Broker;

struct InProcess(Broker);

#[async_trait]
impl Faults for InProcess {
    fn offers(&self, hook: Hook) -> bool {
        hook != Hook::Freeze
    }

    async fn cut(&self) {
        self.0.cut();
    }

    async fn freeze(&self) {}

    async fn restart(&self) {
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

pub(crate) fn memory() -> Target {
    let broker = Broker::new();
    let faults = Arc::new(InProcess(broker.clone()));
    let connect = move || {
        let broker = broker.clone();
        async move { Ok(broker.connect()) }
    };
    Target::new("memory", connect).with_faults(faults)
}

struct Behind {
    server: RedisServer,
    proxy: Proxy,
}

#[async_trait]
impl Faults for Behind {
    fn offers(&self, _: Hook) -> bool {
        true
    }

    async fn cut(&self) {
        self.proxy.cut();
    }

    async fn freeze(&self) {
        self.proxy.freeze_existing();
    }

    async fn restart(&self) {
        self.server.kill().await.expect("the server ends");
        self.server
            .restart()
            .await
            .expect("the server starts again");
    }

    async fn inject(&self, topic: &Topic, bytes: Bytes) {
        let entry: [&[u8]; 5] = [b"XADD", topic.as_str().as_bytes(), b"*", b"\xff\n", &bytes];
        self.server.cli(&entry).await.expect("the entry is added");
    }

    async fn trim(&self, topic: &Topic) {
        let trim = ["XTRIM", topic.as_str(), "MAXLEN", "0"];
        self.server.cli(&trim).await.expect("the stream is trimmed");
    }
}

pub(crate) async fn redis() -> Target {
    let options = RedisOptions::default().persistence(Persistence::AofAlways);
    let server = RedisServer::start(options)
        .await
        .expect("a server to report on");
    let proxy = Proxy::start(server.addr())
        .await
        .expect("a proxy before it");
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let connect = move || {
        let url = url.clone();
        async move { potluck_redis::connect(&url) }
    };
    let nowhere = || async { potluck_redis::connect("redis://127.0.0.1:9?timeout=1s") };
    Target::new("redis", connect)
        .with_faults(Arc::new(Behind { server, proxy }))
        .with_nowhere(nowhere)
}
