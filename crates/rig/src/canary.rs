//! The canary (`CANARY_INTERVAL`): the node opens a connection to its own port, has its session
//! revoked as an operator would, and counts what its client receives. In a cluster, each second
//! time another node revokes it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use connection::{Connection, Hub};
use event::Event;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use node::{EventOrigin, Node, NodeReach, Outcome, PeerHandler, PeerRoom, Spread};
use seal::Incarnation;
use serde_json::{Value, json};
use session::{NodeName, Revocation, SessionName, Sessions};
use subscription::{Extractors, Subscription};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, timeout};
use uuid::Uuid;

use crate::metrics::{CanaryResult, Metrics, Revoker};

/// The type of its events. Other subscribers to this type receive numbers.
const EVENT_TYPE: &str = "rig.canary";

/// Time between two of its events, short enough that some are always in transit while it is
/// revoked.
const PACE: Duration = Duration::from_millis(2);

/// Number of events published after the revocation has returned.
const AFTERWARDS: u64 = 50;

/// How long its session stays revoked.
const VALIDITY: Duration = Duration::from_secs(60);

/// How long another node waits for the cluster after it has revoked a session.
const CONFIRMED: Duration = Duration::from_secs(5);

/// What a node answers once the session is silent at the node that asks.
const SILENT: &[u8] = b"silent";

/// Time limit of a run.
const LONGEST: Duration = Duration::from_secs(10);

/// What a client has received in a run.
struct Seen {
    /// The highest number of an event.
    last: u64,
    /// Whether the farewell came, followed by the end of the stream.
    killed: bool,
    /// When the stream was closed.
    ended: Instant,
}

/// The canary of a gateway.
pub(crate) struct Canary {
    pub(crate) node: Node,
    pub(crate) hub: Arc<Hub>,
    pub(crate) sessions: Sessions,
    pub(crate) metrics: Metrics,
    /// Address of the inbound port.
    pub(crate) inbound: SocketAddr,
    /// Whether connections to that port begin with a PROXY protocol header.
    pub(crate) proxy_protocol: bool,
    /// Time between two runs.
    pub(crate) every: Duration,
}

impl Canary {
    /// Repeats runs. Never returns.
    pub(crate) async fn sing(self) {
        let mut ticks = interval(self.every);
        let mut turn = 0;
        loop {
            ticks.tick().await;
            let others = if turn % 2 == 0 { Vec::new() } else { self.node.peer_lives() };
            let other = others.get(turn / 2 % others.len().max(1)).copied();
            turn += 1;
            let revoker = if other.is_some() { Revoker::Other } else { Revoker::Own };
            let run = timeout(LONGEST, self.run(other)).await;
            let result = match run.map_err(anyhow::Error::from).and_then(|done| done) {
                Ok(result) => result,
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "the canary could not finish");
                    CanaryResult::Failed
                }
            };
            if matches!(result, CanaryResult::LatePayload | CanaryResult::NotKilled) {
                tracing::error!(result = result.as_str(), "a revoked connection was not silenced");
            }
            self.metrics.ran(revoker, result);
        }
    }

    /// Runs once; `other` revokes, or this node.
    async fn run(&self, other: Option<Incarnation>) -> anyhow::Result<CanaryResult> {
        let mut stream =
            BufReader::new(TcpStream::connect(reachable(self.inbound)).await.context("its own port")?);
        if self.proxy_protocol {
            stream.write_all(b"PROXY UNKNOWN\r\n").await?;
        }
        let request =
            "GET /_rig/v1/connection/sse HTTP/1.1\r\nhost: localhost\r\nuser-agent: rig-canary\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let connection = connected(&self.hub, &mut stream).await?;
        // A random id, which no other publisher of this type can guess.
        let id = Uuid::new_v4();
        let (run, name) = (id.to_string(), session_of(id));
        bind(&self.sessions, &connection, &name)?;
        drop(connection);

        let begun = AtomicU64::new(0);
        let revoked_at = AtomicU64::new(u64::MAX);
        let publishing = publish(&self.node, &run, &begun, &revoked_at);
        let revoking = async {
            // Waits until events flow.
            while begun.load(Ordering::SeqCst) < 3 {
                tokio::time::sleep(PACE).await;
            }
            let asked = Instant::now();
            match other {
                Some(other) => self.ask(other, id).await?,
                // Only this node is observed.
                None => drop(revoke(&self.node, id, Duration::ZERO).await?),
            }
            // Events published from here on have a higher number.
            revoked_at.store(begun.load(Ordering::SeqCst), Ordering::SeqCst);
            anyhow::Ok(asked)
        };
        let (asked, seen, ()) = tokio::try_join!(revoking, watch(stream, &run), publishing)?;
        if seen.last > revoked_at.into_inner() {
            return Ok(CanaryResult::LatePayload);
        }
        if !seen.killed || !self.node.is_blacklisted(&name) {
            return Ok(CanaryResult::NotKilled);
        }
        let revoker = if other.is_some() { Revoker::Other } else { Revoker::Own };
        self.metrics.killed(revoker, seen.ended.duration_since(asked));
        Ok(CanaryResult::Ok)
    }

    /// Has another node revoke the session of this run.
    async fn ask(&self, other: Incarnation, run: Uuid) -> anyhow::Result<()> {
        let request = [run.as_bytes(), self.node.name().as_str().as_bytes()].concat();
        let answer = self.node.ask_peer(other, PeerRoom::Canary, &request, LONGEST).await?;
        ensure!(&*answer == SILENT, "{other}: {}", String::from_utf8_lossy(&answer));
        Ok(())
    }
}

/// Revokes what the canaries of other nodes ask for: sessions of canaries.
pub(crate) struct CanaryRevoker(pub(crate) Node);

impl PeerHandler for CanaryRevoker {
    fn handle(self: Arc<Self>, request: Bytes) -> BoxFuture<'static, Bytes> {
        async move {
            let revoked = async {
                let (run, asking) = request.split_at_checked(16).context("it is too short")?;
                let asking = NodeName::from(std::str::from_utf8(asking)?);
                let spread = revoke(&self.0, Uuid::from_slice(run)?, CONFIRMED).await?;
                let nodes = spread.context("this node has no cluster")?.nodes;
                // Others may be away.
                let is_silent = matches!(nodes.get(&asking), Some(NodeReach::Applied(_)));
                ensure!(is_silent, "the revocation is not confirmed: {:?}", nodes.get(&asking));
                anyhow::Ok(())
            };
            match revoked.await {
                Ok(()) => SILENT.into(),
                Err(error) => format!("{error:#}").into(),
            }
        }
        .boxed()
    }
}

/// Returns the address at which a listener is reached.
fn reachable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

/// Returns the node's side of the connection, found like for a client's `PUT`: by the token in the
/// first event.
async fn connected(hub: &Hub, stream: &mut BufReader<TcpStream>) -> anyhow::Result<Arc<Connection>> {
    loop {
        let line = next_line(stream).await?.context("the stream ended before it began")?;
        if let Some(event) = data_of(&line)
            && let Some(token) = event["data"]["connection_token"].as_str()
        {
            return hub.find(token)?.context("its connection is gone");
        }
        ensure!(!line.starts_with("HTTP/1.1 ") || line.contains(" 200 "), "refused: {}", line.trim_end());
    }
}

fn bind(sessions: &Sessions, connection: &Arc<Connection>, name: &SessionName) -> anyhow::Result<()> {
    let subscriptions =
        Subscription::parse_list(&json!([{ "eventType": EVENT_TYPE }]), &Extractors::default())?;
    let subject = sessions.subject_of_session(name);
    Ok(connection.set_subscriptions(&[subject], &subscriptions)?)
}

fn session_of(run: Uuid) -> SessionName {
    format!("rig.canary/{run}").parse().expect("it is short and not empty")
}

/// Revokes the session of a run. Returns how far it has got within this time.
async fn revoke(node: &Node, run: Uuid, within: Duration) -> anyhow::Result<Option<Spread>> {
    let name = session_of(run);
    let revocation = Revocation { by: Some("canary".into()), ..Revocation::blacklist(&name, VALIDITY) };
    match node.revoke(revocation, true, within).await? {
        Outcome::Done(_, spread) => Ok(spread),
        Outcome::Again(..) | Outcome::Before(..) => bail!("its session has been revoked before"),
    }
}

/// Publishes numbered events until some time after the revocation.
async fn publish(node: &Node, run: &str, begun: &AtomicU64, revoked_at: &AtomicU64) -> anyhow::Result<()> {
    let mut pace = interval(PACE);
    loop {
        let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
        let json = json!({ "specversion": "0.2", "type": EVENT_TYPE, "source": "rig", "id": format!("{run}/{number}") });
        node.publish(Event::from_json(json.to_string().into())?, EventOrigin::Here).await;
        if number > revoked_at.load(Ordering::SeqCst).saturating_add(AFTERWARDS) {
            return Ok(());
        }
        pace.tick().await;
    }
}

async fn watch(mut stream: BufReader<TcpStream>, run: &str) -> anyhow::Result<Seen> {
    let (mut last, mut killed) = (0, false);
    while let Some(line) = next_line(&mut stream).await? {
        let Some(event) = data_of(&line) else { continue };
        match event["type"].as_str() {
            Some(EVENT_TYPE) => {
                let number =
                    event["id"].as_str().and_then(|id| id.strip_prefix(run)?.strip_prefix('/')?.parse().ok());
                last = number.map_or(last, |number| last.max(number));
            }
            Some("rig.session_killed") => killed = true,
            _ => {}
        }
    }
    Ok(Seen { last, killed, ended: Instant::now() })
}

/// Returns the next line; `None` at the end of the stream, even if it was cut off.
async fn next_line(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Option<String>> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await?;
    Ok((read > 0).then_some(line))
}

fn data_of(line: &str) -> Option<Value> {
    serde_json::from_str(line.strip_prefix("data: ")?).ok()
}
