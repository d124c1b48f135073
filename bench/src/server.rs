//! The servers under test: how each is started, addressed and stopped.

mod child;
pub(crate) mod cluster;
mod counted;
pub(crate) mod dialogue;
mod floor;
mod identity;
pub(crate) mod kafka;
pub(crate) mod link;
pub(crate) mod nats;
mod nginx;
mod place;
pub(crate) mod proxies;
mod pushpin;
pub(crate) mod restart;
pub(crate) mod rig;
mod socketio;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::Streaming;
use crate::process::{Cpu, ResidentSet, established, peak_kib, run_time};
use crate::token::{self, Signer};
pub(crate) use child::Child;
pub(crate) use counted::{Callgrind, Counter};
pub(crate) use identity::Identity;
pub(crate) use nginx::configuration as nginx_configuration;
pub(crate) use nginx::{BUFFERED, start_buffered as start_nginx_buffered};
pub(crate) use place::TempFolder;
use place::free_address;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Product {
    /// The gateway.
    Rig,
    /// nginx; with the module nchan if it has subscribers.
    Nginx,
    /// HAProxy, as a proxy only.
    #[value(skip)]
    Haproxy,
    /// One write of the ready frame to each socket: what nothing can do with less.
    Floor,
    /// Pushpin, with all its processes.
    Pushpin,
    /// A Socket.IO server on Node; WebSocket only.
    #[value(name = "socketio")]
    SocketIo,
}

/// How servers are started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    rig: PathBuf,
    nginx: PathBuf,
    haproxy: PathBuf,
    nats: PathBuf,
    environment: Vec<(String, String)>,
    log: bool,
    /// Where callgrind writes; `None` if the gateway does not run under it.
    callgrind: Option<PathBuf>,
    /// Signs the tokens of clients; `None`: they are HS256 tokens of the secret.
    signer: Option<Arc<Signer>>,
}

impl Launch {
    /// `environment`: NAME=VALUE, for the gateway.
    ///
    /// # Errors
    /// A variable without `=`.
    pub(crate) fn new(
        rig: PathBuf,
        nginx: PathBuf,
        haproxy: PathBuf,
        nats: PathBuf,
        environment: &[String],
        log: bool,
    ) -> anyhow::Result<Self> {
        let pair = |text: &String| {
            let (name, value) =
                text.split_once('=').with_context(|| format!("{text:?} is not NAME=VALUE"))?;
            Ok((name.to_owned(), value.to_owned()))
        };
        let environment = environment.iter().map(pair).collect::<anyhow::Result<_>>()?;
        Ok(Self { rig, nginx, haproxy, nats, environment, log, callgrind: None, signer: None })
    }

    /// The same, with more variables for the gateway.
    pub(crate) fn with(&self, variables: &[(&str, &str)]) -> Self {
        let mut launch = self.clone();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        launch.environment.extend(variables);
        launch
    }

    /// The same, with another binary of the gateway.
    pub(crate) fn with_rig(&self, rig: PathBuf) -> Self {
        Self { rig, ..self.clone() }
    }

    /// The same, with the gateway under callgrind, which writes to files that begin with `out`.
    pub(crate) fn under_callgrind(&self, out: PathBuf) -> Self {
        Self { callgrind: Some(out), ..self.clone() }
    }

    /// The same, with clients whose tokens are signed by `signer`, and a gateway with these
    /// variables, which make it trust them.
    pub(crate) fn signed_by(&self, signer: &Arc<Signer>, variables: &[(&str, &str)]) -> Self {
        Self { signer: Some(signer.clone()), ..self.with(variables) }
    }

    /// The program that is the gateway.
    fn rig(&self) -> Command {
        let Some(out) = &self.callgrind else { return Command::new(&self.rig) };
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--quiet"]).arg(format!("--callgrind-out-file={}", out.display()));
        command.arg(&self.rig);
        command
    }

    /// The gateway's binary.
    pub(crate) fn program(&self) -> &Path {
        &self.rig
    }

    /// What the nats-server calls itself.
    ///
    /// # Errors
    /// It cannot be run.
    pub(crate) fn nats_version(&self) -> anyhow::Result<String> {
        let output = Command::new(&self.nats).arg("--version").output();
        let output = output.with_context(|| format!("{} cannot be run", self.nats.display()))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Starts a server and waits until it listens.
    ///
    /// # Errors
    /// It cannot be started, or does not listen within some seconds.
    pub(crate) fn start(&self, product: Product) -> anyhow::Result<RunningServer> {
        match product {
            Product::Rig => self.start_within(rig::START),
            Product::Nginx => nginx::start(self),
            Product::Haproxy => anyhow::bail!("haproxy has no subscribers"),
            Product::Floor => floor::start(),
            Product::Pushpin => pushpin::start(self),
            Product::SocketIo => socketio::start(),
        }
    }

    /// Starts a gateway and waits until it listens, for some time.
    ///
    /// # Errors
    /// It cannot be started, or does not listen in time.
    pub(crate) fn start_within(&self, time: Duration) -> anyhow::Result<RunningServer> {
        rig::start(self, time)
    }

    /// What the server calls itself.
    ///
    /// # Errors
    /// It cannot be run.
    pub(crate) fn version(&self, product: Product) -> anyhow::Result<String> {
        match product {
            Product::Rig => rig::version(&self.rig),
            Product::Nginx => nginx::version(&self.nginx),
            Product::Haproxy => proxies::haproxy_version(&self.haproxy),
            Product::Floor => Ok(floor::version()),
            Product::Pushpin => pushpin::version(),
            Product::SocketIo => socketio::version(),
        }
    }
}

/// A running server. Dropping it stops its processes.
#[derive(Debug)]
pub(crate) struct RunningServer {
    product: Product,
    child: Child,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    /// Where it says how many clients it has; of the gateway, its internal port; of Pushpin, its
    /// control port.
    pub(crate) status: SocketAddr,
    signer: Option<Arc<Signer>>,
}

/// Where and how a client of a transport connects, up to the subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handshake {
    pub(crate) address: SocketAddr,
    pub(crate) transport: Streaming,
    /// The text message that a WebSocket client sends first; empty if it only listens.
    pub(crate) hello: &'static [u8],
    /// What the server sends after its response head once the subscription is in place; empty if
    /// the head alone says so.
    pub(crate) greeting: &'static [u8],
}

impl Handshake {
    /// The request that opens a connection on this path.
    pub(crate) fn request(self, path: &str) -> Vec<u8> {
        let headers = match self.transport {
            Streaming::Sse => "Accept: text/event-stream\r\nCache-Control: no-cache\r\n",
            // RFC 6455, section 1.3: the key of its example. A client that is no browser may use it
            // always.
            Streaming::Ws => {
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            }
        };
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.address).into_bytes()
    }
}

/// Clients as the server counts them, or the kernel if the server does not. `None` if unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Population {
    /// Open connections, or subscribers.
    pub(crate) connections: u64,
    /// Sessions with at least one connection.
    pub(crate) sessions: Option<u64>,
    /// Subscriptions of all connections.
    pub(crate) subscriptions: Option<u64>,
}

impl RunningServer {
    /// A token that names the session of client `number`.
    ///
    /// # Errors
    /// It cannot be signed.
    pub(crate) fn token(&self, number: u32) -> anyhow::Result<String> {
        match &self.signer {
            Some(signer) => signer.mint(number),
            None => token::mint(number),
        }
    }

    /// The request that opens the connection of client `number`, in a session of its own.
    pub(crate) fn subscription(&self, transport: Streaming, number: u32) -> anyhow::Result<Vec<u8>> {
        let path = match (self.product, transport) {
            (Product::Rig, _) => rig::path(transport, rig::SUBSCRIPTIONS, &self.token(number)?),
            (Product::Nginx, Streaming::Sse) => nginx::SSE.to_owned(),
            (Product::Nginx, Streaming::Ws) => nginx::WS.to_owned(),
            (Product::Haproxy, _) => anyhow::bail!("haproxy has no subscribers"),
            (Product::Floor, Streaming::Sse) => floor::SSE.to_owned(),
            (Product::Floor, Streaming::Ws) => floor::WS.to_owned(),
            (Product::Pushpin, Streaming::Sse) => pushpin::SSE.to_owned(),
            (Product::Pushpin, Streaming::Ws) => pushpin::WS.to_owned(),
            (Product::SocketIo, Streaming::Sse) => anyhow::bail!("Socket.IO has no Server-Sent Events"),
            (Product::SocketIo, Streaming::Ws) => socketio::WS.to_owned(),
        };
        Ok(self.handshake(transport).request(&path))
    }

    /// The same of a client of the gateway that wants no events.
    pub(crate) fn unsubscribed(&self, transport: Streaming, number: u32) -> anyhow::Result<Vec<u8>> {
        Ok(self.handshake(transport).request(&rig::path(transport, rig::NOTHING, &self.token(number)?)))
    }

    /// Returns how clients of this transport connect.
    pub(crate) fn handshake(&self, transport: Streaming) -> Handshake {
        let (hello, greeting): (&[u8], &[u8]) = match (self.product, transport) {
            (Product::Rig, _) => (b"", rig::GREETING),
            (Product::Pushpin, Streaming::Ws) => (b"", pushpin::GREETING),
            (Product::SocketIo, _) => (socketio::HELLO, socketio::GREETING),
            // With the response head, the client is subscribed.
            (Product::Nginx | Product::Haproxy | Product::Floor | Product::Pushpin, _) => (b"", b""),
        };
        Handshake { address: self.address, transport, hello, greeting }
    }

    /// The request, for the internal port, that revokes the session of client `number`.
    pub(crate) fn revocation(&self, number: u32) -> Vec<u8> {
        let body = format!(r#"{{"sessionId":"{}","validityInSeconds":86400}}"#, token::session(number));
        post(self.status, rig::BLACKLIST, body.as_bytes())
    }

    /// The request, for the internal port, that revokes the session of client `number` in the form
    /// that is the gateway's own; its receipt says what each node of a cluster has done.
    pub(crate) fn order(&self, number: u32) -> Vec<u8> {
        let body = format!(r#"{{"session":"{}","validityInSeconds":86400}}"#, token::session(number));
        post(self.status, rig::REVOCATIONS, body.as_bytes())
    }

    /// The request that opens the connection of client `number` with Server-Sent Events and, with
    /// a cursor, asks for what came after it.
    pub(crate) fn resumption(&self, number: u32, cursor: Option<&str>) -> anyhow::Result<Vec<u8>> {
        let request = self.subscription(Streaming::Sse, number)?;
        Ok(with_cursor(request, cursor))
    }

    /// The request that opens the connection of client `number` of the gateway with Server-Sent
    /// Events of another type. Its heartbeats have ids.
    ///
    /// # Errors
    /// The token cannot be signed.
    pub(crate) fn subscription_to(&self, event_type: &str, number: u32) -> anyhow::Result<Vec<u8>> {
        Ok(rig::subscription_to(self.address, event_type, &self.token(number)?))
    }

    /// Whether it is the gateway, which says when a client is subscribed, and what it has missed.
    pub(crate) fn is_gateway(&self) -> bool {
        self.product == Product::Rig
    }

    /// Where publishers connect.
    pub(crate) fn publishing(&self) -> SocketAddr {
        if self.product == Product::Pushpin { self.status } else { self.address }
    }

    /// The request that publishes this event to all subscribers.
    pub(crate) fn publication(&self, event: &[u8]) -> Vec<u8> {
        let path = match self.product {
            Product::Rig => rig::EVENTS,
            Product::Nginx | Product::Haproxy => nginx::EVENTS,
            Product::Floor => floor::EVENTS,
            Product::Pushpin => {
                return post(self.publishing(), pushpin::EVENTS, &pushpin::publication(event));
            }
            Product::SocketIo => socketio::EVENTS,
        };
        post(self.publishing(), path, event)
    }

    /// Returns the number of clients that the server reports.
    ///
    /// # Errors
    /// Fails if the server does not answer, or if its answer is not understood.
    pub(crate) async fn population(&self) -> anyhow::Result<Population> {
        match self.product {
            Product::Rig => rig::population(self.status).await,
            Product::Nginx => nginx::population(self.status).await,
            Product::Haproxy => anyhow::bail!("haproxy has no subscribers"),
            Product::Floor | Product::Pushpin => kernel_population(self.address),
            Product::SocketIo => socketio::population(self.status).await,
        }
    }

    /// The memory of all its processes.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn memory(&self) -> anyhow::Result<ResidentSet> {
        self.child
            .pids()?
            .into_iter()
            .map(ResidentSet::of)
            .try_fold(ResidentSet::default(), |sum, one| Ok(sum + one?))
    }

    /// The largest memory that its processes have had up to now, each for itself. KiB.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn peak_kib(&self) -> anyhow::Result<u64> {
        self.child.pids()?.into_iter().map(peak_kib).sum()
    }

    /// Returns the messages of a topic that the gateway has consumed.
    ///
    /// # Errors
    /// Fails if the gateway does not answer, or if its answer is not understood.
    pub(crate) async fn consumed(&self, topic: &str) -> anyhow::Result<u64> {
        rig::consumed(self.status, topic).await
    }

    /// The CPU time of all threads of its processes up to now, to the nanosecond, without that of
    /// threads that have exited.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn run_time(&self) -> anyhow::Result<Duration> {
        self.child.pids()?.into_iter().map(run_time).sum()
    }

    /// The CPU time of all its processes up to now.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn cpu(&self) -> anyhow::Result<Cpu> {
        self.child.pids()?.into_iter().map(Cpu::of).try_fold(Cpu::default(), |sum, one| Ok(sum + one?))
    }
}

/// Counts the clients of a server that has no metric of them.
fn kernel_population(address: SocketAddr) -> anyhow::Result<Population> {
    let SocketAddr::V4(address) = address else { anyhow::bail!("{address} is not IPv4") };
    Ok(Population { connections: established(address)?, sessions: None, subscriptions: None })
}

/// Returns the request with this cursor in its head.
pub(crate) fn with_cursor(mut request: Vec<u8>, cursor: Option<&str>) -> Vec<u8> {
    if let Some(cursor) = cursor {
        request.truncate(request.len() - 2);
        request.extend_from_slice(format!("Last-Event-ID: {cursor}\r\n\r\n").as_bytes());
    }
    request
}

fn post(address: SocketAddr, path: &str, json: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        json.len()
    );
    [head.as_bytes(), json].concat()
}
