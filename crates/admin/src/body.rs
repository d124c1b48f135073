//! Request bodies: read whole, within bounds, before a handler of v2 and v3 sees them; never with a coding.

use std::time::Duration;

use axum::body::Body as AxumBody;
use axum::extract::{OriginalUri, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::ACCEPT_ENCODING;
use http::{HeaderValue, StatusCode};
use hyper::body::Body as _;
use listener::{CODED, is_coded, read_body};

use crate::v4::{self, problem::Problem};

/// How large a body may be, and how long it may take.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) most: usize,
    pub(crate) within: Duration,
}

/// Reads the body for the handler.
pub(crate) async fn read(State(bounds): State<Bounds>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match read_body(body, bounds.most, bounds.within).await {
        Ok(body) => next.run(Request::from_parts(parts, AxumBody::from(body))).await,
        Err(error) => (error.status(), error.to_string()).into_response(),
    }
}

/// Refuses a body that would have to be decoded (RFC 9110, section 15.5.16).
pub(crate) async fn refuse_coded(OriginalUri(uri): OriginalUri, request: Request, next: Next) -> Response {
    if !is_coded(request.headers()) || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let mut response = match v4::covers(uri.path()) {
        true => Problem::Coded.into_response(),
        false => (StatusCode::UNSUPPORTED_MEDIA_TYPE, CODED).into_response(),
    };
    response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    response
}
