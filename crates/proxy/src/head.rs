//! Rewrites the heads of requests and answers that pass through (RFC 9110, section 7.6).

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

/// Returns the `Via` entry of the gateway, with the protocol version of the received message (RFC
/// 9110, section 7.6.3).
fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_10 => "1.0 rig",
        Version::HTTP_2 => "2.0 rig",
        _ => "1.1 rig",
    })
}

/// Headers that stay even if `Connection` names them: they are meant for the service, and often
/// come from a proxy in front of this one (RFC 9110, section 7.6.1: a sender must not name them
/// there).
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

/// Headers that are not allowed as trailers: framing, routing, authentication, and how to interpret
/// the body (RFC 9110, section 6.5.1).
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

/// Turns the head of a client's request into one for a service. Returns the protocol of an upgrade,
/// which stays in the head.
pub(crate) fn for_service(head: &mut Parts, peer: &Peer, has_body: bool) -> Option<HeaderValue> {
    // The whole body would have to be sent before the protocol switches (RFC 9110, section 7.8). No
    // client needs that.
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
    // These are only left if the proxy that sent them is trusted.
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

/// Turns the head of a client's request into one for a target that is not an HTTP service: as the
/// client sent it, but without what only a trusted proxy may say.
pub(crate) fn for_target(head: &mut Parts, peer: &Peer) {
    claims::drop_claims(&mut head.headers, peer.trusted.is_some());
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
    }
}

/// Returns whether a request opens a WebSocket (RFC 6455, section 4.1). Pages may do so across
/// origins: browsers send `Origin`, but no preflight.
pub(crate) fn opens_websocket(head: &Parts) -> bool {
    has_token(&head.headers, &CONNECTION, "upgrade") && has_token(&head.headers, &UPGRADE, "websocket")
}

/// Sets the trace headers for a service. If the trace begins here, headers of tracing systems in
/// the request belong to another trace and are removed.
pub(crate) fn trace(headers: &mut HeaderMap, context: &TraceContext, has_begun_here: bool) {
    headers.insert(TRACEPARENT, context.traceparent());
    if has_begun_here {
        headers.remove(TRACESTATE);
    }
}

/// Why the length of an answer's body is ambiguous. The text names the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyEnd {
    /// A transfer coding that is not decoded here (RFC 9112, section 6.1).
    #[error("Transfer-Encoding must be chunked")]
    Coding,
    /// The length is neither one number nor the same number repeated (RFC 9110, section 8.6).
    #[error("Content-Length must be one decimal number")]
    Length,
}

/// Reduces the `Content-Length` of an answer to one number in its shortest form, so that no
/// recipient can interpret it in another way. Applies to answers to `HEAD` and to 304 as well.
/// Removes it if `Transfer-Encoding` determines the length.
///
/// # Errors
/// Fails if the length is ambiguous.
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
    // RFC 9110, section 8.6: a server must not send it with a 204; RFC 9112, section 6.3: it is
    // ignored.
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

/// Returns the only number of a list; `None` if its numbers differ.
fn one_number(list: &[u8]) -> Option<u64> {
    let mut numbers = list.split(|byte| *byte == b',').map(|number| decimal(number.trim_ascii()));
    let first = numbers.next().flatten()?;
    numbers.all(|number| number == Some(first)).then_some(first)
}

/// Parses decimal digits. The standard library would accept a sign as well.
fn decimal(digits: &[u8]) -> Option<u64> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

/// Returns how many more proxies an `OPTIONS` may pass (RFC 9110, section 7.6.2); `None` for other
/// methods and values that are not numbers. A number beyond 64 bits counts as the largest.
pub(crate) fn hops_left(head: &Parts) -> Option<u64> {
    if head.method != Method::OPTIONS {
        return None;
    }
    let mut values = head.headers.get_all(MAX_FORWARDS).iter();
    let digits = values.next().filter(|_| values.next().is_none())?.as_bytes();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| decimal(digits).unwrap_or(u64::MAX))
}

/// Turns an informational answer into one for a client (RFC 9110, section 15.2). It has no body, so
/// headers about its length are removed. Only removals of the definition apply.
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

/// Returns the protocol that a client asks to upgrade to (RFC 9110, section 7.8): HTTP/1.1 only.
fn wanted_upgrade(head: &Parts) -> Option<HeaderValue> {
    if head.version != Version::HTTP_11 || !has_token(&head.headers, &CONNECTION, "upgrade") {
        return None;
    }
    // Upgrades to HTTP/2 are obsolete (RFC 9113, section 3.1). A service that still accepts one
    // would take every following request without any check by this gateway.
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

/// Removes trailers that are not allowed, and those that the definition `set`s as headers.
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

/// Removes headers that some services confuse with those that the gateway sets: they treat `_` as
/// `-` (RFC 3875, section 4.1.18).
pub(crate) fn drop_twins<'a>(headers: &mut HeaderMap, set: impl Iterator<Item = &'a HeaderName> + Clone) {
    let normal = |name: &HeaderName| name.as_str().replace('_', "-");
    // If the definition sets a name with `_`, its twin is the name with `-`.
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

/// Removes hop-by-hop headers: those that `Connection` names, and those that always are (RFC 9110,
/// section 7.6.1).
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
    // Most heads have at most one of them: one pass over the names is cheaper than a lookup for
    // each.
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
            // Not an HTTP header, but CGI passes it on as `HTTP_PROXY`, a setting of some services.
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

/// Joins cookies: HTTP/2 may send one field for each, HTTP/1 must send one field (RFC 9113, section
/// 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let cookies: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let joined = header_value(cookies.join(&b"; "[..]));
    headers.insert(COOKIE, joined);
}

/// Returns the `Forwarded` value (RFC 7239). The client's own is not trusted (RIG).
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
        // Quoted, since a host with a port is not a token (RFC 7239, section 4).
        value.extend_from_slice(b"host=\"");
        value.extend_from_slice(host);
        value.extend_from_slice(b"\";");
    }
    value.extend_from_slice(b"proto=");
    value.extend_from_slice(scheme.as_bytes());
    header_value(value)
}

/// Writes an address. Formats IPv4 itself, faster than the standard library, since every request
/// has two addresses.
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

/// Makes a header value of bytes that come from header values and addresses, so it cannot fail.
fn header_value(bytes: Vec<u8>) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(bytes)).expect("made of what a header may hold")
}

#[cfg(test)]
mod tests;
