//! HTTP/2 (RFC 9113), negotiated over TLS or by prior knowledge in clear.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;

use crate::app::{Answer, App};
use crate::body::{Body, BoxError};
use crate::client_body::ClientBody;
use crate::gate::Gate;
use crate::limits::{Limits, Permit};
use crate::occupants::Occupant;
use crate::peer::Origin;
use crate::refusal;
use crate::stream::{Stream, StreamTraffic, Watched};

// The limits of one connection. `max_header_list` below is the limit of a request's head; frames
// are at most 16 KiB and the windows 1 MiB, which are hyper's defaults.

/// Limit of streams that may be open at once (`SETTINGS_MAX_CONCURRENT_STREAMS`): browsers use up
/// to 100, and expect at least that (RFC 9113, section 5.1.2).
const STREAMS: u32 = 256;

/// Limit of streams that the client has reset before the gateway has accepted them; one more closes
/// the connection (ENHANCE_YOUR_CALM).
///
/// A client that cancels all of its requests resets up to [`STREAMS`] streams, and its requests and
/// resets may arrive in one read: hyper's default of 20 would close its connection with all other
/// streams on it. Streams that are reset no longer count as open, so it is this limit that stops a
/// flood (CVE-2023-44487). It at most doubles the heads that a connection may have in memory. The
/// limits of nginx and Go are twice and four times the streams.
const CANCELLED: usize = STREAMS as usize;

/// Limit of streams that the gateway itself resets because of errors of the client, over the life
/// of the connection; one more closes it (RUSTSEC-2024-0003). This is hyper's default, far above
/// what a proxy with a few broken clients reaches.
const ERRORS: usize = 1024;

/// If h2 has fewer bytes of a stream than this, hyper passes the next piece of an answer to h2 and
/// fetches another one. So one piece is in h2 and one in hyper. A revocation cannot hold these
/// back, and they do not count as queued. hyper's default is 400 KiB.
const SEND_BUFFER: usize = 1;

/// The limit of a piece, in bytes: that of a frame.
const PIECE: usize = 16 << 10;

/// The interval between pings on a silent connection, and the time that a client may take to answer
/// one.
const PING: Duration = Duration::from_secs(30);

/// Serves one connection until it closes.
pub(crate) async fn serve<A: App>(
    app: A,
    stream: Stream,
    origin: Origin,
    limits: Limits,
    permit: Permit,
    mut leaving: tokio::sync::watch::Receiver<bool>,
) {
    let address = origin.hop;
    let peer = origin.peer(matches!(stream, Stream::Tls(_)), false, None);
    let (places, occupant) = (permit.places(), permit.occupant());
    let tasks = GatedTasks::default();
    let next = tasks.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let gate = next.announce();
        let mut request = request.map(|body| ClientBody::http2(body, gate.clone()));
        let (app, mut peer) = (app.clone(), peer.of_request(request.headers()));
        peer.gate = Some(gate.clone());
        let (places, occupant) = (places.clone(), occupant.clone());
        async move {
            let _call = occupant.as_deref().map(Occupant::call);
            let response = match refusal::of_head(&mut request, &limits, Ok(None)) {
                Some(mut response) => {
                    refusal::note(&places, address, response.status(), "see the answer");
                    app.complete(Some(request.headers()), &mut response);
                    response
                }
                None => match app.call(request, peer).await {
                    Answer::Response(response) => response,
                    Answer::Takeover(_) => refusal::empty(StatusCode::HTTP_VERSION_NOT_SUPPORTED),
                },
            };
            poll_fn(|cx| gate.poll_open(cx)).await;
            Ok::<_, Infallible>(response.map(|body| Pieces::new(body, gate)))
        }
    });
    let io = TokioIo::new(Watched { stream, traffic: Arc::new(StreamTraffic::default()) });
    let connection = http2::Builder::new(tasks)
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(CANCELLED)
        .max_local_error_reset_streams(ERRORS)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(max_header_list(&limits))
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = leaving.wait_for(|leaving| *leaving) => connection.as_mut().graceful_shutdown(),
    }
    // Fails only if the client has disconnected.
    let _ = connection.await;
}

/// The body of an answer in pieces of at most [`PIECE`] bytes, because hyper passes a frame on as a
/// whole.
struct Pieces {
    body: Body,
    rest: Bytes,
    /// Asked before each piece.
    gate: Gate,
}

impl Pieces {
    fn new(body: Body, gate: Gate) -> Self {
        Self { body, rest: Bytes::new(), gate }
    }
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        ready!(self.gate.poll_open(cx));
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) if data.len() > PIECE => self.rest = data,
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64) + self.body.size_hint()
    }
}

/// Spawns the tasks of a connection's streams, each with its own gate. hyper spawns the task of a
/// stream right after it has called the service for its request.
#[derive(Clone, Default)]
struct GatedTasks(Arc<Mutex<Option<Gate>>>);

impl GatedTasks {
    /// Returns the gate of the stream whose task comes next.
    fn announce(&self) -> Gate {
        let gate = Gate::default();
        *self.0.lock() = Some(gate.clone());
        gate
    }
}

impl<F> Executor<F> for GatedTasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let gate = self.0.lock().take().unwrap_or_default();
        tokio::spawn(gate.drive(stream));
    }
}

/// Returns the head size above which h2 answers 431 itself: more than our limits, so that ours
/// apply first. Each field counts for 32 bytes more than its length (RFC 9113, section 6.5.2).
fn max_header_list(limits: &Limits) -> u32 {
    const OVERHEAD: usize = 32;
    const SLACK: usize = 16 << 10;
    let most = limits.headers + limits.request_line + OVERHEAD * limits.header_fields + SLACK;
    u32::try_from(most).unwrap_or(u32::MAX)
}
