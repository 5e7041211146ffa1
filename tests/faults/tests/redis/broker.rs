//! How does the suite hold a Redis server?

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use potluck_brokers::redis::{RedisOptions, RedisServer};
use potluck_core::Transport;
use potluck_faults::Result;
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
