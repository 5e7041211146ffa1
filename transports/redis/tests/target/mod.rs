//! A real server behind a proxy as the suite's target: for the transport's test, and for the
//! documents of the suite.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use potluck_brokers::proxy::Proxy;
use potluck_brokers::redis::{Persistence, RedisOptions, RedisServer};
use potluck_conformance::{Faults, Hook, Target};
use potluck_core::Topic;

/// A server and the way to it.
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

/// A target of its own, with what can be broken. It ends with the runtime that it is made in.
pub(crate) async fn target() -> potluck_brokers::Result<Target> {
    let options = RedisOptions::default().persistence(Persistence::AofAlways);
    let server = RedisServer::start(options).await?;
    let proxy = Proxy::start(server.addr()).await?;
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let connect = move || {
        let url = url.clone();
        async move { potluck_redis::connect(&url) }
    };
    // Nobody listens on the port that is reserved for that.
    let nowhere = || async { potluck_redis::connect("redis://127.0.0.1:9?timeout=1s") };
    Ok(Target::new("redis", connect)
        .with_faults(Arc::new(Behind { server, proxy }))
        .with_nowhere(nowhere))
}
