//! Message brokers.

use super::{Group, ValueKind, setting};

pub(super) mod kafka;
pub(super) mod kinesis;
pub(super) mod nats;

/// What is the same for all of them.
pub(super) const GROUP: Group = Group {
    heading: "Message brokers",
    settings: &[
        setting(
            "BROKERS_NEEDED",
            "false",
            ValueKind::Switch,
            "Whether /readyz and /_rig/health fail while a broker is not connected",
        ),
        setting(
            "PROXY_BROKER_CREDENTIALS",
            "drop",
            ValueKind::Word(&["drop", "keep"]),
            "Whether the events of endpoints with a broker as their target contain the tokens and cookies of their requests; keep: as in RIG",
        ),
    ],
};
