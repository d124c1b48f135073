//! APIs, their services, and the log of requests to them.

use super::{DAY, Group, KIB, MIB, bytes, millis, number, rig_millis, setting, text};

pub(super) const GROUP: Group = Group {
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
            text("PLACES", "console or kafka, or both"),
            "Where each proxied request is reported, separated by commas; console: a line in the log, at every LOG_LEVEL; kafka: a message in KAFKA_LOG_TOPIC",
        ),
    ],
};
