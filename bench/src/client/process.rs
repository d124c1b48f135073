//! Clients in a process of their own, as the process that measures sees it.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::time::timeout;

use crate::server::Child;

/// What the process says when all its clients are subscribed.
pub(crate) const CONNECTED: &str = "connected";

/// A process of clients. It says lines, and is asked by lines. Dropping it kills the process.
pub(crate) struct ClientProcess {
    said: Lines<BufReader<pipe::Receiver>>,
    ask: pipe::Sender,
    child: Child,
    longest: Duration,
}

impl ClientProcess {
    /// Starts one; its clients are not connected yet. It may take this long to say a line.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(command: &mut Command, longest: Duration) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Child::spawn(command, None)?;
        let (stdin, stdout) = child.pipes().context("both are pipes")?;
        let said = BufReader::new(pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?).lines();
        let ask = pipe::Sender::from_owned_fd(OwnedFd::from(stdin))?;
        Ok(Self { said, ask, child, longest })
    }

    /// Waits until all its clients are subscribed.
    ///
    /// # Errors
    /// It fails, or that takes too long.
    pub(crate) async fn connected(&mut self) -> anyhow::Result<()> {
        let said = self.line().await?;
        anyhow::ensure!(said == CONNECTED, "a process of clients says {said:?}, not {CONNECTED:?}");
        Ok(())
    }

    /// Asks it by a line, and returns what it says.
    ///
    /// # Errors
    /// It fails, or that takes too long.
    pub(crate) async fn answer(&mut self, asked: &str) -> anyhow::Result<String> {
        self.ask.write_all(format!("{asked}\n").as_bytes()).await?;
        self.line().await
    }

    /// Closes all connections of its clients and stops the process.
    pub(crate) async fn leave(mut self) {
        drop(self.ask);
        // Its standard output is closed when it exits. If it does not exit, dropping it kills it.
        let _ = timeout(self.longest, self.said.next_line()).await;
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let said = timeout(self.longest, self.said.next_line()).await;
        let said = said.context("a process of clients says nothing")??;
        self.child.ensure_running().context("a process of clients")?;
        said.context("a process of clients has closed its output")
    }
}
