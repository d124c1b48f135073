//! `POST /_rig/v1/events`.

use auth::{CheckRequest, Sender, TokenError};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use listener::Body;

use crate::answer::{JSON, answer};
use crate::connect::authorization;
use crate::error::{ForeignPage, IdentityError, SubmitError};
use crate::identity::VerifiedTokens;
use crate::port::{InboundRequest, Shared};

pub(crate) async fn submit(shared: &Shared, asked: InboundRequest) -> Response<Body> {
    let origin = asked.origin();
    let response = match try_submit(shared, asked).await {
        Ok(accepted) => answer(StatusCode::ACCEPTED, JSON, accepted),
        Err(error) => error.answer(),
    };
    shared.with_cors(origin.as_ref(), response)
}

/// Publishes the events of a request and returns them as JSON: a single event as an object, a batch
/// as a list.
async fn try_submit(shared: &Shared, asked: InboundRequest) -> Result<Bytes, SubmitError> {
    let secure = asked.peer.secure;
    let (parts, body) = asked.request.into_parts();
    let (body, counted) = shared.read(body).await?;
    let submission = event::http::decode(&parts.headers, body.clone(), shared.config.extension_names)?;

    if shared.config.submission_check.is_asked() {
        let all: Vec<_> = shared.token_sources.credentials(&parts.headers, parts.uri.query()).collect();
        if !shared.trusts(&all, None, || Sender::of(&parts.uri, &parts.headers, secure)) {
            return Err(ForeignPage.into());
        }
        let credentials: Vec<_> = shared.authorization.credentials(&parts.headers, None).collect();
        let check = &shared.config.submission_check;
        let sessions = &shared.sessions;
        // The service does not know about revocations, so it is not asked about a token that the
        // gateway refuses.
        let identity = VerifiedTokens::verify(&credentials, &shared.verifier, sessions, check).await;
        let identity = identity.map_err(|error| match error {
            IdentityError::Token(TokenError::Unavailable) => SubmitError::NoKeys,
            _ => SubmitError::Denied,
        })?;
        let authorization = authorization(&parts.headers, &credentials);
        let request = CheckRequest {
            authorization: authorization.as_ref(),
            content_type: parts.headers.get(CONTENT_TYPE),
            body,
            token_valid: identity.is_known(),
        };
        shared.decide(check, &request, counted).await?.map_err(|_| SubmitError::Denied)?;
        // The token may have been revoked while the service decided.
        if identity.subjects.iter().any(|subject| sessions.bars(subject)) {
            return Err(SubmitError::Denied);
        }
    }

    Ok(shared.node.submit(submission).await?)
}
