//! The body of a request on its way to a service, and how far it has come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{HeaderName, Request, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::time::Sleep;

use crate::head;

/// How long a body waits for the service's 100 before it is sent all the same (RFC 9110, section 10.1.1).
const CONTINUE: Duration = Duration::from_secs(1);

/// The body of a request. It is read as fast as the service takes it.
#[derive(Debug)]
pub(crate) struct RequestBody {
    /// None where there is no body.
    client: Option<Incoming>,
    /// How many bytes may still come.
    left: u64,
    upload: Option<Arc<Upload>>,
    /// What the definition sets: none of it may come after the body.
    set: Arc<[HeaderName]>,
    /// Until when the first byte is held back.
    held: Option<Pin<Box<Sleep>>>,
}

/// How far a body has come: what the two sides of the exchange share.
#[derive(Debug)]
pub(crate) struct Upload {
    state: Mutex<State>,
    /// To be woken when the service wants the body.
    wanted: AtomicWaker,
}

#[derive(Clone, Copy, Debug)]
struct State {
    moved: Instant,
    /// Whether it is the client that lets the service wait.
    client_silent: bool,
    ended: bool,
    fault: Option<BodyFault>,
    continued: bool,
}

/// Why a body is not whole. It is the client's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyFault {
    #[error("the request body is larger than allowed")]
    TooLarge,
    #[error("the request body is broken off")]
    Broken,
}

/// Which side of an exchange is waited for, since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    Client(Instant),
    /// To take the body.
    Service(Instant),
    /// To answer: it has the whole request.
    Answer(Instant),
}

impl RequestBody {
    /// Without any bytes.
    pub(crate) fn empty() -> Self {
        Self { client: None, left: 0, upload: None, set: Arc::default(), held: None }
    }

    /// The body of a client's request of at most so many bytes; `set` is what its trailers cannot say.
    pub(crate) fn new(client: Incoming, max: Option<u64>, set: &Arc<[HeaderName]>) -> Self {
        if client.is_end_stream() {
            return Self::empty();
        }
        let now = Instant::now();
        let state = State { moved: now, client_silent: false, ended: false, fault: None, continued: false };
        let upload = Upload { state: Mutex::new(state), wanted: AtomicWaker::new() };
        Self {
            client: Some(client),
            left: max.unwrap_or(u64::MAX),
            upload: Some(Arc::new(upload)),
            set: set.clone(),
            held: None,
        }
    }

    /// Whether the request can be sent twice: all of it is in its head.
    pub(crate) fn is_empty(&self) -> bool {
        self.client.is_none()
    }

    /// How far it has come, where there is one.
    pub(crate) fn upload(&self) -> Option<Arc<Upload>> {
        self.upload.clone()
    }
}

/// Holds the body back until the service asks for it: the client does so too, and may never have to send it.
pub(crate) fn hold(request: &mut Request<RequestBody>) {
    let Some(upload) = request.body().upload() else { return };
    request.body_mut().held = Some(Box::pin(tokio::time::sleep(CONTINUE)));
    hyper::ext::on_informational(request, move |response| {
        if response.status() == StatusCode::CONTINUE {
            upload.state.lock().continued = true;
            upload.wanted.wake();
        }
    });
}

impl Upload {
    /// Who keeps the exchange waiting.
    pub(crate) fn awaited(&self) -> Awaited {
        let state = self.state.lock();
        match state {
            _ if state.ended => Awaited::Answer(state.moved),
            _ if state.client_silent => Awaited::Client(state.moved),
            _ => Awaited::Service(state.moved),
        }
    }

    /// What was wrong with the body.
    pub(crate) fn fault(&self) -> Option<BodyFault> {
        self.state.lock().fault
    }

    fn note(&self, polled: &Poll<Option<Result<Frame<Bytes>, BodyFault>>>, is_end: bool) {
        let mut state = self.state.lock();
        state.client_silent = polled.is_pending();
        match polled {
            Poll::Pending => return,
            Poll::Ready(None) => state.ended = true,
            Poll::Ready(Some(Ok(_))) => state.ended = is_end,
            Poll::Ready(Some(Err(fault))) => state.fault = Some(*fault),
        }
        state.moved = Instant::now();
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = &mut *self;
        let (Some(client), Some(upload)) = (&mut this.client, &this.upload) else { return Poll::Ready(None) };
        if let Some(held) = &mut this.held {
            upload.wanted.register(cx.waker());
            if !upload.state.lock().continued && held.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.held = None;
        }
        let polled = Pin::new(&mut *client).poll_frame(cx).map(|frame| {
            frame.map(|frame| {
                let mut frame = frame.map_err(|_| BodyFault::Broken)?;
                if let Some(trailers) = frame.trailers_mut() {
                    head::for_trailers(trailers, &this.set);
                }
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                this.left = this.left.checked_sub(length).ok_or(BodyFault::TooLarge)?;
                Ok(frame)
            })
        });
        upload.note(&polled, client.is_end_stream());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.client.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.client.as_ref().map_or(SizeHint::with_exact(0), Incoming::size_hint)
    }
}
