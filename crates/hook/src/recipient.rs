//! The port towards whoever takes events.

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::event::Event;

/// Takes events, one after the other.
pub trait Recipient: Send + Sync + 'static {
    /// Sends an event. Resolves when the recipient has it.
    ///
    /// # Errors
    /// Fails if it does not take the event, or does not say so in time; it may have it all the
    /// same. The same event is sent again later.
    fn send<'r>(&'r self, event: &'r Event) -> BoxFuture<'r, Result<(), Failure>>;
}

/// Why an event was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct Failure {
    /// The cause, for the log. Of what the recipient chooses freely it contains the names in a
    /// certificate at most, cut.
    pub cause: String,
    /// How long the recipient asks to wait.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// Returns a failure after which the recipient asks for nothing.
    pub fn new(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), retry_after: None }
    }
}
