//! Answers: small whole bodies, and the headers that all of them carry.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use listener::{Body, NO_STORE, retry_after, whole_body};

pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
pub(crate) const JSON: &str = "application/json; charset=utf-8";

/// Headers of an answer that is not unusual.
const HEADERS: usize = 6;

/// A whole answer.
pub(crate) fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = whole(status, body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An error, or another short text. A 503 says when to come back (RFC 9110, section 15.6.4).
pub(crate) fn text(status: StatusCode, text: impl std::fmt::Display) -> Response<Body> {
    let mut response = answer(status, TEXT, text.to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        retry_after(response.headers_mut(), 1);
    }
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    whole(status, Bytes::new())
}

fn whole(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(whole_body(body));
    *response.status_mut() = status;
    // Room for what every answer carries, and what hyper adds.
    response.headers_mut().reserve(HEADERS);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

/// No such path, or no such method there (RIG).
pub(crate) fn not_found() -> Response<Body> {
    answer(StatusCode::NOT_FOUND, JSON, r#"{"message":"Not Found"}"#)
}

/// A method that the resource does not know (RFC 9110, section 15.5.6).
pub(crate) fn method_not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed.");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}
