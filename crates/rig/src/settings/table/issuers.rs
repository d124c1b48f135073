//! Identity providers: whose tokens are accepted, and how their statements reach the gateway.

use super::{Group, ValueKind, setting, tables, text};

pub(super) const GROUP: Group = Group {
    heading: "Identity providers",
    settings: &[
        setting(
            "ISSUERS",
            "",
            tables("JSON", "a JSON list of issuers, or the path of a TOML or JSON file with one"),
            "The providers whose tokens are accepted, beside those of JWT_SECRET_KEY; in the settings file: [[issuers]]",
        ),
        setting(
            "OIDC_ISSUER",
            "",
            text("URL", "an https:// URL, or http:// of this host"),
            "One more provider, named oidc in paths, metrics and logs: the issuer (iss) of its tokens",
        ),
        setting(
            "OIDC_AUDIENCE",
            "",
            text("TEXTS", "one or several texts, by commas; or any"),
            "The audiences of which a token of OIDC_ISSUER must name one (aud); any: tokens for others are accepted too",
        ),
        setting(
            "OIDC_SESSION_FIELD",
            "",
            text("POINTER", "a JSON Pointer (RFC 6901), such as /sid"),
            "Where the claims of OIDC_ISSUER name a token's session; not set: JWT_SESSION_FIELD",
        ),
        setting(
            "OIDC_CLIENT_ID",
            "",
            text("TEXTS", "one or several texts, by commas"),
            "The clients that OIDC_ISSUER sends logout tokens for; not set: none is accepted",
        ),
        setting(
            "FEEDS_PORT",
            "inbound",
            ValueKind::Word(&["inbound", "internal"]),
            "The port at which providers report logouts: /_rig/v1/issuers/…; internal: without its token",
        ),
        setting(
            "PUBLIC_URL",
            "",
            text("URL", "an https:// URL without query, or http:// of this host"),
            "Where providers reach the port of FEEDS_PORT; revocation assertions must name it (aud)",
        ),
    ],
};
