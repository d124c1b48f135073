//! The answers of the feeds. None may be reused by a cache.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Response, StatusCode};
use listener::{Body, BodyError, whole_body};
use serde_json::{Value, json};

/// `Cache-Control` of every answer (Back-Channel Logout, section 2.8).
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// After how many seconds a sender may try again: a fetch of keys has failed, or the disk is full.
const RETRY: u64 = 5;

/// Returns an answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    whole(status, Bytes::new())
}

/// Returns the answer to a path that does not exist.
pub(crate) fn not_found() -> Response<Body> {
    json_body(StatusCode::NOT_FOUND, &json!({ "message": "Not Found" }))
}

/// Returns the answer to another method than POST (RFC 9110, section 15.5.6).
pub(crate) fn method_not_allowed() -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed.");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

/// Returns the answer to another media type than the one of the feed.
pub(crate) fn unsupported(expected: &str) -> Response<Body> {
    text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &format!("Expected content-type: {expected}"))
}

/// Returns the answer to a body with a content coding.
pub(crate) fn coded() -> Response<Body> {
    let mut response = text(StatusCode::UNSUPPORTED_MEDIA_TYPE, listener::CODED);
    response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    response
}

/// Returns the answer to a body that cannot be read.
pub(crate) fn unread(error: BodyError) -> Response<Body> {
    let mut response = text(error.status(), &error.to_string());
    if error.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY));
    }
    response
}

/// Returns an error as OAuth has them (RFC 6749, section 5.2).
pub(crate) fn oauth_error(status: StatusCode, error: &str, description: &str) -> Response<Body> {
    let mut response = json_body(status, &json!({ "error": error, "error_description": description }));
    if status == StatusCode::UNAUTHORIZED {
        // RFC 6750, section 3.
        let scheme = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
        response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    }
    response
}

/// Returns the refusal of a security event (RFC 8935, section 2.3).
pub(crate) fn set_error(err: &str, description: &str) -> Response<Body> {
    let mut response = json_body(StatusCode::BAD_REQUEST, &json!({ "err": err, "description": description }));
    response.headers_mut().insert(CONTENT_LANGUAGE, HeaderValue::from_static("en"));
    response
}

/// Returns the answer to a statement that could not be checked or kept.
pub(crate) fn unavailable(reason: &str) -> Response<Body> {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let mut response = oauth_error(status, "temporarily_unavailable", reason);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY));
    response
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = whole(status, Bytes::copy_from_slice(text.as_bytes()));
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

fn json_body(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = whole(status, value.to_string().into());
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

fn whole(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(whole_body(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}
