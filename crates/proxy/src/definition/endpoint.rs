//! One endpoint of a definition.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use document::child;
use http::{HeaderName, HeaderValue, Method};
use serde_json::{Map, Value};

use super::auth::{AuthType, ONLY_JWT};
use super::members::MemberReader;
use super::parse::MAX_ID;
use super::{Endpoint, RateLimit, RateLimitBy, RequiredClaim, target};
use crate::path::Pattern;

/// Limit of a pattern, pointer or replacement, in bytes.
pub(super) const MAX_PATTERN: usize = 4096;

/// Limit of a method, in bytes.
const MAX_METHOD: usize = 64;

/// Limit of the name and of the value of a header, in bytes.
const MAX_HEADER: usize = 8192;

/// Limit of the headers or claims in one list.
const MAX_LIST: usize = 100;

const DAY: u64 = 86_400_000;

/// Largest integer that every JSON parser reads exactly (RFC 8259, section 6).
const MAX_EXACT: u64 = (1 << 53) - 1;

const MEMBERS: &[&str] = &[
    "id",
    "method",
    "path_regex",
    "path_replacement",
    "secured",
    "transform_request_headers",
    "target",
    "topic",
    "schema",
    "response_from",
    "claims",
    "forward_claims",
    "timeout_ms",
    "max_body_bytes",
    "rate_limit",
    "response_headers",
];

/// Headers of one hop or of the framing of a message (RFC 9110, section 7.6.1; RFC 9112, section
/// 6).
const OF_THE_HOP: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn read(
    members: &MemberReader<'_>,
    added: &[(HeaderName, HeaderValue)],
    auth_type: AuthType,
) -> Option<Endpoint> {
    members.only(MEMBERS);
    let id = members.needed_text("id", MAX_ID);
    let path_regex = members.needed_text("path_regex", MAX_PATTERN);
    let method = members.needed_text("method", MAX_METHOD).and_then(|method| read_method(members, method));
    let path_replacement = members.text("path_replacement", MAX_PATTERN);
    if path_replacement.is_some_and(|path| !is_path(path)) {
        members.fault(
            "path_replacement",
            "must be a path (RFC 3986) that begins with / or a capture, such as \\1",
        );
    }
    match path_regex.map(|regex| Pattern::new(regex, path_replacement)) {
        Some(Err(error)) => members.fault(error.member(), error.to_string()),
        Some(Ok(pattern)) if !pattern.shape().is_of_paths => {
            members.warn("path_regex", "matches nothing: paths begin with /");
        }
        _ => {}
    }
    let secured = members.flag("secured", false);
    if secured && auth_type == AuthType::None {
        members.fault("auth_type", ONLY_JWT);
    }
    let (broker, response_from) = target::read(members);
    let transform = members.flag("transform_request_headers", false);
    let timeout = members.number("timeout_ms", 0..=DAY).map(Duration::from_millis);
    let max_body = members.number("max_body_bytes", 0..=MAX_EXACT);
    let endpoint = Endpoint {
        id: Arc::from(id.unwrap_or_default()),
        method: method.unwrap_or_default(),
        path_regex: path_regex.unwrap_or_default().to_owned(),
        path_replacement: path_replacement.map(str::to_owned),
        secured,
        add_headers: if transform { added.to_vec() } else { Vec::new() },
        broker,
        response_from,
        claims: claims(members, secured),
        forward_claims: forward_claims(members, secured),
        timeout,
        max_body,
        rate_limit: rate_limit(members),
        response_headers: response_headers(members),
    };
    id.map(|_| endpoint)
}

/// Reads a method in any case, as RIG does, and returns it in upper case, as all registered methods
/// are (RFC 9110, section 16.1.1).
fn read_method(members: &MemberReader<'_>, text: &str) -> Option<Method> {
    let method = Method::from_bytes(text.to_ascii_uppercase().as_bytes());
    method.map_err(|_| members.fault("method", "must be a method (RFC 9110)")).ok()
}

/// Returns whether a text is a valid path of a request line, with references to captures in it.
/// Refuses everything that could not be sent in one.
fn is_path(text: &str) -> bool {
    text.starts_with(['/', '\\']) && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// Reads `transform_request_headers.add_headers` of a version. Accepts `host`, as RIG does,
/// although `Host` always names the target.
pub(super) fn added_headers(version: &MemberReader<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let Some(map) = version.object("transform_request_headers") else { return Vec::new() };
    let pointer = version.pointer("transform_request_headers");
    let transform = MemberReader::new(map, &pointer, version.group(), version.findings());
    transform.only(&["add_headers"]);
    let headers = entries(&transform, "add_headers").into_iter().filter_map(|(name, value)| {
        let header = header(&transform, "add_headers", name, &[])?;
        if let Some(reason) = overruled(&header) {
            transform.findings().warn(&child(&transform.pointer("add_headers"), name), reason);
        }
        Some((header, header_value(&transform, "add_headers", name, value)?))
    });
    headers.collect()
}

/// Returns a warning for a header that the gateway sets as well, and thereby overrides.
fn overruled(header: &HeaderName) -> Option<&'static str> {
    match header.as_str() {
        "host" => Some("has no effect: the gateway sets Host to the name of the target"),
        "traceparent" | "tracestate" => Some("replaces the trace of the request"),
        "via" | "forwarded" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" => {
            Some("replaces what the gateway tells the service of the client and of proxies on the way")
        }
        _ => None,
    }
}

/// Returns the members of an object that maps names, unless there are too many.
fn entries<'a>(members: &MemberReader<'a>, list: &str) -> Vec<(&'a String, &'a Value)> {
    let map: Option<&'a Map<String, Value>> = members.object(list);
    if map.is_some_and(|map| map.len() > MAX_LIST) {
        members.fault(list, format!("must have at most {MAX_LIST} members"));
        return Vec::new();
    }
    map.into_iter().flatten().collect()
}

fn header(members: &MemberReader<'_>, list: &str, name: &str, barred: &[&str]) -> Option<HeaderName> {
    let reason = match HeaderName::from_bytes(name.as_bytes()) {
        Ok(header) if OF_THE_HOP.contains(&header.as_str()) || barred.contains(&header.as_str()) => {
            "must not be set: the gateway decides about it"
        }
        Ok(header) if name.len() <= MAX_HEADER => return Some(header),
        _ => "must be a header name (RFC 9110)",
    };
    members.fault_at(child(&members.pointer(list), name), list, reason);
    None
}

fn header_value(members: &MemberReader<'_>, list: &str, name: &str, value: &Value) -> Option<HeaderValue> {
    let header = value.as_str().filter(|text| text.len() <= MAX_HEADER);
    let header = header.and_then(|text| HeaderValue::from_str(text).ok());
    if header.is_none() {
        members.fault_at(
            child(&members.pointer(list), name),
            list,
            "must be the value of a header, a string",
        );
    }
    header
}

fn claims(members: &MemberReader<'_>, secured: bool) -> Vec<RequiredClaim> {
    needs_secured(members, "claims", secured);
    let claims = entries(members, "claims").into_iter().filter_map(|(pointer, value)| {
        let place = || child(&members.pointer("claims"), pointer);
        if !is_pointer(pointer) {
            members.fault_at(place(), "claims", "must be a JSON Pointer (RFC 6901), such as /roles");
            return None;
        }
        if !(value.is_string() || value.is_number() || value.is_boolean()) {
            members.fault_at(place(), "claims", "must be string, number or boolean");
            return None;
        }
        Some(RequiredClaim { pointer: pointer.clone(), value: value.clone() })
    });
    claims.collect()
}

fn forward_claims(members: &MemberReader<'_>, secured: bool) -> Vec<(HeaderName, String)> {
    needs_secured(members, "forward_claims", secured);
    let claims = entries(members, "forward_claims").into_iter().filter_map(|(name, pointer)| {
        let header = header(members, "forward_claims", name, &["host", "forwarded", "via"])?;
        let Some(pointer) = pointer.as_str().filter(|pointer| is_pointer(pointer)) else {
            let place = child(&members.pointer("forward_claims"), name);
            members.fault_at(place, "forward_claims", "must be a JSON Pointer (RFC 6901), such as /sub");
            return None;
        };
        Some((header, pointer.to_owned()))
    });
    claims.collect()
}

fn needs_secured(members: &MemberReader<'_>, list: &str, secured: bool) {
    if members.value(list).is_some() && !secured {
        members.fault(list, "must not be there without secured: true");
    }
}

/// Returns whether a text is a pointer to something inside of a document (RFC 6901, section 3).
fn is_pointer(text: &str) -> bool {
    let escapes = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    text.starts_with('/') && text.len() <= MAX_PATTERN && escapes
}

fn rate_limit(members: &MemberReader<'_>) -> Option<RateLimit> {
    let map = members.object("rate_limit")?;
    let pointer = members.pointer("rate_limit");
    let limit = MemberReader::new(map, &pointer, members.group(), members.findings());
    limit.only(&["requests", "within_ms", "by"]);
    for name in ["requests", "within_ms"] {
        if limit.value(name).is_none() {
            limit.fault(name, "must be present");
        }
    }
    let by = match limit.text("by", MAX_ID) {
        None | Some("address") => RateLimitBy::Address,
        Some("session") => RateLimitBy::Session,
        Some(_) => {
            limit.fault("by", r#"must be one of ["address", "session"]"#);
            RateLimitBy::Address
        }
    };
    let requests = NonZeroU32::new(limit.small("requests", 0, 1..=1_000_000));
    let within = limit.number("within_ms", 1..=DAY).map(Duration::from_millis);
    Some(RateLimit { requests: requests?, within: within?, by })
}

fn response_headers(members: &MemberReader<'_>) -> Vec<(HeaderName, Option<HeaderValue>)> {
    let headers = entries(members, "response_headers").into_iter().filter_map(|(name, value)| {
        let header = header(members, "response_headers", name, &[])?;
        if value.is_null() {
            return Some((header, None));
        }
        Some((header, Some(header_value(members, "response_headers", name, value)?)))
    });
    headers.collect()
}
