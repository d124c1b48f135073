//! HTTP/1: hyper parses and answers; a socket that the application takes over is taken back from it.

use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http::header::CONNECTION;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::again::Again;
use crate::app::{Answer, App, Body, BoxError, Raw, Takeover};
use crate::client::Origin;
use crate::client_body::ClientBody;
use crate::framing::Framing;
use crate::limits::{Limits, Permit};
use crate::occupants::Occupant;
use crate::refusal::{self, CLOSE, Unreadable};
use crate::stream::{Seen, Stream, Watched};

/// What hyper keeps of a head before it gives up is larger than our limits by this, so that ours speak first.
const SLACK: usize = 56 << 10;

/// The header fields for which hyper has room on the stack.
const FIELDS: usize = 100;

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
    Closed(hyper::Result<()>),
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
    let framing = Mutex::new(Some(Framing::default()));
    let seen = Arc::new(Seen { framing, occupant: permit.occupant(), ..Seen::default() });
    let address = origin.hop;
    let peer = origin.peer(matches!(stream, Stream::Tls(_)), true, Some(seen.gate.clone()));
    let service = service_fn({
        let (app, seen, places) = (app.clone(), seen.clone(), permit.places());
        move |request: Request<Incoming>| {
            let mut request = request.map(ClientBody::http1);
            let (app, asked, peer) =
                (app.clone(), Asked::new(seen.clone()), peer.of_request(request.headers()));
            let places = places.clone();
            Box::pin(async move {
                let seen = &*asked.0;
                let framing = seen.framing.lock().as_mut().map_or(Ok(None), Framing::next_head);
                let call = seen.occupant.as_deref().map(Occupant::call);
                let mut response = match refusal::of_head(&mut request, &limits, framing) {
                    Some(mut response) => {
                        refusal::note(&places, address, response.status(), "see the answer");
                        app.complete(Some(request.headers()), &mut response);
                        response
                    }
                    None => match app.call(request, peer).await {
                        Answer::Response(response) => response,
                        Answer::Takeover(takeover) => {
                            *seen.takeover.lock() = Some(takeover);
                            pending().await
                        }
                    },
                };
                let (is_in_head, is_in_body) = match &*seen.framing.lock() {
                    // A body that has begun may be that of the next request already.
                    Some(framing) => (framing.is_in_head(), framing.is_in_body() && !framing.has_heads()),
                    None => (false, false),
                };
                if is_in_body {
                    // An early answer: nobody may read the rest of the body, and then the connection is of no further use,
                    // which a client has to know before it sends its next request (RFC 9112, section 9.6).
                    response.headers_mut().insert(CONNECTION, CLOSE);
                }
                // Of the next request a part may have come together with this one.
                seen.read.store(is_in_head, Ordering::Relaxed);
                seen.writing.store(true, Ordering::Relaxed);
                drop(call);
                seen.answered.store(true, Ordering::Relaxed);
                Ok::<_, std::convert::Infallible>(response.map(|body| Answering { body, _asked: asked }))
            })
        }
    });
    let io = TokioIo::new(Watched { stream, seen: seen.clone() });
    let mut connection = builder(&limits).serve_connection(io, service);

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
            if let Poll::Ready(closed) = polled {
                return Poll::Ready(End::Closed(closed));
            }
            if seen.gate.watch(cx) || seen.is_done() {
                return Poll::Ready(End::Closed(Ok(())));
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
    let framing = seen.framing.lock().take().unwrap_or_default();
    let unreadable = match end {
        End::Takeover(takeover) => {
            let read = framing.and_rest(parts.read_buf);
            return takeover(Raw { stream: watched, read, permit });
        }
        End::Timeout(Waiting::Head) => Unreadable::Late,
        End::Closed(Err(error)) if let Some(status) = seen.refused_by_hyper() => {
            Unreadable::new(status, error, &framing, parts.read_buf.len() >= largest_head(&limits))
        }
        // A client that has read nothing gets no more time.
        End::Timeout(Waiting::Reader) => return watched.close(false).await,
        End::Closed(_) | End::Timeout(_) => return watched.close(!framing.is_between()).await,
    };
    unreadable.send(&app, &mut watched, (&permit.places(), address, &limits)).await;
    watched.close(true).await;
}

/// Bytes of a head that hyper keeps before it gives up.
fn largest_head(limits: &Limits) -> usize {
    limits.request_line + limits.headers + SLACK
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(largest_head(limits)).half_close(false);
    // To set it makes hyper allocate for each request.
    if limits.header_fields > FIELDS {
        builder.max_headers(limits.header_fields);
    }
    builder
}
