//! One connection to a service, and one exchange at a time on it.
//!
//! An HTTP/1 connection has no task of its own: whoever waits for its answer moves its bytes. So an exchange costs no
//! switch between tasks, and a client that goes away takes the connection with it. An HTTP/2 connection is shared, and has
//! a task.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use futures_util::future::Either;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::{Mutex, MutexGuard};
use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

use super::ServiceLimits;
use super::connect::Io;
use super::failure::{Failure, Kind};
use super::respelling::Slot;
use super::streams::Place;
use crate::body::{Awaited, RequestBody};

/// What hyper reads of a body at once, in bytes, unless heads may be larger. By default that is 400 KiB, which it would
/// hold for each client that is slow.
const READ_BUFFER: usize = 64 << 10;

/// How often a silent HTTP/2 connection is asked whether it is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);

/// The limit of streams of a service that has not said anything yet; without a limit, h2 tells the largest number.
const UNHEARD: usize = usize::MAX - 1;

/// How often is looked whether it has.
const LISTEN: Duration = Duration::from_millis(1);

/// How many streams that were reset are remembered, so that what still comes on them is known for that. Clients that leave
/// reset theirs, and a connection that counted what comes late as a fault would end with the streams of all others.
const RESET: usize = 4096;

/// One exchange at a time with a service.
pub(crate) struct Link {
    sender: Sender,
    driver: Driver,
    /// Kept from one exchange to the next: a timer that only ever moves on costs nothing.
    silence: Pin<Box<Sleep>>,
    /// Whether it has not been used before.
    pub(super) fresh: bool,
    /// The [`epoch`](super::pool::Pool::epoch) of its pool in which it was made.
    pub(super) epoch: u32,
    /// When it is too old for another exchange.
    until: Instant,
    /// Its place on a shared HTTP/2 connection.
    place: Option<Arc<Place>>,
    /// An answer without a body has announced one: what comes next on it may be no answer to what is asked next.
    stray: bool,
}

/// Sends requests over a shared HTTP/2 connection.
#[derive(Clone)]
pub(super) struct Http2 {
    sender: http2::SendRequest<RequestBody>,
    /// Has a task, and knows what the service allows. Taken out when it has ended: what it holds is to be given up.
    connection: Arc<Mutex<Option<Connection>>>,
}

type Connection = http2::Connection<TokioIo<Io>, RequestBody, TokioExecutor>;

enum Sender {
    /// The slot is that of its [`Io`].
    Http1(http1::SendRequest<RequestBody>, Slot),
    Http2(Http2),
}

/// Moves the bytes of an HTTP/1 connection.
struct Driver {
    /// `None`: it is HTTP/2, which has a task for that.
    connection: Option<http1::Connection<TokioIo<Io>, RequestBody>>,
    /// It has ended, and must not be polled.
    over: bool,
}

/// How long an exchange may stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// For the answer to begin, once the service has the request.
    pub(crate) answer: Duration,
    /// Between two pieces of a body, in either direction.
    pub(crate) idle: Duration,
}

/// No answer has begun.
#[derive(Debug)]
pub(crate) enum SendError {
    /// Nothing of it was sent: here it is again.
    NotSent(Box<Request<RequestBody>>),
    /// The service says that it has not processed it (RFC 9113, section 8.7), or it has not had all of it.
    Unprocessed(Failure),
    /// The connection ended before the first byte of an answer.
    Closed(Failure),
    /// What came is no answer, or one with a head beyond its limits.
    Garbage(Failure),
    /// The service has kept silent.
    ServiceSilent,
    /// The client has kept silent.
    ClientSilent,
}

impl Http2 {
    /// Opens a connection, waits for what the service says of its limits, and drives it until it ends. A request that
    /// were sent before would be refused, or wait in hyper, where the service allows fewer than come at once.
    pub(super) async fn open(io: Io, limits: &ServiceLimits) -> Result<Self, Failure> {
        let failed = |error: &hyper::Error| Failure::of(Kind::Connect, error);
        let (sender, mut connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
            .initial_max_send_streams(UNHEARD)
            .max_concurrent_reset_streams(RESET)
            .max_local_error_reset_streams(None)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| failed(&error))?;
        let mut listen = tokio::time::interval(LISTEN);
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
                    let error = ended.err().map(|error| failed(&error));
                    return Poll::Ready(Err(
                        error.unwrap_or_else(|| Failure::new(Kind::Protocol, NO_SETTINGS))
                    ));
                }
                if connection.current_max_send_streams() != UNHEARD {
                    return Poll::Ready(Ok(()));
                }
                ready!(listen.poll_tick(cx));
            }
        })
        .await?;
        let connection = Arc::new(Mutex::new(Some(connection)));
        let driven = connection.clone();
        tokio::spawn(poll_fn(move |cx| {
            let mut driven = driven.lock();
            if let Some(connection) = driven.as_mut() {
                // Whoever has an exchange on it sees how it ends; nobody else needs to.
                let _ = ready!(Pin::new(connection).poll(cx));
            }
            let ended = driven.take();
            MutexGuard::unlocked(&mut driven, || drop(ended));
            Poll::Ready(())
        }));
        Ok(Self { sender, connection })
    }

    /// How many streams the service allows at once (RFC 9113, section 6.5.2).
    pub(super) fn limit(&self) -> usize {
        self.connection.lock().as_ref().map_or(0, |connection| connection.current_max_send_streams())
    }

    /// Whether no other stream can be opened: it has ended, or the service has said that it goes away.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Link {
    /// A new HTTP/1 connection.
    pub(super) async fn http1(io: Io, limits: &ServiceLimits) -> hyper::Result<Self> {
        let mut builder = http1::Builder::new();
        builder
            .max_headers(limits.fields)
            .max_header_size(limits.head)
            .max_buf_size(READ_BUFFER.max(limits.head));
        let slot = io.slot.clone();
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await?;
        let driver = Driver { connection: Some(connection), over: false };
        Ok(Self::new(Sender::Http1(sender, slot), driver, Instant::now() + limits.connection_age))
    }

    /// An exchange over an HTTP/2 connection, which is shared where it has a place on it.
    pub(super) fn http2(sender: Http2, place: Option<Place>) -> Self {
        let driver = Driver { connection: None, over: false };
        Self { place: place.map(Arc::new), ..Self::new(Sender::Http2(sender), driver, Instant::now()) }
    }

    fn new(sender: Sender, driver: Driver, until: Instant) -> Self {
        Self {
            sender,
            driver,
            silence: Box::pin(tokio::time::sleep(Duration::ZERO)),
            fresh: true,
            epoch: 0,
            until,
            place: None,
            stray: false,
        }
    }

    /// Makes the exchange of a new HTTP/2 connection one of many. `None` where it has no place: hyper would keep its
    /// request until the service allows a stream.
    pub(super) fn share(
        mut self: Box<Self>,
        place: impl FnOnce(Http2) -> Option<Place>,
    ) -> Option<Box<Self>> {
        if let Sender::Http2(sender) = &self.sender {
            self.place = Some(Arc::new(place(sender.clone())?));
        }
        Some(self)
    }

    /// The service has refused this exchange; the connection gets fewer at once from now on.
    pub(super) fn refused(&self) {
        if let Some(place) = &self.place {
            place.refused();
        }
    }

    /// Whether requests carry their whole URI, and no `Host`.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// Whether another exchange can begin: not where the service has hung up, may send what nobody has asked for, or
    /// may have another address by now.
    pub(super) fn is_ready(&mut self) -> bool {
        let Sender::Http1(sender, slot) = &self.sender else { return false };
        !self.stray
            && slot.is_sent()
            && Instant::now() < self.until
            && !self.driver.poll(&mut Context::from_waker(Waker::noop()))
            && sender.is_ready()
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn send(
        &mut self,
        mut request: Request<RequestBody>,
        patience: Patience,
    ) -> Result<Response<Incoming>, SendError> {
        // A body may take longer than its answer: the stream is open until both have ended.
        request.body_mut().occupy(self.place.clone());
        let (upload, is_idempotent) = (request.body().upload(), request.method().is_idempotent());
        let is_http2 = self.is_http2();
        let (sent, Self { sender, driver, silence, stray, .. }) = (Instant::now(), self);
        // What is waited for changes while a body is sent: then it is looked at more often.
        let step = if upload.is_some() { patience.answer.min(patience.idle) } else { patience.answer };
        silence.as_mut().reset((sent + step).into());
        let mut answer = pin!(match sender {
            Sender::Http1(sender, slot) => {
                slot.put(&request);
                Either::Left(sender.try_send_request(request))
            }
            Sender::Http2(http2) => Either::Right(http2.sender.try_send_request(request)),
        });
        poll_fn(|cx| {
            let over = driver.poll(cx);
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                *stray = answer.as_ref().is_ok_and(announces_what_must_not_come);
                return Poll::Ready(answer.map_err(|mut error| {
                    match (error.take_message(), error.error()) {
                        (Some(request), _) => SendError::NotSent(Box::new(request)),
                        // hyper drops a request with its connection while it waits for a stream. The stream may have been
                        // opened just before, with the head of the request: then only what is missing tells.
                        (None, error)
                            if is_http2
                                && (error.is_user() || error.is_canceled())
                                && (is_idempotent
                                    || upload.as_ref().is_some_and(|upload| upload.is_withheld())) =>
                        {
                            SendError::Unprocessed(Failure::of(Kind::Closed, error))
                        }
                        (None, error) => SendError::from(error),
                    }
                }));
            }
            if over {
                return Poll::Ready(Err(SendError::Closed(Failure::new(Kind::Closed, ""))));
            }
            // Whatever the service sends: its time counts.
            while Pin::new(&mut unconstrained(silence.as_mut())).poll(cx).is_ready() {
                let awaited = upload.as_ref().map_or(Awaited::Answer(sent), |upload| upload.awaited());
                let (until, error) = match awaited {
                    Awaited::Client(since) => (since + patience.idle, SendError::ClientSilent),
                    Awaited::Service(since) => (since + patience.idle, SendError::ServiceSilent),
                    Awaited::Answer(since) => (since + patience.answer, SendError::ServiceSilent),
                };
                let now = silence.deadline().into_std();
                if until <= now {
                    return Poll::Ready(Err(error));
                }
                silence.as_mut().reset(until.min(now + step).into());
            }
            Poll::Pending
        })
        .await
    }

    /// The next piece of an answer; an error where it does not come, or not in time.
    pub(crate) fn poll_body(
        &mut self,
        body: &mut Incoming,
        idle: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, Broken>>> {
        let mut polled = Pin::new(&mut *body).poll_frame(cx);
        if polled.is_pending() {
            self.driver.poll(cx);
            polled = Pin::new(body).poll_frame(cx);
        }
        match polled {
            Poll::Ready(frame) => {
                self.moved(idle);
                Poll::Ready(frame.map(|frame| frame.map_err(|_| Broken)))
            }
            Poll::Pending => self.silence.as_mut().poll(cx).map(|()| Some(Err(Broken))),
        }
    }

    /// Something has come: the wait begins anew.
    pub(crate) fn moved(&mut self, idle: Duration) {
        self.silence.as_mut().reset(tokio::time::Instant::now() + idle);
    }

    /// The socket of a connection that has been upgraded, and what was read from it too early.
    pub(crate) fn into_tunnel(mut self) -> Option<(Io, bytes::Bytes)> {
        let parts = self.driver.connection.take()?.into_parts();
        Some((parts.io.into_inner(), parts.read_buf))
    }
}

/// Whether a body is announced with a status that has none (RFC 9110, section 8.6; RFC 9112, section 6.1). hyper takes the
/// answer to end with its head; a service that sends the body all the same would answer the next request with it.
fn announces_what_must_not_come<B>(answer: &Response<B>) -> bool {
    let headers = answer.headers();
    answer.status() == StatusCode::NO_CONTENT
        && (headers.contains_key(TRANSFER_ENCODING)
            || headers.get_all(CONTENT_LENGTH).iter().any(|length| length != "0"))
}

/// The rest of an answer does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer of the service is broken off")]
pub(crate) struct Broken;

impl Driver {
    /// Moves bytes; whether that has come to its end.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(connection) = &mut self.connection
            && !self.over
        {
            self.over = connection.poll_without_shutdown(cx).is_ready();
        }
        self.over
    }
}

impl From<&hyper::Error> for SendError {
    fn from(error: &hyper::Error) -> Self {
        if error.is_parse_too_large() {
            return Self::Garbage(Failure::new(Kind::Head, HEAD_LIMITS));
        }
        if error.is_parse() {
            return Self::Garbage(Failure::of(Kind::Protocol, error));
        }
        let Some(http2) = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>()) else {
            return Self::Closed(Failure::of(Kind::Closed, error));
        };
        // A stream beyond the last one of a GOAWAY fails with it; one up to it fails only with its connection.
        let is_unprocessed = http2.is_go_away() || http2.reason() == Some(h2::Reason::REFUSED_STREAM);
        match (http2.is_remote(), http2.is_library()) {
            (true, _) if is_unprocessed => Self::Unprocessed(Failure::of(Kind::Closed, error)),
            // h2 has no other error for a head that is too large.
            (_, true) if http2.is_reset() && http2.reason() == Some(h2::Reason::PROTOCOL_ERROR) => {
                Self::Garbage(Failure::new(
                    Kind::Protocol,
                    format_args!("HTTP/2 PROTOCOL_ERROR, or {HEAD_LIMITS}"),
                ))
            }
            (_, true) => Self::Garbage(Failure::of(Kind::Protocol, error)),
            _ => Self::Closed(Failure::of(Kind::Closed, error)),
        }
    }
}

/// An HTTP/2 connection begins with them (RFC 9113, section 3.4).
const NO_SETTINGS: &str = "the connection has ended before the SETTINGS of HTTP/2";

/// Names the limits of an answer's head.
pub(super) const HEAD_LIMITS: &str =
    "the head is larger than PROXY_ANSWER_HEADER_BYTES, or has more fields than PROXY_ANSWER_HEADERS";

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("fresh", &self.fresh).finish_non_exhaustive()
    }
}
