//! What answers requests.

use std::future::Future;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;

use crate::client::{Client, TrustedProxies};
use crate::client_body::ClientBody;
use crate::gate::Gate;
use crate::limits::Permit;
use crate::stream::Watched;

/// Any error of a response body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A response body.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Who sent a request, and how. This is all that is believed about a client; logs, limits and services get it from here.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address: the one that the connection came from or, where that is a trusted proxy, the one that it tells.
    /// Port 0 where it tells none.
    pub address: SocketAddr,
    /// The address that the connection came from, by the PROXY protocol where that is on.
    pub hop: SocketAddr,
    /// The address it came to.
    pub local: SocketAddr,
    /// Whether the client uses TLS, with the gateway or with a trusted proxy that tells so.
    pub secure: bool,
    /// Where `hop` is a trusted proxy, all of them.
    pub trusted: Option<TrustedProxies>,
    /// Whether the socket can be taken over: HTTP/1 only.
    pub takeover: bool,
    /// Keeps back the rest of an answer: one gate for each socket over HTTP/1, for each stream over HTTP/2. `None` in tests.
    pub gate: Option<Gate>,
}

impl Peer {
    /// The peer of a request with these headers.
    pub(crate) fn of_request(&self, headers: &HeaderMap) -> Self {
        let mut peer = self.clone();
        if let Some(proxies) = &self.trusted {
            let Client { address, secure } = proxies.client(headers, self.hop);
            peer.address = address;
            peer.secure = secure.unwrap_or(self.secure);
        }
        peer
    }
}

/// The application behind a listener.
pub trait App: Clone + Send + Sync + Unpin + 'static {
    /// Answers a request. [`Answer::Takeover`] is allowed only where `peer.takeover` says so.
    fn call(&self, request: Request<ClientBody>, peer: Peer) -> impl Future<Output = Answer> + Send;

    /// Adds what all answers of the port carry to one that the listener gives itself; `request` are the headers of the
    /// request, `None` if it could not be read.
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
    /// What the client has sent after the request, unread.
    pub read: Bytes,
    /// The connection's place among those that are allowed; dropped with the socket.
    pub permit: Permit,
}
