//! How does a test own a real Redis server?

use std::{
    ffi::OsString,
    fmt::Write,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::timeout;

use crate::{
    BrokerError, Result, port,
    process::{self, Process},
    resp::{Connection, Reply},
    wait::Looks,
};

const PROGRAM: &str = "redis-server";
const HOW_TO_INSTALL: &str = "redis-server (Debian, Ubuntu: apt-get install redis-server)";
/// What this crate writes into every configuration, and a test must not.
const OURS: [&str; 6] = ["bind", "daemonize", "dir", "logfile", "port", "requirepass"];
/// How often a start is tried when another process took the port first.
const PORTS_MAX: usize = 5;
/// How long a start may take, reading its data included.
const START_WAIT: Duration = Duration::from_secs(20);
/// How long the port of an ended server may stay taken.
const PORT_WAIT: Duration = Duration::from_secs(20);
/// How long a graceful end may take. The server itself waits up to 10 s for its replicas.
const STOP_WAIT: Duration = Duration::from_secs(20);
/// How long one look at a server that may not be ready waits for its answer.
const LOOK_WAIT: Duration = Duration::from_secs(1);
/// How long [`RedisServer::cli`] waits for a reply.
const CLI_WAIT: Duration = Duration::from_secs(10);

/// What a server keeps of what it acknowledged. None of them writes RDB snapshots by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing outlives the process.
    #[default]
    None,
    /// An append-only file, synced once a second.
    AofEverysec,
    /// An append-only file, synced before each reply.
    AofAlways,
}

/// How a server is to be started.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    persistence: Persistence,
    password: Option<String>,
    config: Vec<String>,
    program: OsString,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            persistence: Persistence::None,
            password: None,
            config: Vec::new(),
            program: PROGRAM.into(),
        }
    }
}

impl RedisOptions {
    /// Sets what outlives the process; by default, nothing.
    #[must_use]
    pub fn persistence(mut self, persistence: Persistence) -> Self {
        self.persistence = persistence;
        self
    }

    /// Sets the default user's password, of any characters, also towards a primary.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Adds a line of `redis.conf`, such as `maxmemory 100kb` or `replicaof 127.0.0.1 6379`.
    /// Later lines win.
    #[must_use]
    pub fn config(mut self, line: impl Into<String>) -> Self {
        self.config.push(line.into());
        self
    }

    /// Sets the program, by its path or its name; by default `redis-server` on the search path.
    #[must_use]
    pub fn program(mut self, program: impl Into<OsString>) -> Self {
        self.program = program.into();
        self
    }

    fn check(&self) -> Result<()> {
        for line in &self.config {
            let word = line.split_whitespace().next().unwrap_or_default();
            if OURS.iter().any(|ours| ours.eq_ignore_ascii_case(word)) {
                return Err(BrokerError::Options(format!(
                    "`{word}` is set by RedisServer itself (a password by RedisOptions::password)"
                )));
            }
        }
        Ok(())
    }

    fn redis_conf(&self, dir: &Path, port: u16) -> String {
        let (append, sync) = match self.persistence {
            Persistence::None => ("no", "everysec"),
            Persistence::AofEverysec => ("yes", "everysec"),
            Persistence::AofAlways => ("yes", "always"),
        };
        let mut conf = format!(
            "bind 127.0.0.1\nport {port}\ndir {}\ndaemonize no\nsave \"\"\n\
             appendonly {append}\nappendfsync {sync}\n",
            quoted(dir.as_os_str().as_encoded_bytes()),
        );
        // Otherwise a replica's first copy waits five seconds for other replicas.
        conf.push_str("repl-diskless-sync-delay 0\n");
        if let Some(password) = &self.password {
            let password = quoted(password.as_bytes());
            let _ = write!(conf, "requirepass {password}\nmasterauth {password}\n");
        }
        for line in &self.config {
            let _ = writeln!(conf, "{line}");
        }
        conf
    }
}

/// A `redis-server` of its own, on a loopback port, in a temporary folder.
///
/// Dropping it kills the server, waits for its end and removes the folder. So a test that returns
/// or panics leaves nothing behind. When the test's process itself is killed, nothing is dropped:
/// then a guard, a shell that waits for its pipe from the test's process to close, kills the
/// server's process group, frozen or not. Only the folder stays.
#[derive(Debug)]
pub struct RedisServer {
    // Before `dir`: fields are dropped in order, and the server must end before its folder.
    process: Mutex<Option<Arc<Process>>>,
    dir: TempDir,
    port: u16,
    options: RedisOptions,
    program: PathBuf,
}

/// Whether `redis-server` is on the search path.
pub fn is_available() -> bool {
    process::find(PROGRAM.as_ref()).is_some()
}

impl RedisServer {
    /// Starts a server on a free port and waits until it answers `PING`.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Missing`] when the program is not installed, [`BrokerError::Options`] for
    /// a line that this crate writes itself, and [`BrokerError::Failed`], with the last lines of
    /// the server's output, when it ends or is not ready within 20 s.
    pub async fn start(options: RedisOptions) -> Result<Self> {
        Self::start_on(options, port::free).await
    }

    /// [`start`](Self::start), on the first port of `ports` that the server can have.
    async fn start_on(
        options: RedisOptions,
        mut ports: impl FnMut() -> Result<u16>,
    ) -> Result<Self> {
        options.check()?;
        let program = process::find(&options.program).ok_or_else(|| BrokerError::Missing {
            program: options.program.display().to_string(),
            how_to_install: HOW_TO_INSTALL,
        })?;
        let dir = tempfile::Builder::new().prefix("potluck-redis-").tempdir();
        let dir = dir.map_err(BrokerError::io("create a temporary folder"))?;
        let mut server = Self {
            process: Mutex::new(None),
            dir,
            port: 0,
            options,
            program,
        };
        let mut tries_left = PORTS_MAX;
        loop {
            server.port = ports()?;
            tries_left -= 1;
            match server.launch().await {
                Err(error) if tries_left > 0 && is_port_taken(&error) => {}
                started => return started.map(|()| server),
            }
        }
    }

    /// Starts the server again after [`kill`](Self::kill), [`stop`](Self::stop) or a crash, on
    /// the same port and in the same folder, and waits until it answers `PING`. While another
    /// process has the port it is tried again, for 20 s.
    ///
    /// # Errors
    ///
    /// [`BrokerError::State`] when the server runs: how it ends is the test's to say. Else those
    /// of [`start`](Self::start).
    pub async fn restart(&self) -> Result<()> {
        if let Some(process) = self.process()
            && process.exited()?.is_none()
        {
            return Err(self.state("running", "start again"));
        }
        let mut looks = Looks::until(PORT_WAIT);
        loop {
            match self.launch().await {
                Err(error) if is_port_taken(&error) && looks.again().await => {}
                started => return started,
            }
        }
    }

    async fn launch(&self) -> Result<()> {
        let conf = self.dir().join("redis.conf");
        let text = self.options.redis_conf(self.dir(), self.port);
        fs::write(&conf, text).map_err(BrokerError::io(format!("write {}", conf.display())))?;
        let log = self.dir().join("redis.log");
        let process = Arc::new(Process::spawn(&self.program, &[conf], &log)?);
        *self.slot() = Some(process);
        let ready = self.wait_ready(START_WAIT).await;
        if ready.is_err() {
            *self.slot() = None;
        }
        ready
    }

    /// Waits until the server answers `PING`, as after [`thaw`](Self::thaw).
    ///
    /// # Errors
    ///
    /// [`BrokerError::Failed`] when it ends or does not answer within `deadline`,
    /// [`BrokerError::State`] when it was not running to begin with.
    pub async fn wait_ready(&self, deadline: Duration) -> Result<()> {
        let process = self.running("become ready")?;
        let password = self.options.password.as_deref();
        let pid = process.pid();
        let mut looks = Looks::until(deadline);
        loop {
            process.check_runs()?;
            let patience = LOOK_WAIT.min(looks.left());
            let answer = match timeout(patience, look(self.addr(), password, pid)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer in {patience:?}"),
            };
            if !looks.again().await {
                let reason = format!("not ready within {deadline:?} (at last: {answer})");
                return Err(process.failed(reason));
            }
        }
    }

    /// Where clients connect: `redis://127.0.0.1:PORT`, with the password if there is one.
    pub fn url(&self) -> String {
        match &self.options.password {
            Some(password) => format!("redis://:{}@{}", percent_encoded(password), self.addr()),
            None => format!("redis://{}", self.addr()),
        }
    }

    /// Where the server listens; what a [`Proxy`](crate::proxy::Proxy) is given as its target.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The server's port, the same after each [`restart`](Self::restart).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process().map(|process| process.pid())
    }

    /// The server's folder: its data, `redis.conf` and `redis.log`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Ends the server by SIGKILL and waits until it is gone. An ended one stays ended.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Timeout`] when it is not gone within 10 s.
    pub async fn kill(&self) -> Result<()> {
        if let Some(process) = self.process() {
            process.kill().await?;
        }
        *self.slot() = None;
        Ok(())
    }

    /// Ends the server by SIGTERM, on which it finishes what it writes, and waits until it is
    /// gone. A frozen one is thawed for it, an ended one stays ended.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Timeout`] when it is not gone within 20 s.
    pub async fn stop(&self) -> Result<()> {
        if let Some(process) = self.process() {
            process.terminate(STOP_WAIT).await?;
        }
        *self.slot() = None;
        Ok(())
    }

    /// Stops the server's process where it stands (SIGSTOP) and waits until it has stopped. Its
    /// connections stay open, and the kernel goes on accepting new ones for it.
    ///
    /// # Errors
    ///
    /// [`BrokerError::State`] when the server was ended, [`BrokerError::Failed`] when it died.
    pub async fn freeze(&self) -> Result<()> {
        self.running("freeze")?.freeze().await
    }

    /// Lets a frozen server run on (SIGCONT); it then reads what was sent meanwhile.
    ///
    /// # Errors
    ///
    /// [`BrokerError::State`] when the server was ended, [`BrokerError::Failed`] when it died.
    pub fn thaw(&self) -> Result<()> {
        self.running("thaw")?.thaw()
    }

    /// Runs one command on a connection of its own, as `redis-cli` does.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Replied`] when the server answers with an error,
    /// [`BrokerError::Timeout`] when it does not answer within 10 s.
    pub async fn cli<A: AsRef<[u8]>>(&self, args: &[A]) -> Result<Reply> {
        let password = self.options.password.as_deref();
        let ask = async {
            Connection::open(self.addr(), password)
                .await?
                .command(args)
                .await
        };
        timeout(CLI_WAIT, ask).await.unwrap_or_else(|_| {
            Err(BrokerError::Timeout {
                what: "a reply".to_owned(),
                after: CLI_WAIT,
            })
        })
    }

    fn running(&self, cannot: &'static str) -> Result<Arc<Process>> {
        self.process()
            .ok_or_else(|| self.state("not running", cannot))
    }

    fn process(&self) -> Option<Arc<Process>> {
        self.slot().clone()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Process>>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self, is: &'static str, cannot: &'static str) -> BrokerError {
        BrokerError::State {
            port: self.port,
            is,
            cannot,
        }
    }
}

/// Whether the server that answers is the one with this process id, and is ready. Another one
/// answers where it took the port first and ours is about to find out.
async fn look(addr: SocketAddr, password: Option<&str>, pid: u32) -> Result<()> {
    let mut connection = Connection::open(addr, password).await?;
    let info = connection
        .command(&["INFO", "server"])
        .await?
        .text()
        .unwrap_or_default();
    if !info.lines().any(|line| line == format!("process_id:{pid}")) {
        return Err(BrokerError::Reply("another server's".to_owned()));
    }
    // An error while the server loads its data.
    connection.command(&["PING"]).await.map(|_| ())
}

fn is_port_taken(error: &BrokerError) -> bool {
    matches!(error, BrokerError::Failed { log, .. } if log.contains("Address already in use"))
}

/// A quoted word of `redis.conf`.
fn quoted(bytes: &[u8]) -> String {
    let mut word = String::from('"');
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(byte) {
            word.push(char::from(*byte));
        } else {
            let _ = write!(word, "\\x{byte:02x}");
        }
    }
    word.push('"');
    word
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip::or_skip;

    #[tokio::test]
    async fn a_taken_port_is_left_for_another() {
        let first = RedisServer::start(RedisOptions::default()).await;
        let Some(first) = or_skip(first).unwrap() else {
            return;
        };
        // A Redis that answers PING has the first port: the start must not take it for its own.
        let mut ports = vec![port::free().unwrap(), first.port()];
        let second = RedisServer::start_on(RedisOptions::default(), || Ok(ports.pop().unwrap()));
        let second = second.await.unwrap();
        assert_ne!(second.port(), first.port());
        second.cli(&["SET", "of", "second"]).await.unwrap();
        assert_eq!(first.cli(&["DBSIZE"]).await.unwrap(), Reply::Int(0));
    }

    #[tokio::test]
    async fn a_start_gives_up_when_every_port_is_taken() {
        let first = RedisServer::start(RedisOptions::default()).await;
        let Some(first) = or_skip(first).unwrap() else {
            return;
        };
        let mut tries = 0;
        let second = RedisServer::start_on(RedisOptions::default(), || {
            tries += 1;
            Ok(first.port())
        });
        let error = second.await.unwrap_err();
        assert!(is_port_taken(&error), "{error}");
        assert_eq!(tries, PORTS_MAX);
    }

    #[test]
    fn words_are_quoted_and_encoded() {
        assert_eq!(
            quoted("/a b\"\\ü".as_bytes()),
            r#""/a\x20b\x22\x5c\xc3\xbc""#
        );
        assert_eq!(percent_encoded("a:b/c@d%"), "a%3Ab%2Fc%40d%25");
    }
}
