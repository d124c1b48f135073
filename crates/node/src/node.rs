//! The node: its sessions, its connections, and its peers if there are any.

use std::sync::{Arc, OnceLock, Weak};

use connection::{Admission, Hub};
use session::{NodeName, Sessions};
use tokio::task::{JoinError, spawn_blocking};

use crate::ask::{PeerHandler, PeerRoom, Peers};
use crate::bus::Bus;
use crate::elsewhere::{Elsewhere, Ledger};
use crate::lease::Lease;
use crate::source::Source;

/// A node of the gateway. Clones are the same node.
#[derive(Clone)]
pub struct Node(Arc<Rooms>);

struct Rooms {
    sessions: Sessions,
    hub: Arc<Hub>,
    cluster: Option<Cluster>,
    /// The revocations that the other nodes did not have when this node began. A node that was
    /// alone may have many, and has to accept more all the same.
    inherited: u64,
    /// The rooms that answer requests of other nodes, held weakly: they hold this node.
    handlers: [OnceLock<Weak<dyn PeerHandler>>; PeerRoom::COUNT],
    sources: OnceLock<Sources>,
    elsewhere: Elsewhere,
}

/// Where events come from, other than by HTTP.
struct Sources {
    all: Vec<Arc<dyn Source>>,
    /// Whether the node is ready only while all are connected.
    are_needed: bool,
}

/// Whether load balancers may send new clients to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They may.
    Ready,
    /// The node is about to shut down, or refuses all clients.
    Leaving,
    /// The node has no lease, so it lets no sessions in.
    NoLease,
    /// The source of this name is not connected, and it is needed.
    NoSource(&'static str),
}

/// The ports to the other nodes.
pub struct Cluster {
    /// Carries events and operations between the nodes.
    pub bus: Arc<dyn Bus>,
    /// Limits how long this node may serve sessions.
    pub lease: Arc<dyn Lease>,
    /// Asks the other nodes; `None` if what belongs to a connection works at its own node only.
    pub peers: Option<Arc<dyn Peers>>,
}

impl Node {
    /// Creates a node over its sessions and their connections. Without a `cluster` it has no peers.
    pub fn new(sessions: Sessions, hub: Arc<Hub>, cluster: Option<Cluster>) -> Self {
        let inherited = cluster.as_ref().map_or(0, |_| sessions.log().unshared_count());
        let (handlers, sources, elsewhere) = Default::default();
        Self(Arc::new(Rooms { sessions, hub, cluster, inherited, handlers, sources, elsewhere }))
    }

    /// Sets where events come from, other than by HTTP; once, before [`Node::spawn`]. If they
    /// `are_needed`, the node is ready only while all are connected.
    pub fn set_sources(&self, all: Vec<Arc<dyn Source>>, are_needed: bool) {
        let is_first = self.0.sources.set(Sources { all, are_needed }).is_ok();
        debug_assert!(is_first, "sources are set once");
    }

    /// Returns where events come from, other than by HTTP.
    pub fn sources(&self) -> &[Arc<dyn Source>] {
        self.0.sources.get().map_or(&[], |sources| &sources.all)
    }

    /// Returns whether no more revocations are accepted, since too many wait for the other nodes.
    pub(crate) fn is_queue_full(&self) -> bool {
        self.has_peers() && self.unshared_count() >= self.0.inherited + Self::MOST_QUEUED
    }

    /// Returns the name under which this node's receipts are stored.
    pub fn name(&self) -> &NodeName {
        self.0.sessions.config().node()
    }

    /// Returns which clients the node admits: the strictest of all restrictions.
    pub fn admission(&self) -> Admission {
        self.0.hub.admissions().now()
    }

    /// Returns which clients without a session the node admits.
    pub fn admission_without_session(&self) -> Admission {
        self.0.hub.admissions().without_session()
    }

    /// Returns whether load balancers may send new clients.
    pub fn is_ready(&self) -> bool {
        self.readiness() == Readiness::Ready
    }

    /// Returns whether load balancers may send new clients, and why not.
    pub fn readiness(&self) -> Readiness {
        let admissions = self.0.hub.admissions();
        match (admissions.is_ready(), admissions.without_session()) {
            (true, _) => match self.missing_source() {
                None => Readiness::Ready,
                Some(source) => Readiness::NoSource(source),
            },
            (false, Admission::Open) => Readiness::NoLease,
            (false, _) => Readiness::Leaving,
        }
    }

    fn missing_source(&self) -> Option<&'static str> {
        let sources = self.0.sources.get().filter(|sources| sources.are_needed)?;
        sources.all.iter().find(|source| !source.is_up()).map(|source| source.name())
    }

    /// Returns whether the node is part of a cluster.
    pub fn has_peers(&self) -> bool {
        self.0.cluster.is_some()
    }

    /// Restricts which clients the node admits, on behalf of `holder`, until that holder sets it
    /// again.
    pub fn set_admission(&self, holder: &'static str, admission: Admission) {
        self.0.hub.admissions().set(holder, admission);
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.0.hub
    }

    pub(crate) fn bus(&self) -> Option<&Arc<dyn Bus>> {
        self.0.cluster.as_ref().map(|cluster| &cluster.bus)
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.elsewhere.ledger
    }

    pub(crate) fn elsewhere(&self) -> &Elsewhere {
        &self.0.elsewhere
    }

    pub(crate) fn lease(&self) -> Option<&Arc<dyn Lease>> {
        self.0.cluster.as_ref().map(|cluster| &cluster.lease)
    }

    pub(crate) fn peers(&self) -> Option<&Arc<dyn Peers>> {
        self.0.cluster.as_ref()?.peers.as_ref()
    }

    pub(crate) fn handlers(&self) -> &[OnceLock<Weak<dyn PeerHandler>>; PeerRoom::COUNT] {
        &self.0.handlers
    }

    /// Runs work that may block on the log, on a blocking thread.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Sessions) -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let sessions = self.0.sessions.clone();
        spawn_blocking(move || run(&sessions)).await
    }
}
