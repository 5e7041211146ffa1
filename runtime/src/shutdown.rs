//! The signals that tell a program to stop.

use potluck_core::{Error, ErrorKind, Result};

/// SIGINT and SIGTERM, and Ctrl-C where there are none, from when it began to listen: for those who
/// stop a [`Consumer`](crate::Consumer) themselves. [`ConsumerBuilder::run`] listens by itself.
///
/// [`ConsumerBuilder::run`]: crate::ConsumerBuilder::run
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// From now on these signals do not end the process. Call it inside a runtime.
    ///
    /// # Errors
    ///
    /// `Unexpected` when the system refuses.
    pub fn listen() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(deaf)?,
            terminate: signal(SignalKind::terminate()).map_err(deaf)?,
        })
    }

    /// Waits for the next signal. **Dropped**, none is lost.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    /// Ready to listen.
    ///
    /// # Errors
    ///
    /// None.
    #[allow(clippy::unnecessary_wraps)] // As on Unix.
    pub fn listen() -> Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next Ctrl-C. **Dropped**, it may be missed.
    pub async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
fn deaf(error: std::io::Error) -> Error {
    let say = "the process cannot listen for signals";
    Error::new(ErrorKind::Unexpected, "listen to signals", say).caused_by(error)
}
