//! Finds the client of a request. Only headers of proxies that the operator trusts are used.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The networks of the proxies in front of the gateway. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Arc<[IpNet]>);

/// What a trusted proxy says about the client of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForwardedClient {
    /// The client's address; port 0 if no proxy says.
    pub(crate) address: SocketAddr,
    /// `true` if the client uses TLS; `None` if no proxy says.
    pub(crate) secure: Option<bool>,
}

impl TrustedProxies {
    /// Trusts proxies in these networks.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().collect())
    }

    /// Returns `true` if no proxy is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns `true` if this is the address of a trusted proxy.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns the client of a request that came from the trusted proxy `hop`: the last address of
    /// the chain that is not a trusted proxy itself. Addresses before it may be forged.
    ///
    /// If `Forwarded` and `X-Forwarded-For` name different clients, one of them was not set by the
    /// proxy, so neither is used.
    pub(crate) fn client(&self, headers: &HeaderMap, hop: SocketAddr) -> ForwardedClient {
        let told = |chain: Vec<Hop>| (!chain.is_empty()).then(|| self.last_untrusted(&chain, hop));
        let client = match (told(x_forwarded(headers)), told(forwarded(headers))) {
            (Some(one), Some(other)) if one.address.ip() == other.address.ip() => ForwardedClient {
                address: one.address,
                secure: if one.secure == other.secure { one.secure } else { one.secure.xor(other.secure) },
            },
            (Some(_), Some(_)) => ForwardedClient { address: hop, secure: None },
            (Some(client), None) | (None, Some(client)) => client,
            (None, None) => {
                ForwardedClient { address: real_ip(headers).unwrap_or(hop), secure: proto_alone(headers) }
            }
        };
        ForwardedClient { address: canonical(client.address), ..client }
    }

    fn last_untrusted(&self, chain: &[Hop], hop: SocketAddr) -> ForwardedClient {
        let mut client = ForwardedClient { address: hop, secure: None };
        for hop in chain.iter().rev() {
            let Some(address) = hop.address else { break };
            client = ForwardedClient { address, secure: hop.secure.or(client.secure) };
            if !self.contains(address.ip()) {
                break;
            }
        }
        client
    }
}

/// One sender in the chain of a request: the client, or a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hop {
    /// `None` if it is missing or obfuscated.
    address: Option<SocketAddr>,
    secure: Option<bool>,
}

/// Returns the hops of `X-Forwarded-For`, each with its `X-Forwarded-Proto`, which has one value
/// for each hop, or one for all.
fn x_forwarded(headers: &HeaderMap) -> Vec<Hop> {
    let protos: Vec<_> = values(headers, &X_FORWARDED_PROTO).collect();
    let addresses: Vec<_> = values(headers, &X_FORWARDED_FOR).collect();
    let proto = |at: usize| match protos.len() {
        1 => protos.first(),
        count => (count + at).checked_sub(addresses.len()).and_then(|at| protos.get(at)),
    };
    let hop = |(at, text): (usize, &&[u8])| Hop {
        address: node(text),
        secure: proto(at).and_then(|proto| is_secure(proto)),
    };
    addresses.iter().enumerate().map(hop).collect()
}

/// Returns the elements of `Forwarded` (RFC 7239, section 4).
fn forwarded(headers: &HeaderMap) -> Vec<Hop> {
    let lines = headers.get_all(FORWARDED).iter().map(|value| value.as_bytes());
    lines
        .flat_map(|line| split(line, b','))
        .map(|element| {
            let mut hop = Hop { address: None, secure: None };
            for pair in split(element, b';') {
                let Some(equals) = pair.iter().position(|byte| *byte == b'=') else { continue };
                let (name, value) = (pair[..equals].trim_ascii(), unquoted(pair[equals + 1..].trim_ascii()));
                if name.eq_ignore_ascii_case(b"for") {
                    hop.address = node(value);
                } else if name.eq_ignore_ascii_case(b"proto") {
                    hop.secure = is_secure(value);
                }
            }
            hop
        })
        .collect()
}

/// Returns `X-Real-IP`, the only such header that some proxies send.
fn real_ip(headers: &HeaderMap) -> Option<SocketAddr> {
    values(headers, &X_REAL_IP).last().and_then(node)
}

fn proto_alone(headers: &HeaderMap) -> Option<bool> {
    values(headers, &X_FORWARDED_PROTO).last().and_then(is_secure)
}

/// Returns the members of a list, from all its lines.
fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).iter();
    lines.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// Splits a text at the separators that are not in quotes.
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |byte| {
        let is_end = *byte == separator && !is_quoted;
        is_quoted ^= *byte == b'"' && !is_escaped;
        is_escaped = is_quoted && *byte == b'\\' && !is_escaped;
        is_end
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// Parses an address, with or without a port, IPv6 with or without brackets.
fn node(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let without_port = || bare.parse().ok().map(|address: IpAddr| SocketAddr::new(address, 0));
    text.parse().ok().or_else(without_port).map(canonical)
}

fn is_secure(proto: &[u8]) -> Option<bool> {
    let is = |word: &[u8]| proto.eq_ignore_ascii_case(word);
    if is(b"https") || is(b"wss") {
        Some(true)
    } else if is(b"http") || is(b"ws") {
        Some(false)
    } else {
        None
    }
}

/// Converts IPv4-mapped IPv6 addresses to IPv4 (RFC 4291, section 2.5.5.2).
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn client(fields: &[(&'static str, &'static str)]) -> (String, Option<bool>) {
        let trusted = TrustedProxies::new(["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
        let ForwardedClient { address, secure } =
            trusted.client(&headers(fields), "10.0.0.1:5".parse().unwrap());
        (address.to_string(), secure)
    }

    #[test]
    fn f07_the_last_hop_that_is_not_trusted_is_the_client() {
        for (fields, expected) in [
            (&[][..], "10.0.0.1:5"),
            (&[("x-forwarded-for", "192.0.2.1")], "192.0.2.1:0"),
            (&[("x-forwarded-for", "6.6.6.6, 192.0.2.1")], "192.0.2.1:0"),
            (&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1 , 10.9.9.9")], "192.0.2.1:0"),
            (&[("x-forwarded-for", "10.0.0.3, 10.0.0.2")], "10.0.0.3:0"),
            (&[("x-forwarded-for", "6.6.6.6, unknown, 10.0.0.2")], "10.0.0.2:0"),
            (&[("x-forwarded-for", "6.6.6.6, garbage")], "10.0.0.1:5"),
            (&[("x-forwarded-for", "192.0.2.1:77")], "192.0.2.1:77"),
            (&[("x-forwarded-for", "::ffff:192.0.2.1, [2001:db8::1]:9")], "192.0.2.1:0"),
            (&[("x-forwarded-for", "[2001:470::1]")], "[2001:470::1]:0"),
            (&[("forwarded", "for=6.6.6.6, for=192.0.2.1;by=x")], "192.0.2.1:0"),
            (&[("forwarded", r#"For="[2001:470::1]:80";host="a,for=6.6.6.6""#)], "[2001:470::1]:80"),
            (&[("forwarded", r#"for=192.0.2.1;host="\",for=6.6.6.6""#)], "192.0.2.1:0"),
            (&[("forwarded", "for=6.6.6.6, for=_hidden")], "10.0.0.1:5"),
            (&[("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "192.0.2.1")], "192.0.2.1:0"),
            (&[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "192.0.2.1")], "10.0.0.1:5"),
            (&[("x-real-ip", "192.0.2.1")], "192.0.2.1:0"),
            (&[("x-real-ip", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1")], "192.0.2.1:0"),
        ] {
            assert_eq!(client(fields).0, expected, "{fields:?}");
        }
    }

    #[test]
    fn f07_the_scheme_is_that_of_the_client() {
        for (fields, expected) in [
            (&[][..], None),
            (&[("x-forwarded-proto", "https")], Some(true)),
            (&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "HTTPS")], Some(true)),
            (&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "gopher")], None),
            (&[("x-forwarded-for", "192.0.2.1, 10.1.1.1"), ("x-forwarded-proto", "https, http")], Some(true)),
            (&[("x-forwarded-for", "6.6.6.6, 192.0.2.1"), ("x-forwarded-proto", "https, http")], Some(false)),
            (&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https, http")], Some(false)),
            (&[("forwarded", "for=192.0.2.1;proto=https")], Some(true)),
            (&[("forwarded", "for=6.6.6.6;proto=https, for=192.0.2.1;proto=http")], Some(false)),
            (
                &[
                    ("forwarded", "for=192.0.2.1;proto=https"),
                    ("x-forwarded-for", "192.0.2.1"),
                    ("x-forwarded-proto", "http"),
                ],
                None,
            ),
        ] {
            assert_eq!(client(fields).1, expected, "{fields:?}");
        }
    }

    proptest! {
        #[test]
        fn f07_no_client_is_invented(texts in prop::collection::vec("[0-9.:, \\[\\]\"\\\\;=_forp]{0,60}", 2)) {
            let mut headers = HeaderMap::new();
            for (name, text) in [(FORWARDED, &texts[0]), (X_FORWARDED_FOR, &texts[1])] {
                headers.append(name, HeaderValue::from_str(text).unwrap());
            }
            let hop = "10.0.0.1:5".parse().unwrap();
            let client = TrustedProxies::new(["10.0.0.0/8".parse().unwrap()]).client(&headers, hop);
            let is_told = |address: IpAddr| match address {
                IpAddr::V4(address) => texts.concat().contains(&address.to_string()),
                IpAddr::V6(_) => texts.concat().contains(':'),
            };
            prop_assert!(client.address == hop || is_told(client.address.ip()), "{:?}", client);
        }
    }
}
