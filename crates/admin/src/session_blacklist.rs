//! `session-blacklist`: revokes a session for some time, and reports whether one is revoked (RIG,
//! v2 and v3).

use std::time::Duration;

use axum::Extension;
use axum::extract::{OriginalUri, Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderMap, StatusCode};
use node::Reach;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use session::{Revocation, SessionName};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::Caller;
use crate::answer::RigError;
use crate::params::params;
use crate::port::Port;
use crate::v4::receipt_of;

/// How long to wait for the other nodes: clients of RIG give up after 5 s.
pub(crate) const BRIEFLY: Duration = Duration::from_secs(2);

/// The endpoints of the session blacklist.
pub(crate) fn router() -> OpenApiRouter<Port> {
    OpenApiRouter::new().routes(routes!(add)).routes(routes!(check))
}

/// The body of a request that blacklists a session.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "describes the body for the OpenAPI document; the parser names each fault itself"
)]
#[schema(example = json!({ "sessionId": "SomeSessionID123", "validityInSeconds": 60 }))]
pub(crate) struct BlacklistRequest {
    /// The name of the session: the value of the claim that `JWT_SESSION_FIELD` points to.
    #[schema(rename = "sessionId")]
    session_id: String,
    /// For how many seconds; a numeric string is accepted too. At least the remaining life of the
    /// session's tokens.
    #[schema(rename = "validityInSeconds")]
    validity_in_seconds: u64,
}

/// What is wrong with a request. If RIG refuses the same, the text is RIG's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum BlacklistFault {
    #[error("Missing value for {0:?}")]
    Missing(&'static str),
    #[error("Expected non-empty string, got {0}")]
    NotAString(String),
    #[error("Expected a positive number, got {0}")]
    NotPositive(String),
    #[error("Expected a number, got {0}")]
    NotANumber(String),
    #[error("Value for \"sessionId\" is not a session name: {0}")]
    NotAName(String),
}

impl From<BlacklistFault> for RigError {
    fn from(fault: BlacklistFault) -> Self {
        Self::Invalid(fault.to_string())
    }
}

/// Blacklists a session: it becomes illegal to use, and its connections are terminated before the
/// answer.
#[utoipa::path(
    post,
    path = "/session-blacklist",
    tag = "Session blacklist (RIG)",
    operation_id = "blacklist_session",
    request_body = BlacklistRequest,
    responses(
        (status = 201, description = "The session is blacklisted and its connections are terminated; in a cluster, \
                                      at every node"),
        (status = 202, description = "The same on this node; not confirmed by every node of the cluster within 2 s",
         headers(("location" = String, description = "The URL of the receipt, which says how far it has got"))),
        (status = 400, description = "A field is missing or wrong; the text names it"),
        (status = 415, description = "The body is neither JSON nor a form"),
        (status = 503, description = "The revocation could not be recorded"),
    )
)]
pub(crate) async fn add(
    State(port): State<Port>,
    Extension(caller): Extension<Caller>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, RigError> {
    let (name, validity) = parse(&params(&headers, &body)?)?;
    let encoded = utf8_percent_encode(name.as_ref(), NON_ALPHANUMERIC);
    let location = format!("{}/{encoded}", uri.path().trim_end_matches('/'));
    // Forced, because RIG does not check whether tokens outlive the revocation.
    let revocation = Revocation { by: caller.signs(None), ..Revocation::blacklist(&name, validity) };
    let receipt = receipt_of(&revocation.id);
    match port.node.revoke(revocation, true, BRIEFLY).await {
        Ok(outcome) => {
            let (status, location) = match outcome.spread().map(|spread| spread.reach) {
                None | Some(Reach::Complete) => (StatusCode::CREATED, location),
                Some(Reach::Pending | Reach::Queued) => (StatusCode::ACCEPTED, receipt),
            };
            Ok((status, [(LOCATION, location)], axum::Json(json!({}))).into_response())
        }
        Err(error) => {
            tracing::error!(%error, "session not blacklisted as asked");
            Err(RigError::NotRecorded)
        }
    }
}

/// Reports whether a session is blacklisted.
#[utoipa::path(
    get,
    path = "/session-blacklist/{sessionId}",
    tag = "Session blacklist (RIG)",
    operation_id = "session_is_blacklisted",
    params(("sessionId" = String, Path, description = "The name of the session")),
    responses(
        (status = 200, description = "The session is blacklisted"),
        (status = 404, description = "The session is not blacklisted"),
    )
)]
pub(crate) async fn check(State(port): State<Port>, Path(name): Path<String>) -> Result<Response, RigError> {
    match name.parse::<SessionName>() {
        Ok(name) if port.node.is_blacklisted(&name) => Ok(axum::Json(json!({})).into_response()),
        Ok(_) | Err(_) => Err(RigError::NotBlacklisted),
    }
}

fn parse(fields: &Map<String, Value>) -> Result<(SessionName, Duration), BlacklistFault> {
    let name = match fields.get("sessionId").ok_or(BlacklistFault::Missing("sessionId"))? {
        Value::String(name) if !name.is_empty() => name,
        other => return Err(BlacklistFault::NotAString(shown(other))),
    };
    let name = name.parse::<SessionName>().map_err(|error| BlacklistFault::NotAName(error.to_string()))?;
    let validity = fields.get("validityInSeconds").ok_or(BlacklistFault::Missing("validityInSeconds"))?;
    let seconds = match validity {
        Value::String(text) => {
            text.parse::<i128>().map_err(|_| BlacklistFault::NotANumber(shown(validity)))?
        }
        Value::Number(number) => match (number.as_u64(), json::whole(number)) {
            (Some(seconds), _) => seconds.into(),
            (None, Some(seconds)) => seconds.into(),
            (None, None) => return Err(BlacklistFault::NotANumber(shown(validity))),
        },
        other => return Err(BlacklistFault::NotPositive(shown(other))),
    };
    if seconds <= 0 {
        return Err(BlacklistFault::NotPositive(seconds.to_string()));
    }
    Ok((name, Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX))))
}

/// Formats a value as RIG does in its texts, cut off after 100 characters.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        other => other.to_string().chars().take(100).collect(),
    }
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_TYPE;

    use super::*;

    fn fault(body: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
        parse(&params(&headers, body.as_bytes()).unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn faults_are_worded_as_rig_does() {
        assert_eq!(fault(r#"{"validityInSeconds":60}"#), r#"Missing value for "sessionId""#);
        assert_eq!(fault(r#"{"sessionId":""}"#), r#"Expected non-empty string, got """#);
        assert_eq!(fault(r#"{"sessionId":5}"#), "Expected non-empty string, got 5");
        assert_eq!(fault(r#"{"sessionId":null}"#), "Expected non-empty string, got nil");
        assert_eq!(fault(r#"{"sessionId":"x"}"#), r#"Missing value for "validityInSeconds""#);
        for (given, text) in [
            ("0", "Expected a positive number, got 0"),
            ("-1", "Expected a positive number, got -1"),
            (r#""abc""#, r#"Expected a number, got "abc""#),
            (r#""1.5""#, r#"Expected a number, got "1.5""#),
            (r#""-5""#, "Expected a positive number, got -5"),
            ("null", "Expected a positive number, got nil"),
            ("true", "Expected a positive number, got true"),
            ("1.5", "Expected a number, got 1.5"),
        ] {
            assert_eq!(fault(&format!(r#"{{"sessionId":"x","validityInSeconds":{given}}}"#)), text);
        }
        assert_eq!(fault("[]"), r#"Missing value for "sessionId""#);
        assert_eq!(fault(""), r#"Missing value for "sessionId""#);
    }

    #[test]
    fn numbers_and_numeric_strings_are_taken() {
        for given in ["60", r#""60""#, "60.0", "6e1"] {
            let body: Value =
                serde_json::from_str(&format!(r#"{{"sessionId":"x","validityInSeconds":{given}}}"#)).unwrap();
            assert_eq!(parse(body.as_object().unwrap()).unwrap().1, Duration::from_secs(60));
        }
    }
}
