//! NATS as a broker.

use super::super::{DAY, Group, ValueKind, number, rig_millis, secret, setting, text};

pub(crate) const GROUP: Group = Group {
    heading: "NATS as a broker",
    settings: &[
        setting(
            "NATS_SERVERS",
            "",
            text("URLS", "addresses of NATS servers, such as nats-1:4222 or tls://nats-2:4222, by commas"),
            "The NATS servers that events come from, and go to; not set: none. Independent of CLUSTER_NATS",
        ),
        setting(
            "NATS_SOURCE_TOPICS",
            "rig",
            text("SUBJECTS", "subjects, by commas; * and > are wildcards"),
            "The subjects that events come from",
        ),
        setting(
            "NATSTOFILTER_QUEUE_GROUP",
            "rig-nats-to-filter",
            text("NAME", "a name without spaces"),
            "The queue group of the subscriptions: of the gateways in it, one receives an event",
        ),
        setting(
            "NATS_SOURCE_MODE",
            "group",
            ValueKind::Word(&["group", "broadcast"]),
            "group: one gateway receives an event and passes it to the others of its cluster; broadcast: each receives it from NATS",
        ),
        setting(
            "NATS_STREAM",
            "",
            text("NAME", "the name of a stream"),
            "A stream of JetStream that events come from, at least once, in place of core NATS; with NATS_CONSUMER",
        ),
        setting(
            "NATS_CONSUMER",
            "",
            text("NAME", "the name of a consumer, without dots"),
            "Its durable consumer, which all gateways share; created if it does not exist, for NATS_SOURCE_TOPICS and new messages",
        ),
        setting(
            "NATS_MAX_DELIVER",
            "0",
            number(0, 1_000_000),
            "How often the stream delivers a message of a consumer that is created here; 0: until it is acknowledged",
        ),
        setting(
            "PROXY_NATS_RESPONSE_TIMEOUT",
            "60s",
            rig_millis(1, DAY),
            "How long a reply by NATS (response_from: nats) may take; a bare number means milliseconds",
        ),
        setting("NATS_USER", "", text("TEXT", "any text"), "The user at NATS"),
        secret("NATS_PASSWORD", text("TEXT", "any text"), "Its password"),
        secret("NATS_TOKEN", text("TEXT", "any text"), "A token for NATS, in place of a user"),
        setting("NATS_CREDS", "", ValueKind::File, "A file of credentials for NATS, as nsc makes it"),
        setting("NATS_NKEY", "", ValueKind::File, "A file with the seed of an NKey"),
        setting(
            "NATS_CA",
            "",
            ValueKind::File,
            "The certificate authorities of NATS (PEM), in place of those of the system; requires TLS",
        ),
        setting(
            "NATS_CERT",
            "",
            ValueKind::File,
            "The certificate of this node for NATS (PEM), with NATS_KEY",
        ),
        setting("NATS_KEY", "", ValueKind::File, "Its private key (PEM)"),
    ],
};
