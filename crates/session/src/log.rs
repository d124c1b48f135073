//! Where revocations are kept: behind one trait, in memory here, on disk or in a cluster elsewhere.

use std::time::Duration;

use crate::name::SessionName;

/// A session is illegal to use for some time, counted from the moment the revocation is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The session.
    pub session: SessionName,
    /// For how long, or how much longer where some of it passed on the way here.
    pub validity: Duration,
}

/// The log could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the revocation log failed: {0}")]
pub struct LogError(pub Box<dyn std::error::Error + Send + Sync>);

/// Keeps revocations beyond the life of the process.
///
/// A log that is kept on disk stores when each revocation was accepted, and takes the time that has passed since off
/// the validity when it is loaded. One that is shared between nodes hands what it hears from the others to
/// [`Sessions::apply`](crate::Sessions::apply).
pub trait Log: Send + Sync + 'static {
    /// All revocations that may still be in force, with the validity that is left of each.
    ///
    /// # Errors
    /// The log cannot be read; then no session can be checked, and nothing may be registered.
    fn load(&self) -> Result<Vec<Revocation>, LogError>;

    /// Keeps a revocation; returns once it is kept. Called by several threads at once, outside every lock; may block.
    ///
    /// # Errors
    /// The revocation is not kept, or that is not certain. It is in force all the same, until the process ends.
    fn append(&self, revocation: &Revocation) -> Result<(), LogError>;
}

/// Keeps nothing: a restart forgets every revocation.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryLog;

impl Log for MemoryLog {
    fn load(&self) -> Result<Vec<Revocation>, LogError> {
        Ok(Vec::new())
    }

    fn append(&self, _: &Revocation) -> Result<(), LogError> {
        Ok(())
    }
}
