//! `PUT /_rig/v1/connection/:transport/:token/subscriptions`.

use auth::{CheckRequest, Sender};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use listener::Body;
use subscription::Subscription;

use crate::answer::empty;
use crate::connect::authorization;
use crate::error::{ForeignPage, SetError};
use crate::identity::VerifiedTokens;
use crate::port::{InboundRequest, Shared};

pub(crate) async fn replace(shared: &Shared, asked: InboundRequest, token: &str) -> Response<Body> {
    let origin = asked.origin();
    let response = match try_replace(shared, asked, token).await {
        Ok(()) => empty(StatusCode::NO_CONTENT),
        Err(error) => error.answer(),
    };
    shared.with_cors(origin.as_ref(), response)
}

async fn try_replace(shared: &Shared, asked: InboundRequest, token: &str) -> Result<(), SetError> {
    let connection = shared.hub.find(token).map_err(|_| SetError::ConnectionToken)?.ok_or(SetError::Gone)?;
    let secure = asked.peer.secure;
    let (parts, body) = asked.request.into_parts();
    accepts_json(&parts.headers)?;
    if !is_of_type(&parts.headers, "application/json") {
        let given = parts.headers.get(CONTENT_TYPE).map_or("missing".into(), |v| format!("{v:?}"));
        return Err(SetError::ContentType(given));
    }
    let (body, counted) = shared.read(body).await?;
    let all: Vec<_> = shared.token_sources.credentials(&parts.headers, parts.uri.query()).collect();
    if !shared.trusts(&all, None, || Sender::of(&parts.uri, &parts.headers, secure)) {
        return Err(ForeignPage.into());
    }
    let document = document::from_slice(&body).map_err(SetError::Json)?;
    let list = document.get("subscriptions").ok_or(SetError::NoSubscriptions)?;
    if !list.is_array() {
        return Err(SetError::NotAList);
    }
    let wanted = Subscription::parse_list(list, &shared.extractors)?;

    let credentials: Vec<_> = shared.authorization.credentials(&parts.headers, None).collect();
    let check = &shared.config.subscription_check;
    let identity = VerifiedTokens::verify(&credentials, &shared.verifier, &shared.sessions, check);
    let authorization = authorization(&parts.headers, &credentials);
    let request = CheckRequest {
        authorization: authorization.as_ref(),
        content_type: parts.headers.get(CONTENT_TYPE),
        body,
        token_valid: identity.as_ref().is_ok_and(VerifiedTokens::is_known),
    };
    shared.decide(check, &request, counted).await?.map_err(|_| SetError::Denied)?;
    let identity = identity?;

    let mut subscriptions = identity.subscriptions(&shared.extractors);
    subscriptions.extend(wanted);
    Ok(connection.set_subscriptions(&identity.subjects, &subscriptions)?)
}

/// Returns `true` if a request has this media type, whatever its parameters are.
fn is_of_type(headers: &HeaderMap, media_type: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(media_type.as_bytes())
}

/// Checks that the client accepts the media type of this endpoint (RIG: 406 otherwise). An element
/// that is not ASCII is not a media range and is ignored.
fn accepts_json(headers: &HeaderMap) -> Result<(), SetError> {
    let lines = headers.get_all(ACCEPT).iter();
    let elements = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut ranges = elements.filter(|element| element.is_ascii()).peekable();
    if ranges.peek().is_none() {
        return Ok(());
    }
    let takes = |range: &[u8]| {
        let media = range.split(|byte| *byte == b';').next().unwrap_or_default();
        matches!(media.trim_ascii(), b"*/*" | b"application/*" | b"application/json")
    };
    if ranges.any(takes) {
        return Ok(());
    }
    let given: Vec<_> = headers.get_all(ACCEPT).iter().map(HeaderValue::as_bytes).collect();
    Err(SetError::NotAcceptable(String::from_utf8_lossy(&given.join(&b", "[..])).into_owned()))
}
