//! Security events, pushed to `POST /_rig/v1/issuers/{id}/events` (RFC 8935) or fetched.

use std::fmt;

use auth::{Kind, TokenError};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use identity::{Effect, SetError, SetRefused, StreamStatus};
use listener::Body;

use crate::answer;
use crate::bearer::only_bearer;
use crate::check::{Asked, NotTaken, Unavailable};
use crate::feeds::Feeds;
use crate::issuer::IssuerFeeds;
use crate::metrics::{FeedName, StatementResult};

/// Why a security event is refused.
#[derive(Debug)]
pub(crate) enum EventRefused {
    /// The transmitter has not presented its bearer token.
    Transmitter,
    /// The body is no JWT.
    NotAToken,
    /// It is not signed as a security event of the issuer.
    Token(TokenError),
    /// A claim is wrong.
    Claim(SetRefused),
}

impl EventRefused {
    /// Returns the error code for the transmitter (RFC 8935, section 2.4).
    pub(crate) fn err(&self) -> &'static str {
        let err = match self {
            Self::Transmitter => SetError::AuthenticationFailed,
            Self::NotAToken => SetError::InvalidRequest,
            Self::Token(TokenError::Issuer) => SetError::InvalidIssuer,
            Self::Token(TokenError::Signature | TokenError::UnknownKey | TokenError::Encrypted) => {
                SetError::InvalidKey
            }
            Self::Token(_) => SetError::InvalidRequest,
            Self::Claim(refused) => refused.err,
        };
        err.as_str()
    }
}

impl fmt::Display for EventRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transmitter => f.write_str("the bearer token is missing or wrong"),
            Self::NotAToken => f.write_str("expected a signed JWT in its compact form"),
            Self::Token(error) => error.fmt(f),
            Self::Claim(refused) => refused.fmt(f),
        }
    }
}

/// Checks the token of the transmitter, if it must present one.
fn authenticate(issuer: &IssuerFeeds, headers: &HeaderMap) -> Result<(), NotTaken<EventRefused>> {
    match &issuer.bearer {
        None => Ok(()),
        // Transmitters do not repeat what is refused.
        Some(bearer) if bearer.current().is_none() => Err(NotTaken::Unavailable(Unavailable::NoToken)),
        Some(bearer) if only_bearer(headers).is_some_and(|given| bearer.is(given.as_bytes())) => Ok(()),
        Some(_) => Err(NotTaken::Refused(EventRefused::Transmitter)),
    }
}

/// Answers a pushed event: 202 once it is carried out and kept.
pub(crate) async fn answer(
    feeds: &Feeds,
    issuer: &IssuerFeeds,
    headers: &HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let result = match authenticate(issuer, headers) {
        Ok(()) => take(feeds, issuer, FeedName::Events, &body).await,
        Err(not_taken) => {
            let result = Err(not_taken);
            feeds.conclude(issuer, FeedName::Events, &result);
            result
        }
    };
    match result {
        Ok(_) => answer::empty(StatusCode::ACCEPTED),
        Err(NotTaken::Unavailable(reason)) => answer::unavailable(reason.text()),
        Err(NotTaken::Refused(refused)) => {
            issuer.slow_down().await;
            answer::set_error(refused.err(), &refused.to_string())
        }
    }
}

/// Takes a security event, wherever it comes from.
pub(crate) async fn take(
    feeds: &Feeds,
    issuer: &IssuerFeeds,
    feed: FeedName,
    token: &[u8],
) -> Result<StatementResult, NotTaken<EventRefused>> {
    let token = str::from_utf8(token).ok().map(str::trim_ascii);
    // Three parts, or the five of an encrypted one, which has an error of its own.
    let Some(token) = token.filter(|token| matches!(token.matches('.').count(), 2 | 4)) else {
        let refused = Err(NotTaken::Refused(EventRefused::NotAToken));
        feeds.conclude(issuer, feed, &refused);
        return refused;
    };
    feeds
        .state(issuer, feed, (token, Kind::SecurityEvent), |signed, now| {
            let signed = signed.map_err(EventRefused::Token)?;
            let (claims, header_type) = (&signed.claims, signed.header_type.as_deref());
            let effect = identity::security_event(claims, header_type, &issuer.config, now);
            Ok(match effect.map_err(EventRefused::Claim)? {
                Effect::Revoke(orders) => Asked::Revoke(orders),
                Effect::Unmapped => Asked::Nothing(StatementResult::Unmapped),
                Effect::StreamUpdated(status) => {
                    note_stream(feeds, issuer, status);
                    Asked::Nothing(StatementResult::Ignored)
                }
                Effect::Ignored | Effect::Verified => Asked::Nothing(StatementResult::Ignored),
            })
        })
        .await
}

/// Logs that a stream has changed. While it is paused or disabled, revocations do not come.
fn note_stream(feeds: &Feeds, issuer: &IssuerFeeds, status: StreamStatus) {
    let id = &issuer.config.issuer_id;
    let status = match status {
        StreamStatus::Enabled => {
            tracing::info!(issuer = &**id, "the stream of security events is enabled");
            return;
        }
        StreamStatus::Paused => "paused",
        StreamStatus::Disabled => "disabled",
    };
    feeds.metrics.stopped(id);
    tracing::error!(issuer = &**id, status, "the transmitter has stopped the stream of security events");
}
