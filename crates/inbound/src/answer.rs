//! Answers with short complete bodies, and the headers that all answers have.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use listener::{Body, NO_STORE, retry_after, whole_body};

pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
pub(crate) const JSON: &str = "application/json; charset=utf-8";

/// Number of headers of a usual answer.
const HEADERS: usize = 6;

/// Returns an answer with a complete body.
pub(crate) fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = whole(status, body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Returns an error, or another short text. A 503 says when to retry (RFC 9110, section 15.6.4).
pub(crate) fn text(status: StatusCode, text: impl std::fmt::Display) -> Response<Body> {
    let mut response = answer(status, TEXT, text.to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        retry_after(response.headers_mut(), 1);
    }
    response
}

/// Returns an answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    whole(status, Bytes::new())
}

fn whole(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(whole_body(body));
    *response.status_mut() = status;
    // Room for the headers of every answer, and those that hyper adds.
    response.headers_mut().reserve(HEADERS);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

/// Returns the answer for an unknown path, or an unknown method of a path (RIG).
pub(crate) fn not_found() -> Response<Body> {
    answer(StatusCode::NOT_FOUND, JSON, r#"{"message":"Not Found"}"#)
}

/// Returns the answer for a method that the resource does not support (RFC 9110, section 15.5.6).
pub(crate) fn method_not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed.");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}
