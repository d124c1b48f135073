//! The heads of requests and answers on their way through (RFC 9110, section 7.6).

mod claims;

use std::io::Write;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    COOKIE, EXPECT, FORWARDED, HOST, MAX_FORWARDS, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use listener::Peer;
use telemetry::{TRACEPARENT, TRACESTATE, TraceContext};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How the gateway names itself, with the protocol that a message came by (RFC 9110, section
/// 7.6.3).
fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_10 => "1.0 rig",
        Version::HTTP_2 => "2.0 rig",
        _ => "1.1 rig",
    })
}

/// What `Connection` cannot take away: it is meant for the service, and often comes from a proxy
/// before this one (RFC 9110, section 7.6.1: a sender must not name it there).
static END_TO_END: [HeaderName; 10] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    COOKIE,
    FORWARDED,
    VIA,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
];

/// What must not come after a body: framing, routing, and what says who asks or how to read the
/// body (RFC 9110, section 6.5.1).
static NEVER_TRAILERS: [HeaderName; 18] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    EXPECT,
    HOST,
    MAX_FORWARDS,
    SET_COOKIE,
    TE,
    TRACEPARENT,
    TRACESTATE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Turns the head of a client's request into one for a service; returns the protocol that it wants
/// to upgrade to, which stays in it.
pub(crate) fn for_service(head: &mut Parts, peer: &Peer, has_body: bool) -> Option<HeaderValue> {
    // The whole body would have to be sent before the other protocol begins (RFC 9110, section
    // 7.8); no client needs that.
    let wanted = wanted_upgrade(head).filter(|_| peer.takeover && !has_body);
    let takes_trailers = has_token(&head.headers, &TE, "trailers");
    let host = match head.headers.get(HOST) {
        Some(host) => Some(host.clone()),
        None => head.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()),
    };
    if let Some(hops) = hops_left(head) {
        head.headers.insert(MAX_FORWARDS, HeaderValue::from(hops.saturating_sub(1)));
    }
    let headers = &mut head.headers;
    drop_hop_by_hop(headers);
    claims::drop_claims(headers, peer.trusted.is_some());
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
    match head.version {
        Version::HTTP_2 => join_cookies(headers),
        // RFC 9110, section 10.1.1.
        Version::HTTP_10 => drop(headers.remove(EXPECT)),
        _ => {}
    }
    let scheme = if peer.secure { "https" } else { "http" };
    let mut chain = Vec::with_capacity(48);
    let mut host = host;
    // Nothing else has left any of these.
    if peer.trusted.is_some() {
        host = headers.get(X_FORWARDED_HOST).cloned().or(host);
        for before in headers.get_all(X_FORWARDED_FOR) {
            chain.extend_from_slice(before.as_bytes());
            chain.extend_from_slice(b", ");
        }
    }
    headers.insert(FORWARDED, forwarded(peer, host.as_ref(), scheme));
    push_address(&mut chain, peer.hop.ip().to_canonical());
    headers.insert(X_FORWARDED_FOR, header_value(chain));
    if let Some(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static(scheme));
    headers.append(VIA, via(head.version));
    wanted
}

/// Whether a client wants to open a WebSocket (RFC 6455, section 4.1), as pages do without being
/// asked for more than their `Origin`.
pub(crate) fn opens_websocket(head: &Parts) -> bool {
    has_token(&head.headers, &CONNECTION, "upgrade") && has_token(&head.headers, &UPGRADE, "websocket")
}

/// Hands a trace on to a service. Where it has begun here, what tracing systems have added is about
/// another one.
pub(crate) fn trace(headers: &mut HeaderMap, context: &TraceContext, has_begun_here: bool) {
    headers.insert(TRACEPARENT, context.traceparent());
    if has_begun_here {
        headers.remove(TRACESTATE);
    }
}

/// An answer does not say in one way where its body ends. The text says of which field that is to
/// blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyEnd {
    /// It is coded in a way that is not undone here (RFC 9112, section 6.1).
    #[error("Transfer-Encoding must be chunked")]
    Coding,
    /// What it says of its length is neither one number nor the same one several times (RFC 9110,
    /// section 8.6).
    #[error("Content-Length must be one decimal number")]
    Length,
}

/// Leaves one length of those that an answer announces, in its shortest form: whoever comes after
/// us cannot read it in another way. Answers to `HEAD` and 304 count too; where `Transfer-Encoding`
/// decides, none is left.
///
/// # Errors
/// Fails if it can be read in two ways.
pub(crate) fn one_body_end<B>(answer: &mut Response<B>) -> Result<(), BodyEnd> {
    let has_none = answer.status() == StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        || codings.next().is_some()
    {
        return Err(BodyEnd::Coding);
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter().map(HeaderValue::as_bytes);
    let Some(first) = lengths.next() else { return Ok(()) };
    // RFC 9110, section 8.6: a server must not send it with a 204; RFC 9112, section 6.3: it does
    // not count.
    if has_none || coding.is_some() {
        headers.remove(CONTENT_LENGTH);
        return Ok(());
    }
    let length = one_number(first).ok_or(BodyEnd::Length)?;
    let mut is_shortest =
        first == b"0" || first.first() != Some(&b'0') && first.iter().all(u8::is_ascii_digit);
    for other in lengths {
        if one_number(other) != Some(length) {
            return Err(BodyEnd::Length);
        }
        is_shortest = false;
    }
    if !is_shortest {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(())
}

/// The one number of a list.
fn one_number(list: &[u8]) -> Option<u64> {
    let mut numbers = list.split(|byte| *byte == b',').map(|number| decimal(number.trim_ascii()));
    let first = numbers.next().flatten()?;
    numbers.all(|number| number == Some(first)).then_some(first)
}

/// A number of decimal digits alone: the standard library takes a sign too.
fn decimal(digits: &[u8]) -> Option<u64> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

/// How many proxies an `OPTIONS` may still pass (RFC 9110, section 7.6.2); `None` for other methods
/// and values that are no number. A number beyond 64 bits counts as the largest.
pub(crate) fn hops_left(head: &Parts) -> Option<u64> {
    if head.method != Method::OPTIONS {
        return None;
    }
    let mut values = head.headers.get_all(MAX_FORWARDS).iter();
    let digits = values.next().filter(|_| values.next().is_none())?.as_bytes();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| decimal(digits).unwrap_or(u64::MAX))
}

/// Makes an informational answer one for a client (RFC 9110, section 15.2). It has no body, so
/// nothing of it says how long one is; of what the definition sets, only what it takes away counts.
pub(crate) fn informational(headers: &mut HeaderMap, set: &[(HeaderName, Option<HeaderValue>)]) {
    drop_hop_by_hop(headers);
    headers.remove(CONTENT_LENGTH);
    for (name, _) in set {
        headers.remove(name);
    }
}

/// Turns the head of a service's answer into one for a client.
pub(crate) fn for_client<B>(answer: &mut Response<B>, set: &[(HeaderName, Option<HeaderValue>)]) {
    let version = std::mem::replace(answer.version_mut(), Version::HTTP_11);
    let headers = answer.headers_mut();
    drop_hop_by_hop(headers);
    headers.append(VIA, via(version));
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
    // It is no longer part of HTTP/2 (RFC 9113, section 3.1). A service that still takes it would
    // take every request that follows, past all that is checked here.
    let mut protocols =
        head.headers.get_all(UPGRADE).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    let is_http_or_tls = |protocol: &[u8]| {
        let name = protocol.trim_ascii().to_ascii_lowercase();
        let name = name.strip_prefix(b"\"").unwrap_or(&name);
        [&b"h2"[..], b"http", b"tls"].iter().any(|refused| name.starts_with(refused))
    };
    if protocols.any(is_http_or_tls) {
        return None;
    }
    head.headers.get(UPGRADE).cloned()
}

/// Drops what must not come after a body, and what the definition `set`s before it.
pub(crate) fn for_trailers(trailers: &mut HeaderMap, set: &[HeaderName]) {
    while let Some(name) = trailers.keys().find(|name| is_hop_by_hop(name) || claims::is_claim(name)).cloned()
    {
        trailers.remove(name);
    }
    for name in NEVER_TRAILERS.iter().chain(&END_TO_END).chain(set) {
        trailers.remove(name);
    }
    drop_twins(trailers, set.iter());
}

/// Drops headers that some services take for those that the gateway sets: they read `_` as `-` (RFC
/// 3875, section 4.1.18).
pub(crate) fn drop_twins<'a>(headers: &mut HeaderMap, set: impl Iterator<Item = &'a HeaderName> + Clone) {
    let normal = |name: &HeaderName| name.as_str().replace('_', "-");
    // A definition may name one with `_` itself: then that with `-` is the twin.
    let odd = set.clone().any(|name| name.as_str().contains('_'));
    let twins: Vec<_> = headers.keys().filter(|name| odd || name.as_str().contains('_')).cloned().collect();
    for twin in twins {
        let name = normal(&twin);
        let is_framing = name == HOST.as_str() || name == TRANSFER_ENCODING.as_str();
        let is_ours = |ours: &HeaderName| *ours != twin && normal(ours) == name;
        let is_of_definition = set.clone().any(is_ours) && !set.clone().any(|ours| *ours == twin);
        if (is_framing && name != twin.as_str()) || END_TO_END.iter().any(is_ours) || is_of_definition {
            headers.remove(&twin);
        }
    }
}

/// Drops what is meant for one connection only: what `Connection` names, and what is so without a
/// name (RFC 9110, section 7.6.1).
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let usual = |value: &HeaderValue| [&b"keep-alive"[..], b"close", b"upgrade"].contains(&value.as_bytes());
    if !headers.get_all(CONNECTION).iter().all(usual) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .filter(|name| !END_TO_END.contains(name) && !claims::is_claim(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    // Most heads have at most one of them: a look at each name costs less than a search for each of
    // these.
    while let Some(name) = headers.keys().find(|name| is_hop_by_hop(name)).cloned() {
        headers.remove(name);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "http2-settings"
            | "keep-alive"
            // No header of HTTP's, but some services take it for a setting of theirs.
            | "proxy"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
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
    let joined = header_value(cookies.join(&b"; "[..]));
    headers.insert(COOKIE, joined);
}

/// Who has asked, of whom, and how (RFC 7239): what a client says of that is not believed (RIG).
fn forwarded(peer: &Peer, host: Option<&HeaderValue>, scheme: &str) -> HeaderValue {
    let mut value = Vec::with_capacity(96);
    for (name, address) in [(&b"for="[..], peer.address), (b"by=", peer.local)] {
        value.extend_from_slice(name);
        match address.ip().to_canonical() {
            address @ IpAddr::V4(_) => push_address(&mut value, address),
            address @ IpAddr::V6(_) => {
                value.extend_from_slice(b"\"[");
                push_address(&mut value, address);
                value.extend_from_slice(b"]\"");
            }
        }
        value.push(b';');
    }
    let host = host.map(HeaderValue::as_bytes).filter(|host| !host.iter().any(|byte| b"\"\\".contains(byte)));
    if let Some(host) = host {
        // Quoted, for a port makes it more than a token (RFC 7239, section 4).
        value.extend_from_slice(b"host=\"");
        value.extend_from_slice(host);
        value.extend_from_slice(b"\";");
    }
    value.extend_from_slice(b"proto=");
    value.extend_from_slice(scheme.as_bytes());
    header_value(value)
}

/// An address as a text; those of IPv4 quicker than by the standard library, since every request
/// has two.
fn push_address(text: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        return write!(text, "{address}").expect("a Vec takes everything");
    };
    for (at, octet) in address.octets().into_iter().enumerate() {
        if at > 0 {
            text.push(b'.');
        }
        if octet >= 100 {
            text.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            text.push(b'0' + octet / 10 % 10);
        }
        text.push(b'0' + octet % 10);
    }
}

/// Makes a header value of bytes that come from header values and addresses.
fn header_value(bytes: Vec<u8>) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(bytes)).expect("made of what a header may hold")
}

#[cfg(test)]
mod tests;
