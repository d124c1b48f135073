//! Work that blocks, off the threads that serve.

use tokio::task::spawn_blocking;

/// The work panicked. The log has the reason.
#[derive(Debug)]
pub(crate) struct TaskPanicked;

/// Runs work that waits for a disk, or looks at every connection, on a thread that may block.
pub(crate) async fn aside<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> Result<T, TaskPanicked> {
    spawn_blocking(act).await.map_err(|error| {
        tracing::error!(%error, "a request failed");
        TaskPanicked
    })
}
