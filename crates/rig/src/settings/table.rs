//! The table of all settings. Flags, environment variables, keys of the file, help, defaults and
//! bounds come from here and from nowhere else.

mod gone;
mod traces;

use std::time::Duration;

pub(crate) use gone::{GONE, is_foreign};

use super::kind::{GIB, KIB, MIB, ValueKind};

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The environment variable. The flag and the key of the file derive from it.
    pub(crate) name: &'static str,
    /// Read like any other value if none is given. Empty: not set.
    pub(crate) default: &'static str,
    /// What it takes.
    pub(crate) kind: ValueKind,
    /// What it does, in a sentence without full stop.
    pub(crate) help: &'static str,
    /// Its value is never shown.
    pub(crate) secret: bool,
}

/// Settings under one heading of the help.
#[derive(Debug)]
pub(crate) struct Group {
    /// The heading.
    pub(crate) heading: &'static str,
    /// What stands under it.
    pub(crate) settings: &'static [Setting],
}

impl Setting {
    /// The long flag, without its dashes: `inbound-port`.
    pub(crate) fn flag(&self) -> String {
        self.name.to_ascii_lowercase().replace('_', "-")
    }

    /// The key in the file: `inbound_port`.
    pub(crate) fn key(&self) -> String {
        self.name.to_ascii_lowercase()
    }
}

/// All settings, in the order of the help.
pub(crate) fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|group| group.settings)
}

const fn setting(name: &'static str, default: &'static str, kind: ValueKind, help: &'static str) -> Setting {
    Setting { name, default, kind, help, secret: false }
}

const fn secret(name: &'static str, kind: ValueKind, help: &'static str) -> Setting {
    Setting { name, default: "", kind, help, secret: true }
}

const fn text(placeholder: &'static str, allowed: &'static str) -> ValueKind {
    ValueKind::Text { placeholder, allowed }
}

const fn millis(least: u64, most: u64) -> ValueKind {
    ValueKind::Time { least: Duration::from_millis(least), most: Duration::from_millis(most) }
}

/// For a setting that is RIG's: a bare number means milliseconds.
const fn rig_millis(least: u64, most: u64) -> ValueKind {
    ValueKind::Millis { least: Duration::from_millis(least), most: Duration::from_millis(most) }
}

const fn bytes(least: u64, most: u64) -> ValueKind {
    ValueKind::Bytes { least, most }
}

const fn number(least: u64, most: u64) -> ValueKind {
    ValueKind::Number { least, most }
}

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

const CHECK: ValueKind =
    text("CHECK", "no_check, jwt_validation, or the http:// or https:// URL of a service");

/// The settings of this version.
pub(crate) const GROUPS: &[Group] = &[
    Group {
        heading: "Ports",
        settings: &[
            setting(
                "HOST",
                "localhost",
                text("NAME", "a host name"),
                "The name of this host, for information only",
            ),
            setting("INBOUND_BIND", "0.0.0.0", ValueKind::Address, "The address that frontends connect to"),
            setting("INBOUND_PORT", "4000", ValueKind::Port, "The port of frontends: HTTP"),
            setting(
                "INBOUND_HTTPS_PORT",
                "4001",
                ValueKind::Port,
                "The port of frontends: HTTPS, where a certificate is set",
            ),
            setting(
                "API_BIND",
                "",
                ValueKind::Address,
                "The address of the internal port; not set: 127.0.0.1 without API_TOKEN, 0.0.0.0 with it",
            ),
            setting("API_HTTP_PORT", "4010", ValueKind::Port, "The internal port: HTTP"),
            setting(
                "API_HTTPS_PORT",
                "4011",
                ValueKind::Port,
                "The internal port: HTTPS, where a certificate is set",
            ),
            secret(
                "API_TOKEN",
                text("TOKEN", "at least 16 of the characters A-Z a-z 0-9 - . _ ~ + / ="),
                "The bearer token that the internal port wants everywhere but on /health and /readyz",
            ),
            setting(
                "CORS",
                "*",
                text("ORIGINS", "*, or one or several origins by commas, such as https://example.com"),
                "The origins of pages that may read answers of the inbound port; those that are named may also send cookies",
            ),
        ],
    },
    Group {
        heading: "Proxies before the gateway",
        settings: &[
            setting(
                "TRUSTED_PROXIES",
                "",
                text(
                    "NETWORKS",
                    "addresses and networks by commas, such as 10.0.0.0/8,192.0.2.1,2001:db8::/32",
                ),
                "The proxies that are believed about their clients: Forwarded, X-Forwarded-*; not set: nobody",
            ),
            setting(
                "PROXY_PROTOCOL",
                "off",
                ValueKind::Word(&["off", "on"]),
                "Whether connections to the inbound ports begin with the PROXY protocol (version 1 or 2), from TRUSTED_PROXIES only",
            ),
        ],
    },
    Group {
        heading: "TLS",
        settings: &[
            setting("HTTPS_CERTFILE", "", ValueKind::File, "The certificate chain, as PEM; turns HTTPS on"),
            setting("HTTPS_KEYFILE", "", ValueKind::File, "The private key of the certificate, as PEM"),
            secret(
                "HTTPS_KEYFILE_PASS",
                text("TEXT", "any text"),
                "The passphrase of an encrypted private key",
            ),
        ],
    },
    Group {
        heading: "JWT",
        settings: &[
            secret(
                "JWT_SECRET_KEY",
                text(
                    "KEY",
                    "a secret, a public key as PEM, or the path of a file with either, which begins with / or ./",
                ),
                "The key of tokens; not set: no token is valid",
            ),
            setting(
                "JWT_SECRET_KEY_FILE",
                "",
                ValueKind::File,
                "A file with the key of tokens, in place of JWT_SECRET_KEY",
            ),
            setting(
                "JWT_ALG",
                "HS256",
                text(
                    "ALGORITHMS",
                    "one or several of HS, RS or PS with 256, 384 or 512, ES256, ES384, EdDSA, by commas",
                ),
                "The algorithms that a token may be signed with",
            ),
            setting(
                "JWT_SESSION_FIELD",
                "/jti",
                text("POINTER", "a JSON Pointer (RFC 6901), such as /jti"),
                "Where a token's claims name its session",
            ),
            setting("JWT_ISSUER", "", text("TEXT", "any text"), "The issuer (iss) that a token must have"),
            setting(
                "JWT_AUDIENCE",
                "",
                text("TEXTS", "one or several texts, by commas"),
                "The audiences of which a token must name one (aud)",
            ),
            setting("JWT_LEEWAY", "0s", millis(0, HOUR), "How far the clock of the issuer may be off"),
            setting(
                "JWT_COOKIE",
                "",
                text("NAME", "the name of a cookie (RFC 6265)"),
                "A cookie that may carry the token, beside the Authorization header and ?jwt=",
            ),
        ],
    },
    Group {
        heading: "Sessions",
        settings: &[
            setting(
                "REVOCATION_CLAIMS",
                "/sub,/sid",
                text("POINTERS", "JSON Pointers (RFC 6901), by commas; or none"),
                "Claims, beside the session's, that tokens can be revoked by",
            ),
            setting(
                "TOKEN_EXPIRY",
                "close",
                ValueKind::Word(&["close", "ignore"]),
                "What happens to a connection whose token ends: close ends it, ignore lets it go on (RIG)",
            ),
            setting(
                "TOKEN_EXPIRY_WARNING",
                "30s",
                millis(0, DAY),
                "How long before its token expires a connection is warned; a newer token renews it",
            ),
            setting(
                "DATA_DIR",
                "./data",
                text("FOLDER", "a folder, made where it is missing; or memory"),
                "Where revocations are kept over a restart; memory: a restart forgets them",
            ),
            secret(
                "AUDIT_KEY",
                text("SECRET", "at least 16 characters"),
                "Session names and claim values stand in the audit log as a hash with this key; not set: as they are",
            ),
            setting(
                "CANARY_INTERVAL",
                "0s",
                millis(0, DAY),
                "How often the node revokes a connection of its own and measures the end of it; 0s: never",
            ),
        ],
    },
    Group {
        heading: "Checks",
        settings: &[
            setting("SUBSCRIPTION_CHECK", "no_check", CHECK, "Who may subscribe"),
            setting("SUBMISSION_CHECK", "no_check", CHECK, "Who may publish on the inbound port"),
            setting(
                "CHECK_TIMEOUT",
                "5s",
                millis(1, HOUR),
                "How long an external check may take before it is a no",
            ),
        ],
    },
    Group {
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
    },
    Group {
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
                "New connections in a minute; more get 429",
            ),
            secret(
                "NODE_COOKIE",
                text("SECRET", "any text"),
                "What connection tokens are encrypted with; not set: a random key at each start",
            ),
        ],
    },
    Group {
        heading: "Proxy",
        settings: &[
            setting(
                "PROXY_CONFIG_FILE",
                "",
                text("JSON", "a JSON list of API definitions, or the path of a file with one"),
                "The APIs that requests are forwarded to; what the internal port changed of them wins",
            ),
            setting(
                "PROXY_RECV_TIMEOUT",
                "5s",
                rig_millis(1, DAY),
                "How long a service may take to begin its answer; then the client gets 502",
            ),
            setting(
                "PROXY_IDLE_TIMEOUT",
                "60s",
                millis(1, DAY),
                "How long the body of a proxied request or answer may stand still; then it is cut",
            ),
            setting(
                "PROXY_CONNECTION_AGE",
                "10m",
                millis(100, DAY),
                "How long a connection to a service gets new requests; then its name is resolved again",
            ),
            setting(
                "PROXY_ANSWER_HEADERS",
                "256",
                number(16, 4096),
                "The most header fields of a service's answer; with more, the client gets 502",
            ),
            setting(
                "PROXY_ANSWER_HEADER_BYTES",
                "64KiB",
                bytes(8 * KIB, MIB),
                "The most bytes of the head of a service's answer; with more, the client gets 502",
            ),
            setting(
                "PROXY_HTTP_ASYNC_RESPONSE_TIMEOUT",
                "5s",
                rig_millis(1, DAY),
                "How long a request waits for its asynchronous answer; then the client gets 504",
            ),
            setting(
                "REQUEST_LOG",
                "",
                text("PLACES", "console; kafka is not in this version yet"),
                "Where each proxied request is reported, separated by commas; console: a line in the log, at every LOG_LEVEL",
            ),
        ],
    },
    traces::GROUP,
    Group {
        heading: "Limits",
        settings: &[
            setting(
                "MAX_CONNECTIONS",
                "100000",
                number(1, u32::MAX as u64),
                "Open sockets of frontends, HTTP and HTTPS together; more get 503. Lowered at the start where the limit of open files is too low",
            ),
            setting(
                "MAX_API_CONNECTIONS",
                "1024",
                number(4, 1_000_000),
                "Open sockets of the internal port, which clients never use up; at the bound the one that has asked for nothing for longest is closed",
            ),
            setting(
                "MAX_CONNECTIONS_PER_ADDRESS",
                "0",
                number(0, u32::MAX as u64),
                "Open sockets of one frontend's address; more get 429; 0: no limit",
            ),
            // http::Uri ends at 65534 bytes.
            setting(
                "MAX_REQUEST_LINE",
                "8KiB",
                bytes(64, 65_534),
                "The first line of a request; a longer one gets 414",
            ),
            setting(
                "MAX_HEADER_BYTES",
                "64KiB",
                bytes(8 * KIB, MIB),
                "The headers of a request, all together; more get 431",
            ),
            setting(
                "MAX_HEADER_FIELDS",
                "100",
                number(16, 10_000),
                "The header fields of a request; more get 431",
            ),
            setting("MAX_BODY_BYTES", "16MiB", bytes(1, GIB), "The body of a request; a longer one gets 413"),
            setting(
                "HEAD_TIMEOUT",
                "10s",
                millis(1, HOUR),
                "How long a client may take for the head of a request; 408",
            ),
            setting(
                "BODY_TIMEOUT",
                "60s",
                millis(1, HOUR),
                "How long a client may take for the body of a request; 408",
            ),
            setting(
                "KEEP_ALIVE_TIMEOUT",
                "75s",
                millis(1, DAY),
                "How long a socket may idle between two requests, or its client read nothing of an answer",
            ),
        ],
    },
    Group {
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
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sorted_where_they_are_looked_up() {
        let mut names: Vec<_> =
            all().map(|setting| setting.name).chain(GONE.iter().map(|(name, _)| *name)).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(GONE.is_sorted());
    }
}
