//! How does a server's process start, and how is it sure to end?

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};

use crate::{BrokerError, Result, wait::Looks};

/// How many lines of a server's output an error shows.
const LOG_LINES: usize = 20;
/// How much of a server's output is read back, counted from its end.
const LOG_BYTES_MAX: u64 = 64 * 1024;
/// How long the kernel may take to stop a process, or to end one.
const KERNEL_WAIT: Duration = Duration::from_secs(10);

/// Waits for the end of its input, which is a pipe from the test's process, and then kills its
/// own process group: the server, the server's children, itself.
///
/// The kernel closes the pipe however the test's process ends. It also sends SIGHUP to a group
/// that loses its parent while a member is stopped, as a frozen server is: hence the trap.
const GUARD: &str = "trap '' HUP INT TERM; read -r _; kill -9 0";

/// A server's process, in a process group that dies when this value is dropped, and also when
/// the test's own process dies without dropping anything.
///
/// The guard leads the group, so the server is guarded from its first instant, and the group's
/// number cannot be given to a stranger while the guard has not been waited for.
#[derive(Debug)]
pub(crate) struct Process {
    program: String,
    pid: Pid,
    server: Mutex<Child>,
    guard: Child,
    log: PathBuf,
    /// Where this run's output begins: a server that is started again continues its log.
    log_start: u64,
}

impl Process {
    /// Starts `program`, an existing file, with its output appended to the file `log`.
    pub(crate) fn spawn<S: AsRef<OsStr>>(program: &Path, args: &[S], log: &Path) -> Result<Self> {
        let name = program.display().to_string();
        let opened = File::options().create(true).append(true).open(log);
        let output = opened.map_err(BrokerError::io(format!("open {}", log.display())))?;
        let log_start = output
            .metadata()
            .map_err(BrokerError::io("read the log's size"))?
            .len();
        let errors = output
            .try_clone()
            .map_err(BrokerError::io("share the log"))?;

        let mut guard = Command::new("/bin/sh")
            .args(["-c", GUARD])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(BrokerError::io("start /bin/sh"))?;
        let server = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(Pid::from_child(&guard).as_raw_nonzero().get())
            .spawn();
        let server = match server {
            Ok(server) => server,
            Err(error) => {
                end(&mut guard);
                return Err(BrokerError::io(format!("start {name}"))(error));
            }
        };
        Ok(Self {
            program: name,
            pid: Pid::from_child(&server),
            server: Mutex::new(server),
            guard,
            log: log.to_owned(),
            log_start,
        })
    }

    /// The server's own process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How the server ended, if it did.
    pub(crate) fn exited(&self) -> Result<Option<ExitStatus>> {
        self.server()
            .try_wait()
            .map_err(BrokerError::io(format!("wait for {}", self.program)))
    }

    /// Kills the server and waits until it is gone. One that has ended already is left alone.
    pub(crate) async fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.gone(KERNEL_WAIT).await
    }

    /// Asks the server to end and waits until it has. One that has ended already is left alone.
    pub(crate) async fn terminate(&self, deadline: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        // A frozen server would hear of it only when thawed.
        self.signal(Signal::CONT)?;
        self.gone(deadline).await
    }

    /// Stops the server where it stands and waits until it has stopped.
    pub(crate) async fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        // NOWAIT leaves the news in place: it belongs to whoever waits for the server's end.
        let look = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let mut looks = Looks::until(KERNEL_WAIT);
        while !matches!(waitid(WaitId::Pid(self.pid), look), Ok(Some(_))) {
            self.check_runs()?;
            if !looks.again().await {
                return Err(self.late("to stop", KERNEL_WAIT));
            }
        }
        Ok(())
    }

    /// Lets a frozen server run on.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)?;
        self.check_runs()
    }

    /// What the server has printed since this start, from its end.
    pub(crate) fn output(&self) -> String {
        read_from(&self.log, self.log_start).unwrap_or_default()
    }

    /// The error of a server that does not run as it should, with the last lines it printed.
    pub(crate) fn failed(&self, reason: String) -> BrokerError {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        let log = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        BrokerError::Failed {
            program: self.program.clone(),
            reason,
            log,
        }
    }

    /// Sends a signal, but not to a server whose end was seen: its number may be a stranger's.
    /// One whose end was not seen yet keeps its number.
    fn signal(&self, signal: Signal) -> Result<()> {
        // Locked, so that no other thread sees the end in between.
        let mut server = self.server();
        let sent = match server.try_wait() {
            Ok(Some(_)) => Ok(()),
            Ok(None) => kill_process(self.pid, signal).map_err(io::Error::from),
            Err(error) => Err(error),
        };
        sent.map_err(BrokerError::io(format!("signal {}", self.program)))
    }

    /// An error that says how the server ended, if it did.
    pub(crate) fn check_runs(&self) -> Result<()> {
        match self.exited()? {
            None => Ok(()),
            Some(status) => Err(self.failed(format!("it ended with {status}"))),
        }
    }

    async fn gone(&self, deadline: Duration) -> Result<()> {
        let mut looks = Looks::until(deadline);
        while self.exited()?.is_none() {
            if !looks.again().await {
                return Err(self.late("to end", deadline));
            }
        }
        Ok(())
    }

    fn server(&self) -> MutexGuard<'_, Child> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn late(&self, what: &str, after: Duration) -> BrokerError {
        BrokerError::Timeout {
            what: format!("{} {what}", self.program),
            after,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL also ends a stopped process; there is nothing to continue first. The group
        // takes with it the children of the server, such as one that writes a snapshot.
        let _ = kill_process_group(Pid::from_child(&self.guard), Signal::KILL);
        end(&mut self.server());
        end(&mut self.guard);
    }
}

/// Kills and waits, so that no zombie stays. Nothing is to be done about a failure.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Finds an executable by the search path, or as it is when it is a path itself.
pub(crate) fn find(program: &OsStr) -> Option<PathBuf> {
    let path = Path::new(program);
    if path.components().count() > 1 {
        return is_executable(path).then(|| path.to_owned());
    }
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders)
        .map(|folder| folder.join(path))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

fn read_from(log: &Path, start: u64) -> io::Result<String> {
    let mut file = File::open(log)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(
        start.max(end.saturating_sub(LOG_BYTES_MAX)),
    ))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
