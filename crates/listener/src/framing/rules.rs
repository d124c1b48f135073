//! Rules for the head of a request that hyper has parsed.

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue};
use http::uri::Scheme;
use http::{HeaderMap, Method, Request, Uri, Version};

use super::MessageFault;
/// Returns the first rule that a head breaks.
pub(crate) fn fault<B>(request: &Request<B>) -> Option<MessageFault> {
    let (uri, headers, version) = (request.uri(), request.headers(), request.version());
    let length = || length(headers);
    target(uri, request.method()).or_else(|| host(uri, headers, version)).or_else(length).or_else(|| {
        let expected = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        (!headers.get_all(EXPECT).iter().all(expected)).then_some(MessageFault::Expect)
    })
}

fn target(uri: &Uri, method: &Method) -> Option<MessageFault> {
    let known = match (uri.scheme(), uri.authority()) {
        // RFC 9112, sections 3.2.1 and 3.2.4.
        (None, None) => uri.path().starts_with('/') || (method == Method::OPTIONS && uri.path() == "*"),
        // RFC 9112, section 3.2.2; RFC 9113, section 8.3.1.
        (Some(scheme), Some(authority)) => {
            (uri.path().starts_with('/') || method == Method::OPTIONS)
                && (*scheme == Scheme::HTTP || *scheme == Scheme::HTTPS)
                && is_host(authority.as_str().as_bytes())
        }
        _ => false,
    };
    (!known).then_some(MessageFault::Target)
}

/// Checks `Content-Length` (RFC 9110, section 8.6): over HTTP/2, hyper hands over every value.
fn length(headers: &HeaderMap) -> Option<MessageFault> {
    if headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
        return Some(MessageFault::ContentLength);
    }
    let disguised = |name: &HeaderName| {
        let name = name.as_str();
        name.contains('_')
            && ["content-length", "transfer-encoding"].contains(&name.replace('_', "-").as_str())
    };
    headers.keys().any(disguised).then_some(MessageFault::Disguised)
}

fn host(uri: &Uri, headers: &HeaderMap, version: Version) -> Option<MessageFault> {
    let mut values = headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
    match (values.next(), uri.authority(), version) {
        // RFC 9113, section 8.3.1: `:authority` replaces `Host`. HTTP/1.0 did not have it.
        (None, Some(_), Version::HTTP_2) | (None, _, Version::HTTP_10 | Version::HTTP_09) => None,
        (None, ..) => Some(MessageFault::Host),
        (Some(_), ..) if values.next().is_some() => Some(MessageFault::Host),
        (Some(host), ..) if !is_host(host) => Some(MessageFault::Host),
        (Some(host), Some(authority), _) => {
            let default: &[u8] = if uri.scheme() == Some(&Scheme::HTTPS) { b":443" } else { b":80" };
            let [host, authority] =
                [host, authority.as_str().as_bytes()].map(|host| host.strip_suffix(default).unwrap_or(host));
            (!host.eq_ignore_ascii_case(authority)).then_some(MessageFault::OtherHost)
        }
        (Some(_), None, _) => None,
    }
}

/// Returns `true` if `value` can be a host, with or without a port (RFC 3986, section 3.2.2). `,`
/// and `;` are refused, since some servers read them as a list. An empty value is allowed, since it
/// belongs to a target without a host (RFC 9112, section 3.2).
fn is_host(value: &[u8]) -> bool {
    let (name, port) = match value.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !value.ends_with(b"]") => (&value[..colon], &value[colon + 1..]),
        _ => (value, &b""[..]),
    };
    let is_name = match name.strip_prefix(b"[") {
        Some(address) => address.strip_suffix(b"]").is_some_and(|address| {
            address.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        }),
        None => {
            let is_of_one = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+=".contains(byte);
            (value.is_empty() || !name.is_empty()) && name.iter().all(is_of_one)
        }
    };
    is_name && port.len() <= 5 && port.iter().all(u8::is_ascii_digit)
}
