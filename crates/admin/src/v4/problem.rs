//! Errors of `/v4` as problem details (RFC 9457): the only place that maps them to a status and a
//! text.

use auth::TokenError;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use listener::BodyError;
use node::{NoQuorum, NotLifted, NotRevoked};
use proxy::{Revision, StoreError};
use serde::Serialize;
use session::{ClaimError, LogError, RevokeError};
use utoipa::ToSchema;

use crate::access::{Denied, Right};
use crate::aside::TaskPanicked;
use crate::turned_away::TurnedAway;

/// The media type of a problem.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// One place where a request is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Fault)]
pub(crate) struct InvalidPlace {
    /// The member of the body, a JSON Pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pointer: Option<String>,
    /// The parameter of the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameter: Option<String>,
    /// What is wrong, or what is expected.
    pub(crate) detail: String,
}

impl InvalidPlace {
    /// Creates a fault of a member of the body.
    pub(crate) fn of_member(name: &str, detail: impl Into<String>) -> Self {
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        Self { pointer: Some(pointer), parameter: None, detail: detail.into() }
    }

    /// Creates a fault of the whole body.
    pub(crate) fn of_body(detail: impl Into<String>) -> Self {
        Self { pointer: Some(String::new()), parameter: None, detail: detail.into() }
    }

    /// Creates a fault of a parameter in the path or the query.
    pub(crate) fn of_parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: None, parameter: Some(name.into()), detail: detail.into() }
    }

    /// Returns the position and the fault in one line.
    fn shown(&self) -> String {
        let place = self.parameter.as_deref().or(self.pointer.as_deref()).unwrap_or_default();
        let place = place.strip_prefix('/').unwrap_or(place);
        if place.is_empty() { self.detail.clone() } else { format!("{place}: {}", self.detail) }
    }
}

/// Why the token in a request to revoke it is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenFault {
    /// It is invalid.
    #[error("{0}")]
    Invalid(#[from] TokenError),
    /// It names no session.
    #[error("it names no session: {0}")]
    NoSession(#[from] ClaimError),
}

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum Problem {
    /// Nothing of this kind has the given name.
    NotFound(&'static str),
    /// The path does not support the method.
    Method,
    /// The media type of the body is not JSON.
    MediaType,
    /// The body has a content coding.
    Coded,
    /// The body cannot be read.
    Body(BodyError),
    /// The body is not JSON.
    NotJson(String),
    /// Members or parameters are wrong.
    Faults(Vec<InvalidPlace>),
    /// The token in the body is invalid, or names no session.
    Token(TokenFault),
    /// The keys of the issuer of the token to revoke cannot be fetched.
    NoKeys,
    /// The revocation is refused, or is not recorded.
    Revoke(RevokeError),
    /// The revocation is not accepted, because too many wait for the cluster already.
    QueueFull,
    /// The revocation is in force here, and the cluster has not stored it, as required.
    NotInCluster,
    /// The log cannot be read.
    Unreadable(LogError),
    /// The lift may not have been stored.
    NotLifted(NotLifted),
    /// The definitions of APIs have this revision, not the one that the caller names.
    Outdated(Revision),
    /// Definitions of APIs could not be stored.
    NotStored(StoreError),
    /// The caller is not known, or has not the right.
    Denied(Denied),
    /// The request comes from a web page, or names a host that is not the port's.
    TurnedAway(TurnedAway),
    /// The node failed.
    Failed,
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        Self::Revoke(error)
    }
}

impl From<NotRevoked> for Problem {
    fn from(failure: NotRevoked) -> Self {
        match failure {
            NotRevoked::Refused(error) => Self::Revoke(error),
            NotRevoked::QueueFull => Self::QueueFull,
            NotRevoked::Panicked(error) => {
                tracing::error!(%error, "a revocation failed");
                Self::Failed
            }
        }
    }
}

/// A problem in JSON.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem, example = json!({
    "type": "urn:rig:problem:validity-too-short", "title": "Unprocessable Entity", "status": 422,
    "detail": "it ends before the token of an open connection does, which lasts 3599 seconds more",
    "neededInSeconds": 3599
}))]
pub(crate) struct ProblemDocument {
    /// The kind of problem: `about:blank` if the status is sufficient, else `urn:rig:problem:`
    /// followed by `invalid-request`, `invalid-token`, `keys-unavailable`, `id-in-use`,
    /// `too-many-revocations`, `validity-too-short`, `not-recorded`, `not-stored`,
    /// `changed-meanwhile`, `not-in-cluster`, `queue-full`, `no-quorum` or `missing-right`.
    r#type: String,
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// What is wrong with this request.
    detail: String,
    /// All faults, if the request is wrong in several places.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<InvalidPlace>,
    /// The validity that would be sufficient, if the given one is too short.
    #[serde(skip_serializing_if = "Option::is_none")]
    needed_in_seconds: Option<u64>,
    /// The right that the caller would need, if it has not all rights.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_right: Option<Right>,
}

impl From<TaskPanicked> for Problem {
    fn from(TaskPanicked: TaskPanicked) -> Self {
        Self::Failed
    }
}

impl Problem {
    /// The answer for a path that does not exist.
    pub(crate) const NOTHING_HERE: Self = Self::NotFound("there is nothing at this path");

    /// Creates a problem with one fault.
    pub(crate) fn fault(fault: InvalidPlace) -> Self {
        Self::Faults(vec![fault])
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType | Self::Coded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Body(error) => error.status(),
            Self::NotJson(_) | Self::Faults(_) => StatusCode::BAD_REQUEST,
            Self::Token(_) | Self::Revoke(RevokeError::TooShort { .. }) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Revoke(RevokeError::Conflict | RevokeError::TooMany) | Self::Outdated(_) => {
                StatusCode::CONFLICT
            }
            Self::Revoke(RevokeError::Log(_))
            | Self::QueueFull
            | Self::NotInCluster
            | Self::Unreadable(_)
            | Self::NotLifted(_)
            | Self::NotStored(_)
            | Self::NoKeys
            | Self::Failed => StatusCode::SERVICE_UNAVAILABLE,
            Self::Denied(denied) => denied.status(),
            Self::TurnedAway(reason) => reason.status(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::NotJson(_) | Self::Faults(_) => "urn:rig:problem:invalid-request",
            Self::Token(_) => "urn:rig:problem:invalid-token",
            Self::NoKeys => "urn:rig:problem:keys-unavailable",
            Self::Revoke(RevokeError::Conflict) => "urn:rig:problem:id-in-use",
            Self::Revoke(RevokeError::TooMany) => "urn:rig:problem:too-many-revocations",
            Self::Revoke(RevokeError::TooShort { .. }) => "urn:rig:problem:validity-too-short",
            Self::Revoke(RevokeError::Log(_)) => "urn:rig:problem:not-recorded",
            Self::NotLifted(NotLifted::NoQuorum(_)) => "urn:rig:problem:no-quorum",
            Self::QueueFull => "urn:rig:problem:queue-full",
            Self::NotInCluster => "urn:rig:problem:not-in-cluster",
            Self::NotStored(_) => "urn:rig:problem:not-stored",
            Self::Outdated(_) => "urn:rig:problem:changed-meanwhile",
            Self::Denied(Denied::Right { .. }) => "urn:rig:problem:missing-right",
            Self::NotFound(_)
            | Self::Method
            | Self::MediaType
            | Self::Coded
            | Self::Body(_)
            | Self::Unreadable(_)
            | Self::NotLifted(NotLifted::Log(_))
            | Self::Denied(_)
            | Self::TurnedAway(_)
            | Self::Failed => "about:blank",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::NotFound(what) => (*what).to_owned(),
            Self::Method => "the allow header names the methods of this path".to_owned(),
            Self::MediaType => "expected a body of content-type application/json".to_owned(),
            Self::Coded => listener::CODED.to_owned(),
            Self::Body(error) => error.to_string(),
            Self::NotJson(place) => format!("the body is not JSON: {place}"),
            Self::Faults(faults) => faults.iter().map(InvalidPlace::shown).collect::<Vec<_>>().join("; "),
            Self::Token(fault) => format!("jwt: {fault}"),
            Self::NoKeys => format!("jwt: {}", TokenError::Unavailable),
            Self::Revoke(RevokeError::Log(_)) => {
                "in force until the process ends, and its connections are terminated; it could not be recorded, and \
                 may not survive a restart"
                    .to_owned()
            }
            Self::Revoke(error) => error.to_string(),
            Self::QueueFull => NotRevoked::QueueFull.to_string(),
            Self::NotInCluster => {
                "in force on this node, and stored there; the cluster has not stored it, and gets it when it can be \
                 reached again"
                    .to_owned()
            }
            Self::Unreadable(_) => "the revocation log cannot be read".to_owned(),
            Self::NotLifted(NotLifted::Log(_)) => {
                "the revocation log could not record it: it stays in force".to_owned()
            }
            Self::NotLifted(NotLifted::NoQuorum(NoQuorum { may_follow: false })) => {
                "the cluster could not store it: the revocation stays in force".to_owned()
            }
            Self::NotLifted(NotLifted::NoQuorum(NoQuorum { may_follow: true })) => {
                "the cluster did not say in time whether it has stored it: the revocation is in force, and the lift \
                 may still take effect"
                    .to_owned()
            }
            Self::Outdated(present) => {
                format!("the definitions were changed meanwhile: their revision is {} now", present.0)
            }
            Self::NotStored(StoreError::NotReady { reason }) => {
                format!("{reason}; the definitions before are in force")
            }
            Self::NotStored(_) => "the definitions could not be stored: those before are in force".to_owned(),
            Self::Denied(denied) => denied.to_string(),
            Self::TurnedAway(reason) => reason.to_string(),
            Self::Failed => "the gateway could not do it; its log says why".to_owned(),
        }
    }

    /// Returns the problem in JSON.
    pub(crate) fn document(&self) -> ProblemDocument {
        let status = self.status();
        let errors = match self {
            Self::Faults(faults) => faults.clone(),
            Self::Token(fault) => vec![InvalidPlace::of_member("jwt", fault.to_string())],
            _ => Vec::new(),
        };
        let needed_in_seconds = match self {
            Self::Revoke(RevokeError::TooShort { needed }) => Some(needed.as_secs()),
            _ => None,
        };
        ProblemDocument {
            r#type: self.kind().to_owned(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: self.detail(),
            errors,
            needed_in_seconds,
            missing_right: match self {
                Self::Denied(denied) => denied.missing_right(),
                _ => None,
            },
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if let Self::Unreadable(error) | Self::NotLifted(NotLifted::Log(error)) = &self {
            tracing::error!(%error, "the revocation log failed");
        }
        if let Self::NotStored(error) = &self {
            tracing::error!(%error, "definitions of APIs could not be stored");
        }
        let mut response = (self.status(), axum::Json(self.document())).into_response();
        let (challenge, seconds) = match &self {
            Self::Denied(denied) => (denied.challenge(), denied.retry_after()),
            Self::NoKeys => (None, Some(TokenError::RETRY_AFTER)),
            problem if problem.status() == StatusCode::SERVICE_UNAVAILABLE => (None, Some(1)),
            _ => (None, None),
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some(challenge) = challenge {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_refusal_has_its_status_and_kind() {
        let log = || LogError("disk full at /secret/path".into());
        let shown = |problem: Problem| {
            let document = problem.document();
            assert!(!document.detail.contains("/secret"), "{}", document.detail);
            format!("{} {}", document.status, document.r#type)
        };
        assert_eq!(shown(Problem::Revoke(RevokeError::Conflict)), "409 urn:rig:problem:id-in-use");
        assert_eq!(shown(Problem::Revoke(RevokeError::TooMany)), "409 urn:rig:problem:too-many-revocations");
        assert_eq!(shown(Problem::Revoke(RevokeError::Log(log()))), "503 urn:rig:problem:not-recorded");
        assert_eq!(shown(Problem::QueueFull), "503 urn:rig:problem:queue-full");
        assert_eq!(shown(Problem::NotInCluster), "503 urn:rig:problem:not-in-cluster");
        assert_eq!(shown(Problem::Unreadable(log())), "503 about:blank");
        assert_eq!(shown(Problem::NotLifted(log().into())), "503 about:blank");
        assert_eq!(
            shown(Problem::NotLifted(NoQuorum { may_follow: true }.into())),
            "503 urn:rig:problem:no-quorum"
        );
        let error = std::io::Error::other("disk full");
        let store = StoreError::Io { name: "/secret/path".to_owned(), error };
        assert_eq!(shown(Problem::NotStored(store)), "503 urn:rig:problem:not-stored");
        let not_ready = Problem::NotStored(StoreError::NotReady { reason: "not joined".to_owned() });
        assert_eq!(not_ready.detail(), "not joined; the definitions before are in force");
        assert_eq!(shown(not_ready), "503 urn:rig:problem:not-stored");
        assert_eq!(shown(Problem::Token(TokenError::Expired.into())), "422 urn:rig:problem:invalid-token");
        assert_eq!(shown(Problem::NoKeys), "503 urn:rig:problem:keys-unavailable");
        let header = |problem: Problem| problem.into_response().headers()[RETRY_AFTER].clone();
        assert_eq!(
            (header(Problem::NoKeys), header(Problem::QueueFull)),
            ("5".parse().unwrap(), "1".parse().unwrap())
        );
    }

    #[test]
    fn the_time_needed_is_a_member() {
        let problem = Problem::Revoke(RevokeError::TooShort { needed: Duration::from_secs(90) });
        let document = serde_json::to_value(problem.document()).unwrap();
        assert_eq!(document["neededInSeconds"], 90);
        assert_eq!(document["status"], 422);
        assert!(document.get("errors").is_none(), "{document}");
    }

    #[test]
    fn pointers_are_escaped() {
        assert_eq!(InvalidPlace::of_member("a/b~c", "x").pointer.as_deref(), Some("/a~1b~0c"));
        assert_eq!(InvalidPlace::of_body("needed").shown(), "needed");
        assert_eq!(InvalidPlace::of_parameter("limit", "too large").shown(), "limit: too large");
    }
}
