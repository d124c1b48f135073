//! Several nodes.

use super::{Group, HOUR, ValueKind, millis, number, secret, setting, text};

/// The shortest lease that may be set.
pub(crate) const SHORTEST_LEASE: u64 = 3000;

pub(super) const GROUP: Group = Group {
    heading: "Cluster",
    settings: &[
        setting(
            "CLUSTER_NATS",
            "",
            text("URLS", "addresses of NATS servers, such as tls://nats-1:4222, by commas"),
            "The NATS servers through which the nodes of a cluster agree; not set: a single node",
        ),
        setting(
            "CLUSTER",
            "",
            ValueKind::Word(&["single"]),
            "single: without CLUSTER_NATS, it is no error that other settings or DATA_DIR are those of one of several nodes; without it they do not share a blacklist",
        ),
        setting(
            "CLUSTER_NAME",
            "rig",
            text("NAME", "letters, digits, - and _, up to 64"),
            "The name of the cluster; its stream is RIG_<name>",
        ),
        setting(
            "CLUSTER_NODE",
            "",
            text("NAME", "letters, digits, - and _, up to 64"),
            "The name of this node; not set: a random one, which DATA_DIR keeps",
        ),
        setting(
            "CLUSTER_LEASE",
            "15s",
            millis(SHORTEST_LEASE, HOUR),
            "How long this node sends payload to sessions without a sign from the cluster; bounds how long a revoked session can receive",
        ),
        setting(
            "CLUSTER_LOST_LEASE",
            "closed",
            ValueKind::Word(&["open", "closed_new", "closed"]),
            "Without a lease: closed holds payload of sessions back, closed_new refuses new clients only, open goes on without a bound",
        ),
        setting(
            "CLUSTER_HOLD",
            "10s",
            millis(0, HOUR),
            "How long payload is held back without a lease before its connections are closed",
        ),
        setting(
            "CLUSTER_WAIT",
            "",
            millis(0, 300_000),
            "How long the answer to a revocation waits for all nodes; not set: the lease and one second",
        ),
        setting(
            "CLUSTER_EVENTS",
            "interest",
            ValueKind::Word(&["interest", "all", "off"]),
            "Which events come from other nodes: those with subscriptions here, all, or none",
        ),
        setting(
            "CLUSTER_SEAL",
            "true",
            ValueKind::Switch,
            "Whether names of sessions are encrypted in the stream",
        ),
        setting(
            "CLUSTER_REPLICAS",
            "3",
            number(1, 5),
            "How many NATS servers store the stream that rig cluster init creates; compared with the stream at the start",
        ),
        setting("CLUSTER_NATS_USER", "", text("TEXT", "any text"), "The user at NATS"),
        secret("CLUSTER_NATS_PASSWORD", text("TEXT", "any text"), "Its password"),
        secret("CLUSTER_NATS_TOKEN", text("TEXT", "any text"), "A token for NATS, in place of a user"),
        setting("CLUSTER_NATS_CREDS", "", ValueKind::File, "A file of credentials for NATS, as nsc makes it"),
        setting("CLUSTER_NATS_NKEY", "", ValueKind::File, "A file with the seed of an NKey"),
        setting(
            "CLUSTER_NATS_CA",
            "",
            ValueKind::File,
            "The certificate authorities of NATS (PEM), in place of those of the system",
        ),
        setting(
            "CLUSTER_NATS_CERT",
            "",
            ValueKind::File,
            "The certificate of this node for NATS (PEM), with CLUSTER_NATS_KEY",
        ),
        setting("CLUSTER_NATS_KEY", "", ValueKind::File, "Its private key (PEM)"),
        setting(
            "CLUSTER_INSECURE",
            "false",
            ValueKind::Switch,
            "Whether NATS servers on other hosts may be used without TLS",
        ),
        secret(
            "NODE_COOKIE_OLD",
            text("SECRET", "a text of at least 32 characters"),
            "The NODE_COOKIE before, accepted from other nodes while it is being replaced",
        ),
    ],
};
