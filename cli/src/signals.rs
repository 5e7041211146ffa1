//! Does somebody want us to stop? The first signal asks, the second one ends the process.

use potluck::Signals;
use tokio::sync::watch;

use crate::exit::{Exit, Stop};
use crate::output::Talk;

/// Tells whether we are asked to stop.
#[derive(Clone, Debug)]
pub(crate) struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// From now on Ctrl-C and SIGTERM ask to stop, and end the process at the second time only.
    /// Must be called inside a runtime.
    pub(crate) fn listen(talk: Talk) -> Result<Self, Stop> {
        let mut signals = listen()?;
        let (ask, asked) = watch::channel(false);
        tokio::spawn(async move {
            signals.next().await;
            ask.send_replace(true);
            talk.note("stopping; a second time stops at once");
            signals.next().await;
            std::process::exit(i32::from(Exit::Interrupted as u8));
        });
        Ok(Self(asked))
    }

    /// Waits until we are asked to stop; safe to drop.
    pub(crate) async fn asked(&mut self) {
        // The sender lives as long as the process.
        if self.0.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Tells how often we were asked to stop.
#[derive(Clone, Debug)]
pub(crate) struct Signalled(watch::Receiver<u32>);

impl Signalled {
    /// From now on Ctrl-C and SIGTERM are counted: the first one asks for an end, the second one
    /// for a quick one, and the third one ends the process. Must be called inside a runtime.
    pub(crate) fn listen(talk: Talk) -> Result<Self, Stop> {
        let mut signals = listen()?;
        let (count, counted) = watch::channel(0);
        tokio::spawn(async move {
            for say in [
                "stopping; a second time cuts off what is not finished",
                "cutting off what is not finished; a third time ends the process",
            ] {
                signals.next().await;
                talk.note(say);
                count.send_modify(|count| *count += 1);
            }
            signals.next().await;
            std::process::exit(i32::from(Exit::Interrupted as u8));
        });
        Ok(Self(counted))
    }

    /// Waits until it was so often; safe to drop.
    pub(crate) async fn times(&mut self, times: u32) {
        // The sender lives as long as the process.
        if self.0.wait_for(|count| *count >= times).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether it was so often.
    pub(crate) fn is_at_least(&self, times: u32) -> bool {
        *self.0.borrow() >= times
    }
}

fn listen() -> Result<Signals, Stop> {
    Signals::listen()
        .map_err(|error| Stop::failed(Exit::Failed, format!("cannot listen to signals: {error}")))
}
