//! Why the proxy answers a request itself, with which status, and how that is counted. Its words
//! are in `answer.rs`.

use http::StatusCode;

use crate::access::Unauthenticated;
use crate::metrics::ProxyStatus;
use crate::path::PathRefusal;

/// Why a request gets no answer of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// No endpoint has this path, or none with this method.
    NotFound,
    /// Its path is not forwarded.
    Path(PathRefusal),
    /// No legal session's token where one is required.
    Unauthenticated(Unauthenticated),
    /// Its session has ended while it waited.
    Killed,
    /// The token's claims are not those required.
    Forbidden,
    /// A page of another origin has its visitor's browser send a cookie.
    ForeignPage,
    /// Asked too often; another request may come after this many seconds.
    TooMany(u64),
    /// The body is larger than the endpoint takes.
    TooLarge,
    /// The client has stopped in the middle of its request.
    ClientSilent,
    /// The body broke off, or its framing is wrong.
    ClientBroken,
    /// The service cannot be reached, or does not speak HTTP.
    Unreachable,
    /// The service has kept silent for too long.
    ServiceSilent,
    /// As many requests wait for an asynchronous answer as may.
    Full,
    /// No descriptor is left for a connection to the service.
    Exhausted,
    /// The service takes no more requests at once.
    Busy,
    /// The copy of its body had to go while it was being sent again.
    NoRoom,
    /// No asynchronous answer has come in time.
    NoAnswer,
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
            Self::Path(_) | Self::ClientBroken => StatusCode::BAD_REQUEST,
            Self::Unreachable | Self::ServiceSilent => StatusCode::BAD_GATEWAY,
            Self::Full | Self::Exhausted | Self::Busy | Self::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoAnswer => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// How it is counted.
    pub(crate) fn outcome(&self) -> ProxyStatus {
        match self {
            Self::NotFound => ProxyStatus::NotFound,
            Self::Unauthenticated(_) => ProxyStatus::Unauthenticated,
            Self::Killed => ProxyStatus::Killed,
            Self::Forbidden | Self::ForeignPage => ProxyStatus::Forbidden,
            Self::TooMany(_) => ProxyStatus::TooManyRequests,
            Self::TooLarge => ProxyStatus::TooLarge,
            Self::ClientSilent => ProxyStatus::ClientTimeout,
            Self::Path(_) | Self::ClientBroken => ProxyStatus::BadRequest,
            Self::Unreachable => ProxyStatus::Unreachable,
            Self::ServiceSilent => ProxyStatus::RequestTimeout,
            Self::Full | Self::Exhausted | Self::Busy | Self::NoRoom => ProxyStatus::Unavailable,
            Self::NoAnswer => ProxyStatus::ResponseTimeout,
        }
    }
}
