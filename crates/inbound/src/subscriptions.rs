//! `PUT /_rig/v1/connection/:transport/:token/subscriptions`.

use std::sync::Arc;

use auth::{CheckRequest, Sender, TokenError};
use bytes::Bytes;
use connection::{Connection, Located};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use hyper::body::Body as HttpBody;
use listener::{Body, BoxError};
use subscription::Subscription;

use crate::answer::empty;
use crate::connect::authorization;
use crate::error::{ForeignPage, IdentityError, SetError};
use crate::identity::VerifiedTokens;
use crate::port::{InboundRequest, Shared};
use crate::relay;

pub(crate) async fn replace(shared: &Shared, asked: InboundRequest, token: &str) -> Response<Body> {
    let origin = asked.origin();
    let response = match try_replace(shared, asked, token).await {
        Ok(response) => response,
        Err(error) => error.answer(),
    };
    shared.with_cors(origin.as_ref(), response)
}

async fn try_replace(
    shared: &Shared,
    asked: InboundRequest,
    token: &str,
) -> Result<Response<Body>, SetError> {
    let located = shared.hub.locate(token, b"").map_err(|_| SetError::ConnectionToken)?;
    let secure = asked.peer.secure;
    match located {
        Located::Here(found) => {
            let (parts, body) = asked.request.into_parts();
            set(shared, &found.ok_or(SetError::Gone)?, &parts.uri, &parts.headers, secure, body).await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        Located::Elsewhere(life) => relay::replace(shared, life, asked).await,
    }
}

/// Replaces the subscriptions of a connection at this node, for a client of this node or of another
/// one.
pub(crate) async fn set<B>(
    shared: &Shared,
    connection: &Arc<Connection>,
    uri: &Uri,
    headers: &HeaderMap,
    secure: bool,
    body: B,
) -> Result<(), SetError>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    accepts_json(headers)?;
    if !is_of_type(headers, "application/json") {
        let given = headers.get(CONTENT_TYPE).map_or("missing".into(), |v| format!("{v:?}"));
        return Err(SetError::ContentType(given));
    }
    let (body, counted) = shared.read(body).await?;
    let all: Vec<_> = shared.token_sources.credentials(headers, uri.query()).collect();
    if !shared.trusts(&all, None, || Sender::of(uri, headers, secure)) {
        return Err(ForeignPage.into());
    }
    let document = document::from_slice(&body).map_err(SetError::Json)?;
    let list = document.get("subscriptions").ok_or(SetError::NoSubscriptions)?;
    if !list.is_array() {
        return Err(SetError::NotAList);
    }
    let wanted = Subscription::parse_list(list, &shared.extractors)?;

    let credentials: Vec<_> = shared.authorization.credentials(headers, None).collect();
    let check = &shared.config.subscription_check;
    let identity = VerifiedTokens::verify(&credentials, &shared.verifier, &shared.sessions, check).await;
    if let Err(IdentityError::Token(TokenError::Unavailable)) = identity {
        return Err(SetError::NoKeys);
    }
    let authorization = authorization(headers, &credentials);
    let request = CheckRequest {
        authorization: authorization.as_ref(),
        content_type: headers.get(CONTENT_TYPE),
        body,
        token_valid: identity.as_ref().is_ok_and(VerifiedTokens::is_known),
    };
    shared.decide(check, &request, counted).await?.map_err(|_| SetError::Denied)?;
    let identity = identity?;

    let mut subscriptions = identity.subscriptions(&shared.extractors);
    subscriptions.extend(wanted);
    shared.node.want(subscriptions.iter().map(Subscription::event_type)).await;
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
