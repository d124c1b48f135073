//! `responses`: a service answers a proxied request that waits for it (RIG: `response_from:
//! http_async`).
//!
//! In v3 the request itself is the answer: two headers contain the token of the waiting request and
//! the status, and the rest is forwarded to the client. In v2 it is a CloudEvent with both in its
//! member `rig`.

mod relay;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use document::JsonError;
use event::{Event, EventError};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proxy::{AsyncAnswer, DeliverError};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::RigError;
use crate::port::Port;

pub(crate) use relay::AnswersOfPeers;

const CORRELATION: HeaderName = HeaderName::from_static("rig-correlation");
const RESPONSE_CODE: HeaderName = HeaderName::from_static("rig-response-code");

/// The endpoint of v3.
pub(crate) fn router() -> OpenApiRouter<Port> {
    OpenApiRouter::new().routes(routes!(answer))
}

/// The endpoint of v2.
pub(crate) fn router_v2() -> OpenApiRouter<Port> {
    OpenApiRouter::new().routes(routes!(answer_by_event))
}

/// Why an answer is refused. RIG's text comes first; details that RIG does not report follow in
/// parentheses.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum ResponseFault {
    #[error("{{:error, :not_a_cloud_event}} ({0})")]
    NotAnEvent(EventError),
    #[error(":error ({0} is missing)")]
    Missing(&'static str),
    #[error(":error ({0} must be {1})")]
    Wrong(&'static str, &'static str),
    #[error("{{:error, {{:not_an_integer, {0}}}}}")]
    NotAnInteger(String),
}

/// An answer, and the token of the request that waits for it.
#[derive(Debug, PartialEq, Eq)]
struct Correlated {
    token: String,
    answer: AsyncAnswer,
}

/// Answers a waiting request with this one's body and headers.
///
/// Passed on to the client are Content-Type, Content-Encoding, Content-Language, Cache-Control,
/// Set-Cookie, Location, ETag, Last-Modified, Vary, and headers that begin with X-, except
/// X-Forwarded-*, X-Real-IP and X-Request-ID.
#[utoipa::path(
    post,
    path = "/responses",
    tag = "Responses (RIG)",
    params(
        ("rig-correlation" = String, Header, description = "The value of `correlation` in the query that the service got"),
        ("rig-response-code" = u16, Header, description = "The status for the client, from 200 to 599"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The body, verbatim"),
    responses(
        (status = 202, description = "The request is answered", body = String),
        (status = 400, description = "A header is missing or wrong; the text names it", body = String),
        (status = 410, description = "The request was answered before, has timed out, or its client has gone", body = String),
    )
)]
pub(crate) async fn answer(
    State(port): State<Port>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, RigError> {
    hand_over(&port, from_headers(&headers, body)?).await
}

/// Answers a waiting request with a CloudEvent, which is the body that the client gets.
///
/// Its member `rig` contains `correlation`, the value of that parameter in the query that the
/// service got, and optionally `response_code`, the status for the client: 200 to 599, 200 by
/// default.
#[utoipa::path(
    post,
    path = "/responses",
    tag = "Responses (RIG)",
    request_body(content = Object, content_type = "application/cloudevents+json"),
    responses(
        (status = 202, description = "The request is answered", body = String),
        (status = 400, description = "The body is not a CloudEvent, or its `rig` is invalid; the text says why", body = String),
        (status = 410, description = "The request was answered before, has timed out, or its client has gone", body = String),
    )
)]
pub(crate) async fn answer_by_event(State(port): State<Port>, body: Bytes) -> Result<Response, RigError> {
    hand_over(&port, from_event(body)?).await
}

async fn hand_over(port: &Port, Correlated { token, answer }: Correlated) -> Result<Response, RigError> {
    match port.waiting.elsewhere(&token)? {
        None => port.waiting.deliver(&token, answer)?,
        Some(life) => relay::deliver(port, life, &token, answer).await?,
    }
    Ok((StatusCode::ACCEPTED, "message sent to correlated reverse proxy request").into_response())
}

impl From<ResponseFault> for RigError {
    fn from(fault: ResponseFault) -> Self {
        Self::Invalid(format!("Failed to parse request body: {fault}"))
    }
}

impl From<DeliverError> for RigError {
    fn from(error: DeliverError) -> Self {
        match error {
            DeliverError::Gone => Self::Gone(error.to_string()),
            DeliverError::NotBase64 | DeliverError::Invalid => {
                Self::Invalid(format!("Failed to parse request body: {error}"))
            }
        }
    }
}

fn from_headers(given: &HeaderMap, body: Bytes) -> Result<Correlated, ResponseFault> {
    let text = |name: HeaderName, or| {
        let mut values = given.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Err(ResponseFault::Missing(or)),
            (Some(value), None) => Ok(String::from_utf8_lossy(value.as_bytes())),
            (Some(_), Some(_)) => Err(ResponseFault::Wrong(or, "given once")),
        }
    };
    let token = text(CORRELATION, "the header rig-correlation")?.into_owned();
    let code = text(RESPONSE_CODE, "the header rig-response-code")?;
    let status = status("the header rig-response-code", &Value::String(code.into_owned()))?;
    Ok(Correlated { token, answer: AsyncAnswer::new(status, given, body) })
}

fn from_event(body: Bytes) -> Result<Correlated, ResponseFault> {
    /// The member `rig`, parsed separately from the envelope of the event.
    #[derive(Deserialize)]
    struct RigMember<'a> {
        #[serde(borrow)]
        rig: Option<&'a RawValue>,
    }
    let event = Event::from_json(event::http::unmarked(body)).map_err(ResponseFault::NotAnEvent)?;
    let members: RigMember<'_> = serde_json::from_slice(event.json()).expect("an event is a JSON object");
    let rig = members.rig.map_or(Ok(Value::Null), |rig| document::from_str(rig.get()));
    let rig = match rig {
        Ok(Value::Null) => return Err(ResponseFault::Missing("rig")),
        Ok(Value::Object(rig)) => rig,
        Err(JsonError::Duplicate { .. }) => {
            return Err(ResponseFault::Wrong("rig", "an object with each member once"));
        }
        _ => return Err(ResponseFault::Wrong("rig", "an object")),
    };
    let token = match rig.get("correlation") {
        None | Some(Value::Null) => return Err(ResponseFault::Missing("rig.correlation")),
        Some(Value::String(token)) => token.clone(),
        Some(_) => return Err(ResponseFault::Wrong("rig.correlation", "a text")),
    };
    let status = match rig.get("response_code") {
        None | Some(Value::Null) => StatusCode::OK,
        Some(code) => status("rig.response_code", code)?,
    };
    let json = HeaderValue::from_static("application/json");
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, json)]);
    let answer = AsyncAnswer::new(status, &headers, event.json().clone());
    Ok(Correlated { token, answer })
}

/// Parses a final status: an integer, or a string with one.
fn status(field: &'static str, code: &Value) -> Result<StatusCode, ResponseFault> {
    let integer = match code {
        Value::String(text) => text.parse::<i128>().ok(),
        Value::Number(number) => number.as_i64().map(i128::from),
        _ => None,
    };
    let integer =
        integer.ok_or_else(|| ResponseFault::NotAnInteger(code.to_string().chars().take(100).collect()))?;
    let status = u16::try_from(integer).ok().filter(|code| (200..600).contains(code));
    status
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(ResponseFault::Wrong(field, "a status from 200 to 599"))
}

#[cfg(test)]
mod tests;
