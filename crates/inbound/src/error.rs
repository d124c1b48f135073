//! All errors of the inbound port, and the one place that gives them a status, a text and a metric
//! label.

use std::time::Duration;

use auth::TokenError;
use connection::{BindError, Fencing, TooLarge};
use document::JsonError;
use event::http::DecodeError;
use http::{Response, StatusCode};
use listener::{Body, BodyError, RefusalReason, retry_after};
use session::{ClaimError, SessionName};
use subscription::SubscriptionError;

use crate::answer::text;

/// A token is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("could not decode JWT: {0}")]
    Token(#[from] TokenError),
    #[error("could not decode JWT: {0}")]
    Claim(#[from] ClaimError),
    #[error("could not decode JWT: Ignoring blacklisted JWT with ID \"{}\".", .0.as_ref().map_or("", |name| name.as_str()))]
    SessionBlacklisted(Option<SessionName>),
}

/// A page of another origin made its visitor's browser send a cookie.
#[derive(Debug, thiserror::Error)]
#[error(
    "refused: the token came only by cookie, and from a web page of another origin (Origin, Sec-Fetch-Site), or by a \
     WebSocket without Origin; needed: an origin that CORS names, or the token in the Authorization header or in ?jwt="
)]
pub(crate) struct ForeignPage;

/// A list of subscriptions is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListError {
    #[error("Failed to decode subscription list: {0}")]
    Json(#[from] JsonError),
    #[error(
        "could not parse subscriptions: could not decode subscriptions: subscriptions is expected to be a JSON encoded list"
    )]
    NotAList,
    #[error("{0}")]
    Subscription(#[from] SubscriptionError),
}

/// A connection is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The rate limit is reached; the next connection may be opened after this time.
    #[error("Reached maximum number of connections")]
    Rate(Duration),
    #[error("a request that opens a connection has no body")]
    Body,
    #[error("{0}")]
    BodyError(BodyError),
    #[error("could not parse subscriptions: {0}")]
    Identity(IdentityError),
    #[error(transparent)]
    List(ListError),
    #[error("could not parse subscriptions: could not parse subscription from JSON: {0}")]
    Subscription(SubscriptionError),
    #[error("could not parse subscriptions: {0}")]
    Bind(BindError),
    #[error("Subscription denied (not authorized).")]
    Denied,
    #[error("The node is shutting down.")]
    ShuttingDown,
    #[error("The node has lost contact with the other nodes.")]
    NoLease,
    #[error("{NO_KEYS}")]
    NoKeys,
    #[error(transparent)]
    ForeignPage(#[from] ForeignPage),
}

/// The keys of a token's issuer were never fetched, or are too old.
const NO_KEYS: &str = "The issuer of the token cannot be asked.";

impl From<IdentityError> for ConnectError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Token(TokenError::Unavailable) => Self::NoKeys,
            error => Self::Identity(error),
        }
    }
}

impl From<BodyError> for ConnectError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(_) => Self::Body,
            BodyError::Timeout(_) | BodyError::Broken | BodyError::NoRoom => Self::BodyError(error),
        }
    }
}

impl From<ListError> for ConnectError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Subscription(error) => Self::Subscription(error),
            ListError::Json(_) | ListError::NotAList => Self::List(error),
        }
    }
}

impl ConnectError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Rate(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::ShuttingDown | Self::NoLease | Self::NoKeys => StatusCode::SERVICE_UNAVAILABLE,
            Self::ForeignPage(_) => StatusCode::FORBIDDEN,
            Self::BodyError(error) => error.status(),
            Self::Body
            | Self::Identity(_)
            | Self::List(_)
            | Self::Subscription(_)
            | Self::Bind(_)
            | Self::Denied => StatusCode::BAD_REQUEST,
        }
    }

    pub(crate) fn reason(&self) -> RefusalReason {
        match self {
            Self::Rate(_) => RefusalReason::Rate,
            Self::Identity(IdentityError::SessionBlacklisted(_)) => RefusalReason::SessionBlacklisted,
            Self::Identity(IdentityError::Token(_) | IdentityError::Claim(_)) | Self::NoKeys => {
                RefusalReason::Token
            }
            Self::Body | Self::BodyError(_) | Self::Bind(_) | Self::List(_) | Self::Subscription(_) => {
                RefusalReason::BadRequest
            }
            Self::Denied => RefusalReason::SubscriptionCheck,
            Self::ShuttingDown => RefusalReason::Shutdown,
            Self::NoLease => RefusalReason::NoLease,
            Self::ForeignPage(_) => RefusalReason::Origin,
        }
    }

    /// Returns the answer over HTTP. If a retry may succeed, it says when (RFC 9110, section
    /// 10.2.3).
    pub(crate) fn answer(&self) -> Response<Body> {
        let mut response = text(self.status(), self);
        // `text` sets `Retry-After` for a 503. Here the time is rounded up, since a client that
        // retries a moment too early is refused again.
        match self {
            Self::Rate(wait) => retry_after(response.headers_mut(), wait.as_secs() + 1),
            Self::NoLease => retry_after(response.headers_mut(), Fencing::RETRY_AFTER),
            Self::NoKeys => retry_after(response.headers_mut(), TokenError::RETRY_AFTER),
            _ => {}
        }
        response
    }

    /// Returns the text for the close frame of a WebSocket (RIG).
    pub(crate) fn close_reason(&self) -> String {
        match self {
            Self::List(error @ ListError::Json(_)) => error.to_string(),
            _ => "Bad request.".to_owned(),
        }
    }
}

impl From<BodyError> for SetError {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

/// The node of the connection is alive, but does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The node that holds the connection does not answer.")]
pub(crate) struct NodeSilent;

impl NodeSilent {
    pub(crate) const STATUS: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
}

/// The node of the connection handles as many requests as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The node that holds the connection has no room for the request.")]
pub(crate) struct NodeBusy;

impl NodeBusy {
    pub(crate) const STATUS: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
}

/// Replacing the subscriptions of a connection is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetError {
    #[error("Invalid connection token.")]
    ConnectionToken,
    #[error("Connection no longer exists.")]
    Gone,
    #[error(transparent)]
    NodeSilent(#[from] NodeSilent),
    #[error(transparent)]
    NodeBusy(#[from] NodeBusy),
    #[error("The accept header {0:?} admits none of what this endpoint answers with: application/json.")]
    NotAcceptable(String),
    #[error("Expected JSON encoded body. The content-type is {0}, not application/json.")]
    ContentType(String),
    #[error("{0}")]
    Body(BodyError),
    #[error("Expected JSON encoded body. {0}")]
    Json(JsonError),
    #[error("Expected field \"subscriptions\" is not present.")]
    NoSubscriptions,
    #[error("Expected field \"subscriptions\" to be a list.")]
    NotAList,
    #[error("cannot accept subscription request: could not parse given subscriptions: {0}")]
    Subscription(#[from] SubscriptionError),
    #[error("cannot accept subscription request: invalid authorization header: {0}")]
    Identity(#[from] IdentityError),
    #[error("{NO_KEYS}")]
    NoKeys,
    #[error("cannot accept subscription request: {0}")]
    Bind(BindError),
    #[error("The node has lost contact with the other nodes.")]
    NoLease,
    #[error("Subscription denied.")]
    Denied,
    #[error(transparent)]
    ForeignPage(#[from] ForeignPage),
}

/// The sessions are checked again when the connection is bound to them, after all other checks.
impl From<BindError> for SetError {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Gone => Self::Gone,
            BindError::SessionBlacklisted(name) => IdentityError::SessionBlacklisted(name).into(),
            BindError::NoLease => Self::NoLease,
            BindError::OtherUser | BindError::TooManyTokens => Self::Bind(error),
        }
    }
}

impl From<BindError> for ConnectError {
    fn from(error: BindError) -> Self {
        match error {
            BindError::SessionBlacklisted(name) => IdentityError::SessionBlacklisted(name).into(),
            BindError::NoLease => Self::NoLease,
            BindError::Gone | BindError::OtherUser | BindError::TooManyTokens => Self::Bind(error),
        }
    }
}

impl SetError {
    pub(crate) fn answer(&self) -> Response<Body> {
        let mut response = text(self.status(), self);
        match self {
            Self::NoLease => retry_after(response.headers_mut(), Fencing::RETRY_AFTER),
            Self::NoKeys => retry_after(response.headers_mut(), TokenError::RETRY_AFTER),
            _ => {}
        }
        response
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Gone => StatusCode::GONE,
            Self::NodeSilent(_) => NodeSilent::STATUS,
            Self::NodeBusy(_) => NodeBusy::STATUS,
            Self::Denied | Self::ForeignPage(_) | Self::Bind(BindError::OtherUser) => StatusCode::FORBIDDEN,
            Self::Bind(
                BindError::TooManyTokens
                | BindError::SessionBlacklisted(_)
                | BindError::Gone
                | BindError::NoLease,
            ) => StatusCode::CONFLICT,
            Self::NoLease | Self::NoKeys => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotAcceptable(_) => StatusCode::NOT_ACCEPTABLE,
            Self::Body(error) => error.status(),
            Self::ConnectionToken
            | Self::ContentType(_)
            | Self::Json(_)
            | Self::NoSubscriptions
            | Self::NotAList
            | Self::Subscription(_)
            | Self::Identity(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// An event is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubmitError {
    #[error("{0}")]
    Body(#[from] BodyError),
    #[error("{0}")]
    Decode(#[from] DecodeError),
    #[error("{0}")]
    TooLarge(#[from] TooLarge),
    #[error("Submission denied.")]
    Denied,
    #[error("{NO_KEYS}")]
    NoKeys,
    #[error(transparent)]
    ForeignPage(#[from] ForeignPage),
}

impl SubmitError {
    pub(crate) fn answer(&self) -> Response<Body> {
        let mut response = text(self.status(), self);
        if let Self::NoKeys = self {
            retry_after(response.headers_mut(), TokenError::RETRY_AFTER);
        }
        response
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Body(error) => error.status(),
            Self::Decode(error) => error.status(),
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Denied | Self::ForeignPage(_) => StatusCode::FORBIDDEN,
            Self::NoKeys => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::RETRY_AFTER;

    use super::*;

    #[test]
    fn i08_who_is_refused_because_keys_cannot_be_fetched_may_retry_soon() {
        let unavailable = || IdentityError::from(TokenError::Unavailable);
        let connect = ConnectError::from(unavailable()).answer();
        for answer in [connect, SetError::NoKeys.answer(), SubmitError::NoKeys.answer()] {
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.headers()[RETRY_AFTER], "5");
        }
        let other = ConnectError::from(IdentityError::from(TokenError::UnknownKey)).answer();
        assert_eq!(other.status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn who_is_refused_because_the_node_has_no_lease_may_retry_soon() {
        let connect = ConnectError::from(BindError::NoLease).answer();
        let set = SetError::from(BindError::NoLease).answer();
        for answer in [connect, set] {
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.headers()[RETRY_AFTER], "2");
        }
    }
}
