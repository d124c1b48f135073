//! A gateway under callgrind.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use super::{Launch, RunningServer, TempFolder};

/// A gateway whose instructions are counted.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) server: RunningServer,
    pid: u32,
    /// Where callgrind writes. Declared after the server, which must be dropped first.
    folder: TempFolder,
}

impl Counted {
    /// Starts a gateway under callgrind by `start`, which is given how.
    ///
    /// # Errors
    /// It cannot be started, valgrind is not installed.
    pub(crate) fn start(
        build: &Launch,
        start: impl FnOnce(&Launch) -> anyhow::Result<RunningServer>,
    ) -> anyhow::Result<Self> {
        let folder = TempFolder::new("callgrind")?;
        let server = start(&build.under_callgrind(folder.join("out")))?;
        let pid = server.child.id();
        Ok(Self { server, pid, folder })
    }

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
        let files = fs::read_dir(&*self.folder)?.map(|entry| Ok(entry?.path()));
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
