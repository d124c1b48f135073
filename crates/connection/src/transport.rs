//! How a client holds its connection, and why one closes.

metric::labels! {
    /// How a client holds its connection (RIG, inbound port).
    pub enum Transport {
        /// Server-Sent Events.
        Sse = "sse",
        /// WebSocket (RFC 6455).
        WebSocket = "websocket",
        /// Long polling.
        LongPolling = "longpolling",
    }

    /// Why a connection closed.
    pub enum CloseReason {
        /// The client went away or closed.
        Client = "client",
        /// Its session was revoked.
        SessionKilled = "session_killed",
        /// Its session was disconnected; its token is still good.
        SessionDisconnected = "session_disconnected",
        /// Its token has expired.
        TokenExpired = "token_expired",
        /// It read too slowly and its outbox was full.
        OutboxOverflow = "outbox_overflow",
        /// It was the fullest when too many bytes waited in memory, all connections together.
        Memory = "memory",
        /// It broke the protocol, or sent where nothing may be sent.
        Protocol = "protocol",
        /// The node is shutting down.
        Shutdown = "shutdown",
        /// It belongs to a session, and the node was without a lease for too long.
        LeaseLost = "lease_lost",
        /// No poll came for too long (long polling).
        Idle = "idle",
    }
}

impl CloseReason {
    /// Returns whether the client has lost its session, so that it must not receive anything any
    /// more.
    pub const fn is_end_of_session(self) -> bool {
        self.is_revocation() || matches!(self, Self::TokenExpired)
    }

    /// Returns whether the session was revoked or disconnected, so that its client must not come
    /// back to where it was.
    pub const fn is_revocation(self) -> bool {
        matches!(self, Self::SessionKilled | Self::SessionDisconnected)
    }
}
