//! How far a revocation has got in a cluster, in JSON.

use std::collections::BTreeMap;

use node::{NodeReach, Reach, Spread};
use serde::Serialize;
use session::{NodeName, Receipt, Record};
use utoipa::ToSchema;

use super::time;

/// How far a revocation, or a lift, has got in the cluster. A gateway without a cluster has none of
/// these members.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Spread)]
pub(crate) struct SpreadDocument {
    /// `complete`: no node of the cluster sends anything to the sessions any more. `pending`: it is
    /// in the stream of the cluster, and some nodes have not confirmed it. `queued`: the stream
    /// cannot be reached. `shared`: it is in the stream; the node that accepted it knows who has
    /// confirmed it.
    #[schema(value_type = String)]
    cluster: &'static str,
    /// What that means for this revocation.
    cluster_detail: String,
    /// Each node that is known to be concerned, by name.
    nodes: Vec<NodeEntry>,
}

/// A node of the cluster, and how far the revocation has got there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NodeReach)]
pub(crate) struct NodeEntry {
    /// Its name.
    node: String,
    #[serde(flatten)]
    state: NodeState,
}

/// How far a revocation has got at one node.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "camelCase")]
pub(crate) enum NodeState {
    /// The node has applied it.
    #[serde(rename_all = "camelCase")]
    Applied {
        /// When the last of its connections there was terminated; null, as are the other results,
        /// if the node has not said it.
        applied_at: Option<String>,
        /// Connections that it terminated there.
        connections_terminated: Option<u64>,
        /// Requests that it aborted there.
        requests_cut: Option<u64>,
        /// When the last event was handed to one of those connections; null if never.
        last_payload_at: Option<String>,
    },
    /// The node has not confirmed it, but provably has no lease: it sends nothing to any session
    /// before it has applied it.
    #[serde(rename_all = "camelCase")]
    Expired {
        /// It has had no lease since this time at the latest.
        no_lease_since: Option<String>,
    },
    /// The process of the node has exited, or has closed all connections and left.
    Gone {},
    /// The node may not have applied it yet.
    Unconfirmed {
        /// What it does when its lease expires (`CLUSTER_LOST_LEASE`).
        #[schema(value_type = String)]
        policy: &'static str,
    },
}

impl NodeState {
    fn of(reach: NodeReach) -> Self {
        match reach {
            NodeReach::Applied(receipt) => Self::applied(receipt),
            NodeReach::Expired(since) => Self::Expired { no_lease_since: time::shown(since) },
            NodeReach::Gone => Self::Gone {},
            NodeReach::Unconfirmed(policy) => Self::Unconfirmed { policy: policy.as_str() },
        }
    }

    fn applied(receipt: Option<Receipt>) -> Self {
        Self::Applied {
            applied_at: receipt.and_then(|receipt| time::shown(receipt.applied_at)),
            connections_terminated: receipt.map(|receipt| receipt.connections),
            requests_cut: receipt.map(|receipt| receipt.requests),
            last_payload_at: receipt.and_then(|receipt| time::shown(receipt.last_payload_at?)),
        }
    }
}

impl SpreadDocument {
    /// Returns what is known of a revocation with this record. If this life of the node has not
    /// accepted it, `spread` is `None`, and only the record says something.
    pub(crate) fn of(spread: Option<Spread>, record: &Record) -> Self {
        let applied =
            |(node, receipt): (&NodeName, &Receipt)| (node.clone(), NodeReach::Applied(Some(*receipt)));
        let mut nodes: BTreeMap<NodeName, NodeReach> = record.receipts.iter().map(applied).collect();
        let reach = spread.map(|spread| {
            nodes.extend(spread.nodes);
            spread.reach
        });
        Self::new(reach.or((!record.in_stream).then_some(Reach::Queued)), &nodes, &REVOKED)
    }

    /// Returns how far a lift has got.
    pub(crate) fn of_lift(spread: &Spread) -> Self {
        Self::new(Some(spread.reach), &spread.nodes, &LIFTED)
    }

    fn new(reach: Option<Reach>, nodes: &BTreeMap<NodeName, NodeReach>, texts: &Texts) -> Self {
        let unconfirmed = nodes.iter().filter(|(_, reach)| matches!(reach, NodeReach::Unconfirmed(_)));
        let unconfirmed: Vec<&str> = unconfirmed.map(|(node, _)| node.as_str()).collect();
        let cluster_detail = match reach {
            None => texts.shared.to_owned(),
            Some(Reach::Complete) => texts.complete.to_owned(),
            Some(Reach::Queued) => texts.queued.to_owned(),
            Some(Reach::Pending) if unconfirmed.is_empty() => texts.pending.to_owned(),
            Some(Reach::Pending) => format!("{}: {}", texts.pending, unconfirmed.join(", ")),
        };
        let entry = |(node, reach): (&NodeName, &NodeReach)| NodeEntry {
            node: node.to_string(),
            state: NodeState::of(*reach),
        };
        let cluster = reach.map_or("shared", Reach::as_str);
        Self { cluster, cluster_detail, nodes: nodes.iter().map(entry).collect() }
    }
}

/// What each state means, in words.
struct Texts {
    complete: &'static str,
    pending: &'static str,
    queued: &'static str,
    shared: &'static str,
}

const REVOKED: Texts = Texts {
    complete: "no node sends anything to these sessions any more",
    pending: "in force here, and stored for every node; not confirmed by all of them yet",
    queued: "in force here, and stored on this node; the cluster cannot be reached, and gets it when it can be again",
    shared: "in force here, and stored for every node; the node that accepted it knows which ones have confirmed it",
};

const LIFTED: Texts = Texts {
    complete: "lifted at every node",
    pending: "lifted, and stored for every node; not confirmed by all of them yet",
    queued: "not stored for the other nodes",
    shared: "lifted, and stored for every node",
};

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use session::{LostLease, Revocation};

    use super::*;

    fn receipt() -> Receipt {
        let (applied_at, last_payload_at) = (UNIX_EPOCH + Duration::from_secs(2), Some(UNIX_EPOCH));
        Receipt { applied_at, connections: 3, requests: 1, last_payload_at }
    }

    fn record(in_stream: bool) -> Record {
        let revocation = Revocation::blacklist(&"s".parse().unwrap(), Duration::from_secs(60));
        let (accepted_at, left) = (UNIX_EPOCH, revocation.validity);
        let receipts = BTreeMap::from([(NodeName::from("a"), receipt())]);
        Record { seq: 1, revocation, accepted_at, left, receipts, revision: 1, in_stream }
    }

    #[test]
    fn each_node_is_listed_with_what_is_known_of_it() {
        let reaches = [
            ("b", NodeReach::Applied(Some(receipt()))),
            ("c", NodeReach::Applied(None)),
            ("d", NodeReach::Expired(UNIX_EPOCH)),
            ("e", NodeReach::Gone),
            ("f", NodeReach::Unconfirmed(LostLease::ClosedNew)),
        ];
        let nodes = reaches.map(|(node, reach)| (NodeName::from(node), reach)).into();
        let spread = Spread { reach: Reach::Pending, nodes };
        let document = SpreadDocument::of(Some(spread), &record(true));
        insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap(), @r#"
        {
          "cluster": "pending",
          "clusterDetail": "in force here, and stored for every node; not confirmed by all of them yet: f",
          "nodes": [
            {
              "node": "a",
              "state": "applied",
              "appliedAt": "1970-01-01T00:00:02.000000Z",
              "connectionsTerminated": 3,
              "requestsCut": 1,
              "lastPayloadAt": "1970-01-01T00:00:00.000000Z"
            },
            {
              "node": "b",
              "state": "applied",
              "appliedAt": "1970-01-01T00:00:02.000000Z",
              "connectionsTerminated": 3,
              "requestsCut": 1,
              "lastPayloadAt": "1970-01-01T00:00:00.000000Z"
            },
            {
              "node": "c",
              "state": "applied",
              "appliedAt": null,
              "connectionsTerminated": null,
              "requestsCut": null,
              "lastPayloadAt": null
            },
            {
              "node": "d",
              "state": "expired",
              "noLeaseSince": "1970-01-01T00:00:00.000000Z"
            },
            {
              "node": "e",
              "state": "gone"
            },
            {
              "node": "f",
              "state": "unconfirmed",
              "policy": "closed_new"
            }
          ]
        }
        "#);
    }

    #[test]
    fn what_another_node_has_accepted_is_shared_and_what_is_not_in_the_stream_is_queued() {
        let state = |in_stream| SpreadDocument::of(None, &record(in_stream)).cluster;
        assert_eq!((state(true), state(false)), ("shared", "queued"));
    }
}
