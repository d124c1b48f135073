//! An internal port for tests, without a socket.

use std::sync::Arc;
use std::time::Duration;

use connection::{Admissions, Hub};
use node::{Cluster, Node};
use proxy::{Apis, Definitions, MemoryStore, Waiting};
use seal::{Incarnation, Purpose, Seal};
use session::{MemoryLog, Sessions};

use crate::{Access, Admin, Config, OperatedRooms};

/// Limit of a body.
pub(crate) const MAX_BODY: usize = 1000;

pub(crate) fn no_apis() -> Arc<Apis> {
    let loaded = Apis::load(Definitions::default(), Box::new(MemoryStore::default()), |_| None);
    Arc::new(loaded.unwrap().0)
}

pub(crate) fn node(sessions: &Sessions, cluster: Option<Cluster>) -> Node {
    let fence = cluster.as_ref().map(|cluster| cluster.lease.fence()).unwrap_or_default();
    let hub = Hub::new(
        connection::Config::default(),
        sessions.clone(),
        Arc::default(),
        Seal::new(Some("test-cookie"), Purpose::Connection, Incarnation::unnamed()),
        Arc::default(),
        Arc::new(Admissions::new(fence)),
    );
    Node::new(sessions.clone(), hub, cluster)
}

pub(crate) fn port(waiting: Arc<Waiting>, apis: Arc<Apis>) -> Admin {
    port_in_cluster(waiting, apis, None).0
}

/// Returns a port, and its node.
pub(crate) fn port_in_cluster(
    waiting: Arc<Waiting>,
    apis: Arc<Apis>,
    cluster: Option<Cluster>,
) -> (Admin, Node) {
    let sessions = Sessions::new(session::Config::default(), MemoryLog::new()).unwrap();
    let node = node(&sessions, cluster);
    (port_of(node.clone(), sessions, waiting, apis), node)
}

pub(crate) fn port_of(node: Node, sessions: Sessions, waiting: Arc<Waiting>, apis: Arc<Apis>) -> Admin {
    let rooms = OperatedRooms {
        node,
        sessions,
        verifier: Arc::new(verifier()),
        waiting,
        apis,
        registry: Default::default(),
    };
    port_for(Access::default(), rooms)
}

/// Returns the port that lets these callers in.
pub(crate) fn port_for(access: Access, rooms: OperatedRooms) -> Admin {
    let config = Config {
        access,
        max_body: MAX_BODY,
        body_timeout: Duration::from_secs(5),
        extension_names: event::ExtensionNames::default(),
        durable: false,
        cluster_wait: Duration::from_secs(16),
        host: "localhost".to_owned(),
        metrics: true,
    };
    Admin::new(config, rooms)
}

/// Returns a verifier without a key.
pub(crate) fn verifier() -> auth::Verifier {
    let tokens = auth::TokenConfig {
        algorithms: "HS256".parse().unwrap(),
        issuer: None,
        audience: Vec::new(),
        leeway: Duration::ZERO,
    };
    let key = auth::ConfiguredKey::load(None, &tokens.algorithms).unwrap();
    auth::Verifier::new(Arc::new(key), tokens)
}
