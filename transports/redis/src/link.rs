//! One connection that is always being kept: dialled, watched, dialled again.
//!
//! The client's own manager does not reconnect on time-outs or on READONLY, retries inside a call
//! and so outlives the caller's deadline. Here a task dials for ever; callers take what is live,
//! or wait for it within their own deadline, and report what went wrong.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use potluck_core::backoff::Backoff;
use potluck_core::state::StateCell;
use potluck_core::stats::Counters;
use potluck_core::{Error, ErrorKind, Result, State};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionInfo, Pipeline, Value};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::{self, Failure, Remedy};

/// How long a dial may take, handshake included.
const DIAL_MAX: Duration = Duration::from_secs(3);
/// How long a command may go unanswered before the connection is taken for dead.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How often a connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest pause between the first two dials.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// How long a connection must live for the next loss to count as the first.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Link {
    status: Arc<watch::Sender<Status>>,
    task: tokio::task::AbortHandle,
}

#[derive(Clone)]
enum Status {
    Up(Live),
    Down(Option<Error>),
    /// The server refuses our credentials or our database, and waiting will hardly change that.
    /// Dialling goes on all the same: it may be granted.
    Denied(Error),
    /// Closed for good.
    Closed,
}

impl std::fmt::Debug for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Up(_) => "Up",
            Self::Down(_) => "Down",
            Self::Denied(_) => "Denied",
            Self::Closed => "Closed",
        })
    }
}

/// A connection that answered when it was dialled, and its generation.
#[derive(Clone)]
pub(crate) struct Live {
    connection: MultiplexedConnection,
    pub(crate) generation: u64,
    /// The youngest generation that somebody has given up.
    suspected: Arc<watch::Sender<u64>>,
}

/// What a link tells of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reports {
    pub(crate) state: Option<Arc<StateCell>>,
    pub(crate) counters: Option<Arc<Counters>>,
}

impl Link {
    /// Starts dialling. Must run inside a tokio runtime.
    pub(crate) fn dial(info: &ConnectionInfo, shown: &str, reports: Reports) -> Result<Self> {
        let client = Client::open(info.clone()).map_err(|e| error::client("connect", e).error)?;
        let status = Arc::new(watch::Sender::new(Status::Down(None)));
        let suspected = Arc::new(watch::Sender::new(0));
        let keeper = Keeper {
            client,
            shown: shown.to_owned(),
            status: status.clone(),
            suspected,
            reports,
        };
        let task = tokio::spawn(keeper.keep()).abort_handle();
        Ok(Self { status, task })
    }

    /// The connection, at once when there is one, else as soon as there is one.
    pub(crate) async fn live(&self, operation: &'static str, deadline: Instant) -> Result<Live> {
        if let Status::Up(live) = &*self.status.borrow()
            && live.is_trusted()
        {
            return Ok(live.clone());
        }
        let mut status = self.status.subscribe();
        let decided = |status: &Status| match status {
            Status::Up(live) => live.is_trusted(),
            Status::Down(_) => false,
            Status::Denied(_) | Status::Closed => true,
        };
        // The sender is ours, so waiting cannot fail while we are borrowed.
        let settled = match timeout_at(deadline, status.wait_for(decided)).await {
            Ok(Ok(settled)) => settled.clone(),
            Ok(Err(_)) | Err(_) => self.status.borrow().clone(),
        };
        match settled {
            Status::Up(live) if live.is_trusted() => Ok(live),
            Status::Denied(error) => Err(error),
            Status::Closed => {
                let say = "the connection was closed";
                Err(Error::new(ErrorKind::Closed, operation, say))
            }
            Status::Down(Some(cause)) => {
                Err(unreachable(operation).with("last", &cause).caused_by(cause))
            }
            Status::Up(_) | Status::Down(None) => Err(unreachable(operation)),
        }
    }
}

impl Link {
    /// Waits until there is a younger connection than this, or until there will hardly be one.
    pub(crate) async fn younger_than(&self, generation: u64) {
        let mut status = self.status.subscribe();
        let is_decided = |status: &Status| match status {
            Status::Up(live) => live.generation > generation,
            Status::Down(_) => false,
            Status::Denied(_) | Status::Closed => true,
        };
        // The sender is ours, so waiting cannot fail while we are borrowed.
        let _ = status.wait_for(is_decided).await;
    }

    /// Ends the connection, as soon as what is under way on it has ended. Whoever waits for it is
    /// told that it is closed.
    pub(crate) fn close(&self) {
        self.task.abort();
        self.status.send_replace(Status::Closed);
    }
}

fn unreachable(operation: &'static str) -> Error {
    let say = "no connection to the server in time; dialling goes on";
    Error::new(ErrorKind::Unavailable, operation, say)
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Live {
    /// Sends one command and waits at most `patience` for its answer. A connection that does not
    /// answer, or that an answer shows to be useless, is given up.
    pub(crate) async fn command(
        &self,
        operation: &'static str,
        command: &Cmd,
        patience: Duration,
    ) -> Result<Value, Failure> {
        let mut connection = self.connection.clone();
        let request = request(operation, connection.send_packed_command(command));
        let value = match timeout(patience, request).await {
            Ok(Ok(value)) => error::reply(operation, value),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(error::timed_out(operation)),
        };
        value.inspect_err(|failure| self.note(failure))
    }

    /// Sends commands in one round trip. Errors of single commands are among the answers.
    pub(crate) async fn pipeline(
        &self,
        operation: &'static str,
        pipeline: &Pipeline,
        patience: Duration,
    ) -> Result<Vec<Value>, Failure> {
        match timeout(patience, self.send(operation, pipeline)).await {
            Ok(answers) => answers,
            Err(_) => {
                let failure = error::timed_out(operation);
                self.note(&failure);
                Err(failure)
            }
        }
    }

    /// The same without a limit, for callers that keep their own. An atomic pipeline gives one
    /// answer, the array of `EXEC`.
    pub(crate) async fn send(
        &self,
        operation: &'static str,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>, Failure> {
        let mut connection = self.connection.clone();
        let count = pipeline.len();
        let (skip, expect) = if pipeline.is_transaction() {
            (count + 1, 1)
        } else {
            (0, count)
        };
        request(
            operation,
            connection.send_packed_commands(pipeline, skip, expect),
        )
        .await
        .inspect_err(|failure| self.note(failure))
    }

    fn is_trusted(&self) -> bool {
        self.generation > *self.suspected.borrow()
    }

    /// Gives the connection up, when the failure asks for it.
    pub(crate) fn note(&self, failure: &Failure) {
        if failure.remedy == Remedy::Redial {
            self.suspect();
        }
    }

    /// Gives the connection up: new calls get another one, those under way may still be answered.
    pub(crate) fn suspect(&self) {
        self.suspected.send_if_modified(|youngest| {
            let newer = self.generation > *youngest;
            *youngest = self.generation.max(*youngest);
            newer
        });
    }
}

/// Waits for an answer. A request that fails at its first poll was never written: the connection
/// had ended before, and nobody had noticed yet.
async fn request<T>(
    operation: &'static str,
    request: impl Future<Output = redis::RedisResult<T>>,
) -> Result<T, Failure> {
    let mut request = std::pin::pin!(request);
    let mut first = true;
    std::future::poll_fn(|context| {
        let unsent = std::mem::take(&mut first);
        request.as_mut().poll(context).map_err(|cause| {
            let mut failure = error::client(operation, cause);
            failure.certain |= unsent;
            failure
        })
    })
    .await
}

/// When a wait ends. One that is too long to be told ends in a year.
pub(crate) fn deadline(wait: Duration) -> Instant {
    Instant::now() + wait.min(Duration::from_secs(365 * 86_400))
}

/// The task that dials.
struct Keeper {
    client: Client,
    shown: String,
    status: Arc<watch::Sender<Status>>,
    suspected: Arc<watch::Sender<u64>>,
    reports: Reports,
}

impl Keeper {
    async fn keep(self) {
        let mut backoff = Backoff::dialling();
        let mut away_since = Instant::now();
        let mut generation = 0;
        loop {
            match self.dial().await {
                Ok(connection) => {
                    generation += 1;
                    if generation > 1 {
                        tracing::info!(broker = %self.shown, generation, "connected again");
                        if let Some(counters) = &self.reports.counters {
                            counters.reconnects.add(1);
                        }
                    }
                    let live = Live {
                        connection,
                        generation,
                        suspected: self.suspected.clone(),
                    };
                    self.tell(Status::Up(live.clone()), State::Ready);
                    let since = Instant::now();
                    self.watch(&live).await;
                    tracing::warn!(broker = %self.shown, generation, "connection lost, dialling again");
                    self.tell(Status::Down(None), State::Connecting);
                    if since.elapsed() >= HEALTHY_AFTER {
                        backoff.reset();
                        away_since = Instant::now();
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Config) => {
                    tracing::error!(broker = %self.shown, %error, "the server refuses us");
                    self.tell(Status::Denied(error), State::Connecting);
                }
                Err(error) => {
                    tracing::debug!(broker = %self.shown, %error, "dialling failed");
                    self.tell(Status::Down(Some(error)), State::Connecting);
                }
            }
            // No pause adds more than half to the time that the server was away anyway.
            let most = (away_since.elapsed() / 2).max(PAUSE_MIN);
            tokio::time::sleep(backoff.pause().min(most)).await;
        }
    }

    /// Waits until somebody gives the connection up, and looks at it himself once a second: a
    /// peer that vanished says nothing, and neither does a quiet line.
    async fn watch(&self, live: &Live) {
        let mut suspected = self.suspected.subscribe();
        loop {
            let given_up = suspected.wait_for(|youngest| *youngest >= live.generation);
            if timeout(LOOK_EVERY, given_up).await.is_ok() {
                return;
            }
            // A failure gives the connection up by itself.
            let _ = live.command("ping", &redis::cmd("PING"), ANSWER_MAX).await;
        }
    }

    /// A connection that has answered a PING: one that only accepts is worth nothing, and neither
    /// is one to a server that is loading.
    async fn dial(&self) -> Result<MultiplexedConnection> {
        // Every time-out is ours: the client's default of 500 ms would cut a blocked read, and
        // lose what the server hands to it.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let dial = async {
            let mut connection = self
                .client
                .get_multiplexed_async_connection_with_config(&config)
                .await?;
            let pong = connection.send_packed_command(&redis::cmd("PING")).await?;
            Ok((connection, pong))
        };
        match timeout(DIAL_MAX, dial).await {
            Ok(Ok((connection, pong))) => {
                error::reply("connect", pong).map_err(|failure| failure.error)?;
                Ok(connection)
            }
            Ok(Err(cause)) => Err(error::client("connect", cause).error),
            Err(_) => Err(error::timed_out("connect").error),
        }
    }

    fn tell(&self, status: Status, state: State) {
        self.status.send_if_modified(|now| {
            let changes = !matches!(now, Status::Closed);
            if changes {
                *now = status;
            }
            changes
        });
        if let Some(cell) = &self.reports.state {
            cell.set(state);
        }
    }
}
