//! Addresses, trusted proxies, and certificates.

use super::{Group, ValueKind, secret, setting, tables, text};

pub(super) const PORTS: Group = Group {
    heading: "Ports",
    settings: &[
        setting(
            "HOST",
            "localhost",
            text("NAME", "a host name"),
            "The name of this host: accepted as Host by the internal port, and the node in reports of revocations",
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
            "The address of the internal port; not set: 127.0.0.1 without API_TOKEN and API_ACCESS, else 0.0.0.0",
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
            "API_ACCESS",
            "",
            tables("JSON", "a JSON list of callers, or the path of a TOML or JSON file with one"),
            "Further callers of the internal port, each with its rights (read, revoke, publish, admin) and a token_file, \
             a claim of an issuer's tokens or a certificate; in the settings file: [[api_access]]",
        ),
        setting(
            "CORS",
            "*",
            text("ORIGINS", "*, or one or several origins by commas, such as https://example.com"),
            "The origins of pages that may read answers of the inbound port; those that are named may also send cookies",
        ),
    ],
};

pub(super) const PROXIES: Group = Group {
    heading: "Proxies before the gateway",
    settings: &[
        setting(
            "TRUSTED_PROXIES",
            "",
            text("NETWORKS", "addresses and networks by commas, such as 10.0.0.0/8,192.0.2.1,2001:db8::/32"),
            "The proxies that are believed about their clients: Forwarded, X-Forwarded-*; not set: nobody",
        ),
        setting(
            "PROXY_PROTOCOL",
            "off",
            ValueKind::Word(&["off", "on"]),
            "Whether connections to the inbound ports begin with the PROXY protocol (version 1 or 2), from TRUSTED_PROXIES only",
        ),
    ],
};

pub(super) const TLS: Group = Group {
    heading: "TLS",
    settings: &[
        setting("HTTPS_CERTFILE", "", ValueKind::File, "The certificate chain, as PEM; turns HTTPS on"),
        setting("HTTPS_KEYFILE", "", ValueKind::File, "The private key of the certificate, as PEM"),
        secret("HTTPS_KEYFILE_PASS", text("TEXT", "any text"), "The passphrase of an encrypted private key"),
        setting(
            "API_CLIENT_CA",
            "",
            ValueKind::File,
            "The authorities of certificates that callers may present to the internal port over HTTPS, as PEM",
        ),
    ],
};
