//! A process that ends when its owner lets go of it.

use std::net::{SocketAddr, TcpStream};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use super::place::TempFolder;
use crate::process::descendants;

/// How long a start may take.
const START: Duration = Duration::from_secs(10);

/// Between two tries to connect.
const TRY: Duration = Duration::from_millis(10);

/// How long a process may take to exit after SIGTERM.
const GRACE: Duration = Duration::from_secs(12);

/// A process with its parts. Dropping it stops the process, then those that it needs, and removes
/// its folder.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    parts: Vec<Child>,
    service: Option<Box<Child>>,
    /// The last field: removed after all processes that use it have exited.
    _folder: Option<TempFolder>,
}

impl Child {
    /// # Errors
    /// It cannot be started.
    pub(crate) fn spawn(command: &mut Command, folder: Option<TempFolder>) -> anyhow::Result<Self> {
        let process = command.spawn().with_context(|| format!("start {:?}", command.get_program()))?;
        Ok(Self { process, parts: Vec::new(), service: None, _folder: folder })
    }

    /// The same, with another process that is a part of it.
    pub(super) fn with(mut self, part: Self) -> Self {
        self.parts.push(part);
        self
    }

    /// The same before a service, which stands for the application: what it takes is not the
    /// server's.
    pub(super) fn before(mut self, service: Self) -> Self {
        self.service = Some(Box::new(service));
        self
    }

    /// The process itself.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// All processes, with those that they have started.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub(super) fn pids(&self) -> anyhow::Result<Vec<u32>> {
        let mut pids = descendants(self.process.id())?;
        for part in &self.parts {
            pids.extend(part.pids()?);
        }
        Ok(pids)
    }

    /// What it writes to standard error, once.
    pub(super) fn stderr(&mut self) -> Option<ChildStderr> {
        self.process.stderr.take()
    }

    /// What it writes to standard output, once.
    pub(super) fn stdout(&mut self) -> Option<ChildStdout> {
        self.process.stdout.take()
    }

    /// What it reads from standard input and writes to standard output, once.
    pub(crate) fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        self.process.stdin.take().zip(self.process.stdout.take())
    }

    /// # Errors
    /// Fails if the process has exited.
    pub(crate) fn ensure_running(&mut self) -> anyhow::Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("the process ended with {status}"),
        }
    }

    /// Waits until the process listens on this address.
    ///
    /// # Errors
    /// Fails if the process has exited, or takes too long.
    pub(super) fn wait_for(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let listens = || TcpStream::connect(address).is_ok();
        self.wait_until(listens).with_context(|| format!("nobody listens on {address}"))
    }

    /// Waits until the process is `ready`.
    ///
    /// # Errors
    /// Fails if the process has exited, or takes too long.
    pub(super) fn wait_until(&mut self, ready: impl Fn() -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        while !ready() {
            self.ensure_running()?;
            anyhow::ensure!(Instant::now() < deadline, "the process is not ready within {START:?}");
            std::thread::sleep(TRY);
        }
        Ok(())
    }

    /// # Errors
    /// Fails if the process is gone.
    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.process), signal).context("send a signal")
    }

    fn end(&mut self) {
        // The process is our child and not waited for yet, so no other process has its id.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while matches!(self.process.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.process.kill();
                let _ = self.process.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}
