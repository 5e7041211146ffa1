//! How does the suite hold a Redis server?

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use potluck_brokers::redis::{RedisOptions, RedisServer};
use potluck_core::{Topic, Transport};
use potluck_faults::Result;
use potluck_faults::runtime::{Foreign, Target};
use potluck_faults::scene::Server;

/// A server of the case's own.
#[derive(Debug)]
pub(crate) struct Redis(pub(crate) RedisServer);

impl Redis {
    pub(crate) async fn start() -> Result<Self> {
        Self::start_with(RedisOptions::default()).await
    }

    pub(crate) async fn start_with(options: RedisOptions) -> Result<Self> {
        Ok(Self(RedisServer::start(options).await?))
    }

    /// Runs a command, such as `DEL topic`, whose answer does not matter.
    pub(crate) async fn tell(&self, command: &str) -> Result {
        let words: Vec<_> = command.split(' ').collect();
        self.0.cli(&words).await?;
        Ok(())
    }
}

#[async_trait]
impl Server for Redis {
    fn addr(&self) -> SocketAddr {
        self.0.addr()
    }

    fn url(&self, at: SocketAddr, options: &str) -> String {
        if options.is_empty() {
            format!("redis://{at}")
        } else {
            format!("redis://{at}?{options}")
        }
    }

    fn connect(&self, at: SocketAddr, options: &str) -> Result<Arc<dyn Transport>> {
        Ok(potluck_redis::connect(&self.url(at, options))?)
    }

    async fn kill(&self) -> Result {
        Ok(self.0.kill().await?)
    }

    async fn restart(&self) -> Result {
        Ok(self.0.restart().await?)
    }

    async fn end_connections(&self) -> Result {
        self.tell("CLIENT KILL TYPE normal").await
    }

    async fn freeze(&self) -> Result {
        Ok(self.0.freeze().await?)
    }

    fn thaw(&self) -> Result {
        Ok(self.0.thaw()?)
    }
}

#[async_trait]
impl Target for Redis {
    async fn refuse_copies(&self, refuse: bool) -> Result {
        let most = if refuse { "100kb" } else { "0" };
        self.tell(&format!("CONFIG SET maxmemory {most}")).await
    }

    async fn put(&self, topic: &Topic, record: &Foreign) -> Result<String> {
        let mut xadd: Vec<Vec<u8>> = vec![b"XADD".into(), topic.as_str().into(), b"*".into()];
        if let Some(body) = &record.body {
            xadd.extend([b"data".into(), body.clone()]);
        }
        if let Some(key) = &record.key {
            xadd.extend([b"key".into(), key.clone()]);
        }
        for (name, value) in &record.headers {
            xadd.extend([[b"h:", &name[..]].concat(), value.clone()]);
        }
        if xadd.len() == 3 {
            xadd.extend([b"something".into(), b"else".into()]);
        }
        let id = self.0.cli(&xadd).await?;
        Ok(id.text().ok_or("XADD answers with an id")?)
    }
}
