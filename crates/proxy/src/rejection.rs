//! Why the proxy answers a request itself: the status, and how it is counted. The texts are in
//! `answer.rs`.

use auth::TokenError;
use http::StatusCode;

use crate::access::Unauthenticated;
use crate::metrics::ProxyStatus;
use crate::path::PathRefusal;

/// Why a request does not get an answer from a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// No endpoint has this path, or none with this method.
    NotFound,
    /// The path is not forwarded.
    Path(PathRefusal),
    /// A token of a legal session is required, and missing.
    Unauthenticated(Unauthenticated),
    /// The session was terminated while the request was waiting.
    Killed,
    /// The token lacks required claims.
    Forbidden,
    /// A foreign page made the browser send its user's cookie.
    ForeignPage,
    /// The rate limit is exceeded. Another request is allowed after this many seconds.
    TooMany(u64),
    /// The body exceeds the endpoint's limit.
    TooLarge,
    /// The client stopped in the middle of its request.
    ClientSilent,
    /// The body broke off, or its framing is wrong.
    ClientBroken,
    /// The service cannot be reached, or its answer is not HTTP.
    Unreachable,
    /// The service kept silent for too long.
    ServiceSilent,
    /// The limit of requests that wait for an asynchronous answer is reached.
    Full,
    /// No file descriptor is left for a connection to the service.
    Exhausted,
    /// The service accepts no more concurrent requests.
    Busy,
    /// The copy of the body was evicted while the request was being sent again.
    NoRoom,
    /// No asynchronous answer came in time, or none of the broker.
    NoAnswer,
    /// The broker does not take such a request, for the reason that the client gets.
    Invalid(String),
    /// The broker cannot be reached, and has not got the request.
    BrokerUnavailable,
    /// The node has no lease, so that the session may be revoked without it knowing.
    NoLease,
    /// The issuer of the token cannot be asked.
    NoKeys,
}

impl From<Unauthenticated> for Rejection {
    fn from(reason: Unauthenticated) -> Self {
        match reason {
            Unauthenticated::Token(TokenError::Unavailable) => Self::NoKeys,
            reason => Self::Unauthenticated(reason),
        }
    }
}

impl Rejection {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unauthenticated(_) | Self::Killed => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::ForeignPage => StatusCode::FORBIDDEN,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ClientSilent => StatusCode::REQUEST_TIMEOUT,
            Self::Path(_) | Self::ClientBroken | Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Unreachable | Self::ServiceSilent => StatusCode::BAD_GATEWAY,
            Self::Full
            | Self::Exhausted
            | Self::Busy
            | Self::NoRoom
            | Self::NoLease
            | Self::NoKeys
            | Self::BrokerUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoAnswer => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Returns the outcome that is counted.
    pub(crate) fn outcome(&self) -> ProxyStatus {
        match self {
            Self::NotFound => ProxyStatus::NotFound,
            Self::Unauthenticated(_) => ProxyStatus::Unauthenticated,
            Self::Killed => ProxyStatus::Killed,
            Self::Forbidden | Self::ForeignPage => ProxyStatus::Forbidden,
            Self::TooMany(_) => ProxyStatus::TooManyRequests,
            Self::TooLarge => ProxyStatus::TooLarge,
            Self::ClientSilent => ProxyStatus::ClientTimeout,
            Self::Path(_) | Self::ClientBroken | Self::Invalid(_) => ProxyStatus::BadRequest,
            Self::BrokerUnavailable => ProxyStatus::BrokerUnavailable,
            Self::Unreachable => ProxyStatus::Unreachable,
            Self::ServiceSilent => ProxyStatus::RequestTimeout,
            Self::Full | Self::Exhausted | Self::Busy | Self::NoRoom | Self::NoLease | Self::NoKeys => {
                ProxyStatus::Unavailable
            }
            Self::NoAnswer => ProxyStatus::ResponseTimeout,
        }
    }
}
