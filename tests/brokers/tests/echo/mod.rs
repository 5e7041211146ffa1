//! What do the two sides of the proxy see?

#![allow(clippy::expect_used, reason = "what helps a test may fail it")]

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use potluck_brokers::{Result, wait};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

/// By when everything that is to happen has happened.
pub(crate) const SOON: Duration = Duration::from_secs(5);
/// How long nothing must happen where nothing is to happen.
pub(crate) const QUIET: Duration = Duration::from_millis(150);

/// How a connection ended for the side that read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Reset,
}

/// A server that sends back what it receives, and counts.
#[derive(Debug)]
pub(crate) struct Echo {
    pub(crate) addr: SocketAddr,
    seen: Arc<Seen>,
    reading: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    received: AtomicU64,
    accepted: AtomicUsize,
    ends: Mutex<Vec<End>>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Echo {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let seen = Arc::new(Seen::default());
        let (reading, _) = watch::channel(true);
        let serving = tokio::spawn(serve(listener, seen.clone(), reading.clone()));
        Self {
            addr,
            seen,
            reading,
            serving,
        }
    }

    /// Stops reading, as a busy or stopped server does.
    pub(crate) fn stall(&self) {
        self.reading.send_replace(false);
    }

    /// Reads on.
    pub(crate) fn resume(&self) {
        self.reading.send_replace(true);
    }

    pub(crate) fn received(&self) -> u64 {
        self.seen.received.load(Ordering::SeqCst)
    }

    pub(crate) fn accepted(&self) -> usize {
        self.seen.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn ends(&self) -> Vec<End> {
        self.seen.ends.lock().expect("no panic").clone()
    }

    pub(crate) async fn has_received(&self, bytes: u64) -> Result<()> {
        wait::until(SOON, "the bytes", async || self.received() >= bytes).await?;
        assert_eq!(self.received(), bytes);
        Ok(())
    }

    pub(crate) async fn has_seen(&self, ends: &[End]) -> Result<()> {
        wait::until(SOON, "the ends", async || self.ends().len() >= ends.len()).await?;
        assert_eq!(self.ends(), ends);
        Ok(())
    }
}

async fn serve(listener: TcpListener, seen: Arc<Seen>, reading: watch::Sender<bool>) {
    let mut clients = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        seen.accepted.fetch_add(1, Ordering::SeqCst);
        clients.spawn(answer(client, seen.clone(), reading.subscribe()));
    }
}

async fn answer(mut client: TcpStream, seen: Arc<Seen>, mut reading: watch::Receiver<bool>) {
    let mut buffer = vec![0; 8192];
    let end = loop {
        if reading.wait_for(|reading| *reading).await.is_err() {
            return;
        }
        match client.read(&mut buffer).await {
            Ok(0) => break End::Closed,
            Err(_) => break End::Reset,
            Ok(count) => {
                seen.received.fetch_add(count as u64, Ordering::SeqCst);
                // A client that is gone is noticed by the next read.
                let _ = client.write_all(&buffer[..count]).await;
            }
        }
    };
    seen.ends.lock().expect("no panic").push(end);
}

/// A client of the echo server, by way of a proxy.
#[derive(Debug)]
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = timeout(SOON, TcpStream::connect(addr))
            .await
            .expect("in time");
        let stream = stream.expect("a connection");
        stream.set_nodelay(true).expect("nodelay");
        Self(stream)
    }

    /// Sends `count` bytes, of which each differs from its neighbours.
    pub(crate) async fn send(&mut self, count: usize) {
        let sent = timeout(SOON, self.0.write_all(&pattern(count))).await;
        sent.expect("in time").expect("a connection that is open");
    }

    /// Receives exactly what [`send`](Self::send) sent.
    pub(crate) async fn receive(&mut self, count: usize) {
        let mut bytes = vec![0; count];
        let read = timeout(SOON, self.0.read_exact(&mut bytes)).await;
        read.expect("in time").expect("all bytes");
        assert!(bytes == pattern(count), "other bytes than were sent");
    }

    /// Sends, and receives the same again.
    pub(crate) async fn echo(&mut self, count: usize) {
        self.send(count).await;
        self.receive(count).await;
    }

    /// Receives nothing, and no end either.
    pub(crate) async fn hears_nothing(&mut self) {
        let heard = timeout(QUIET, self.0.read(&mut [0; 64])).await;
        assert!(heard.is_err(), "{heard:?}");
    }

    /// Reads to the end: how many bytes came, and how it ended.
    pub(crate) async fn rest(&mut self) -> (u64, End) {
        let (mut count, mut buffer) = (0, vec![0; 8192]);
        loop {
            match timeout(SOON, self.0.read(&mut buffer))
                .await
                .expect("an end in time")
            {
                Ok(0) => return (count, End::Closed),
                Ok(read) => count += read as u64,
                Err(_) => return (count, End::Reset),
            }
        }
    }
}

fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}
