//! A node's membership in a cluster: what `rig` builds, and passes to the node.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metric::Registry;
use node::Cluster;
use parking_lot::Mutex;
use session::Fence;
use tokio::sync::mpsc;

use crate::bus::{ClusterBus, ClusterLease};
use crate::codec::Codec;
use crate::core::Identity;
use crate::definitions::DefinitionsStore;
use crate::driver::{Parts, Shown};
use crate::events::{EventInterest, EventMetrics, EventWire, Events};
use crate::identity::NodeIdentity;
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::peers::ClusterPeers;
use crate::wire::{Names, Wire};
use session::LostLease;

/// How a node takes part in a cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of the cluster.
    pub name: String,
    /// How long the node may serve sessions after a beat.
    pub lease: Duration,
    /// What it does without a lease.
    pub lost_lease: LostLease,
    /// Which events it receives from other nodes.
    pub events: EventInterest,
    /// Whether names of sessions are sealed in messages.
    pub seals_names: bool,
    /// The secret that all nodes share.
    pub cookie: String,
    /// The secret before it, which is accepted while the cookie is being replaced.
    pub older_cookie: Option<String>,
}

/// A node of a cluster.
pub struct Member {
    /// The ports for the node.
    pub cluster: Cluster,
    /// Whether the node has had a lease.
    pub joined: Joined,
    /// The definitions of APIs that the cluster shares.
    pub definitions: Arc<DefinitionsStore>,
}

/// Tells when a node has joined its cluster.
#[derive(Clone)]
pub struct Joined(Arc<Shown>);

impl Joined {
    /// Waits until the node has had its first lease.
    pub async fn wait(&self) {
        self.0.joined().await;
    }
}

impl Member {
    /// Returns a member that joins when the node runs its bus.
    pub fn new(
        config: &Config,
        identity: &NodeIdentity,
        wire: Arc<dyn Wire>,
        event_wire: Arc<dyn EventWire>,
        registry: &mut Registry,
    ) -> Self {
        let keys = || Keys::new(&config.cookie, config.older_cookie.as_deref());
        let codec = Arc::new(Codec::new(&config.name, keys(), config.seals_names));
        let (shown, fence) = (Arc::new(Shown::default()), Fence::since_boot());
        let metrics = Metrics::register(registry);
        let events = Arc::new(Events::new(
            event_wire,
            Arc::new(keys()),
            &config.name,
            identity.life,
            config.events,
            EventMetrics::register(registry),
        ));
        let (inputs, received) = mpsc::unbounded_channel();
        let (commands, commanded) = mpsc::unbounded_channel();
        let peers = ClusterPeers::new(
            (wire.clone(), codec.clone()),
            shown.clone(),
            (identity.node.clone(), identity.life),
            inputs.clone(),
            metrics.clone(),
        );
        let names = Names::new(&config.name);
        let definitions = Arc::new(DefinitionsStore::new(
            (wire.clone(), names.clone(), codec.clone()),
            (identity.node.clone(), shown.clone()),
            inputs.clone(),
            metrics.clone(),
        ));
        let start = {
            let definitions = definitions.clone();
            let (fence, shown) = (fence.clone(), shown.clone());
            let identity = Identity {
                life: identity.life,
                node: identity.node.clone(),
                earlier: identity.earlier.into_iter().collect(),
                lease: config.lease,
                policy: config.lost_lease,
                replaces_cookie: config.older_cookie.is_some(),
            };
            move |node| Parts {
                identity,
                node,
                fence,
                wire,
                names,
                codec,
                shown,
                definitions,
                metrics,
                commands: commanded,
                inputs,
                received,
            }
        };
        let bus = ClusterBus {
            events,
            shown: shown.clone(),
            commands,
            fence: fence.clone(),
            node: OnceLock::new(),
            start: Mutex::new(Some(Box::new(start))),
        };
        let lease = Arc::new(ClusterLease(fence));
        let cluster = Cluster { bus: Arc::new(bus), lease, peers: Some(Arc::new(peers)) };
        Self { cluster, joined: Joined(shown), definitions }
    }
}
