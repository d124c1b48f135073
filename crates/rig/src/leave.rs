//! The signals that make the process shut down.

use std::io;
use std::time::Duration;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

/// SIGTERM and SIGINT.
pub(crate) struct LeaveSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl LeaveSignals {
    /// Installs handlers: from now on these signals do not terminate the process. Neither does
    /// SIGXFSZ: a write beyond the limit of a file's size fails instead.
    ///
    /// # Errors
    /// Fails if the system does not allow the handlers.
    pub(crate) fn new() -> io::Result<Self> {
        drop(signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?);
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for this time (`SHUTDOWN_DELAY`), or until the next signal, which skips the delay.
    pub(crate) async fn stay(&mut self, delay: Duration) {
        tokio::select! {
            () = sleep(delay) => {}
            () = self.next() => tracing::info!("leaving at once"),
        }
    }
}
