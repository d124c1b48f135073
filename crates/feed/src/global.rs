//! `POST /_rig/v1/issuers/{id}/global-token-revocation`
//! (draft-parecki-oauth-global-token-revocation-04).

use std::fmt;

use auth::{Kind, TokenError};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use identity::GtrRefused;
use listener::Body;

use crate::answer;
use crate::bearer::only_bearer;
use crate::check::{Asked, NotTaken};
use crate::feeds::Feeds;
use crate::issuer::IssuerFeeds;
use crate::metrics::FeedName;

/// Why a request is refused.
enum RequestRefused {
    /// There is no bearer token, or more than one.
    Missing,
    /// The bearer token is not signed as an assertion of the issuer.
    Assertion(TokenError),
    /// The assertion or the body is wrong.
    Request(GtrRefused),
}

impl RequestRefused {
    fn status(&self) -> StatusCode {
        match self {
            Self::Missing | Self::Assertion(_) | Self::Request(GtrRefused::Assertion(_)) => {
                StatusCode::UNAUTHORIZED
            }
            Self::Request(GtrRefused::Client(_)) => StatusCode::FORBIDDEN,
            Self::Request(GtrRefused::Request(_)) => StatusCode::BAD_REQUEST,
        }
    }

    fn code(&self) -> &'static str {
        match self.status() {
            StatusCode::UNAUTHORIZED => "invalid_token",
            StatusCode::FORBIDDEN => "unauthorized_client",
            _ => "invalid_request",
        }
    }
}

impl fmt::Display for RequestRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("expected one bearer token in Authorization"),
            Self::Assertion(error) => write!(f, "bearer token: {error}"),
            Self::Request(refused) => refused.fmt(f),
        }
    }
}

/// Answers a request: 204 once no connection that it means gets anything any more, and that is
/// stored. Whether the user is known is not told.
pub(crate) async fn answer(
    feeds: &Feeds,
    issuer: &IssuerFeeds,
    headers: &HeaderMap,
    body: Bytes,
) -> Response<Body> {
    const FEED: FeedName = FeedName::GlobalTokenRevocation;
    let result = match only_bearer(headers) {
        Some(token) => {
            feeds
                .state(issuer, FEED, (token, Kind::RevocationAssertion), |signed, now| {
                    let signed = signed.map_err(RequestRefused::Assertion)?;
                    let (claims, header_type) = (&signed.claims, signed.header_type.as_deref());
                    // No member may be there twice: another reader may take the other one.
                    let request = document::from_slice(&body).ok();
                    let request = request.as_ref();
                    identity::global_revocation(claims, header_type, request, &issuer.config, now)
                        .map(Asked::Revoke)
                        .map_err(RequestRefused::Request)
                })
                .await
        }
        None => {
            let refused = Err(NotTaken::Refused(RequestRefused::Missing));
            feeds.conclude(issuer, FEED, &refused);
            refused
        }
    };
    match result {
        Ok(_) => answer::empty(StatusCode::NO_CONTENT),
        Err(NotTaken::Unavailable(reason)) => answer::unavailable(reason.text()),
        Err(NotTaken::Refused(refused)) => {
            issuer.slow_down().await;
            answer::oauth_error(refused.status(), refused.code(), &refused.to_string())
        }
    }
}
