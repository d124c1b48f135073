//! The gateway: on free ports, in an environment of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Deserialize;

use super::{Child, Handshake, Launch, Population, Product, RunningServer, TempFolder};
use crate::{Streaming, client, token};

pub(super) const EVENTS: &str = "/_rig/v1/events";
pub(super) const REVOCATIONS: &str = "/v4/revocations";
pub(super) const BLACKLIST: &str = "/v3/session-blacklist";

/// `[{"eventType":"greeting"}]`
pub(crate) const SUBSCRIPTIONS: &str = "%5B%7B%22eventType%22%3A%22greeting%22%7D%5D";

/// `[]`
pub(super) const NOTHING: &str = "%5B%5D";

/// What it says when a subscription is in place.
pub(crate) const GREETING: &[u8] = b"rig.subscriptions_set";

/// How long a start may take, if nothing else is said.
pub(super) const START: Duration = Duration::from_secs(10);

/// The line of the log that gives the address of a port.
#[derive(Deserialize)]
struct Listening {
    message: String,
    port_name: String,
    address: SocketAddr,
}

/// The level of any other line of the log.
#[derive(Deserialize)]
struct LogLevel {
    level: String,
}

impl LogLevel {
    /// True for warnings and errors, which are always shown: a server in trouble spoils the
    /// measurement.
    fn is_trouble(line: &str) -> bool {
        // A line that is not JSON is not of the log: a panic, for example.
        serde_json::from_str(line).map_or(true, |line: Self| matches!(line.level.as_str(), "WARN" | "ERROR"))
    }
}

pub(super) fn start(launch: &Launch, within: Duration) -> anyhow::Result<RunningServer> {
    // The gateway creates it, so the time of a start is that of a first start.
    let folder = TempFolder::absent("data")?;
    let mut command = launch.rig();
    command
        .env_clear()
        // valgrind looks for its tools there.
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("DATA_DIR", &*folder)
        .env("INBOUND_BIND", "127.0.0.1")
        .env("INBOUND_PORT", "0")
        .env("API_HTTP_PORT", "0")
        .env("JWT_SECRET_KEY", token::SECRET)
        .env("MAX_CONNECTIONS_PER_MINUTE", "1000000")
        .env("LOG_FMT", "json")
        .env("LOG_LEVEL", "info")
        .envs(launch.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = Child::spawn(&mut command, Some(folder))?;
    let log = child.stderr().context("standard error is a pipe")?;
    let (found, ports) = channel();
    let show = launch.log;
    // The thread returns when the process exits, which closes its standard error.
    std::thread::spawn(move || follow(log, &found, show));
    let (address, status) =
        wait_for_ports(&ports, within).context("the gateway does not say that it listens")?;
    let signer = launch.signer.clone();
    Ok(RunningServer { product: Product::Rig, child, address, status, signer })
}

fn follow(log: ChildStderr, found: &Sender<Listening>, show: bool) {
    for line in BufReader::new(log).lines().map_while(Result::ok) {
        match serde_json::from_str::<Listening>(&line) {
            // The receiver is gone if the start was given up.
            Ok(port) if port.message == "listening" => drop(found.send(port)),
            _ if show || LogLevel::is_trouble(&line) => eprintln!("rig: {line}"),
            _ => {}
        }
    }
}

fn wait_for_ports(ports: &Receiver<Listening>, within: Duration) -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let deadline = Instant::now() + within;
    let (mut inbound, mut internal) = (None, None);
    loop {
        if let (Some(inbound), Some(internal)) = (inbound, internal) {
            return Ok((inbound, internal));
        }
        let port = ports.recv_timeout(deadline.saturating_duration_since(Instant::now()))?;
        match port.port_name.as_str() {
            "inbound" => inbound = Some(port.address),
            "internal" => internal = Some(port.address),
            _ => {}
        }
    }
}

pub(super) fn path(transport: Streaming, subscriptions: &str, token: &str) -> String {
    let transport = match transport {
        Streaming::Sse => "sse",
        Streaming::Ws => "ws",
    };
    opening(transport, subscriptions, Some(token))
}

/// The path that opens a connection; without a token, in no session.
pub(crate) fn opening(transport: &str, subscriptions: &str, token: Option<&str>) -> String {
    let token = token.map(|token| format!("&jwt={token}")).unwrap_or_default();
    format!("/_rig/v1/connection/{transport}?subscriptions={subscriptions}{token}")
}

/// The request that opens a connection of Server-Sent Events with a subscription to this type,
/// which needs no escapes.
pub(crate) fn subscription_to(address: SocketAddr, event_type: &str, token: &str) -> Vec<u8> {
    let handshake = Handshake { address, transport: Streaming::Sse, hello: b"", greeting: GREETING };
    let subscriptions = format!("%5B%7B%22eventType%22%3A%22{event_type}%22%7D%5D");
    handshake.request(&(opening("sse", &subscriptions, Some(token)) + "&resume=true"))
}

pub(super) async fn population(internal: SocketAddr) -> anyhow::Result<Population> {
    let metrics = client::get(internal, "/metrics").await?;
    Ok(Population {
        connections: sum(&metrics, "rig_connections").context("no rig_connections in the metrics")?,
        sessions: sum(&metrics, "rig_sessions"),
        subscriptions: sum(&metrics, "rig_subscriptions_total"),
    })
}

/// Messages of a topic of Kafka, as the gateway counts them.
pub(super) async fn consumed(internal: SocketAddr, topic: &str) -> anyhow::Result<u64> {
    let metrics = client::get(internal, "/metrics").await?;
    let label = format!("topic=\"{topic}\"");
    let of_topic: Vec<_> = metrics.lines().filter(|line| line.contains(&label)).collect();
    Ok(sum(&of_topic.join("\n"), "rig_consumed_events_total").unwrap_or(0))
}

/// The values of a gauge, summed over its labels.
fn sum(metrics: &str, name: &str) -> Option<u64> {
    let samples = metrics.lines().filter_map(|line| line.strip_prefix(name));
    let values = samples.filter(|rest| rest.starts_with(['{', ' '])).map(|rest| rest.rsplit(' ').next());
    values.map(|value| value?.parse::<u64>().ok()).reduce(|left, right| Some(left? + right?)).flatten()
}

pub(super) fn version(rig: &Path) -> anyhow::Result<String> {
    let output = Command::new(rig)
        .arg("--version")
        .output()
        .with_context(|| format!("{} cannot be run", rig.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_are_summed_over_their_labels_only() {
        let metrics = "# TYPE rig_connections gauge\nrig_connections{transport=\"sse\"} 3\n\
                       rig_connections{transport=\"ws\"} 4\nrig_connections_opened_total 90\nrig_sessions 5\n";
        assert_eq!(sum(metrics, "rig_connections"), Some(7));
        assert_eq!(sum(metrics, "rig_sessions"), Some(5));
        assert_eq!(sum(metrics, "rig_other"), None);
    }
}
