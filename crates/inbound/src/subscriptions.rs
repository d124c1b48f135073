//! `PUT /_rig/v1/connection/{sse,ws,longpolling}/:token/subscriptions`.

use auth::{CheckRequest, Sender};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Response, StatusCode};
use listener::Body;
use percent_encoding::percent_decode_str;
use subscription::Subscription;

use crate::answer::{empty, text};
use crate::connect::{authorization, is_of_type};
use crate::error::{ForeignPage, SetError};
use crate::identity::Identity;
use crate::routes::{Asked, Shared};

/// The connection token in the path of this endpoint. Any transport's path takes any token (RIG).
pub(crate) fn connection_token(path: &str) -> Option<String> {
    let rest = path.strip_prefix("/_rig/v1/connection/")?.strip_suffix("/subscriptions")?;
    let (transport, token) = rest.split_once('/')?;
    let known = matches!(transport, "sse" | "ws" | "longpolling") && !token.contains('/');
    known.then(|| percent_decode_str(token).decode_utf8_lossy().into_owned())
}

pub(crate) async fn replace(shared: &Shared, asked: Asked, token: &str) -> Response<Body> {
    let origin = asked.origin();
    let response = match try_replace(shared, asked, token).await {
        Ok(()) => empty(StatusCode::NO_CONTENT),
        Err(error) => text(error.status(), error),
    };
    shared.with_cors(origin.as_ref(), response)
}

async fn try_replace(shared: &Shared, asked: Asked, token: &str) -> Result<(), SetError> {
    let connection = shared.hub.find(token).map_err(|_| SetError::ConnectionToken)?.ok_or(SetError::Gone)?;
    let secure = asked.peer.secure;
    let (parts, body) = asked.request.into_parts();
    accepts_anything_of_ours(&parts.headers)?;
    if !is_of_type(&parts.headers, "application/json") {
        let given = parts.headers.get(CONTENT_TYPE).map_or("missing".into(), |v| format!("{v:?}"));
        return Err(SetError::ContentType(given));
    }
    let (body, _held) = shared.read(body).await?;
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
    let identity = Identity::verify(&credentials, &shared.verifier, shared.hub.sessions(), check);
    let authorization = authorization(&parts.headers, &credentials);
    let request = CheckRequest {
        authorization: authorization.as_ref(),
        content_type: parts.headers.get(CONTENT_TYPE),
        body,
        token_valid: identity.as_ref().is_ok_and(Identity::is_known),
    };
    check.allows(&request).await.map_err(|_| SetError::Denied)?;
    let identity = identity?;

    let mut subscriptions = identity.subscriptions(&shared.extractors);
    subscriptions.extend(wanted);
    Ok(connection.set_subscriptions(&identity.subjects, &subscriptions)?)
}

/// Whether the client can take what this endpoint answers with (RIG: 406 where it cannot).
fn accepts_anything_of_ours(headers: &HeaderMap) -> Result<(), SetError> {
    let Some(accept) = headers.get(ACCEPT).and_then(|value| value.to_str().ok()) else { return Ok(()) };
    let takes = |range: &str| {
        let media = range.split(';').next().unwrap_or_default().trim();
        matches!(media, "*/*" | "application/*" | "application/json")
    };
    match accept.split(',').any(takes) {
        true => Ok(()),
        false => Err(SetError::NotAcceptable(accept.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_one_segment_of_the_path() {
        assert_eq!(connection_token("/_rig/v1/connection/ws/abc%3D/subscriptions").as_deref(), Some("abc="));
        assert_eq!(connection_token("/_rig/v1/connection/ws/a/b/subscriptions"), None);
        assert_eq!(connection_token("/_rig/v1/connection/other/abc/subscriptions"), None);
        assert_eq!(connection_token("/_rig/v1/connection/ws/subscriptions"), None);
    }
}
