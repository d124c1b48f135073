//! The heads of requests and answers on their way through (RFC 9110, section 7.6).

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::header::{
    CONNECTION, COOKIE, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING,
    UPGRADE, VIA,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use listener::Peer;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How the gateway names itself (RFC 9110, section 7.6.3).
const RIG: HeaderValue = HeaderValue::from_static("1.1 rig");

/// Turns the head of a client's request into one for a service; returns the protocol that it wants to upgrade to, which
/// stays in it.
pub(crate) fn for_service(head: &mut Parts, peer: &Peer) -> Option<HeaderValue> {
    let wanted = wanted_upgrade(head).filter(|_| peer.takeover);
    let takes_trailers = has_token(&head.headers, &TE, "trailers");
    let host = match head.headers.get(HOST) {
        Some(host) => Some(host.clone()),
        None => head.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()),
    };
    let headers = &mut head.headers;
    drop_hop_by_hop(headers);
    match &wanted {
        Some(protocol) => {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol.clone());
        }
        None if takes_trailers => {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        None => {}
    }
    if head.version == Version::HTTP_2 {
        join_cookies(headers);
    }
    let scheme = if peer.secure { "https" } else { "http" };
    headers.insert(FORWARDED, forwarded(peer, host.as_ref(), scheme));
    let address = peer.address.ip().to_canonical();
    let chain = match headers.get(X_FORWARDED_FOR) {
        Some(_) => {
            let before = headers.get_all(X_FORWARDED_FOR).iter();
            let before: Vec<_> = before.map(HeaderValue::as_bytes).collect();
            let mut chain = before.join(&b", "[..]);
            chain.extend_from_slice(format!(", {address}").as_bytes());
            HeaderValue::from_maybe_shared(Bytes::from(chain))
        }
        None => HeaderValue::from_maybe_shared(Bytes::from(address.to_string())),
    };
    headers.insert(X_FORWARDED_FOR, chain.expect("made of header values and an address"));
    if let Some(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static(scheme));
    headers.append(VIA, RIG);
    wanted
}

/// Turns the head of a service's answer into one for a client.
pub(crate) fn for_client(headers: &mut HeaderMap, set: &[(HeaderName, Option<HeaderValue>)]) {
    drop_hop_by_hop(headers);
    headers.append(VIA, RIG);
    for (name, value) in set {
        match value {
            Some(value) => drop(headers.insert(name, value.clone())),
            None => drop(headers.remove(name)),
        }
    }
}

/// What a client wants to upgrade to (RFC 9110, section 7.8): HTTP/1.1 only.
fn wanted_upgrade(head: &Parts) -> Option<HeaderValue> {
    if head.version != Version::HTTP_11 || !has_token(&head.headers, &CONNECTION, "upgrade") {
        return None;
    }
    head.headers.get(UPGRADE).cloned()
}

/// Drops what is meant for one connection only: what `Connection` names, and what is so without a name (RFC 9110,
/// section 7.6.1).
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let usual = |value: &HeaderValue| [&b"keep-alive"[..], b"close", b"upgrade"].contains(&value.as_bytes());
    if !headers.get_all(CONNECTION).iter().all(usual) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|value| value.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// HTTP/2 sends cookies one by one; HTTP/1 has one field for them (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let cookies: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let joined = HeaderValue::from_maybe_shared(Bytes::from(cookies.join(&b"; "[..])));
    headers.insert(COOKIE, joined.expect("made of header values"));
}

/// Who has asked, of whom, and how (RFC 7239): what a client says of that is not believed (RIG).
fn forwarded(peer: &Peer, host: Option<&HeaderValue>, scheme: &str) -> HeaderValue {
    let mut value = String::with_capacity(96);
    let mut push = |name: &str, address: &SocketAddr| match address.ip().to_canonical() {
        IpAddr::V4(address) => write!(value, "{name}={address};"),
        IpAddr::V6(address) => write!(value, "{name}=\"[{address}]\";"),
    };
    let written = push("for", &peer.address).and_then(|()| push("by", &peer.local));
    written.expect("a String takes everything");
    match host.and_then(|host| host.to_str().ok()).filter(|host| !host.contains(['"', '\\'])) {
        Some(host) if host.contains(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c)) => {
            value.extend(["host=\"", host, "\";"]);
        }
        Some(host) => value.extend(["host=", host, ";"]),
        None => {}
    }
    value.extend(["proto=", scheme]);
    HeaderValue::from_maybe_shared(Bytes::from(value)).expect("made of what a header may hold")
}

#[cfg(test)]
mod tests;
