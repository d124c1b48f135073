//! HTTP/2 to a service (RFC 9113): a connection that many exchanges share, and a stream for each of
//! them.
//!
//! Uses `h2` instead of hyper's client, since only the stream itself reveals whether the service
//! has processed its request: by the last stream of a GOAWAY, or REFUSED_STREAM.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Request, Response};
use hyper::body::{Body, Frame};

use super::ServiceLimits;
use super::connect::Io;
use super::failure::{Failure, FailureKind};
use super::link::{Broken, HEAD_LIMITS, SendError};
use crate::body::RequestBody;
use crate::informational::Watcher;

/// Initial stream limit, replaced by the service's SETTINGS. If these set no limit, h2 reports
/// `usize::MAX`.
const UNHEARD: usize = usize::MAX - 1;

/// Receive window of each stream in bytes (RFC 9113, section 5.2). For a client that does not read,
/// this much of its answer is in memory.
const STREAM_WINDOW: u32 = 256 << 10;

/// Receive window of each connection: the maximum, so that answers which are not read never block
/// the others.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// Limit of the overhead of small frames in answers that are not read, in bytes for each
/// connection.
const SMALL_FRAMES: usize = 16 << 20;

/// Limit of the reset streams that are remembered, so that late frames for them are recognized.
/// Each client that leaves resets its stream; a late frame for a forgotten stream would be a
/// connection error, and close all other streams.
const RESET: usize = 4096;

/// The server's preface is a SETTINGS frame (RFC 9113, section 3.4).
const NO_SETTINGS: &str = "the connection has ended before the SETTINGS of HTTP/2";

/// Sends requests over a shared connection.
#[derive(Clone)]
pub(super) struct Http2(SendRequest<Bytes>);

/// Waits for the head of an answer.
pub(super) struct PendingAnswer {
    answer: ResponseFuture,
    watcher: Option<Watcher>,
}

/// The body of a request that is being sent.
pub(super) struct Sending {
    stream: SendStream<Bytes>,
    body: RequestBody,
    /// Bytes that were read from the body, and wait for flow control.
    rest: Bytes,
}

impl Http2 {
    /// Opens a connection, waits for the SETTINGS of the service, and drives the connection until
    /// it is closed. Requests sent before the SETTINGS might exceed the service's limit of streams
    /// and be refused.
    ///
    /// # Errors
    /// Fails if the connection is closed before the SETTINGS.
    pub(super) async fn open(io: Io, limits: &ServiceLimits) -> Result<Self, Failure> {
        let failed = |error: h2::Error| Failure::of(FailureKind::Connect, &error);
        let (sender, mut connection) = Builder::new()
            .enable_push(false)
            .initial_max_send_streams(UNHEARD)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .data_frame_budget(SMALL_FRAMES)
            .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
            .max_concurrent_reset_streams(RESET)
            .max_local_error_reset_streams(None)
            .handshake(io)
            .await
            .map_err(failed)?;
        poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(failed(error))),
            Poll::Ready(Ok(())) => Poll::Ready(Err(Failure::new(FailureKind::Protocol, NO_SETTINGS))),
            Poll::Pending if connection.max_concurrent_send_streams() == UNHEARD => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await?;
        // Each stream reports why the connection was closed, so the result is dropped.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self(sender))
    }

    /// Returns the service's limit of concurrent streams (RFC 9113, section 6.5.2).
    pub(super) fn limit(&self) -> usize {
        self.0.current_max_send_streams()
    }

    /// Returns whether no more streams can be opened: the connection is closed, or a GOAWAY was
    /// received.
    pub(super) fn is_closed(&self) -> bool {
        // A clone, since it has no pending stream that `poll_ready` would wait for.
        matches!(self.0.clone().poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }

    /// Opens a stream for a request. Returns its answer, and its body if it has one.
    ///
    /// # Errors
    /// Fails if no stream can be opened, in which case nothing was sent.
    pub(super) fn send(
        &mut self,
        request: Request<RequestBody>,
        watcher: Option<Watcher>,
    ) -> Result<(PendingAnswer, Option<Sending>), SendError> {
        if self.is_closed() {
            return Err(SendError::NotSent(Box::new(request)));
        }
        let (mut head, body) = request.into_parts();
        let has_ended = body.is_end_stream();
        // RFC 9110, section 8.6.
        if !head.headers.contains_key(CONTENT_LENGTH)
            && let Some(length) = body.size_hint().exact()
            && (length > 0 || matches!(head.method, Method::POST | Method::PUT | Method::PATCH))
        {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let (answer, stream) =
            self.0.send_request(Request::from_parts(head, ()), has_ended).map_err(|error| {
                // If the connection has just closed, nothing was sent.
                match error.is_io() || error.is_go_away() {
                    true => SendError::Unprocessed(Failure::of(FailureKind::Closed, &error)),
                    false => SendError::Garbage(Failure::of(FailureKind::Protocol, &error)),
                }
            })?;
        let sending = (!has_ended).then(|| Sending { stream, body, rest: Bytes::new() });
        Ok((PendingAnswer { answer, watcher }, sending))
    }
}

impl Future for PendingAnswer {
    type Output = Result<Response<RecvStream>, SendError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { answer, watcher } = self.get_mut();
        while let Some(watcher) = watcher
            && let Poll::Ready(Some(Ok(interim))) = answer.poll_informational(cx)
        {
            watcher.hear(interim.status(), interim.headers());
        }
        Pin::new(answer).poll(cx).map_err(|error| SendError::from(&error))
    }
}

impl Sending {
    /// Sends as much as flow control allows. Ready when the body was sent, or the stream has
    /// closed; the answer then reports why.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if !self.rest.is_empty() {
                let Some(room) = ready!(self.poll_room(cx)) else { return Poll::Ready(()) };
                let piece = self.rest.split_to(room.min(self.rest.len()));
                let is_last = self.rest.is_empty() && self.body.is_end_stream();
                if self.stream.send_data(piece, is_last).is_err() || is_last {
                    return Poll::Ready(());
                }
                continue;
            }
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
                let _ = self.stream.send_data(Bytes::new(), true);
                return Poll::Ready(());
            };
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => self.rest = data,
                Ok(Err(frame)) => {
                    let _ = self.stream.send_trailers(frame.into_trailers().unwrap_or_default());
                    return Poll::Ready(());
                }
                // The client has left, or the body is too large.
                Err(_) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Returns how many bytes flow control allows; `None` if the stream has closed.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        self.stream.reserve_capacity(self.rest.len());
        loop {
            match self.stream.capacity() {
                // Ready whenever capacity is added, but another stream may have taken it by then.
                0 => match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Poll::Ready(None),
                },
                room => return Poll::Ready(Some(room)),
            }
        }
    }
}

/// Polls the next frame of an answer.
pub(super) fn poll_frame(
    answer: &mut RecvStream,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
    let data = match ready!(answer.poll_data(cx)) {
        None => {
            let trailers = ready!(answer.poll_trailers(cx));
            return Poll::Ready(
                trailers.map(|trailers| trailers.map(Frame::trailers)).map_err(|_| Broken).transpose(),
            );
        }
        Some(data) => data.map_err(|_| Broken)?,
    };
    let released = answer.flow_control().release_capacity(data.len());
    Poll::Ready(Some(released.map(|()| Frame::data(data)).map_err(|_| Broken)))
}

impl From<&h2::Error> for SendError {
    fn from(error: &h2::Error) -> Self {
        // A GOAWAY fails the streams after its last stream; earlier ones fail only with the
        // connection.
        let is_unprocessed = error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
        match (error.is_remote(), error.is_library()) {
            (true, _) if is_unprocessed => Self::Unprocessed(Failure::of(FailureKind::Closed, error)),
            // h2 reports a head that is too large like this.
            (_, true) if error.is_reset() && error.reason() == Some(Reason::PROTOCOL_ERROR) => Self::Garbage(
                Failure::new(FailureKind::Protocol, format_args!("HTTP/2 PROTOCOL_ERROR, or {HEAD_LIMITS}")),
            ),
            (_, true) => Self::Garbage(Failure::of(FailureKind::Protocol, error)),
            // The service may have processed a part of the request.
            (true, _) if error.is_reset() => Self::Garbage(Failure::of(FailureKind::Reset, error)),
            _ => Self::Closed(Failure::of(FailureKind::Closed, error)),
        }
    }
}
