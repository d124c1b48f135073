//! A process that is spoken to in lines.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::Child;
use crate::process::{Cpu, ResidentSet, peak_kib};

/// The process. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Dialogue {
    child: Child,
    input: ChildStdin,
    /// One line for each that is said: few.
    lines: UnboundedReceiver<String>,
}

impl Dialogue {
    /// Starts the process.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(command: &mut Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Child::spawn(command, None)?;
        let (input, output) = child.pipes().context("standard input and output are pipes")?;
        let (sender, lines) = unbounded_channel();
        // The thread returns when the process exits, which closes its standard output.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, input, lines })
    }

    /// Says a line to it.
    ///
    /// # Errors
    /// It has exited.
    pub(crate) fn say(&mut self, line: &str) -> anyhow::Result<()> {
        writeln!(self.input, "{line}").context("the process has exited")
    }

    /// Returns the next line that it says.
    ///
    /// # Errors
    /// It has exited, or takes too long.
    pub(crate) async fn hear(&mut self, within: Duration) -> anyhow::Result<String> {
        let line = timeout(within, self.lines.recv()).await.context("the process says nothing")?;
        line.context("the process has exited")
    }

    /// The CPU time of the process up to now.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn cpu(&self) -> anyhow::Result<Cpu> {
        Cpu::of(self.child.id())
    }

    /// Its resident set, KiB.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn rss_kib(&self) -> anyhow::Result<u64> {
        Ok(ResidentSet::of(self.child.id())?.rss_kib)
    }

    /// The largest resident set that it has had, KiB.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn peak_kib(&self) -> anyhow::Result<u64> {
        peak_kib(self.child.id())
    }
}
