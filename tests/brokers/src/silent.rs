//! Where does a client connect that must never get an answer?

use std::net::{Ipv4Addr, SocketAddr};

use crate::{Result, proxy::Proxy};

/// A server that accepts TCP connections, swallows what they send, and never answers.
///
/// It ends when dropped.
#[derive(Debug)]
pub struct SilentServer {
    // A proxy that was a black hole before its first connection never dials its target.
    hole: Proxy,
}

impl SilentServer {
    /// Starts on a free loopback port.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Io`](crate::BrokerError::Io) when no port can be bound.
    pub async fn start() -> Result<Self> {
        let hole = Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        hole.black_hole();
        Ok(Self { hole })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.hole.addr()
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.hole.port()
    }

    /// How many connections are open: accepted, and not closed by the client.
    pub fn connections(&self) -> usize {
        self.hole.connections()
    }

    /// How many connections were ever accepted.
    pub fn accepted(&self) -> u64 {
        self.hole.accepted()
    }
}
