//! What hyper calls for each request of an HTTP/1 connection.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};

use crate::app::{Answer, App};
use crate::body::{Body, BoxError};
use crate::client_body::ClientBody;
use crate::framing::Framing;
use crate::limits::{Limits, Places};
use crate::occupants::Occupant;
use crate::peer::Peer;
use crate::refusal::{self, CLOSE};
use crate::stream::Seen;

/// Answers the requests of one connection.
pub(super) struct Responder<A> {
    pub(super) app: A,
    pub(super) seen: Arc<Seen>,
    pub(super) peer: Peer,
    pub(super) places: Arc<Places>,
    pub(super) address: SocketAddr,
    pub(super) limits: Limits,
}

impl<A: App> Responder<A> {
    /// Answers a request. Never returns if the application takes the socket over: the driver drops
    /// the future then.
    pub(super) fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Answering>, Infallible>> + use<A> {
        let Self { app, seen, peer, places, address, limits } = self;
        let (app, places, address, limits) = (app.clone(), places.clone(), *address, *limits);
        let (unanswered, peer) = (Unanswered::new(seen.clone()), peer.of_request(request.headers()));
        let mut request = request.map(ClientBody::http1);
        async move {
            let seen = &*unanswered.0;
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
            note_answered(seen, &mut response);
            drop(call);
            seen.answered.store(true, Ordering::Relaxed);
            Ok(response.map(|body| Answering { body, _unanswered: unanswered }))
        }
    }
}

/// Notes that hyper gets this answer, before it has got it.
fn note_answered(seen: &Seen, response: &mut Response<Body>) {
    let (is_in_head, is_in_body) = match &*seen.framing.lock() {
        // A body that has begun may be that of the next request already.
        Some(framing) => (framing.is_in_head(), framing.is_in_body() && !framing.has_heads()),
        None => (false, false),
    };
    if is_in_body {
        // An early answer: the rest of the body may never be read, and then the connection is of no
        // further use, which a client has to know before it sends its next request (RFC 9112,
        // section 9.6).
        response.headers_mut().insert(CONNECTION, CLOSE);
    }
    // A part of the next request may have come together with this one.
    seen.read.store(is_in_head, Ordering::Relaxed);
    seen.writing.store(true, Ordering::Relaxed);
}

/// Counts a request until its answer has been handed to hyper whole.
struct Unanswered(Arc<Seen>);

impl Unanswered {
    fn new(seen: Arc<Seen>) -> Self {
        seen.asked.fetch_add(1, Ordering::Relaxed);
        Self(seen)
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.asked.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer; hyper drops it once it has taken all of it.
pub(super) struct Answering {
    body: Body,
    _unanswered: Unanswered,
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
