//! Headers in which proxies describe the client to a service: its address, its user, the host name,
//! scheme and path that it requested. A client that sets them itself could impersonate another one.

use http::{HeaderMap, HeaderName};

/// Prefixes of such names.
const FAMILIES: [&str; 8] = [
    "x-forward",
    "x-original-",
    "x-originally-",
    "x-client-cert",
    "x-ssl-client-",
    "x-auth-request-",
    "x-real-",
    "x-remote-",
];

/// All other names, sorted.
const NAMES: [&str; 73] = [
    "akamai-client-ip",
    "ali-cdn-real-ip",
    "cdn-real-ip",
    "cdn-src-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "cf-visitor",
    // RFC 9440, section 2.4.
    "client-cert",
    "client-cert-chain",
    "client-ip",
    "cloudfront-forwarded-proto",
    "cloudfront-viewer-address",
    "do-connecting-ip",
    "fastly-client-ip",
    "fastly-ssl",
    "fly-client-ip",
    "forwarded",
    "forwarded-for",
    "forwarded-proto",
    "front-end-https",
    "incap-client-ip",
    "proxy-client-ip",
    "remote-addr",
    "remote-groups",
    "remote-user",
    "script-name",
    "source-ip",
    "ssl-client-cert",
    "ssl-client-verify",
    "true-client-ip",
    "wl-proxy-client-ip",
    "x-accel-mapping",
    "x-appengine-remote-addr",
    "x-appengine-user-ip",
    "x-arr-clientcert",
    "x-arr-ssl",
    "x-authenticated-user",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-host",
    "x-client-ip",
    "x-client-port",
    "x-client-proto",
    "x-cluster-client-ip",
    "x-custom-ip-authorization",
    "x-envoy-external-address",
    "x-envoy-internal",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-fd-clientip",
    "x-fd-socketip",
    "x-google-real-ip",
    "x-host",
    "x-http-host-override",
    "x-https",
    "x-lb-client-ip",
    "x-nf-client-connection-ip",
    "x-originating-ip",
    "x-peer-ip",
    "x-proxyuser-ip",
    "x-replaced-path",
    "x-request-uri",
    "x-rewrite-url",
    "x-scheme",
    "x-script-name",
    "x-sendfile-type",
    "x-source-ip",
    "x-ssl",
    "x-sucuri-clientip",
    "x-url-scheme",
    "x-vercel-forwarded-for",
    "x-waws-unencoded-url",
];

/// Returns whether a header describes the client. The name is compared with `_` read as `-`, as
/// some services do (RFC 3875, section 4.1.18).
pub(super) fn is_claim(name: &HeaderName) -> bool {
    let name = name.as_str();
    match name.contains('_') {
        true => is_named(&name.replace('_', "-")),
        false => is_named(name),
    }
}

fn is_named(name: &str) -> bool {
    match *name.as_bytes() {
        [b'x', b'-', ..] => {
            FAMILIES.iter().any(|family| name.starts_with(family)) || NAMES.binary_search(&name).is_ok()
        }
        [first, second, ..] => is_beginning(first, second) && NAMES.binary_search(&name).is_ok(),
        _ => false,
    }
}

/// Returns whether one of [`NAMES`] begins with these letters. One lookup excludes most headers.
fn is_beginning(first: u8, second: u8) -> bool {
    SECOND_LETTERS[usize::from(first)] & 1 << (second & 31) != 0
}

/// For each first letter of [`NAMES`], a bit set of their second letters.
static SECOND_LETTERS: [u32; 256] = {
    let mut letters = [0; 256];
    let mut at = 0;
    while at < NAMES.len() {
        let name = NAMES[at].as_bytes();
        letters[name[0] as usize] |= 1 << (name[1] & 31);
        at += 1;
    }
    letters
};

/// Removes headers that describe the client. Keeps those of a trusted proxy, except names with `_`,
/// which the proxy did not set.
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
            "x-forward-for",
            "x-remote-user",
            "x-real-port",
            "x-ssl-client-cert",
            "x-auth-request-user",
            "x-originally-forwarded-for",
        ]) {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            assert!(is_claim(&name), "{name}");
            let twin = HeaderName::from_bytes(name.as_str().replacen('-', "_", 1).as_bytes()).unwrap();
            assert!(is_claim(&twin), "{twin}");
        }
        for name in [
            "x-http-method-override",
            "x-request-id",
            "from",
            "x-hosts",
            "content-type",
            "x-user",
            "cookie",
            "referer",
            "x-",
        ] {
            assert!(!is_claim(&HeaderName::from_static(name)), "{name}");
        }
    }
}
