//! The instructions of a gateway under callgrind.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use super::{Launch, RunningServer, TempFolder};

/// Where callgrind writes for one gateway. Dropped after it.
#[derive(Debug)]
pub(crate) struct Callgrind(TempFolder);

/// Counts the instructions of one gateway.
#[derive(Debug)]
pub(crate) struct Counter<'a> {
    folder: &'a TempFolder,
    pid: u32,
}

impl Callgrind {
    /// Makes the folder.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn new() -> anyhow::Result<Self> {
        TempFolder::new("callgrind").map(Self)
    }

    /// Returns how to start a gateway whose instructions are counted.
    pub(crate) fn launch(&self, build: &Launch) -> Launch {
        build.under_callgrind(self.0.join("out"))
    }

    /// Returns the counter of a gateway that was started so.
    pub(crate) fn counter(&self, server: &RunningServer) -> Counter<'_> {
        Counter { folder: &self.0, pid: server.child.id() }
    }
}

impl Counter<'_> {
    /// Begins to count anew.
    ///
    /// # Errors
    /// The gateway is gone.
    pub(crate) fn reset(&self) -> anyhow::Result<()> {
        self.control("--zero")
    }

    /// Instructions of all threads outside the kernel since [`reset`](Self::reset). Counts anew
    /// from here.
    ///
    /// # Errors
    /// The gateway is gone, or callgrind has written nothing that is understood here.
    pub(crate) fn instructions(&self) -> anyhow::Result<u64> {
        let before = self.dumps()?;
        self.control("--dump")?;
        let dump = self.dumps()?.into_iter().find(|file| !before.contains(file));
        let text = fs::read_to_string(dump.context("callgrind wrote no dump")?)?;
        let totals = text.lines().rev().find_map(|line| line.strip_prefix("totals:"));
        totals.and_then(|count| count.trim().parse().ok()).context("the dump of callgrind has no totals")
    }

    fn dumps(&self) -> anyhow::Result<Vec<PathBuf>> {
        let files = fs::read_dir(&**self.folder)?.map(|entry| Ok(entry?.path()));
        files.collect::<std::io::Result<_>>().context("the folder of callgrind")
    }

    fn control(&self, what: &str) -> anyhow::Result<()> {
        let output = Command::new("callgrind_control").arg(what).arg(self.pid.to_string()).output();
        let output = output.context("callgrind_control cannot be run; scripts/bench installs valgrind")?;
        let said = String::from_utf8_lossy(&output.stdout);
        anyhow::ensure!(output.status.success() && said.contains("OK"), "callgrind_control {what}: {said}");
        Ok(())
    }
}
