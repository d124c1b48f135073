//! Reports of revocations to others.

use super::{Group, ValueKind, secret, setting, text};

pub(super) const GROUP: Group = Group {
    heading: "Reports of revocations",
    settings: &[
        // The path of a web hook may be all that keeps others from it.
        secret(
            "REVOCATION_HOOK_URL",
            text("URL", "an https URL, or an http URL of this machine"),
            "The web hook that each revocation and each lift is reported to",
        ),
        setting(
            "REVOCATION_HOOK_SECRET_FILE",
            "",
            ValueKind::File,
            "The file with the secret that signs the reports: whsec_ and Base64 of 24 to 64 bytes; two lines while it is exchanged; read again when it changes",
        ),
        setting(
            "REVOCATION_TOPIC",
            "",
            text("BROKER:TOPIC", "kafka, nats or kinesis, and a topic, as in kafka:revocations"),
            "The topic of a message broker that revocations are reported to",
        ),
    ],
};
