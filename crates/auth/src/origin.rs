//! Which page sent a request: its `Origin` (RFC 6454), and what browsers add without one (Fetch
//! Metadata).
//!
//! Browsers attach cookies to requests, and reach addresses that only their user can reach,
//! whichever page asks. What such a request may do depends on the page; only this file determines
//! it.

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Uri};

/// The relation between the requesting page and the server (Fetch Metadata, section 2.4).
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// The sender of a request, determined from headers that a page cannot forge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender<'r> {
    /// No page is named: either the client is not a browser, or a page of the gateway's own origin
    /// sent a `GET`.
    Unnamed,
    /// A page of the gateway's own origin.
    Own,
    /// A page of this other origin.
    Page(&'r HeaderValue),
    /// A page of another origin that is not named: `null`, several origins, or no `Origin` although
    /// Fetch Metadata indicates another origin.
    Hidden,
}

impl<'r> Sender<'r> {
    /// Determines the sender from the headers of a request. `secure` is true if the gateway itself
    /// terminated TLS.
    pub fn of(uri: &Uri, headers: &'r HeaderMap, secure: bool) -> Self {
        let mut origins = headers.get_all(ORIGIN).iter();
        let is_own_site = || {
            let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
            sites.all(|site| site == "same-origin" || site == "none")
        };
        match (origins.next(), origins.next()) {
            (None, _) if is_own_site() => Self::Unnamed,
            (None, _) | (Some(_), Some(_)) => Self::Hidden,
            (Some(origin), None) => match OriginParts::of(origin.as_bytes()) {
                None => Self::Hidden,
                Some(parts) if !parts.is_own(uri, headers, secure) => Self::Page(origin),
                // If `Sec-Fetch-Site` contradicts the `Origin`, the request was redirected, or does
                // not come from a browser.
                Some(_) if is_own_site() => Self::Own,
                Some(_) => Self::Hidden,
            },
        }
    }
}

/// Returns the names by which the caller addresses the server: the authority of the target (RFC
/// 9112, section 3.2.2; RFC 9113, section 8.3.1), and `Host`.
pub fn hosts<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> impl Iterator<Item = &'r [u8]> {
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    authority.into_iter().chain(headers.get_all(HOST).iter().map(HeaderValue::as_bytes))
}

/// Splits `host:port`. The port is empty if there is none; an IPv6 address keeps its brackets.
pub fn split_port(host: &[u8]) -> (&[u8], &[u8]) {
    match host.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !host.ends_with(b"]") => (&host[..colon], &host[colon + 1..]),
        _ => (host, b""),
    }
}

/// A web origin, in parts.
struct OriginParts<'r> {
    scheme: &'r [u8],
    host: &'r [u8],
    port: &'r [u8],
}

impl<'r> OriginParts<'r> {
    /// Splits an origin. `None` if it is not a single origin, such as `null`.
    fn of(origin: &'r [u8]) -> Option<Self> {
        let colon = origin.windows(3).position(|window| window == b"://")?;
        let (scheme, rest) = (&origin[..colon], &origin[colon + 3..]);
        let is_one = !rest.iter().any(|byte| byte.is_ascii_whitespace() || b",/?#@\\".contains(byte));
        let (host, port) = split_port(rest);
        (is_one && !scheme.is_empty() && !host.is_empty()).then_some(Self { scheme, host, port })
    }

    /// Returns whether it is the origin that the caller addresses. If a proxy terminates TLS, the
    /// gateway gets a request in clear, so both schemes are its own then.
    fn is_own(&self, uri: &Uri, headers: &HeaderMap, secure: bool) -> bool {
        let default: &[u8] = match self.scheme {
            b"https" => b"443",
            b"http" if !secure => b"80",
            _ => return false,
        };
        let or_default = |port: &'r [u8]| if port.is_empty() { default } else { port };
        let is_same = |address: &[u8]| {
            let (host, port) = split_port(address);
            let port = if port.is_empty() { default } else { port };
            host.eq_ignore_ascii_case(self.host) && port == or_default(self.port)
        };
        let mut hosts = hosts(uri, headers).peekable();
        hosts.peek().is_some() && hosts.all(is_same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    /// Describes the sender of a request to `host` with this origin.
    fn sender(host: &'static str, origin: &'static str, secure: bool) -> &'static str {
        let headers = request(&[("host", host), ("origin", origin)]);
        match Sender::of(&Uri::from_static("/"), &headers, secure) {
            Sender::Unnamed => "unnamed",
            Sender::Own => "own",
            Sender::Page(_) => "page",
            Sender::Hidden => "hidden",
        }
    }

    #[test]
    fn f09_the_own_origin_is_the_address_of_the_request() {
        for (host, origin, clear, tls) in [
            ("rig.test:4000", "http://rig.test:4000", "own", "page"),
            ("rig.test:4000", "https://rig.test:4000", "own", "own"),
            ("RIG.test", "https://rig.test", "own", "own"),
            ("rig.test:443", "https://rig.test", "own", "own"),
            ("rig.test", "https://rig.test:443", "own", "own"),
            ("rig.test:80", "http://rig.test", "own", "page"),
            ("rig.test:80", "https://rig.test", "page", "page"),
            ("[::1]:4000", "http://[::1]:4000", "own", "page"),
            ("[::1]", "http://[::1]", "own", "page"),
            ("rig.test:4000", "http://rig.test", "page", "page"),
            ("rig.test", "http://rig.test.evil.test", "page", "page"),
            ("rig.test", "http://evil.test", "page", "page"),
            ("localhost:4000", "http://127.0.0.1:4000", "page", "page"),
            ("rig.test", "ftp://rig.test", "page", "page"),
            ("rig.test", "capacitor://rig.test", "page", "page"),
            ("rig.test", "null", "hidden", "hidden"),
            ("rig.test", "", "hidden", "hidden"),
            ("rig.test", "rig.test", "hidden", "hidden"),
            ("rig.test", "://rig.test", "hidden", "hidden"),
            ("rig.test", "http://", "hidden", "hidden"),
            ("rig.test", "http://rig.test http://evil.test", "hidden", "hidden"),
            ("rig.test", "http://rig.test, http://evil.test", "hidden", "hidden"),
            ("rig.test", "http://rig.test/", "hidden", "hidden"),
            ("rig.test", "http://rig.test@evil.test", "hidden", "hidden"),
            ("", "http://rig.test", "page", "page"),
        ] {
            let found = [false, true].map(|secure| sender(host, origin, secure));
            assert_eq!(found, [clear, tls], "{origin} at {host}");
        }
    }

    #[test]
    fn f09_every_name_of_the_server_counts() {
        let target = Uri::from_static("http://evil.test/");
        let headers = request(&[("host", "rig.test"), ("origin", "http://evil.test")]);
        assert!(matches!(Sender::of(&target, &headers, false), Sender::Page(_)));
        let headers = request(&[("origin", "http://evil.test")]);
        assert_eq!(Sender::of(&target, &headers, false), Sender::Own);
        assert!(matches!(Sender::of(&Uri::from_static("/"), &headers, false), Sender::Page(_)));
    }

    #[test]
    fn f09_without_an_origin_the_site_counts() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            let headers = request(pairs);
            Sender::of(&Uri::from_static("/"), &headers, false) == Sender::Unnamed
        };
        assert!(of(&[]));
        assert!(of(&[("sec-fetch-site", "same-origin")]));
        assert!(of(&[("sec-fetch-site", "none")]));
        for site in ["cross-site", "same-site", "Cross-Site", "", "same-origin, cross-site", "other"] {
            assert!(!of(&[("sec-fetch-site", site)]), "{site}");
        }
        assert!(!of(&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")]));
        let two = request(&[("host", "a"), ("origin", "http://a"), ("origin", "http://a")]);
        assert_eq!(Sender::of(&Uri::from_static("/"), &two, false), Sender::Hidden);
        let redirected = request(&[("host", "a"), ("origin", "http://a"), ("sec-fetch-site", "cross-site")]);
        assert_eq!(Sender::of(&Uri::from_static("/"), &redirected, false), Sender::Hidden);
    }
}
