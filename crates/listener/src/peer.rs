//! The peer of a connection, and the client of a request on it.

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderMap;

use crate::client::{ForwardedClient, TrustedProxies};
use crate::client_certificate::ClientCertificate;
use crate::gate::Gate;

/// Where a connection comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) hop: SocketAddr,
    pub(crate) local: SocketAddr,
    /// `true` if a balancer says that its client uses TLS.
    pub(crate) secure: bool,
    /// All trusted proxies, if `hop` is one of them.
    pub(crate) trusted: Option<TrustedProxies>,
    /// The certificate that was presented on this connection, if one was.
    pub(crate) certificate: Option<Arc<ClientCertificate>>,
}

impl Origin {
    pub(crate) fn new(hop: SocketAddr, local: SocketAddr, proxies: &TrustedProxies) -> Self {
        let trusted = proxies.contains(hop.ip()).then(|| proxies.clone());
        Self { hop, local, secure: false, trusted, certificate: None }
    }

    /// Returns the peer of its requests, unless their headers name another client.
    pub(crate) fn peer(self, tls: bool, takeover: bool, gate: Option<Gate>) -> Peer {
        let Self { hop, local, secure, trusted, certificate } = self;
        Peer { address: hop, hop, local, secure: secure || tls, trusted, certificate, takeover, gate }
    }
}

/// The client of a request, and how it connects. Logs, limits and services get the client from here
/// only.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address: the one that the connection came from or, if that is a trusted proxy,
    /// the one that the proxy names. Port 0 if the proxy names none.
    pub address: SocketAddr,
    /// The address that the connection came from, by the PROXY protocol if that is on.
    pub hop: SocketAddr,
    /// The local address that the connection was made to.
    pub local: SocketAddr,
    /// `true` if the client uses TLS with the gateway, or with a trusted proxy that says so.
    pub secure: bool,
    /// All trusted proxies, if `hop` is one of them.
    pub trusted: Option<TrustedProxies>,
    /// The verified certificate of `hop`, if it has presented one. Headers never name one.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// `true` if the socket can be taken over: HTTP/1 only.
    pub takeover: bool,
    /// Holds back the rest of an answer: one gate for each socket over HTTP/1, for each stream over
    /// HTTP/2. `None` in tests.
    pub gate: Option<Gate>,
}

impl Peer {
    /// Returns the peer of a request with these headers.
    pub(crate) fn of_request(&self, headers: &HeaderMap) -> Self {
        let mut peer = self.clone();
        if let Some(proxies) = &self.trusted {
            let ForwardedClient { address, secure } = proxies.client(headers, self.hop);
            peer.address = address;
            peer.secure = secure.unwrap_or(self.secure);
        }
        peer
    }
}
