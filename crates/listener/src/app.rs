//! The application that answers requests.

use std::future::Future;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};

use crate::body::Body;
use crate::client_body::ClientBody;
use crate::limits::Permit;
use crate::peer::Peer;
use crate::stream::Watched;

/// The application behind a listener.
pub trait App: Clone + Send + Sync + Unpin + 'static {
    /// Answers a request. [`Answer::Takeover`] is allowed only if `peer.takeover` is `true`.
    fn call(&self, request: Request<ClientBody>, peer: Peer) -> impl Future<Output = Answer> + Send;

    /// Adds to an answer of the listener the headers that all answers of the port have. `request`
    /// holds the headers of the request; `None` if it could not be read.
    fn complete(&self, _request: Option<&HeaderMap>, _response: &mut Response<Body>) {}
}

/// The answer to a request.
pub enum Answer {
    /// A response, sent by the listener.
    Response(Response<Body>),
    /// The application takes the socket and sends the response itself.
    Takeover(Takeover),
}

/// What the application does with a socket that it takes over.
pub type Takeover = Box<dyn FnOnce(Raw) + Send>;

/// A socket that was taken over.
pub struct Raw {
    /// The socket.
    pub stream: Watched,
    /// Bytes that the client has sent after the request, and that are not parsed yet.
    pub read: Bytes,
    /// The connection's place within the limits; must be dropped with the socket.
    pub permit: Permit,
}
