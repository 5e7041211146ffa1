//! How does a test break the network between a client and a server?

mod link;
mod rules;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::{BrokerError, Result};
use link::Link;
use rules::{Mode, Rules, Way};

/// The most connections at one time; what comes on top is closed at once.
const CONNECTIONS_MAX: usize = 4096;
/// The pause after an accept that failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A TCP proxy on a free loopback port, which passes bytes to a server, or loses, delays or cuts
/// them.
///
/// Each of the methods that set a mode replaces the mode that was set before. It takes effect
/// before it returns: after that, no byte goes by the old rule, save for what the kernel already
/// holds for the reader. What the proxy has not yet read meets the rule that is in force when it
/// does. A connection counts as new until the proxy has accepted it ([`accepted`](Self::accepted)).
///
/// **A stream never has holes.** A connection that lost anything, if only the other side's
/// closing, is from the next change of mode on a black hole in both directions, for ever, as one
/// whose entry a router has forgotten: both peers believe that it is open, and nothing passes.
/// One that lost nothing goes on. Only [`cut`](Self::cut), [`refuse`](Self::refuse) and the two
/// that cut after a number of bytes still end it.
///
/// Where bytes are swallowed, so are the ends of connections: a server does not learn that its
/// client has closed or died, nor a client that of its server, until the connection is cut.
///
/// When the server cannot be reached, the client's connection is reset right after it was
/// accepted. Dropping the proxy closes everything.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    rules: Arc<Rules>,
    accepting: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Ends the connections too: their tasks belong to the accepting one.
        self.accepting.abort();
    }
}

impl Proxy {
    /// Starts a proxy to `target`, which need not listen yet, and passes everything.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Io`] when no port can be bound.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(BrokerError::io("bind a port for the proxy"))?;
        let addr = listener
            .local_addr()
            .map_err(BrokerError::io("read the proxy's port"))?;
        let target = Arc::new(Mutex::new(target));
        let rules = Arc::new(Rules::new());
        let accepting = tokio::spawn(accept(listener, target.clone(), rules.clone()));
        Ok(Self {
            addr,
            target,
            rules,
            accepting,
        })
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The port to which clients connect.
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// How many connections are open: accepted, and neither cut nor closed by the client. Where
    /// closings are swallowed, the server may still hold what is not counted here.
    pub fn connections(&self) -> usize {
        self.rules.open()
    }

    /// How many connections were ever accepted, refused ones included.
    pub fn accepted(&self) -> u64 {
        self.rules.accepted()
    }

    /// Leads new connections to another server, as a failover does. Existing ones stay.
    pub fn retarget(&self, target: SocketAddr) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Passes everything.
    pub fn pass(&self) {
        self.rules.set(Mode::Pass);
    }

    /// Resets every existing connection; new ones pass.
    pub fn cut(&self) {
        self.rules.cut();
    }

    /// Resets every existing connection, and new ones as soon as they are accepted.
    pub fn refuse(&self) {
        self.rules.set(Mode::Refuse);
    }

    /// Swallows everything in both directions. New connections are accepted, and swallowed for
    /// ever: they never reach the server.
    pub fn black_hole(&self) {
        self.rules.set(Mode::BlackHole);
    }

    /// Passes what clients send and swallows what the server answers.
    pub fn black_hole_replies(&self) {
        self.rules.set(Mode::BlackHoleReplies);
    }

    /// Makes each existing connection a black hole for ever, whatever is set later; new ones
    /// pass.
    pub fn freeze_existing(&self) {
        self.rules.freeze_existing();
    }

    /// Passes everything, `each_way` later than it arrived. What waits when another mode is set
    /// goes by that.
    pub fn latency(&self, each_way: Duration) {
        self.rules.set(Mode::Latency(each_way));
    }

    /// Passes the next `bytes` from clients to the server, counted over all connections, and
    /// then cuts every connection; new ones pass. The server receives exactly that many and
    /// then the end of its streams; the clients are reset. A server that has not read them
    /// and closed within 10 s is reset too.
    pub fn cut_after(&self, bytes: u64) {
        self.rules.set(Mode::CutAfter(Way::ToServer, bytes));
    }

    /// As [`cut_after`](Self::cut_after), but counts what the server sends to clients. The
    /// clients receive exactly that many bytes and then the end of their streams; the server's
    /// connections are reset.
    pub fn cut_replies_after(&self, bytes: u64) {
        self.rules.set(Mode::CutAfter(Way::ToClient, bytes));
    }
}

async fn accept(listener: TcpListener, target: Arc<Mutex<SocketAddr>>, rules: Arc<Rules>) {
    // Dropped with this task, and every connection with it.
    let mut links = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = links.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((client, _)) if links.len() < CONNECTIONS_MAX => {
                    let target = *target.lock().unwrap_or_else(PoisonError::into_inner);
                    links.spawn(Link::new(rules.clone()).run(client, target));
                }
                refused => pause_if_broken(refused).await,
            }
        }
    }
}

/// Drops a connection too many. An accept that failed would fail again at once.
async fn pause_if_broken(refused: io::Result<(TcpStream, SocketAddr)>) {
    if refused.is_err() {
        sleep(ACCEPT_PAUSE).await;
    }
}
