//! The signals that ask the process to leave.

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
    /// Takes the signals over: from now on they do not end the process by themselves. Neither does
    /// a file that has reached its greatest size (SIGXFSZ): whoever writes it gets an error.
    ///
    /// # Errors
    /// The system does not let them be taken over.
    pub(crate) fn new() -> io::Result<Self> {
        drop(signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?);
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next of them.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for this time (`SHUTDOWN_DELAY`), or until the next of them: who asks again does not
    /// want to wait.
    pub(crate) async fn stay(&mut self, delay: Duration) {
        tokio::select! {
            () = sleep(delay) => {}
            () = self.next() => tracing::info!("leaving at once"),
        }
    }
}
