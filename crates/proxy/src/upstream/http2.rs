//! HTTP/2 to a service (RFC 9113): a connection that many exchanges share, and the stream of one of
//! them.
//!
//! It is driven through `h2` and not through hyper's client, since only the stream itself can tell
//! whether the service has processed its request: the last stream of a GOAWAY, REFUSED_STREAM.

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

/// The limit of streams of a service that has not said anything yet; without a limit, h2 tells the
/// largest number.
const UNHEARD: usize = usize::MAX - 1;

/// What a service may send of one answer before it is read, in bytes (RFC 9113, section 5.2). As
/// much is in memory for a client that does not read.
const STREAM_WINDOW: u32 = 256 << 10;

/// The same for all streams of a connection: so much that clients which do not read never hold up
/// the others on it.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// What small frames of answers that are not read may cost beyond their bytes, in bytes for each
/// connection.
const SMALL_FRAMES: usize = 16 << 20;

/// How many streams that were reset are remembered, so that what still comes on them is known for
/// that. Clients that leave reset theirs, and a connection that took what comes late for a fault
/// would end with the streams of all others.
const RESET: usize = 4096;

/// An HTTP/2 connection begins with SETTINGS (RFC 9113, section 3.4).
const NO_SETTINGS: &str = "the connection has ended before the SETTINGS of HTTP/2";

/// Sends requests over a shared connection.
#[derive(Clone)]
pub(super) struct Http2(SendRequest<Bytes>);

/// Waits for an answer to begin.
pub(super) struct PendingAnswer {
    answer: ResponseFuture,
    watcher: Option<Watcher>,
}

/// The body of a request on its way.
pub(super) struct Sending {
    stream: SendStream<Bytes>,
    body: RequestBody,
    /// What has been read of it, and waits for the service to take it.
    rest: Bytes,
}

impl Http2 {
    /// Opens a connection, waits for what the service says of its limits, and drives it until it is
    /// closed. Requests that are sent earlier are refused where the service allows fewer at once.
    ///
    /// # Errors
    /// Fails if the connection is closed before that.
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
        // Whoever has a stream on it sees why it is closed; no other part needs to.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self(sender))
    }

    /// How many streams the service allows at once (RFC 9113, section 6.5.2).
    pub(super) fn limit(&self) -> usize {
        self.0.current_max_send_streams()
    }

    /// Whether no other stream can be opened: it has ended, or the service has said that it goes
    /// away.
    pub(super) fn is_closed(&self) -> bool {
        // A clone has no stream of its own that it would wait for.
        matches!(self.0.clone().poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }

    /// Opens a stream for a request. Returns its answer, and its body if it has one.
    ///
    /// # Errors
    /// Fails if no stream can be opened: nothing was sent.
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
                // Nothing was sent where the connection has just ended.
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
    /// Sends as much as the service takes; ready when all has been sent, or the stream has ended.
    /// Its answer tells how.
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
                // The client has left, or sent too much.
                Err(_) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(());
                }
            }
        }
    }

    /// How many bytes the service takes now; `None` if it takes none any more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        self.stream.reserve_capacity(self.rest.len());
        loop {
            match self.stream.capacity() {
                // Ready each time that there is more room, which another stream may have taken by
                // then.
                0 => match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Poll::Ready(None),
                },
                room => return Poll::Ready(Some(room)),
            }
        }
    }
}

/// The next frame of an answer.
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
        // A stream beyond the last one of a GOAWAY fails with it; one up to it fails only with its
        // connection.
        let is_unprocessed = error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
        match (error.is_remote(), error.is_library()) {
            (true, _) if is_unprocessed => Self::Unprocessed(Failure::of(FailureKind::Closed, error)),
            // h2 has no other error for a head that is too large.
            (_, true) if error.is_reset() && error.reason() == Some(Reason::PROTOCOL_ERROR) => Self::Garbage(
                Failure::new(FailureKind::Protocol, format_args!("HTTP/2 PROTOCOL_ERROR, or {HEAD_LIMITS}")),
            ),
            (_, true) => Self::Garbage(Failure::of(FailureKind::Protocol, error)),
            // The service may have processed some of it.
            (true, _) if error.is_reset() => Self::Garbage(Failure::of(FailureKind::Reset, error)),
            _ => Self::Closed(Failure::of(FailureKind::Closed, error)),
        }
    }
}
