//! `POST /_rig/v1/issuers/{id}/logout` (OpenID Connect Back-Channel Logout 1.0, sections 2.5 to
//! 2.8).

use std::fmt;

use auth::{Kind, TokenError};
use bytes::Bytes;
use http::{Response, StatusCode};
use identity::{Ordered, Refused};
use listener::Body;

use crate::answer;
use crate::check::{Asked, NotTaken};
use crate::feeds::Feeds;
use crate::issuer::IssuerFeeds;
use crate::metrics::FeedName;

/// The parameter with the token.
const PARAMETER: &str = "logout_token";

/// Why a logout is refused.
enum LogoutRefused {
    /// There is no token, or more than one.
    Parameter,
    /// The token is not signed as a logout token of the issuer.
    Token(TokenError),
    /// A claim is wrong.
    Claim(Refused),
}

impl fmt::Display for LogoutRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameter => write!(f, "expected one parameter {PARAMETER}"),
            Self::Token(error) => write!(f, "{PARAMETER}: {error}"),
            Self::Claim(refused) => refused.fmt(f),
        }
    }
}

/// Answers a logout: 200 once no connection that it means gets anything any more, and that is
/// stored.
pub(crate) async fn answer(feeds: &Feeds, issuer: &IssuerFeeds, body: Bytes) -> Response<Body> {
    let result = match token(&body) {
        Some(token) => {
            drop(body);
            feeds
                .state(issuer, FeedName::Logout, (&token, Kind::Logout), |signed, now| {
                    let signed = signed.map_err(LogoutRefused::Token)?;
                    let (claims, header_type) = (&signed.claims, signed.header_type.as_deref());
                    let orders = identity::logout(claims, header_type, &issuer.config, now);
                    let orders = orders.map_err(LogoutRefused::Claim)?;
                    warn_of_missing_sessions(issuer, &orders);
                    Ok(Asked::Revoke(orders))
                })
                .await
        }
        None => {
            let refused = Err(NotTaken::Refused(LogoutRefused::Parameter));
            feeds.conclude(issuer, FeedName::Logout, &refused);
            refused
        }
    };
    match result {
        Ok(_) => answer::empty(StatusCode::OK),
        Err(NotTaken::Unavailable(reason)) => answer::unavailable(reason.text()),
        Err(NotTaken::Refused(refused)) => {
            issuer.slow_down().await;
            answer::oauth_error(StatusCode::BAD_REQUEST, "invalid_request", &refused.to_string())
        }
    }
}

/// Returns the token of a form; `None` if there is none, or more than one. Other parameters are
/// ignored (section 2.5).
fn token(form: &[u8]) -> Option<String> {
    let mut tokens = form_urlencoded::parse(form).filter(|(name, _)| name == PARAMETER);
    match (tokens.next(), tokens.next()) {
        (Some((_, token)), None) => Some(token.into_owned()),
        _ => None,
    }
}

/// Warns once if a logout names a session, but no token does.
fn warn_of_missing_sessions(issuer: &IssuerFeeds, orders: &[Ordered]) {
    let is_by_session = orders.iter().any(|order| order.claim == issuer.config.sid_at);
    if is_by_session && issuer.seen.reports_missing() {
        tracing::warn!(
            issuer = &*issuer.config.issuer_id,
            claim = issuer.config.sid_at,
            "a logout names a session, but no token of the issuer does; \
             logout_ends = \"user\" revokes all tokens of the user"
        );
    }
}
