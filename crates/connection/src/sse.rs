//! Server-Sent Events: the head of the stream, and its body for HTTP/2.

pub(crate) mod frames;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};

use crate::connection::Connection;
use crate::head::{self, write_headers};
use crate::transport::CloseReason;

/// Returns the response head of a stream over HTTP/1: `chunked` for HTTP/1.1; over HTTP/1.0 closing
/// marks the end.
pub fn sse_head(headers: &HeaderMap, chunked: bool) -> Bytes {
    let mut head = Vec::with_capacity(head::CAPACITY);
    head.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    write_headers(&mut head, headers);
    let framing: &[u8] = if chunked { b"transfer-encoding: chunked" } else { b"connection: close" };
    head.extend_from_slice(framing);
    head.extend_from_slice(b"\r\n\r\n");
    head.into()
}

/// The stream as the body of an HTTP/2 response. It owns its connection: a reset by the client
/// drops both.
pub struct SseBody(Arc<Connection>);

/// The stream was aborted: HTTP/2 resets it.
#[derive(Debug, thiserror::Error)]
#[error("stream cut: {}", .reason.as_str())]
pub struct Cut {
    reason: CloseReason,
    /// Tells hyper which error code to reset with (RFC 9113, section 7).
    source: h2::Error,
}

impl SseBody {
    /// The body of a connection opened with `chunked: false` and no head.
    pub fn new(connection: Arc<Connection>) -> Self {
        Self(connection)
    }
}

impl Body for SseBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        Poll::Ready(match ready!(self.0.poll_pop(cx)) {
            Ok(Some(bytes)) => Some(Ok(Frame::data(bytes))),
            Ok(None) => None,
            Err(reason) => Some(Err(Cut { reason, source: h2::Reason::CANCEL.into() })),
        })
    }
}
