//! A process that ends when its owner lets go of it.

use std::path::PathBuf;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to end in order.
const GRACE: Duration = Duration::from_secs(12);

/// Dropping it ends the process, first in order, and removes its folder.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    folder: Option<PathBuf>,
}

impl Child {
    /// # Errors
    /// It cannot be started.
    pub(crate) fn spawn(command: &mut Command, folder: Option<PathBuf>) -> anyhow::Result<Self> {
        let process = command.spawn().with_context(|| format!("start {:?}", command.get_program()));
        if process.is_err() {
            remove(folder.as_ref());
        }
        Ok(Self { process: process?, folder })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it writes to standard error, once.
    pub(super) fn stderr(&mut self) -> Option<ChildStderr> {
        self.process.stderr.take()
    }

    /// What it reads from standard input and writes to standard output, once.
    pub(crate) fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        self.process.stdin.take().zip(self.process.stdout.take())
    }

    /// # Errors
    /// It has ended.
    pub(crate) fn ensure_running(&mut self) -> anyhow::Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("ended with {status}"),
        }
    }

    fn end(&mut self) {
        // The process is ours and not waited for: nobody else can have its number.
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
        remove(self.folder.as_ref());
    }
}

fn remove(folder: Option<&PathBuf>) {
    if let Some(folder) = folder {
        let _ = std::fs::remove_dir_all(folder);
    }
}
