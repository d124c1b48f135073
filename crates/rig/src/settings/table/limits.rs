//! Limits of clients: sockets, bytes and time.

use super::{DAY, GIB, Group, HOUR, KIB, MIB, bytes, millis, number, setting};

pub(super) const GROUP: Group = Group {
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
        // `http::Uri` holds at most 65534 bytes.
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
};
