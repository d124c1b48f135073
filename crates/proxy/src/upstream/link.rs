//! One connection to a service, and one exchange at a time on it.
//!
//! An HTTP/1 connection has no task of its own: whoever waits for its answer moves its bytes. So an exchange costs no
//! switch between tasks, and a client that goes away takes the connection with it. An HTTP/2 connection is shared, and has
//! a task.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::future::Either;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

use super::connect::Io;
use crate::body::{Awaited, RequestBody};

/// What hyper keeps of an answer's head before it gives up, in bytes, and what it reads of a body at once. By default that
/// is 400 KiB, which it would hold for each client that is slow.
const MAX_HEAD: usize = 64 << 10;

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
    /// An answer without a body has announced one: what comes next on it may be no answer to what is asked next.
    stray: bool,
}

/// Sends requests over a shared HTTP/2 connection.
pub(super) type Http2 = http2::SendRequest<RequestBody>;

enum Sender {
    Http1(http1::SendRequest<RequestBody>),
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
    /// The connection ended before the first byte of an answer.
    Closed,
    /// What came is no HTTP.
    Garbage,
    /// The service has kept silent.
    ServiceSilent,
    /// The client has kept silent.
    ClientSilent,
}

impl Link {
    /// A new HTTP/1 connection.
    pub(super) async fn http1(io: Io) -> hyper::Result<Self> {
        let mut builder = http1::Builder::new();
        let (sender, connection) =
            builder.max_header_size(MAX_HEAD).max_buf_size(MAX_HEAD).handshake(TokioIo::new(io)).await?;
        Ok(Self::new(Sender::Http1(sender), Driver { connection: Some(connection), over: false }))
    }

    /// An exchange over a shared HTTP/2 connection.
    pub(super) fn over(http2: Http2) -> Self {
        Self::new(Sender::Http2(http2), Driver { connection: None, over: false })
    }

    fn new(sender: Sender, driver: Driver) -> Self {
        Self {
            sender,
            driver,
            silence: Box::pin(tokio::time::sleep(Duration::ZERO)),
            fresh: true,
            epoch: 0,
            stray: false,
        }
    }

    /// Whether requests carry their whole URI, and no `Host`.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// What can be shared of it.
    pub(super) fn http2(&self) -> Option<&Http2> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(http2) => Some(http2),
        }
    }

    /// Whether another exchange can begin: not where the service has hung up, or may send what nobody has asked for.
    pub(super) fn is_ready(&mut self) -> bool {
        let Sender::Http1(sender) = &self.sender else { return false };
        !self.stray && !self.driver.poll(&mut Context::from_waker(Waker::noop())) && sender.is_ready()
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
        patience: Patience,
    ) -> Result<Response<Incoming>, SendError> {
        let upload = request.body().upload();
        let (sent, Self { sender, driver, silence, stray, .. }) = (Instant::now(), self);
        // What is waited for changes while a body is sent: then it is looked at more often.
        let step = if upload.is_some() { patience.answer.min(patience.idle) } else { patience.answer };
        silence.as_mut().reset((sent + step).into());
        let mut answer = pin!(match sender {
            Sender::Http1(sender) => Either::Left(sender.try_send_request(request)),
            Sender::Http2(sender) => Either::Right(sender.try_send_request(request)),
        });
        poll_fn(|cx| {
            let over = driver.poll(cx);
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                *stray = answer.as_ref().is_ok_and(announces_what_must_not_come);
                return Poll::Ready(answer.map_err(|mut error| match error.take_message() {
                    Some(request) => SendError::NotSent(Box::new(request)),
                    None => SendError::from(error.error()),
                }));
            }
            if over {
                return Poll::Ready(Err(SendError::Closed));
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
        if error.is_parse() { Self::Garbage } else { Self::Closed }
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("fresh", &self.fresh).finish_non_exhaustive()
    }
}
