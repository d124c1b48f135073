//! The floor: one thread that writes the ready frame to each socket. A program of this package.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::Context;

use super::{Child, Product, RunningServer};

pub(super) const SSE: &str = "/sse";
pub(super) const WS: &str = "/ws";
pub(super) const EVENTS: &str = "/events";

pub(super) fn start() -> anyhow::Result<RunningServer> {
    // cargo puts it beside this one.
    let program = std::env::current_exe()?.with_file_name("rig-bench-floor");
    // Standard error stays: there it says who was too slow.
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Child::spawn(&mut command, None)?;
    let mut line = String::new();
    BufReader::new(child.stdout().context("standard output is a pipe")?).read_line(&mut line)?;
    let address = line.trim().parse().context("the floor does not say where it listens")?;
    Ok(RunningServer { product: Product::Floor, child, address, status: address, signer: None })
}

pub(super) fn version() -> String {
    concat!("rig-bench-floor ", env!("CARGO_PKG_VERSION")).to_owned()
}
