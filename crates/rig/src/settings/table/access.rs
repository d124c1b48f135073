//! Access: tokens, the sessions that they name, and checks.

use super::{DAY, Group, HOUR, ValueKind, millis, secret, setting, text};

pub(super) const JWT: Group = Group {
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
};

pub(super) const SESSIONS: Group = Group {
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
            "Where revocations are kept over a restart; memory: a restart forgets them, and a cluster refuses it",
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
};

const CHECK: ValueKind =
    text("CHECK", "no_check, jwt_validation, or the http:// or https:// URL of a service");

pub(super) const CHECKS: Group = Group {
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
};
