//! How a consumer is doing, for readiness and for people.

use potluck_core::Error;

/// How a consumer is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Health {
    /// It receives, and can write copies.
    Ready,
    /// Something keeps it from its work for now; it goes on by itself.
    Degraded(String),
    /// It cannot go on; stop it.
    Failed(Error),
}

impl Health {
    /// Whether it does all its work.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }
}
