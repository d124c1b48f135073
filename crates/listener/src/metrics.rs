//! The metrics of a node's listeners, and the reasons for refusing clients.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};

metric::labels! {
    /// Why a client was turned away before it had a connection.
    pub enum RefusalReason {
        /// Too many connects within a minute (`MAX_CONNECTIONS_PER_MINUTE`).
        Rate = "rate",
        /// Too many connections on this node (`MAX_CONNECTIONS`).
        Connections = "connections",
        /// Too many connections from one address (`MAX_CONNECTIONS_PER_ADDRESS`).
        ConnectionsPerAddress = "connections_per_address",
        /// The process has no file descriptor left for clients.
        Descriptors = "descriptors",
        /// The head of a request is too large, too slow or malformed.
        Head = "head",
        /// It did not begin with a header of the PROXY protocol, or its peer is not trusted
        /// (`PROXY_PROTOCOL`).
        ProxyProtocol = "proxy_protocol",
        /// The certificate of a client was refused in TLS.
        ClientCertificate = "client_certificate",
        /// The request is not one that opens a connection.
        BadRequest = "bad_request",
        /// The token is not valid.
        Token = "token",
        /// The token came only by cookie, from a page of another origin.
        Origin = "origin",
        /// The token's session is revoked.
        SessionBlacklisted = "session_blacklisted",
        /// `SUBSCRIPTION_CHECK` denied the subscriptions.
        SubscriptionCheck = "subscription_check",
        /// The node is shutting down.
        Shutdown = "shutdown",
        /// The node has no lease, and the client's session may be revoked.
        NoLease = "no_lease",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRefusal {
    reason: RefusalReason,
}

metric::families! {
    /// The metrics of a node's listeners.
    pub struct Metrics {
        /// TCP connections of clients, on all ports
        pub(crate) tcp_connections: Gauge = "rig_tcp_connections";
        /// Clients turned away before they had a connection
        refused: Family<ByRefusal, Counter> = "rig_connections_refused_total";
    }
}

impl Metrics {
    /// Counts a client that was turned away, here or by the application.
    pub fn refused(&self, reason: RefusalReason) {
        self.refused.get_or_create(&ByRefusal { reason }).inc();
    }
}
