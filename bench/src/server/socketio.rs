//! A Socket.IO server on Node: one process, one namespace, WebSocket only.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

use super::{Child, Population, Product, RunningServer, free_address};
use crate::client;

pub(super) const WS: &str = "/socket.io/?EIO=4&transport=websocket";
pub(super) const EVENTS: &str = "/events";
const STATUS: &str = "/status";

/// What the client says first, to enter the namespace, and what the server answers (Socket.IO
/// protocol 5).
pub(super) const HELLO: &[u8] = b"40";
pub(super) const GREETING: &[u8] = b"40{";

/// With its packages beside it.
const PROGRAM: &str = "bench/peers/socketio.js";

pub(super) fn start() -> anyhow::Result<RunningServer> {
    let address = free_address()?;
    let program = Path::new(PROGRAM);
    anyhow::ensure!(program.with_file_name("node_modules").exists(), "no packages beside {PROGRAM}: npm ci");
    let mut command = Command::new("node");
    command.arg(program).arg(address.port().to_string());
    command.env("NODE_ENV", "production").env_remove("NODE_OPTIONS").env_remove("DEBUG");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = Child::spawn(&mut command, None)?;
    child.wait_for(address)?;
    Ok(RunningServer { product: Product::SocketIo, child, address, status: address, signer: None })
}

pub(super) async fn population(address: std::net::SocketAddr) -> anyhow::Result<Population> {
    let connections = client::get(address, STATUS).await?.parse().context("the number of sockets")?;
    Ok(Population { connections, sessions: None, subscriptions: None })
}

pub(super) fn version() -> anyhow::Result<String> {
    let node = Command::new("node").arg("--version").output().context("node cannot be run")?;
    let package = Path::new(PROGRAM).with_file_name("node_modules/socket.io/package.json");
    let package: serde_json::Value = serde_json::from_slice(&std::fs::read(package)?)?;
    let version = package["version"].as_str().unwrap_or("unknown");
    Ok(format!("Socket.IO {version} on Node {}", String::from_utf8_lossy(&node.stdout).trim()))
}
