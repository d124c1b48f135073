//! Subscriptions and connections of frontends.

use super::{DAY, GIB, Group, HOUR, KIB, ValueKind, bytes, millis, number, secret, setting, text};

pub(super) const SUBSCRIPTIONS: Group = Group {
    heading: "Subscriptions and events",
    settings: &[
        setting(
            "EXTRACTORS",
            "",
            text("JSON", "a JSON object, or the path of a file with one"),
            "The fields of events that subscriptions can select by",
        ),
        setting(
            "EVENTS_LENIENT",
            "false",
            ValueKind::Switch,
            "Whether extensions of events of version 1.0 may have other names than lower-case letters and digits, such as trace_id",
        ),
    ],
};

pub(super) const CONNECTIONS: Group = Group {
    heading: "Connections",
    settings: &[
        setting(
            "HEARTBEAT_INTERVAL",
            "15s",
            millis(100, DAY),
            "Time between two heartbeats on SSE and WebSocket",
        ),
        setting(
            "OUTBOX_BYTES",
            "1MiB",
            bytes(4 * KIB, GIB),
            "What may wait for one slow reader; at the bound its connection is closed; long polling drops its oldest events instead, and keeps at most 200",
        ),
        setting(
            "MAX_EVENT_BYTES",
            "",
            bytes(KIB, GIB),
            "The largest event that is taken, with its framing; at most OUTBOX_BYTES, so that every reader can get it; larger: 413; not set: OUTBOX_BYTES",
        ),
        setting(
            "WAITING_BYTES",
            "",
            bytes(64 * KIB, 1024 * GIB),
            "What may wait for all slow clients together, in outboxes, bodies, asynchronous answers and copies for resending; at the bound the fullest go; not set: half of the memory",
        ),
        setting(
            "LONGPOLLING_IDLE_TIMEOUT",
            "1h",
            millis(1000, 30 * DAY),
            "How long a long-polling connection lives without a poll",
        ),
        setting(
            "RECONNECT_SPREAD",
            "10s",
            millis(0, HOUR),
            "Over how long SSE clients are asked to spread their reconnects when the node leaves",
        ),
        setting(
            "MAX_CONNECTIONS_PER_MINUTE",
            "5000",
            number(1, u32::MAX as u64),
            "New connections in a minute; more get 429. Clients that come back with the id of an event have a limit ten times as high",
        ),
        secret(
            "NODE_COOKIE",
            text("SECRET", "any text"),
            "What connection tokens are encrypted with; not set: a random key at each start. In a cluster, messages are authenticated with it: at least 32 characters, the same at each node",
        ),
    ],
};
