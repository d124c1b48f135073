//! Clients in a process of their own.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::time::timeout;

use crate::client::{Entrance, Variant};
use crate::event;
use crate::server::Child;

/// What the process says when all clients are subscribed.
const CONNECTED: &str = "connected";

/// What it says when the event has reached all, after it was asked for that by any line.
const RECEIVED: &str = "received";

/// For each of the two.
const LONGEST: Duration = Duration::from_secs(150);

/// Which clients.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Hold {
    /// Where the gateway listens.
    #[arg(long)]
    pub(crate) address: SocketAddr,
    #[command(flatten)]
    pub(crate) variant: Variant,
    /// The number of the first client: no other process has the same.
    #[arg(long)]
    pub(crate) first: u32,
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(super::MOST)))]
    pub(crate) connections: u32,
}

/// Runs that process: the clients wait until standard input, which is a pipe, is closed.
///
/// # Errors
/// Fails if not all clients are connected, or if one of them does not get an event.
pub(crate) async fn hold(plan: Hold) -> anyhow::Result<()> {
    anyhow::ensure!(!plan.variant.tls, "a process of clients does not know the certificate");
    let stdin = pipe::Receiver::from_owned_fd(std::io::stdin().as_fd().try_clone_to_owned()?)?;
    let mut asked = BufReader::new(stdin).lines();
    let entrance = Entrance { address: plan.address, variant: plan.variant, trust: None };
    let crowd = entrance.crowd(plan.first..plan.first + plan.connections, &event::numbered(0)).await?;
    println!("{CONNECTED}");
    let mut events = 0;
    while asked.next_line().await?.is_some() {
        events += u64::from(plan.connections);
        crowd.receive(events).await?;
        println!("{RECEIVED}");
    }
    crowd.leave().await;
    Ok(())
}

/// Such a process, seen from outside. Dropping it kills the process.
pub(super) struct ClientProcess {
    said: Lines<BufReader<pipe::Receiver>>,
    ask: pipe::Sender,
    child: Child,
}

impl ClientProcess {
    /// Starts one; its clients are not connected yet.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(plan: Hold) -> anyhow::Result<Self> {
        let Hold { address, variant, first, connections } = plan;
        let way = serde_json::to_value(variant.way)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("hold").args(["--transport", way.as_str().context("a way has a name")?]);
        command.args(["--address", &address.to_string(), "--first", &first.to_string()]);
        command.args(["--connections", &connections.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Child::spawn(&mut command, None)?;
        let (stdin, stdout) = child.pipes().context("both are pipes")?;
        let said = BufReader::new(pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?).lines();
        Ok(Self { said, ask: pipe::Sender::from_owned_fd(OwnedFd::from(stdin))?, child })
    }

    /// Waits until all its clients are subscribed.
    ///
    /// # Errors
    /// It fails, or that takes too long.
    pub(super) async fn connected(&mut self) -> anyhow::Result<()> {
        self.says(CONNECTED).await
    }

    /// Waits until an event has reached all its clients; it may have been published already.
    ///
    /// # Errors
    /// It fails, or that takes too long.
    pub(super) async fn received(&mut self) -> anyhow::Result<()> {
        self.ask.write_all(b"received?\n").await?;
        self.says(RECEIVED).await
    }

    /// Closes all connections of its clients and stops the process.
    pub(super) async fn leave(mut self) {
        drop(self.ask);
        // Its standard output is closed when it exits. If it does not exit, dropping it kills it.
        let _ = timeout(LONGEST, self.said.next_line()).await;
    }

    async fn says(&mut self, word: &str) -> anyhow::Result<()> {
        let said = timeout(LONGEST, self.said.next_line()).await;
        let said = said.with_context(|| format!("a process of clients does not say {word:?}"))??;
        self.child.ensure_running().context("a process of clients")?;
        anyhow::ensure!(said.as_deref() == Some(word), "a process of clients says {said:?}, not {word:?}");
        Ok(())
    }
}
