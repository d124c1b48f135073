//! The log, metrics, and the shutdown of the node.

use super::{Group, HOUR, ValueKind, millis, setting};

pub(super) const GROUP: Group = Group {
    heading: "Operation",
    settings: &[
        setting(
            "LOG_LEVEL",
            "warn",
            ValueKind::Word(&["error", "warn", "info", "debug", "trace"]),
            "The least severe lines to log; the names of Erlang's logger, such as warning, are taken too",
        ),
        setting(
            "LOG_FMT",
            "",
            ValueKind::Word(&["text", "json", "gcl"]),
            "The form of log lines; not set, or erlang: text",
        ),
        setting(
            "PROMETHEUS_METRICS_ENABLED",
            "true",
            ValueKind::Switch,
            "Whether the internal port answers /metrics",
        ),
        setting(
            "SHUTDOWN_DELAY",
            "0s",
            millis(0, HOUR),
            "How long after SIGTERM everything is still served, while /readyz and /_rig/health already fail; a second SIGTERM ends it",
        ),
        setting(
            "SHUTDOWN_GRACE_PERIOD",
            "10s",
            millis(0, HOUR),
            "How long open requests may take after SIGTERM; another SIGTERM or SIGINT ends it",
        ),
    ],
};
