//! The state of the handlers of the internal port.

use std::sync::Arc;
use std::time::Duration;

use auth::Verifier;
use event::ExtensionNames;
use metric::Registry;
use node::Node;
use proxy::{Apis, Waiting};
use session::Sessions;

use crate::body;

/// The rooms behind the internal port, and its configuration.
#[derive(Clone)]
pub(crate) struct Port {
    pub(crate) node: Node,
    /// Used for names and selectors. Changes of sessions go through `node`.
    pub(crate) sessions: Sessions,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) apis: Arc<Apis>,
    pub(crate) node_name: Arc<str>,
    pub(crate) bodies: body::Bounds,
    pub(crate) extension_names: ExtensionNames,
    pub(crate) durable: bool,
    /// How long requests wait for the other nodes by default.
    pub(crate) cluster_wait: Duration,
    /// All metrics of the node.
    pub(crate) registry: Arc<Registry>,
}
