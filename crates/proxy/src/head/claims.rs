//! Headers in which proxies tell a service about a client: from whom it comes, by which name and
//! scheme it asked, for which path. A client that sets them itself is somebody else to the service.

use http::{HeaderMap, HeaderName};

/// Names that begin with one of these.
const FAMILIES: [&str; 3] = ["x-forwarded", "x-original-", "x-client-cert"];

/// All others, sorted.
const NAMES: [&str; 32] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "cf-visitor",
    // RFC 9440, section 2.4.
    "client-cert",
    "client-cert-chain",
    "client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded",
    "front-end-https",
    "proxy-client-ip",
    "true-client-ip",
    "wl-proxy-client-ip",
    "x-appengine-user-ip",
    "x-arr-ssl",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-envoy-original-path",
    "x-host",
    "x-http-host-override",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-rewrite-url",
    "x-scheme",
    "x-url-scheme",
    "x-waws-unencoded-url",
];

/// Whether a header tells about the client. Services that take `_` for `-` read such a name in both
/// (RFC 3875, section 4.1.18).
pub(super) fn is_claim(name: &HeaderName) -> bool {
    let name = name.as_str();
    match name.contains('_') {
        true => is_named(&name.replace('_', "-")),
        false => is_named(name),
    }
}

fn is_named(name: &str) -> bool {
    // Most names have another first letter.
    matches!(name.as_bytes().first(), Some(b'c' | b'f' | b'p' | b't' | b'w' | b'x'))
        && (FAMILIES.iter().any(|family| name.starts_with(family)) || NAMES.binary_search(&name).is_ok())
}

/// Drops what tells about the client: of a proxy that is trusted only the names with `_`, since
/// those are none of its own.
pub(super) fn drop_claims(headers: &mut HeaderMap, is_trusted: bool) {
    let is_dropped = |name: &&HeaderName| is_claim(name) && (!is_trusted || name.as_str().contains('_'));
    while let Some(name) = headers.keys().find(is_dropped).cloned() {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f07_names_are_sorted_and_found_in_any_spelling() {
        assert!(NAMES.is_sorted());
        for name in NAMES.iter().chain(&[
            "x-forwarded-for",
            "x-forwarded-client-cert",
            "x-forwarded",
            "x-original-url",
        ]) {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            assert!(is_claim(&name), "{name}");
            let twin = HeaderName::from_bytes(name.as_str().replacen('-', "_", 1).as_bytes()).unwrap();
            assert!(is_claim(&twin), "{twin}");
        }
        for name in
            ["x-http-method-override", "x-request-id", "from", "x-hosts", "content-type", "x-user", "cookie"]
        {
            assert!(!is_claim(&HeaderName::from_static(name)), "{name}");
        }
    }
}
