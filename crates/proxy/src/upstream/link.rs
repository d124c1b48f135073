//! One connection to a service, with one exchange at a time.
//!
//! An HTTP/1 connection has no task of its own: the task that waits for the answer drives it. So an
//! exchange needs no switch between tasks, and the connection is closed when the client goes away.
//! An HTTP/2 connection is shared, and has a task.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::Either;
use h2::RecvStream;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

use super::ServiceLimits;
use super::connect::Io;
use super::failure::{Failure, FailureKind};
use super::http2::{self, Http2, Sending};
use super::respelling::Slot;
use super::streams::StreamPermit;
use crate::body::RequestBody;
use crate::informational::Watcher;
use crate::time_limits::{Awaited, TimeLimits};

/// hyper's read buffer, in bytes, unless heads may be larger. The default of 400 KiB would be held
/// for each slow client.
const READ_BUFFER: usize = 64 << 10;

/// Carries one exchange at a time with a service.
pub(crate) struct Link {
    sender: RequestSender,
    driver: Pump,
    /// Reused for all exchanges: resetting a timer to a later time is cheap.
    silence: Pin<Box<Sleep>>,
    /// Whether no exchange has used it yet.
    pub(super) fresh: bool,
    /// The [`epoch`](super::pool::Pool::epoch) of its pool when it was made.
    pub(super) epoch: u32,
    /// When it becomes too old for another exchange.
    until: Instant,
    /// Its place on a shared HTTP/2 connection.
    place: Option<Arc<StreamPermit>>,
    /// Counts an HTTP/2 connection that is not shared.
    pub(super) unshared: Option<Arc<()>>,
    /// Whether an answer that must not have a body announced one: what follows on the connection
    /// may not be the answer to the next request.
    stray: bool,
}

enum RequestSender {
    /// The slot is shared with its [`Io`].
    Http1(http1::SendRequest<RequestBody>, Slot),
    Http2(Http2),
}

/// Drives the I/O of an exchange.
#[expect(clippy::large_enum_variant, reason = "a link is boxed as a whole, and most are of HTTP/1")]
enum Pump {
    /// The whole HTTP/1 connection.
    Http1 {
        connection: http1::Connection<TokioIo<Io>, RequestBody>,
        /// It has completed, and must not be polled again.
        over: bool,
    },
    /// The body of an HTTP/2 request, until its answer begins. A task drives the connection itself.
    Http2(Option<Sending>),
    /// The rest of that body, in a task, since the client may send all of it before it reads the
    /// answer.
    Task { _ends_with_this: JoinSet<()> },
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    Http1(Incoming),
    Http2(RecvStream),
}

/// Why no answer has begun.
#[derive(Debug)]
pub(crate) enum SendError {
    /// Nothing was sent. Returns the request.
    NotSent(Box<Request<RequestBody>>),
    /// The service reports that it has not processed the request (RFC 9113, section 8.7).
    Unprocessed(Failure),
    /// The connection closed before the first byte of an answer.
    Closed(Failure),
    /// The response is invalid, its head exceeds the limits, or the stream was reset.
    Garbage(Failure),
    /// The service kept silent for too long.
    ServiceSilent,
    /// The client kept silent for too long.
    ClientSilent,
}

impl Link {
    /// Creates a link over a new HTTP/1 connection.
    pub(super) async fn http1(io: Io, limits: &ServiceLimits) -> hyper::Result<Self> {
        let mut builder = http1::Builder::new();
        builder
            .max_headers(limits.fields)
            .max_header_size(limits.head)
            .max_buf_size(READ_BUFFER.max(limits.head));
        let slot = io.slot.clone();
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await?;
        let driver = Pump::Http1 { connection, over: false };
        Ok(Self::new(RequestSender::Http1(sender, slot), driver, Instant::now() + limits.connection_age))
    }

    /// Creates a link over an HTTP/2 connection, which is shared if there is a place.
    pub(super) fn http2(sender: Http2, place: Option<StreamPermit>) -> Self {
        let link = Self::new(RequestSender::Http2(sender), Pump::Http2(None), Instant::now());
        Self { place: place.map(Arc::new), ..link }
    }

    fn new(sender: RequestSender, driver: Pump, until: Instant) -> Self {
        Self {
            sender,
            driver,
            silence: Box::pin(tokio::time::sleep(Duration::ZERO)),
            fresh: true,
            epoch: 0,
            until,
            place: None,
            unshared: None,
            stray: false,
        }
    }

    /// Makes a new HTTP/2 connection a shared one. `None` if no place is free: hyper would queue
    /// the request until the service allows a stream.
    pub(super) fn share(
        mut self: Box<Self>,
        place: impl FnOnce(Http2) -> Option<StreamPermit>,
    ) -> Option<Box<Self>> {
        if let RequestSender::Http2(sender) = &self.sender {
            self.place = Some(Arc::new(place(sender.clone())?));
        }
        Some(self)
    }

    /// Notes that the service has refused this exchange: the connection gets fewer at once from now
    /// on.
    pub(super) fn refused(&self) {
        if let Some(place) = &self.place {
            place.refused();
        }
    }

    /// Returns whether the service accepts any request on a new connection.
    pub(super) fn takes_a_request(&self) -> bool {
        match &self.sender {
            RequestSender::Http1(..) => true,
            RequestSender::Http2(sender) => sender.limit() > 0,
        }
    }

    /// Returns whether requests need an absolute URI, and no `Host`.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.sender, RequestSender::Http2(_))
    }

    /// Returns whether another exchange can begin. Not if the service has closed the connection,
    /// may send unsolicited bytes, or may have moved.
    pub(super) fn is_ready(&mut self) -> bool {
        let RequestSender::Http1(sender, slot) = &self.sender else { return false };
        !self.stray
            && slot.is_sent()
            && Instant::now() < self.until
            && !self.driver.poll(&mut Context::from_waker(Waker::noop()))
            && sender.is_ready()
    }

    /// Sends a request and waits for the head of the answer. `watcher` gets the informational
    /// answers.
    pub(crate) async fn send(
        &mut self,
        mut request: Request<RequestBody>,
        watcher: Option<Watcher>,
        limits: TimeLimits,
    ) -> Result<Response<AnswerBody>, SendError> {
        // The body may take longer than the answer: the stream stays open until both have been
        // sent.
        request.body_mut().occupy(self.place.clone());
        let upload = request.body().upload();
        let (sent, Self { sender, driver, silence, stray, .. }) = (Instant::now(), self);
        let step = limits.step(upload.is_some());
        silence.as_mut().reset((sent + step).into());
        let mut answer = pin!(match sender {
            RequestSender::Http1(sender, slot) => {
                slot.put(&request);
                if let Some(watcher) = watcher {
                    watcher.attach(&mut request);
                }
                Either::Left(sender.try_send_request(request))
            }
            RequestSender::Http2(http2) => {
                let (answer, sending) = http2.send(request, watcher)?;
                *driver = Pump::Http2(sending);
                Either::Right(answer)
            }
        });
        poll_fn(|cx| {
            let over = driver.poll(cx);
            let answered = match answer.as_mut().as_pin_mut() {
                Either::Left(answer) => answer.poll(cx).map(|answer| {
                    let answer = answer.map_err(|mut error| match error.take_message() {
                        Some(request) => SendError::NotSent(Box::new(request)),
                        None => SendError::from(error.error()),
                    })?;
                    *stray = announces_what_must_not_come(&answer);
                    Ok(answer.map(AnswerBody::Http1))
                }),
                Either::Right(answer) => answer.poll(cx).map_ok(|answer| answer.map(AnswerBody::Http2)),
            };
            if answered.is_ready() {
                driver.detach();
                return answered;
            }
            if over {
                return Poll::Ready(Err(SendError::Closed(Failure::new(FailureKind::Closed, ""))));
            }
            // The deadline holds even if the service sends bytes all the time.
            while Pin::new(&mut unconstrained(silence.as_mut())).poll(cx).is_ready() {
                let awaited = upload.as_ref().map_or(Awaited::Answer(sent), |upload| upload.awaited());
                let (until, now) = (limits.until(awaited), silence.deadline().into_std());
                if until <= now {
                    return Poll::Ready(Err(match awaited {
                        Awaited::Client(_) => SendError::ClientSilent,
                        Awaited::Service(_) | Awaited::Answer(_) => SendError::ServiceSilent,
                    }));
                }
                silence.as_mut().reset(until.min(now + step).into());
            }
            Poll::Pending
        })
        .await
    }

    /// Polls the next piece of an answer. Fails if the answer breaks off, or makes no progress for
    /// `idle`.
    pub(crate) fn poll_body(
        &mut self,
        body: &mut AnswerBody,
        idle: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut polled = Pin::new(&mut *body).poll_frame(cx);
        if polled.is_pending() && matches!(self.driver, Pump::Http1 { .. }) {
            self.driver.poll(cx);
            polled = Pin::new(body).poll_frame(cx);
        }
        if polled.is_ready() {
            self.moved(idle);
            return polled;
        }
        self.silence.as_mut().poll(cx).map(|()| Some(Err(Broken)))
    }

    /// Restarts the timer after progress.
    pub(crate) fn moved(&mut self, idle: Duration) {
        self.silence.as_mut().reset(tokio::time::Instant::now() + idle);
    }

    /// Returns the socket of an upgraded connection, and the bytes that were already read from it.
    pub(crate) fn into_tunnel(self) -> Option<(Io, Bytes)> {
        let Pump::Http1 { connection, .. } = self.driver else { return None };
        let parts = connection.into_parts();
        Some((parts.io.into_inner(), parts.read_buf))
    }
}

/// Returns whether an answer announces a body although its status allows none (RFC 9110, section
/// 8.6; RFC 9112, section 6.1). for hyper the answer is complete after its head; if the service
/// sends the body nevertheless, it would be taken for the next answer.
fn announces_what_must_not_come<B>(answer: &Response<B>) -> bool {
    let headers = answer.headers();
    answer.status() == StatusCode::NO_CONTENT
        && (headers.contains_key(TRANSFER_ENCODING)
            || headers.get_all(CONTENT_LENGTH).iter().any(|length| length != "0"))
}

/// The answer broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer of the service is broken off")]
pub(crate) struct Broken;

impl Pump {
    /// Polls the connection. Returns whether it has completed.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::Http1 { connection, over } => {
                *over = *over || connection.poll_without_shutdown(cx).is_ready();
                return *over;
            }
            Self::Http2(sending) => {
                if sending.as_mut().is_some_and(|body| body.poll(cx).is_ready()) {
                    *sending = None;
                }
            }
            Self::Task { .. } => {}
        }
        false
    }

    /// Moves the rest of the body to a task: the answer has begun.
    fn detach(&mut self) {
        if let Self::Http2(sending) = self
            && let Some(mut body) = sending.take()
        {
            let mut task = JoinSet::new();
            task.spawn(poll_fn(move |cx| body.poll(cx)));
            *self = Self::Task { _ends_with_this: task };
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(|_| Broken),
            Self::Http2(stream) => http2::poll_frame(stream, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(stream) if stream.is_end_stream() => SizeHint::with_exact(0),
            Self::Http2(_) => SizeHint::default(),
        }
    }
}

impl From<&hyper::Error> for SendError {
    fn from(error: &hyper::Error) -> Self {
        if error.is_parse_too_large() {
            return Self::Garbage(Failure::new(FailureKind::Head, HEAD_LIMITS));
        }
        if error.is_parse() {
            return Self::Garbage(Failure::of(FailureKind::Protocol, error));
        }
        Self::Closed(Failure::of(FailureKind::Closed, error))
    }
}

/// Names the settings that limit an answer's head.
pub(super) const HEAD_LIMITS: &str =
    "the head is larger than PROXY_ANSWER_HEADER_BYTES, or has more fields than PROXY_ANSWER_HEADERS";

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("fresh", &self.fresh).finish_non_exhaustive()
    }
}
