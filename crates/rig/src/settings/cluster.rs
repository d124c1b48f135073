//! The settings of a node that is one of several.

use std::time::Duration;

use cluster::core::on_any_clock;
use cluster::events::EventInterest;
use cluster::nats::NatsConfig;
use cluster::wire::Names;
use session::LostLease;

use super::reader::Reader;
use super::{nats, table};

/// How a node takes part in a cluster.
pub(crate) struct ClusterSettings {
    /// Where NATS is. The name of the node is not known yet.
    pub(crate) nats: NatsConfig,
    /// The protocol.
    pub(crate) member: cluster::Config,
    /// The name of the node; `None` if its data folder has it.
    pub(crate) node: Option<String>,
    /// How long payload is held back without a lease.
    pub(crate) hold: Duration,
    /// How long the answer to a revocation waits for all nodes.
    pub(crate) wait: Duration,
}

/// Below this, an election of a leader in NATS can outlast the lease.
const ADVISED_LEASE: Duration = Duration::from_secs(12);

/// The length that the cookie must have, in bytes.
const COOKIE: usize = 32;

/// Settings of RIG by which a node looks for others.
const DISCOVERY: [&str; 3] = ["DISCOVERY_TYPE", "DNS_NAME", "NODE_HOST"];

/// Returns whether this node is meant to be alone, whatever else says that there are others.
pub(super) fn read_single(reader: &mut Reader) -> bool {
    let is_single = reader.text("CLUSTER").is_some_and(|text| text.eq_ignore_ascii_case("single"));
    if reader.is_set("CLUSTER") && !is_single {
        reader.refuse("CLUSTER");
    }
    is_single
}

/// Reads the settings of a cluster; `None` for a single node.
pub(super) fn read_cluster(reader: &mut Reader, has_data: bool, is_single: bool) -> Option<ClusterSettings> {
    let nats = read_nats(reader);
    let lease = reader.time("CLUSTER_LEASE");
    let wait = reader.optional("CLUSTER_WAIT", |text, kind| {
        super::kind::parse_time_of(text, kind).ok_or_else(|| format!("expected {kind}"))
    });
    let hold = reader.time("CLUSTER_HOLD");
    let lost_lease = reader.word("CLUSTER_LOST_LEASE", LostLease::from_name);
    let events = reader.word("CLUSTER_EVENTS", |word| match word {
        "interest" => Some(EventInterest::Subscribed),
        "all" => Some(EventInterest::All),
        "off" => Some(EventInterest::Off),
        _ => None,
    });
    let seals_names = reader.switch("CLUSTER_SEAL");
    let node = reader.optional("CLUSTER_NODE", |text, kind| {
        if Names::is_token(text) { Ok(text.to_owned()) } else { Err(format!("expected {kind}")) }
    });
    let cookie = reader.text("NODE_COOKIE").unwrap_or_default();
    let older_cookie = reader.text("NODE_COOKIE_OLD");
    let Some(nats) = nats else {
        let asks_for_nodes = DISCOVERY.into_iter().find(|name| reader.given.names_gone(name));
        if let Some(name) = asks_for_nodes
            && !is_single
        {
            reader.mistake(
                "CLUSTER_NATS",
                format!(
                    "missing, but {name} of RIG asks for several nodes, which would not share a blacklist without it; CLUSTER=single says that each node is meant to stand alone"
                ),
            );
        }
        let mut of_cluster = table::of_cluster().filter(|setting| reader.given.is_named(setting));
        let of_cluster = of_cluster.find(|setting| reader.given.is_set(setting)).map(|setting| setting.name);
        if let Some(name) = of_cluster.filter(|_| asks_for_nodes.is_none() && !is_single) {
            reader.mistake(
                "CLUSTER_NATS",
                format!(
                    "missing, but {name} is set: without it, this node would not learn of the revocations of others; CLUSTER=single says that it is meant to stand alone"
                ),
            );
        }
        return None;
    };
    if !has_data {
        reader.mistake("DATA_DIR", "a node of a cluster needs a folder: others count on what it has stored");
    }
    if cookie.len() < COOKIE {
        reader.mistake("NODE_COOKIE", format!("expected at least {COOKIE} characters in a cluster: messages between nodes are authenticated with it"));
    }
    if older_cookie.as_ref().is_some_and(|older| older.len() < COOKIE) {
        reader.refuse("NODE_COOKIE_OLD");
    }
    if older_cookie.as_ref() == Some(&cookie) {
        reader.mistake("NODE_COOKIE_OLD", "the same as NODE_COOKIE: it is the other one of the two");
    }
    if lease < ADVISED_LEASE {
        reader.warn(format!(
            "CLUSTER_LEASE = {lease:?} is shorter than {ADVISED_LEASE:?}: while NATS elects a leader, payload of all sessions is held back"
        ));
    }
    let member = cluster::Config {
        name: nats.cluster.clone(),
        lease,
        lost_lease,
        events,
        seals_names,
        cookie,
        older_cookie,
    };
    let wait = wait.unwrap_or(on_any_clock(lease) + Duration::from_secs(1));
    Some(ClusterSettings { nats, member, node, hold, wait })
}

/// Reads where NATS is; `None` if it is not set.
pub(crate) fn read_nats(reader: &mut Reader) -> Option<NatsConfig> {
    let access = nats::read_access(reader, &nats::OF_CLUSTER);
    let cluster = reader.value("CLUSTER_NAME", |text, _| Names::is_token(text).then(|| text.to_owned()));
    let replicas = reader.number("CLUSTER_REPLICAS");
    Some(NatsConfig { access: access?, cluster, node: String::new(), replicas })
}
