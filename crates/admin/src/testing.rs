//! An internal port for tests, without a socket.

use std::sync::Arc;
use std::time::Duration;

use connection::Hub;
use node::Node;
use proxy::{Apis, Definitions, MemoryStore, Waiting};
use seal::{Incarnation, Purpose, Seal};
use session::{MemoryLog, Sessions};

use crate::{Admin, Config, OperatedRooms};

/// Limit of a body.
pub(crate) const MAX_BODY: usize = 1000;

pub(crate) fn no_apis() -> Arc<Apis> {
    let loaded = Apis::load(Definitions::default(), Box::new(MemoryStore::default()), |_| None);
    Arc::new(loaded.unwrap().0)
}

pub(crate) fn node(sessions: &Sessions) -> Node {
    let hub = Hub::new(
        connection::Config::default(),
        sessions.clone(),
        Arc::default(),
        Seal::new(Some("test-cookie"), Purpose::Connection, Incarnation::unnamed()),
        Arc::default(),
        Arc::default(),
    );
    Node::new(sessions.clone(), hub, None)
}

pub(crate) fn port(waiting: Arc<Waiting>, apis: Arc<Apis>) -> Admin {
    let sessions = Sessions::new(session::Config::default(), MemoryLog::new()).unwrap();
    let config = Config {
        token: None,
        max_body: MAX_BODY,
        body_timeout: Duration::from_secs(5),
        extension_names: event::ExtensionNames::default(),
        durable: false,
        host: "localhost".to_owned(),
        metrics: false,
    };
    let tokens = auth::TokenConfig {
        algorithms: "HS256".parse().unwrap(),
        issuer: None,
        audience: Vec::new(),
        leeway: Duration::ZERO,
    };
    let key = auth::ConfiguredKey::load(None, &tokens.algorithms).unwrap();
    let verifier = Arc::new(auth::Verifier::new(Arc::new(key), tokens));
    let node = node(&sessions);
    Admin::new(
        config,
        OperatedRooms { node, sessions, verifier, waiting, apis, registry: Default::default() },
    )
}
