//! How a transport's connection is doing, and how to wait for a change of it.

use std::fmt;

use tokio::sync::watch;

/// The state of a transport, for readiness and for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Dialling, for the first time or again.
    Connecting,
    /// Connected; calls reach the broker.
    Ready,
    /// Connected, but the broker has said that it takes no publishes for now (a RabbitMQ alarm).
    /// One that answers each publish with a refusal, such as a full Redis, is ready.
    Blocked,
    /// Closed for good.
    Closed,
}

impl State {
    /// The state in one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Ready => "ready",
            Self::Blocked => "blocked",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A state that drivers set and callers watch. `Closed` is final.
///
/// ```
/// use potluck_core::state::{State, StateCell};
///
/// let cell = StateCell::new(State::Connecting);
/// cell.set(State::Ready);
/// cell.set(State::Closed);
/// cell.set(State::Ready);
/// assert_eq!(cell.get(), State::Closed);
/// ```
#[derive(Debug)]
pub struct StateCell(watch::Sender<State>);

impl StateCell {
    /// A cell in this state.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self(watch::Sender::new(state))
    }

    /// The state now.
    #[must_use]
    pub fn get(&self) -> State {
        *self.0.borrow()
    }

    /// Changes the state, unless it is closed.
    pub fn set(&self, state: State) {
        self.0.send_if_modified(|now| {
            let changes = *now != state && *now != State::Closed;
            if changes {
                *now = state;
            }
            changes
        });
    }

    /// Waits until the state is not `since`, and returns it. At once, when it is another already.
    /// Safe to drop at any time.
    pub async fn changed(&self, since: State) -> State {
        let mut states = self.0.subscribe();
        // The sender is ours, so waiting cannot fail while we are borrowed.
        match states.wait_for(|now| *now != since).await {
            Ok(now) => *now,
            Err(_) => self.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_returns_at_once_when_it_is_another_already() {
        let cell = StateCell::new(State::Ready);
        let waiting = cell.changed(State::Connecting);
        let mut waiting = std::pin::pin!(waiting);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(matches!(
            waiting.as_mut().poll(&mut context),
            std::task::Poll::Ready(State::Ready)
        ));
    }
}
