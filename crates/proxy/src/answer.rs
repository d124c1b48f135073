//! The proxy's own answers, in RIG's words.

use auth::{Cors, TokenError};
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt;
use listener::{Body, NO_STORE, REQUEST_ID, new_request_id, retry_after, whole_body};
use session::Fencing;

use crate::access::Unauthenticated;
use crate::account::Account;
use crate::async_answer::AsyncAnswer;
use crate::in_flight::InSession;
use crate::rejection::Rejection;
use crate::relay::Whole;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

impl Rejection {
    fn text(&self) -> Bytes {
        Bytes::from_static(match self {
            Self::NotFound => br#"{"message":"Not Found"}"#,
            Self::Path(refusal) => return Bytes::from(refusal.to_string()),
            Self::Unauthenticated(_) | Self::Killed => b"Authentication failed.",
            Self::Forbidden => b"The claims of the token do not allow this request.",
            Self::ForeignPage => {
                b"The token came only by cookie, and the request is of a web page of another origin (Origin, \
                  Sec-Fetch-Site), or of a WebSocket without Origin."
            }
            Self::TooMany(_) => b"Too many requests.",
            Self::TooLarge => b"The request body is too large.",
            Self::ClientSilent => b"The request body did not arrive in time.",
            Self::ClientBroken => b"The request body is broken off.",
            Self::Unreachable | Self::ServiceSilent => b"Bad gateway.",
            Self::Full => b"Too many requests wait for an answer.",
            Self::Exhausted => b"Too many connections.",
            Self::Busy => b"The service takes no more requests at once.",
            Self::NoRoom => b"Too many bytes of requests wait in memory.",
            Self::NoAnswer => b"",
            Self::Invalid(text) => return Bytes::from(text.clone()),
            Self::BrokerUnavailable => b"The message broker cannot be reached.",
            Self::NoLease => b"The node has lost contact with the other nodes.",
            Self::NoKeys => b"The issuer of the token cannot be asked.",
        })
    }

    /// Returns the answer to a request with this `Origin`.
    ///
    /// RIG adds no CORS headers to `NotFound`, `Unreachable` and `ServiceSilent`. They are added
    /// here if there is an `Origin`: without them a page cannot tell such an answer from a broken
    /// network.
    pub(crate) fn answer(&self, cors: &Cors, origin: Option<&HeaderValue>) -> Response<Body> {
        let mut response = whole(self.status(), self.text());
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, NO_STORE);
        match self {
            Self::NotFound => drop(headers.insert(CONTENT_TYPE, JSON)),
            Self::Unauthenticated(Unauthenticated::Missing) => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Unauthenticated(reason) => challenge(headers, &reason.to_string()),
            Self::Killed => challenge(headers, "the session has ended"),
            Self::TooMany(seconds) => retry_after(headers, *seconds),
            Self::Full | Self::Exhausted | Self::Busy | Self::NoRoom | Self::BrokerUnavailable => {
                retry_after(headers, 1);
            }
            Self::NoLease => retry_after(headers, Fencing::RETRY_AFTER),
            Self::NoKeys => retry_after(headers, TokenError::RETRY_AFTER),
            Self::Path(_)
            | Self::Invalid(_)
            | Self::Forbidden
            | Self::ForeignPage
            | Self::TooLarge
            | Self::ClientSilent
            | Self::ClientBroken
            | Self::Unreachable
            | Self::ServiceSilent
            | Self::NoAnswer => {}
        }
        let bare_in_rig = matches!(self, Self::NotFound | Self::Unreachable | Self::ServiceSilent);
        if origin.is_some() || !bare_in_rig {
            allow(headers, (cors, origin), OF_SERVICES);
        }
        response
    }
}

/// Returns the answer to a preflight for a path with these methods.
pub(crate) fn preflight(asked: &HeaderMap, methods: &[Method], cors: &Cors) -> Response<Body> {
    let mut response = whole(StatusCode::NO_CONTENT, Bytes::new());
    let methods = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let methods = HeaderValue::from_str(&methods).expect("a method is a token");
    let headers = response.headers_mut();
    cors.allow(Cors::asking(asked), headers);
    Cors::preflight(asked, headers, methods.clone(), Cors::REQUEST_HEADERS);
    headers.insert(ALLOW, methods);
    response
}

/// Builds the response from an asynchronous answer. Its body holds the request's place in the
/// session, and its account, until all of it has been sent.
pub(crate) fn asynchronous(
    answer: AsyncAnswer,
    session: Option<InSession>,
    account: Account,
) -> Response<Body> {
    let length = answer.body.len();
    let mut response = Response::new(Whole::new(answer.body, session, account).boxed_unsync());
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    if length > 0 {
        // RIG sends it too. Set here, since the body is wrapped and hyper may not see its length.
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response.headers_mut().entry(REQUEST_ID).or_insert_with(new_request_id);
    response.headers_mut().remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
    response
}

/// Adds a challenge that names the fault of the token (RFC 6750, section 3), readable for pages
/// too. RIG's body is the same for all faults.
fn challenge(headers: &mut HeaderMap, reason: &str) {
    // The description allows no other characters (same section), but names of claims may contain
    // them.
    let is_allowed = |char: &char| matches!(char, ' '..='~') && !matches!(char, '"' | '\\');
    let reason: String = reason.chars().map(|char| if is_allowed(&char) { char } else { '?' }).collect();
    let challenge = format!(r#"Bearer error="invalid_token", error_description="{reason}""#);
    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_str(&challenge).expect("it is ASCII"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("www-authenticate"));
}

/// The request headers that RIG allows with its own answers at endpoints of HTTP services.
pub(crate) const OF_SERVICES: HeaderValue = HeaderValue::from_static("content-type");

/// The request headers that RIG allows with answers of endpoints whose target is a broker.
pub(crate) const OF_BROKERS: HeaderValue = HeaderValue::from_static("content-type,authorization");

/// Adds the CORS headers that RIG sends with its own answers.
pub(crate) fn allow(
    headers: &mut HeaderMap,
    (cors, origin): (&Cors, Option<&HeaderValue>),
    allowed: HeaderValue,
) {
    cors.allow(origin, headers);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
}

fn whole(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(whole_body(body));
    *response.status_mut() = status;
    response.headers_mut().insert(REQUEST_ID, new_request_id());
    response
}
