//! Request bodies: read completely, within limits, before a handler of v2 and v3 runs. Content
//! codings are refused.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body as AxumBody;
use axum::extract::{OriginalUri, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::HeaderValue;
use http::header::ACCEPT_ENCODING;
use hyper::body::Body as _;
use listener::{BodyError, CountedBody, is_coded, read_counted};
use memory::Memory;

use crate::answer::RigError;
use crate::wording::Unhandled;

/// Minimum memory for the bodies of all callers; several of the maximum size always fit. Beyond it
/// the largest is evicted, so that a revocation gets through.
const TOGETHER: usize = 64 << 20;

/// The limits of a body: size and time.
#[derive(Clone)]
pub(crate) struct Bounds {
    most: usize,
    within: Duration,
    /// Separate from the memory of clients, so that their load never makes an operator's request
    /// fail.
    memory: Arc<Memory>,
}

impl Bounds {
    pub(crate) fn new(most: usize, within: Duration) -> Self {
        Self { most, within, memory: Memory::new(most.saturating_mul(4).max(TOGETHER)) }
    }

    /// Reads a complete body. The second value accounts for its bytes until it is dropped.
    pub(crate) async fn read(&self, body: AxumBody) -> Result<(Bytes, Option<CountedBody>), BodyError> {
        read_counted(body, self.most, self.within, &self.memory).await
    }
}

/// Reads the body before the handler runs.
pub(crate) async fn read(State(bounds): State<Bounds>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match bounds.read(body).await {
        Ok((body, _counted)) => next.run(Request::from_parts(parts, AxumBody::from(body))).await,
        Err(error) => RigError::Body(error).into_response(),
    }
}

/// Refuses bodies with a content coding, which would have to be decoded (RFC 9110, section
/// 15.5.16).
pub(crate) async fn refuse_coded(OriginalUri(uri): OriginalUri, request: Request, next: Next) -> Response {
    if !is_coded(request.headers()) || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let mut response = Unhandled::Coded.answer(uri.path());
    response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    response
}
