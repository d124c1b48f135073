//! Labels from closed sets: enums whose variants are the values.

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// Enums whose variants are label values under a name of their own.
macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $value:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// The label value.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $value,)+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                self.as_str().encode(encoder)
            }
        }
    )+};
}

labels! {
    /// How a client holds its connection (RIG, inbound port).
    Transport {
        /// Server-Sent Events.
        Sse = "sse",
        /// WebSocket (RFC 6455).
        WebSocket = "websocket",
        /// Long polling.
        LongPolling = "longpolling",
    }

    /// Why a connection ended.
    CloseReason {
        /// The client went away or closed.
        Client = "client",
        /// Its session was blacklisted.
        SessionKilled = "session_killed",
        /// Its session was disconnected; its token is still good.
        SessionDisconnected = "session_disconnected",
        /// Its token has ended.
        TokenExpired = "token_expired",
        /// It read too slowly and its outbox was full.
        OutboxOverflow = "outbox_overflow",
        /// It was the fullest when too many bytes waited in memory, all connections together.
        Memory = "memory",
        /// It broke the protocol, or sent where nothing may be sent.
        Protocol = "protocol",
        /// The node is leaving.
        Shutdown = "shutdown",
        /// No poll came for too long (long polling).
        Idle = "idle",
    }

    /// Why a client was turned away before it had a connection.
    RefusalReason {
        /// Too many connects within a minute (`MAX_CONNECTIONS_PER_MINUTE`).
        Rate = "rate",
        /// Too many connections on this node (`MAX_CONNECTIONS`).
        Connections = "connections",
        /// Too many connections from one address (`MAX_CONNECTIONS_PER_ADDRESS`).
        ConnectionsPerAddress = "connections_per_address",
        /// The process has no file descriptor left for clients.
        Descriptors = "descriptors",
        /// The head of a request is larger than allowed, or is not what a head should be.
        Head = "head",
        /// No header of the PROXY protocol began it, or one of somebody who is not trusted (`PROXY_PROTOCOL`).
        ProxyProtocol = "proxy_protocol",
        /// The request is not one that opens a connection.
        BadRequest = "bad_request",
        /// The token is not valid.
        Token = "token",
        /// The token came only by cookie, from a page of another origin.
        Origin = "origin",
        /// The token's session is blacklisted.
        SessionBlacklisted = "session_blacklisted",
        /// `SUBSCRIPTION_CHECK` said no.
        SubscriptionCheck = "subscription_check",
        /// The node is leaving.
        Shutdown = "shutdown",
    }
}

labels! {
    /// Why the internal port refused a request before it looked at its path and token.
    InternalRefusal {
        /// It came from a web page of another origin.
        Page = "page",
        /// A page sent a form or plain text.
        Form = "form",
        /// Without `API_TOKEN`, it named a host that is not one of the port's.
        Host = "host",
    }
}

labels! {
    /// What the canary has seen.
    CanaryResult {
        /// Its connection ended, and nothing came after.
        Ok = "ok",
        /// An event reached it that was published after the revocation had returned.
        LatePayload = "late_payload",
        /// It was not told, or its session is not revoked.
        NotKilled = "not_killed",
        /// It could not be carried out.
        Failed = "failed",
    }
}

labels! {
    /// What became of a request to the reverse proxy. The first six are RIG's words.
    ProxyStatus {
        /// It has its answer, whatever that says.
        Ok = "ok",
        /// Its body broke off.
        BadRequest = "bad_request",
        /// No endpoint has its path and method.
        NotFound = "not_found",
        /// No server of the service can be reached, or what it says is no HTTP.
        Unreachable = "unreachable",
        /// The service did not begin its answer in time.
        RequestTimeout = "request_timeout",
        /// No asynchronous answer came in time.
        ResponseTimeout = "response_timeout",
        /// It needs a token of a legal session, and has none.
        Unauthenticated = "unauthenticated",
        /// The claims of its token are not those required.
        Forbidden = "forbidden",
        /// Its session or address has asked too often.
        TooManyRequests = "too_many_requests",
        /// Its body is larger than allowed.
        TooLarge = "too_large",
        /// Its client stopped in the middle of the body.
        ClientTimeout = "client_timeout",
        /// Its client went away before all of the answer had been taken.
        ClientClosed = "client_closed",
        /// Its session ended.
        Killed = "killed",
        /// The service broke off in the middle of the answer.
        Broken = "broken",
        /// As many requests wait for an asynchronous answer as may.
        Unavailable = "unavailable",
    }

    /// What the cache of verified tokens knew of a token.
    TokenCacheResult {
        /// It was verified before.
        Hit = "hit",
        /// It had to be verified.
        Miss = "miss",
        /// It was verified before, and has ended since.
        Ended = "ended",
    }
}

impl ProxyStatus {
    /// How many there are.
    pub const COUNT: usize = Self::Unavailable as usize + 1;
}

impl CloseReason {
    /// Whether the client has lost its session, so that it must not get anything any more.
    pub const fn is_end_of_session(self) -> bool {
        matches!(self, Self::SessionKilled | Self::SessionDisconnected | Self::TokenExpired)
    }
}
