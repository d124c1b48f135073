//! Errors of `/v2` and `/v3`, and of every path outside of `/v4`, in RIG's words: the one place
//! that gives them a status.

use axum::Json;
use axum::response::{IntoResponse, Response};
use event::http::DecodeError;
use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use listener::{BodyError, CODED, retry_after};
use node::TooLarge;
use serde_json::{Value, json};

use crate::access::Denied;
use crate::aside::TaskPanicked;
use crate::params::Unread;
use crate::turned_away::TurnedAway;

/// Why a request fails.
#[derive(Debug)]
pub(crate) enum RigError {
    /// The path does not exist, or does not support the method.
    NotFound,
    /// The caller is not known, or has not the right.
    Denied(Denied),
    /// The request comes from a web page, or names a host that is not the port's.
    TurnedAway(TurnedAway),
    /// The body has a content coding.
    Coded,
    /// The body cannot be read.
    Body(BodyError),
    /// The body does not match its media type.
    Unread(Unread),
    /// A member, a header or a parameter is wrong; the text names it and the reason.
    Invalid(String),
    /// The session is not blacklisted.
    NotBlacklisted,
    /// The revocation is in force, but not recorded.
    NotRecorded,
    /// The body is not a CloudEvent.
    NotAnEvent(DecodeError),
    /// An event does not fit into the outbox of its receivers.
    TooLarge(TooLarge),
    /// No request waits for this answer.
    Gone(String),
    /// The request waits at another node, which does not answer.
    NodeSilent,
    /// The id of the definition is taken.
    ApiExists(String),
    /// No definition has this id.
    ApiMissing(String),
    /// The definition is invalid. Holds the faults, by what they belong to.
    ApiInvalid(Value),
    /// The change of a definition could not be stored.
    ApiNotStored,
    /// No change of a definition can be stored for now. Holds the reason.
    ApiNotReady(String),
    /// The node failed.
    Failed,
}

impl RigError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound | Self::NotBlacklisted | Self::ApiMissing(_) => StatusCode::NOT_FOUND,
            Self::Denied(denied) => denied.status(),
            Self::TurnedAway(reason) => reason.status(),
            Self::Coded | Self::Unread(Unread::MediaType) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Body(error) => error.status(),
            Self::NotAnEvent(error) => error.status(),
            Self::Unread(Unread::Malformed | Unread::Duplicate(_))
            | Self::Invalid(_)
            | Self::ApiInvalid(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Gone(_) => StatusCode::GONE,
            Self::ApiExists(_) => StatusCode::CONFLICT,
            Self::NotRecorded
            | Self::NodeSilent
            | Self::ApiNotStored
            | Self::ApiNotReady(_)
            | Self::Failed => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns the body: text, or one of RIG's three forms of JSON.
    fn body(self) -> Response {
        let text = |text: String| text.into_response();
        let detail = |detail: &str| Json(json!({ "errors": { "detail": detail } })).into_response();
        let message = |message: &str| Json(json!({ "message": message })).into_response();
        match self {
            Self::NotFound => detail("Not found"),
            // In RIG's words; only v4 says why a token is refused.
            Self::Denied(denied) if denied.status() == StatusCode::UNAUTHORIZED => detail("Unauthorized"),
            Self::Denied(denied) => detail(&denied.to_string()),
            Self::TurnedAway(reason) => detail(&reason.to_string()),
            Self::Unread(Unread::MediaType | Unread::Malformed) => detail("Bad request"),
            Self::Unread(Unread::Duplicate(place)) => detail(&format!("Bad request: {place}")),
            Self::Coded => CODED.into_response(),
            Self::Body(error) => text(error.to_string()),
            Self::NotAnEvent(error) => text(error.to_string()),
            Self::TooLarge(error) => text(error.to_string()),
            Self::Invalid(fault) | Self::Gone(fault) => text(fault),
            Self::NotBlacklisted => "Not found.".into_response(),
            Self::NotRecorded => "The revocation could not be recorded.".into_response(),
            Self::NodeSilent => "The node at which the request waits does not answer.".into_response(),
            Self::ApiExists(error) | Self::ApiMissing(error) => message(&error),
            Self::ApiInvalid(faults) => Json(faults).into_response(),
            Self::ApiNotStored => message("The change could not be stored, and was not made."),
            Self::ApiNotReady(reason) => message(&format!("The change was not made: {reason}.")),
            Self::Failed => message("The gateway could not do it; its log says why."),
        }
    }
}

impl From<TaskPanicked> for RigError {
    fn from(TaskPanicked: TaskPanicked) -> Self {
        Self::Failed
    }
}

impl From<Unread> for RigError {
    fn from(unread: Unread) -> Self {
        Self::Unread(unread)
    }
}

impl IntoResponse for RigError {
    fn into_response(self) -> Response {
        let status = self.status();
        let (challenge, seconds) = match &self {
            Self::Denied(denied) => (denied.challenge(), denied.retry_after()),
            Self::NodeSilent => (None, Some(1)),
            _ => (None, None),
        };
        let mut response = self.body();
        *response.status_mut() = status;
        if let Some(seconds) = seconds {
            retry_after(response.headers_mut(), seconds);
        }
        if let Some(challenge) = challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
