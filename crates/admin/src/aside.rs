//! Runs blocking work on other threads than those that serve requests.

use tokio::task::{JoinError, spawn_blocking};

/// The work panicked. The log contains the reason.
#[derive(Debug)]
pub(crate) struct TaskPanicked;

/// Runs work that blocks on a disk, or visits every connection, on a blocking thread.
pub(crate) async fn aside<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> Result<T, TaskPanicked> {
    spawn_blocking(act).await.map_err(TaskPanicked::from)
}

impl From<JoinError> for TaskPanicked {
    fn from(error: JoinError) -> Self {
        tracing::error!(%error, "a request failed");
        Self
    }
}
