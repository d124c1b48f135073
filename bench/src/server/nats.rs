//! nats-servers with JetStream: one, or three with a [`Link`] in each direction between two.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::link::{Link, LinkState};
use super::place::{TempFolder, free_address};
use super::{Child, Launch};
use crate::process::ResidentSet;

/// For servers to elect their leaders, and for a large stream to be read at a start.
const READY: Duration = Duration::from_secs(120);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// For an answer of a monitoring port, of a server that may be stopped.
const MONITORING: Duration = Duration::from_secs(2);

/// Whether a server syncs each message to its disk before it acknowledges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    Always,
    /// Every two minutes, as is the server's default.
    Rarely,
}

/// The servers. Dropping them stops their processes and removes their files.
#[derive(Debug)]
pub(crate) struct Nats {
    servers: Vec<NatsServer>,
    /// The links between two servers, from the one that connects.
    routes: Vec<(usize, usize, Link)>,
}

#[derive(Debug)]
struct NatsServer {
    /// `None`: it was stopped.
    child: Option<Child>,
    clients: SocketAddr,
    monitoring: SocketAddr,
    launch: Launch,
    folder: TempFolder,
    /// Its configuration without what says when it syncs.
    base: String,
}

impl Nats {
    /// Starts one server or three, and waits until they work.
    ///
    /// # Errors
    /// They do not start.
    pub(crate) async fn start(launch: &Launch, count: usize, sync: Sync) -> anyhow::Result<Self> {
        let addresses = (0..count).map(|_| free_address()).collect::<anyhow::Result<Vec<_>>>()?;
        let mut routes = Vec::new();
        for from in 0..count {
            for to in (0..count).filter(|to| *to != from) {
                routes.push((from, to, Link::to(addresses[to])?));
            }
        }
        let servers = (0..count).map(|server| {
            let own = routes.iter().filter(|(from, ..)| *from == server);
            let urls: Vec<_> = own.map(|(.., link)| format!("\"nats://{}\"", link.address)).collect();
            // Addresses that servers tell each other and their clients would lead past the links.
            let cluster = format!(
                "cluster {{ name: bench, listen: \"{}\", advertise: \"127.0.0.1:1\", no_advertise: true, \
                 pool_size: -1, routes: [{}] }}",
                addresses[server],
                urls.join(", ")
            );
            NatsServer::new(launch, server, if count == 1 { "" } else { &cluster })
        });
        let servers = servers.collect::<anyhow::Result<_>>()?;
        let mut nats = Self { servers, routes };
        for server in 0..count {
            nats.launch(server, sync)?;
        }
        nats.ready().await?;
        Ok(nats)
    }

    /// The number of servers.
    pub(crate) fn len(&self) -> usize {
        self.servers.len()
    }

    /// Where they listen for clients.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.servers.iter().map(|server| server.clients)
    }

    /// Starts a server, with the files that it has.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn launch(&mut self, server: usize, sync: Sync) -> anyhow::Result<()> {
        self.servers[server].launch(sync)
    }

    /// Waits until all servers work.
    ///
    /// # Errors
    /// It takes too long.
    pub(crate) async fn ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        for server in &self.servers {
            while !server.get("/healthz").await.is_ok_and(|answer| answer.contains("200 OK")) {
                anyhow::ensure!(Instant::now() < deadline, "a nats-server is not ready");
                sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// Stops a server in order.
    pub(crate) fn stop(&mut self, server: usize) {
        self.servers[server].child = None;
    }

    /// Kills a server.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) fn kill(&mut self, server: usize) -> anyhow::Result<()> {
        self.signal(server, Signal::KILL)?;
        self.stop(server);
        Ok(())
    }

    /// # Errors
    /// It does not run.
    pub(crate) fn signal(&self, server: usize, signal: Signal) -> anyhow::Result<()> {
        self.servers[server].child.as_ref().context("the server does not run")?.signal(signal)
    }

    /// Sets the state of the links between this server and the others.
    pub(super) fn set_routes(&self, server: usize, state: LinkState) {
        let own = self.routes.iter().filter(|(from, to, _)| [from, to].contains(&&server));
        own.for_each(|(.., link)| link.set(state));
    }

    /// Returns the server that leads the stream, as it says itself, if every copy is complete.
    pub(crate) async fn settled_leader(&self, stream: &str) -> Option<usize> {
        for (number, server) in self.servers.iter().enumerate() {
            let Some(detail) = server.detail(stream).await else { continue };
            let cluster = &detail["cluster"];
            let own = cluster["leader"].as_str().is_none_or(|leader| leader == name(number));
            let copies = cluster["replicas"]
                .as_array()
                .map_or(0, |copies| copies.iter().filter(|copy| copy["current"] == json!(true)).count());
            if own && copies + 1 == self.servers.len() {
                return Some(number);
            }
        }
        None
    }

    /// Waits for [`settled_leader`](Self::settled_leader).
    ///
    /// # Errors
    /// It takes too long.
    pub(crate) async fn await_leader(&self, stream: &str) -> anyhow::Result<usize> {
        let deadline = Instant::now() + READY;
        loop {
            if let Some(leader) = self.settled_leader(stream).await {
                return Ok(leader);
            }
            anyhow::ensure!(Instant::now() < deadline, "the stream has no leader with complete copies");
            sleep(LOOK).await;
        }
    }

    /// Returns memory and bytes on disk of the server that needs most.
    ///
    /// # Errors
    /// One of them does not run.
    pub(crate) fn largest(&self) -> anyhow::Result<(ResidentSet, u64)> {
        let mut largest = (ResidentSet::default(), 0);
        for server in &self.servers {
            let child = server.child.as_ref().context("the server does not run")?;
            let memory = ResidentSet::of(child.id())?;
            if memory.rss_kib > largest.0.rss_kib {
                largest.0 = memory;
            }
            largest.1 = largest.1.max(bytes_in(&server.folder.join("store"))?);
        }
        Ok(largest)
    }
}

impl NatsServer {
    fn new(launch: &Launch, number: usize, cluster: &str) -> anyhow::Result<Self> {
        let (clients, monitoring) = (free_address()?, free_address()?);
        let folder = TempFolder::new("nats")?;
        let base = format!(
            "server_name: {}\nlisten: \"{clients}\"\nhttp: \"{monitoring}\"\n{cluster}\n",
            name(number)
        );
        Ok(Self { child: None, clients, monitoring, launch: launch.clone(), folder, base })
    }

    fn launch(&mut self, sync: Sync) -> anyhow::Result<()> {
        self.child = None;
        let sync = if sync == Sync::Always { "sync_interval: always" } else { "" };
        let store = self.folder.join("store");
        let text = format!("{}jetstream {{\nstore_dir: \"{}\"\n{sync}\n}}\n", self.base, store.display());
        let file = self.folder.write("nats.conf", &text)?;
        let mut command = Command::new(&self.launch.nats);
        command.arg("-c").arg(file).arg("-l").arg(self.folder.join("log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(Child::spawn(&mut command, None).context("scripts/need nats-server installs it")?);
        Ok(())
    }

    /// The answer of the monitoring port, with its head.
    async fn get(&self, path: &str) -> anyhow::Result<String> {
        let answer = async {
            let mut stream = TcpStream::connect(self.monitoring).await?;
            stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(answer)
        };
        timeout(MONITORING, answer).await?
    }

    async fn detail(&self, stream: &str) -> Option<Value> {
        let answer = self.get("/jsz?streams=true").await.ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        let body: Value = serde_json::from_str(body).ok()?;
        let accounts = body["account_details"].as_array()?.iter();
        let streams = accounts.filter_map(|account| account["stream_detail"].as_array());
        streams.flatten().find(|detail| detail["name"] == stream).cloned()
    }
}

fn name(number: usize) -> String {
    format!("n{number}")
}

/// Blocks that the files of a folder take, in bytes.
fn bytes_in(folder: &std::path::Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // A server removes files while it is looked at.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { bytes_in(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
