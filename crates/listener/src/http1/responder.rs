//! The service that hyper calls for each request of an HTTP/1 connection.

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
use crate::stream::StreamTraffic;

/// Answers the requests of one connection.
pub(super) struct Responder<A> {
    pub(super) app: A,
    pub(super) traffic: Arc<StreamTraffic>,
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
    ) -> impl Future<Output = Result<Response<AnswerInProgress>, Infallible>> + use<A> {
        let Self { app, traffic, peer, places, address, limits } = self;
        let (app, places, address, limits) = (app.clone(), places.clone(), *address, *limits);
        let (unanswered, peer) = (Unanswered::new(traffic.clone()), peer.of_request(request.headers()));
        let mut request = request.map(ClientBody::http1);
        async move {
            let traffic = &*unanswered.0;
            let framing = traffic.framing.lock().as_mut().map_or(Ok(None), Framing::next_head);
            let call = traffic.occupant.as_deref().map(Occupant::call);
            let mut response = match refusal::of_head(&mut request, &limits, framing) {
                Some(mut response) => {
                    refusal::note(&places, address, response.status(), "see the answer");
                    app.complete(Some(request.headers()), &mut response);
                    response
                }
                None => match app.call(request, peer).await {
                    Answer::Response(response) => response,
                    Answer::Takeover(takeover) => {
                        *traffic.takeover.lock() = Some(takeover);
                        pending().await
                    }
                },
            };
            note_answered(traffic, &mut response);
            drop(call);
            traffic.answered.store(true, Ordering::Relaxed);
            Ok(response.map(|body| AnswerInProgress { body, _unanswered: unanswered }))
        }
    }
}

/// Records that hyper is given this answer; called just before.
fn note_answered(traffic: &StreamTraffic, response: &mut Response<Body>) {
    let (is_in_head, is_in_body) = match &*traffic.framing.lock() {
        // A body that has begun may already belong to the next request.
        Some(framing) => (framing.is_in_head(), framing.is_in_body() && !framing.has_heads()),
        None => (false, false),
    };
    if is_in_body {
        // This is an early answer: the rest of the body may never be read, and then the connection
        // cannot be reused. The client must know before it sends its next request (RFC 9112,
        // section 9.6).
        response.headers_mut().insert(CONNECTION, CLOSE);
    }
    // A part of the next request may have arrived together with this one.
    traffic.read.store(is_in_head, Ordering::Relaxed);
    traffic.writing.store(true, Ordering::Relaxed);
}

/// Counts a request until its answer has been handed to hyper completely.
struct Unanswered(Arc<StreamTraffic>);

impl Unanswered {
    fn new(traffic: Arc<StreamTraffic>) -> Self {
        traffic.asked.fetch_add(1, Ordering::Relaxed);
        Self(traffic)
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.asked.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer; hyper drops it once it has taken all of it.
pub(super) struct AnswerInProgress {
    body: Body,
    _unanswered: Unanswered,
}

impl hyper::body::Body for AnswerInProgress {
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
