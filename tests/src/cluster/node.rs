//! One gateway of a cluster, with its folder, which outlives its processes.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{COOKIE, ClusterOptions, Link, LinkState, NAME, Nats};
use crate::client::Request;
use crate::folder::Folder;
use crate::gateway::Gateway;
use crate::program::limit_files;

/// Time limit for a node to get its lease, on a machine that is busy with elections.
const JOIN: Duration = Duration::from_secs(60);

/// A node: its folder, its links, and its present process.
pub struct Node {
    gateway: Option<Gateway>,
    name: &'static str,
    /// One for each nats-server.
    links: Vec<Link>,
    settings: Vec<(String, String)>,
    folder: Folder,
}

impl Node {
    pub(super) fn new(name: &'static str, nats: &Nats, options: ClusterOptions<'_>) -> Self {
        let folder = Folder::new();
        let links: Vec<_> = nats.addresses().map(Link::to).collect();
        let urls: Vec<_> = links.iter().map(|link| format!("nats://{}", link.address())).collect();
        let mut settings: Vec<_> = [
            ("CLUSTER_NATS", urls.join(",").as_str()),
            ("CLUSTER_NAME", NAME),
            ("CLUSTER_NODE", name),
            ("CLUSTER_LEASE", options.lease),
            ("CLUSTER_REPLICAS", &nats.len().to_string()),
            ("NODE_COOKIE", COOKIE),
            ("DATA_DIR", &folder.join("data")),
            ("MAX_CONNECTIONS_PER_MINUTE", "1000000"),
        ]
        .map(owned)
        .into();
        // The last one of a name counts.
        settings.extend(options.settings.iter().copied().map(owned));
        Self { gateway: None, name, links, settings, folder }
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        self.name
    }

    /// Returns its folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Returns its process; `None` if it is not running.
    pub fn gateway(&self) -> Option<&Gateway> {
        self.gateway.as_ref()
    }

    /// Returns the inbound port; `None` while it does not listen.
    pub fn inbound(&self) -> Option<SocketAddr> {
        self.gateway()?.open_port("inbound")
    }

    /// Returns the internal port; `None` while it does not listen.
    pub fn internal(&self) -> Option<SocketAddr> {
        self.gateway()?.open_port("internal")
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        // The last one of a name counts.
        self.settings.push(owned((name, value)));
    }

    pub(super) fn launch(&mut self) {
        // A folder has one process at a time.
        self.kill();
        let settings: Vec<_> =
            self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        // Ignored signals stay ignored in the program. Without this, a full disk would kill it.
        self.gateway = Some(Gateway::launch("trap '' XFSZ", &settings));
    }

    pub(super) fn kill(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.kill();
        }
    }

    pub(super) fn stop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.end();
        }
    }

    pub(super) fn exited(&mut self) -> Option<String> {
        let gateway = self.gateway.as_mut()?;
        gateway.has_exited().then(|| {
            let log = gateway.log();
            let lines: Vec<_> = log.lines().rev().take(5).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        })
    }

    pub(super) fn set_links(&self, state: LinkState) {
        self.links.iter().for_each(|link| link.set(state));
    }

    /// Sets the state of the link to one nats-server.
    pub fn set_link(&self, server: usize, state: LinkState) {
        self.links[server].set(state);
    }

    /// Limits the size that its files can reach, as a full disk does; `None` for no limit.
    ///
    /// # Panics
    /// Panics if it is not running, or there is no `prlimit`.
    pub fn limit_files(&self, bytes: Option<u64>) {
        limit_files(self.gateway().expect("it runs").pid(), bytes);
    }

    /// Returns `true` if it has a lease and accepts clients.
    pub fn is_ready(&self) -> bool {
        let (Some(internal), Some(inbound)) = (self.internal(), self.inbound()) else { return false };
        TcpStream::connect(inbound).is_ok() && Request::get("/readyz").status(internal) == Some(200)
    }

    pub(super) fn await_ready(&mut self) {
        let deadline = Instant::now() + JOIN;
        while !self.is_ready() {
            let exited = self.gateway.as_mut().is_none_or(Gateway::has_exited);
            if exited || Instant::now() > deadline {
                let log = self.gateway.as_ref().map(Gateway::log);
                panic!("node {} has no lease (exited: {exited}): {}", self.name, log.unwrap_or_default());
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
