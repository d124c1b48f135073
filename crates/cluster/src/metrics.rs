//! The metrics of the protocol. Those of events are in `events.rs`; payload that is
//! held back is counted by the room of connections.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};

/// Upper bounds in seconds: a revocation takes milliseconds, or as long as a lease.
const TIME_TO_CLUSTER: [f64; 14] =
    [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0];

/// Upper bounds in seconds.
const ROUND_TRIP: [f64; 11] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0];

metric::families! {
    /// What is counted of the cluster.
    pub struct Metrics {
        /// Seconds for which this node may still serve sessions, by the lease it has; 0 without one
        pub lease_seconds_left: Gauge<f64, AtomicU64> = "rig_cluster_lease_seconds_left";
        /// Nodes that may have a lease, with this one
        pub members: Gauge = "rig_cluster_members";
        /// From the request for a revocation to its confirmation by every node
        pub time_to_cluster: Histogram = "rig_cluster_time_to_cluster_seconds", Histogram::new(TIME_TO_CLUSTER);
        /// Revocations of this node that are stored, but not confirmed by every node
        pub unconfirmed: Gauge = "rig_cluster_unconfirmed";
        /// Revocations of this node that NATS has not stored yet
        pub queued: Gauge = "rig_cluster_queued";
        /// Age of the youngest beat of this node that came back; above CLUSTER_LEASE, it has no
        /// lease
        pub beat_age: Gauge<f64, AtomicU64> = "rig_cluster_beat_age_seconds";
        /// Size of the stream on each server of NATS, in bytes. Above seven eighths of
        /// rig_cluster_stream_max_bytes, revocations are queued
        pub stream_bytes: Gauge = "rig_cluster_stream_bytes";
        /// Limit of that size, in bytes
        pub stream_max_bytes: Gauge = "rig_cluster_stream_max_bytes";
        /// How often a message of the stream was not authentic: a node has another NODE_COOKIE, or
        /// somebody forges messages
        pub forged: Counter = "rig_cluster_forged_total";
        /// How often the stream was another one, or had lost messages
        pub rollback: Counter = "rig_cluster_rollback_total";
        /// How often messages of the stream were missing and had to be fetched
        pub gap: Counter = "rig_cluster_gap_total";
        /// Requests of other nodes that were refused, since this node handled as many as it can
        pub requests_refused: Counter = "rig_cluster_requests_refused_total";
        /// Revision of the definitions of APIs that this node serves
        pub definitions_revision: Gauge = "rig_cluster_definitions_revision";
        /// Whether (1) this node cannot serve the present definitions of APIs, and keeps older ones
        pub definitions_refused: Gauge = "rig_cluster_definitions_refused";
        /// From a publication to its confirmation by NATS
        pub round_trip: Histogram = "rig_cluster_rtt_seconds", Histogram::new(ROUND_TRIP);
    }
}
