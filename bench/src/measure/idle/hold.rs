//! Clients in a process of their own.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;

use crate::client::{CONNECTED, ClientProcess, Entrance, Variant};
use crate::event;

/// What the process says when the event has reached all, after it was asked for that by any line.
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

impl Hold {
    /// Starts a process of these clients, which are not connected yet.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(self) -> anyhow::Result<ClientProcess> {
        let Self { address, variant, first, connections } = self;
        let way = serde_json::to_value(variant.way)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("hold").args(["--transport", way.as_str().context("a way has a name")?]);
        command.args(["--address", &address.to_string(), "--first", &first.to_string()]);
        command.args(["--connections", &connections.to_string()]);
        ClientProcess::start(&mut command, LONGEST)
    }
}

/// Waits until an event has reached all clients of a process; it may have been published already.
///
/// # Errors
/// It fails, or that takes too long.
pub(super) async fn received(process: &mut ClientProcess) -> anyhow::Result<()> {
    let said = process.answer("received?").await?;
    anyhow::ensure!(said == RECEIVED, "a process of clients says {said:?}, not {RECEIVED:?}");
    Ok(())
}
