//! HTTP/1: hyper parses and answers; a socket that the application takes over is taken back from it.

use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until};

use crate::again::Again;
use crate::app::{Answer, App, Body, BoxError, Raw, Takeover};
use crate::client::Origin;
use crate::framing::{self, Framing};
use crate::limits::{Limits, Permit};
use crate::stream::{Seen, Stream, Watched};

/// What hyper keeps of a head before it gives up. Larger than every limit, so that ours speak first.
const MAX_HEAD: usize = 128 << 10;

/// What the driver waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// The next request, of which nothing has come.
    Idle,
    /// The rest of a head.
    Head,
    /// The application.
    Answer,
    /// The client, to read what is there for it.
    Reader,
}

/// What ended the driver.
enum End {
    Closed,
    Timeout(Waiting),
    Takeover(Takeover),
}

/// Counts a request until its answer has been handed to hyper whole.
struct Asked(Arc<Seen>);

impl Asked {
    fn new(seen: Arc<Seen>) -> Self {
        seen.asked.fetch_add(1, Ordering::Relaxed);
        Self(seen)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.asked.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer; hyper drops it when it has ended.
struct Answering {
    body: Body,
    _asked: Asked,
}

impl hyper::body::Body for Answering {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Serves one connection until it closes or is taken over.
pub(crate) async fn serve<A: App>(
    app: A,
    stream: Stream,
    origin: Origin,
    limits: Limits,
    permit: Permit,
    mut leaving: tokio::sync::watch::Receiver<bool>,
) {
    let seen = Arc::new(Seen { framing: Mutex::new(Some(Framing::default())), ..Seen::default() });
    let peer = origin.peer(matches!(stream, Stream::Tls(_)), true, Some(seen.gate.clone()));
    let service = service_fn({
        let seen = seen.clone();
        move |mut request: Request<Incoming>| {
            let (app, asked, peer) =
                (app.clone(), Asked::new(seen.clone()), peer.of_request(request.headers()));
            Box::pin(async move {
                let seen = &*asked.0;
                let framing = seen.framing.lock().as_mut().map_or(Ok(()), Framing::next_head);
                let refusal = match framing {
                    Ok(()) => refusal(&mut request, &limits),
                    Err(fault) => Some(fault.answer(request.version())),
                };
                let response = match refusal {
                    Some(response) => response,
                    None => match app.call(request, peer).await {
                        Answer::Response(response) => response,
                        Answer::Takeover(takeover) => {
                            *seen.takeover.lock() = Some(takeover);
                            pending().await
                        }
                    },
                };
                // Of the next request a part may have come together with this one.
                let is_in_head = seen.framing.lock().as_ref().is_some_and(Framing::is_in_head);
                seen.read.store(is_in_head, Ordering::Relaxed);
                seen.answered.store(true, Ordering::Relaxed);
                Ok::<_, std::convert::Infallible>(response.map(|body| Answering { body, _asked: asked }))
            })
        }
    });
    let io = TokioIo::new(Watched { stream, seen: seen.clone() });
    let mut connection =
        http1::Builder::new().max_buf_size(MAX_HEAD).half_close(false).serve_connection(io, service);

    let again = Again::new();
    let mut waiting = Waiting::Idle;
    let mut left = false;
    let end = {
        let mut due = Instant::now() + limits.keep_alive;
        let mut timer = pin!(sleep_until(due));
        let mut leave = pin!(async move { leaving.wait_for(|leaving| *leaving).await.is_ok() });
        poll_fn(|cx| {
            if !left && leave.as_mut().poll(cx).is_ready() {
                left = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            let polled = again.poll(cx, |cx| {
                let polled = connection.poll_without_shutdown(cx);
                // At once: a client that has read the whole answer may be revoked the next moment.
                if polled.is_pending() && seen.is_flushed() {
                    seen.gate.flushed();
                }
                polled
            });
            if polled.is_ready() || seen.gate.watch(cx) {
                return Poll::Ready(End::Closed);
            }
            let (asked, blocked) = (seen.asked.load(Ordering::Relaxed), seen.blocked.load(Ordering::Relaxed));
            // An earlier answer that has not left yet would be lost with hyper's buffer.
            if !blocked && let Some(takeover) = seen.takeover.lock().take() {
                return Poll::Ready(End::Takeover(takeover));
            }
            let now = match (asked, seen.read.load(Ordering::Relaxed)) {
                _ if blocked => Waiting::Reader,
                (0, false) => Waiting::Idle,
                (0, true) => Waiting::Head,
                _ => Waiting::Answer,
            };
            let has_read = seen.written.swap(false, Ordering::Relaxed) && now == Waiting::Reader;
            let answered = seen.answered.swap(false, Ordering::Relaxed);
            let changed = now != waiting || has_read || answered;
            waiting = now;
            if waiting == Waiting::Answer {
                return Poll::Pending;
            }
            if changed {
                let wait = if now == Waiting::Head { limits.head_timeout } else { limits.keep_alive };
                due = Instant::now() + wait;
            }
            // A timer that fires too early is set again; to set it for every request would cost more.
            if due < timer.deadline() {
                timer.as_mut().reset(due);
            }
            while timer.as_mut().poll(cx).is_ready() {
                if due <= timer.deadline() {
                    return Poll::Ready(End::Timeout(waiting));
                }
                timer.as_mut().reset(due);
            }
            Poll::Pending
        })
        .await
    };

    let parts = connection.into_parts();
    let mut watched = parts.io.into_inner();
    seen.gate.closed();
    *seen.framing.lock() = None;
    match end {
        End::Takeover(takeover) => takeover(Raw { stream: watched, read: parts.read_buf, permit }),
        End::Timeout(Waiting::Head) => {
            let answer = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            // Whoever is too slow to send may be too slow to read: one try.
            let _ = watched.write_all(answer).await;
            let _ = watched.shutdown().await;
        }
        End::Closed | End::Timeout(_) => {
            let _ = watched.shutdown().await;
        }
    }
}

/// The answer to a head that is larger than allowed (RFC 9110, section 15.5.15; RFC 6585, section 5), or is not what a head
/// should be. The path of one that is not refused is in its normal form.
pub(crate) fn refusal(request: &mut Request<Incoming>, limits: &Limits) -> Option<Response<Body>> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let headers: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let status = if target > limits.request_line {
        StatusCode::URI_TOO_LONG
    } else if headers > limits.headers {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    } else {
        return framing::refusal(request);
    };
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    Some(response)
}
