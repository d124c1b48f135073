//! What answers requests.

use std::future::Future;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;

use crate::gate::Gate;
use crate::limits::Permit;
use crate::stream::Watched;

/// Any error of a response body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A response body.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Who sent a request, and how.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address the connection came from.
    pub address: SocketAddr,
    /// The address it came to.
    pub local: SocketAddr,
    /// Whether it came over TLS.
    pub secure: bool,
    /// Whether the socket can be taken over: HTTP/1 only.
    pub takeover: bool,
    /// Keeps back the rest of an answer; HTTP/1 only.
    pub gate: Option<Gate>,
}

/// The application behind a listener.
pub trait App: Clone + Send + Sync + Unpin + 'static {
    /// Answers a request. [`Answer::Takeover`] is allowed only where `peer.takeover` says so.
    fn call(&self, request: Request<Incoming>, peer: Peer) -> impl Future<Output = Answer> + Send;
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
    /// What the client has sent after the request, unread.
    pub read: Bytes,
    /// The connection's place among those that are allowed; dropped with the socket.
    pub permit: Permit,
}
