//! How do the bytes of one connection get from one side to the other?

use std::{collections::VecDeque, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::rules::{Id, Rules, Verdict, Way};

/// How much is read at once.
const READ_MAX: usize = 16 * 1024;
/// How much may wait for its time, or for a slow reader, in each direction.
const QUEUE_MAX: usize = 1024 * 1024;
/// How long the server may take to accept.
const DIAL_WAIT: Duration = Duration::from_secs(5);
/// How long a peer may take to read what it was promised, and to close in turn.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// One client's connection, and the server's to which it leads.
#[derive(Debug)]
pub(super) struct Link {
    rules: Arc<Rules>,
    id: Id,
}

/// Why a link is closed by force: by the rules, or because one side is gone.
#[derive(Debug)]
struct Closed;

impl Drop for Link {
    fn drop(&mut self) {
        self.rules.leave(&self.id);
    }
}

impl Link {
    pub(super) fn new(rules: Arc<Rules>) -> Self {
        let id = rules.accept();
        Self { rules, id }
    }

    /// Runs until both sides are done, or the rules end it.
    pub(super) async fn run(self, mut client: TcpStream, target: SocketAddr) {
        let mut changes = self.rules.changes();
        // Small writes must not wait for one another, or the proxy is itself a latency.
        let _ = client.set_nodelay(true);
        match self.rules.judge(&self.id, Way::ToServer) {
            Verdict::Cut => return reset(&client),
            Verdict::Swallow => return self.swallow(client, changes).await,
            Verdict::Deliver { .. } => {}
        }
        let server = tokio::select! {
            dialled = timeout(DIAL_WAIT, TcpStream::connect(target)) => dialled.ok(),
            Closed = self.cut(&mut changes) => return reset(&client),
        };
        let Some(Ok(mut server)) = server else {
            return match self.rules.judge(&self.id, Way::ToClient) {
                Verdict::Swallow => self.swallow(client, changes).await,
                _ => reset(&client),
            };
        };
        let _ = server.set_nodelay(true);
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let requests = Pump::new(&self, Way::ToServer, from_client, to_server);
        let replies = Pump::new(&self, Way::ToClient, from_server, to_client);
        if tokio::try_join!(requests.run(), replies.run()).is_ok() {
            return;
        }
        self.rules.leave(&self.id);
        // One side may be promised an exact number of bytes, which a reset could overtake.
        let (gone, kept) = if self.rules.is_gentle(&self.id, Way::ToServer) {
            (client, Some(server))
        } else if self.rules.is_gentle(&self.id, Way::ToClient) {
            (server, Some(client))
        } else {
            reset(&server);
            (client, None)
        };
        reset(&gone);
        drop(gone);
        if let Some(kept) = kept {
            close(kept).await;
        }
    }

    /// Reads and loses what the client sends: there is no server at the other end.
    async fn swallow(&self, client: TcpStream, mut changes: watch::Receiver<()>) {
        let mut buffer = vec![0; READ_MAX];
        let left = async {
            while client.readable().await.is_ok() {
                match client.try_read(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        };
        tokio::select! {
            () = left => {}
            Closed = self.cut(&mut changes) => reset(&client),
        }
    }

    /// Waits until the rules end this link.
    async fn cut(&self, changes: &mut watch::Receiver<()>) -> Closed {
        loop {
            changes.borrow_and_update();
            let verdict = self.rules.verdict(&self.id, Way::ToServer);
            if verdict == Verdict::Cut || changes.changed().await.is_err() {
                return Closed;
            }
        }
    }
}

/// Makes the coming close a reset, which the peer learns of as an error.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// Closes after all that was written has been read, as far as the peer reads at all.
///
/// The peer's last bytes are read and lost: a close with unread bytes would be a reset.
async fn close(mut stream: TcpStream) {
    let end = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    if !matches!(timeout(CLOSE_WAIT, end).await, Ok(Ok(_))) {
        reset(&stream);
    }
}

/// Bytes that arrived, and how many of them have gone on.
#[derive(Debug)]
struct Chunk {
    arrived: Instant,
    bytes: Vec<u8>,
    gone: usize,
}

/// One direction of a link.
#[derive(Debug)]
struct Pump<'a> {
    link: &'a Link,
    way: Way,
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    queue: VecDeque<Chunk>,
    queued: usize,
    /// When the source ended.
    ended: Option<Instant>,
    /// Whether the sink has failed and the source is not to know.
    sink_is_gone: bool,
}

/// What a pump waits for.
enum Next {
    /// More bytes, or another mode.
    More,
    /// The time at which something is due.
    Time(Instant),
    /// Room in the sink.
    Room,
    /// Nothing: all has been delivered, or lost.
    Nothing,
}

impl<'a> Pump<'a> {
    fn new(link: &'a Link, way: Way, from: ReadHalf<'a>, to: WriteHalf<'a>) -> Self {
        let queue = VecDeque::new();
        Self {
            link,
            way,
            from,
            to,
            queue,
            queued: 0,
            ended: None,
            sink_is_gone: false,
        }
    }

    async fn run(mut self) -> Result<(), Closed> {
        let mut changes = self.link.rules.changes();
        let mut buffer = vec![0; READ_MAX];
        loop {
            changes.borrow_and_update();
            let next = self.step().await?;
            let (time, room) = match next {
                Next::Nothing => return Ok(()),
                Next::More => (None, false),
                Next::Time(time) => (Some(time), false),
                Next::Room => (None, true),
            };
            let reads = self.ended.is_none() && self.queued < QUEUE_MAX;
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| Closed)?,
                ready = self.from.readable(), if reads => {
                    let read = ready.and_then(|()| self.from.try_read(&mut buffer));
                    self.take(read, &buffer)?;
                }
                // Not polled when there is no time to wait for.
                () = sleep_until(time.unwrap_or_else(Instant::now)), if time.is_some() => {}
                _ = self.to.writable(), if room => {}
            }
        }
    }

    /// Takes in what was read.
    fn take(&mut self, read: io::Result<usize>, buffer: &[u8]) -> Result<(), Closed> {
        let arrived = Instant::now();
        match read {
            Ok(0) => self.ended = Some(arrived),
            Ok(count) => {
                let bytes = buffer[..count].to_vec();
                self.queue.push_back(Chunk {
                    arrived,
                    bytes,
                    gone: 0,
                });
                self.queued += count;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => {
                // News of the source travels with its bytes.
                self.is_hidden(self.way)?;
                self.ended = Some(arrived);
            }
        }
        Ok(())
    }

    /// Does what can be done now.
    async fn step(&mut self) -> Result<Next, Closed> {
        loop {
            if self.queue.is_empty() && self.ended.is_none() {
                return match self.link.rules.verdict(&self.link.id, self.way) {
                    Verdict::Cut => Err(Closed),
                    _ => Ok(Next::More),
                };
            }
            let latency = match self.link.rules.judge(&self.link.id, self.way) {
                Verdict::Cut => return Err(Closed),
                Verdict::Deliver { latency, .. } if !self.sink_is_gone => latency,
                _ => return Ok(self.lose()),
            };
            let Some(chunk) = self.queue.front_mut() else {
                return self.end(latency).await;
            };
            let due = chunk.arrived + latency;
            if due > Instant::now() {
                return Ok(Next::Time(due));
            }
            let rest = &chunk.bytes[chunk.gone..];
            let to = &self.to;
            let written = self.link.rules.deliver(&self.link.id, self.way, |max| {
                to.try_write(&rest[..rest.len().min(max)])
            });
            match written {
                // The mode has changed in between.
                None => {}
                Some(Ok(count)) => {
                    chunk.gone += count;
                    self.queued -= count;
                    if chunk.gone == chunk.bytes.len() {
                        self.queue.pop_front();
                    }
                }
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Next::Room);
                }
                Some(Err(_)) => {
                    // News of the sink travels the other way.
                    self.is_hidden(match self.way {
                        Way::ToServer => Way::ToClient,
                        Way::ToClient => Way::ToServer,
                    })?;
                    self.sink_is_gone = true;
                }
            }
        }
    }

    /// The source has ended and all its bytes have gone on: passes on the end, when it is due.
    async fn end(&mut self, latency: Duration) -> Result<Next, Closed> {
        let due = self.ended.unwrap_or_else(Instant::now) + latency;
        if due > Instant::now() {
            return Ok(Next::Time(due));
        }
        self.to.shutdown().await.map_err(|_| Closed)?;
        Ok(Next::Nothing)
    }

    /// Loses what is at hand. The other side never hears of an end that is lost.
    fn lose(&mut self) -> Next {
        self.queue.clear();
        self.queued = 0;
        if self.ended.is_none() {
            return Next::More;
        }
        if self.way == Way::ToServer {
            self.link.rules.leave(&self.link.id);
        }
        Next::Nothing
    }

    /// A side has failed. Ends the link, unless the news would have to travel where everything
    /// is lost.
    fn is_hidden(&self, way: Way) -> Result<(), Closed> {
        match self.link.rules.judge(&self.link.id, way) {
            Verdict::Swallow => Ok(()),
            Verdict::Deliver { .. } | Verdict::Cut => Err(Closed),
        }
    }
}
