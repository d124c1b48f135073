//! What the listener answers itself: to heads that are too large, too slow, or no heads.

use std::net::SocketAddr;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use tokio::io::AsyncWriteExt;

use crate::app::{App, Body};
use crate::framing::{self, Fault, Framing, RawQuery};
use crate::limits::{Limits, Places};
use crate::metrics::RefusalReason;
use crate::own_answer::{retry_after, whole_body};
use crate::pace::Pace;
use crate::stream::Watched;

/// After an answer with it, the connection is closed.
pub(crate) const CLOSE: HeaderValue = HeaderValue::from_static("close");

static LOG: Pace = Pace::new();

/// A status alone.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// A status with its reason as text.
pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(whole_body(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The answer to a head that is larger than allowed (RFC 9110, section 15.5.15; RFC 6585, section 5), or is not what a head
/// should be; `followed` is what the framing of an HTTP/1 message says. The path of one
/// that is not refused is in its normal form.
pub(crate) fn of_head<B>(
    request: &mut Request<B>,
    limits: &Limits,
    followed: Result<Option<RawQuery>, Fault>,
) -> Option<Response<Body>> {
    let raw = match followed {
        Ok(raw) if raw.as_ref().is_none_or(|raw| raw.is_of(request.uri().query())) => raw,
        followed => return Some(followed.err().unwrap_or(Fault::Target).answer(request.version())),
    };
    let mut target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if let Some(raw) = raw {
        target = target + raw.as_bytes().len() - request.uri().query().map_or(0, str::len);
        request.extensions_mut().insert(raw);
    }
    let headers: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let too_large = if target > limits.request_line {
        TooLarge::Target
    } else if headers > limits.headers {
        TooLarge::Bytes
    } else if request.headers().len() > limits.header_fields {
        TooLarge::Fields
    } else {
        return framing::refusal(request);
    };
    let mut response = too_large.answer(limits);
    if request.version() < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, CLOSE);
    }
    Some(response)
}

/// Counts and logs a request that was refused for its head.
pub(crate) fn note(places: &Places, client: SocketAddr, status: StatusCode, reason: &str) {
    places.metrics().refused(RefusalReason::Head);
    if LOG.allows() {
        tracing::warn!(%client, status = status.as_u16(), reason, "request refused for its head");
    }
}

/// Which limit a head exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooLarge {
    Target,
    Bytes,
    Fields,
}

impl TooLarge {
    /// Names the limit, and the setting of it.
    fn answer(self, limits: &Limits) -> Response<Body> {
        let Limits { request_line, headers, header_fields, .. } = limits;
        match self {
            Self::Target => text(
                StatusCode::URI_TOO_LONG,
                format!("The request's target is longer than {request_line} bytes (MAX_REQUEST_LINE)."),
            ),
            Self::Bytes => text(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                format!("The request's headers are more than {headers} bytes (MAX_HEADER_BYTES)."),
            ),
            Self::Fields => text(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                format!("The request has more than {header_fields} header fields (MAX_HEADER_FIELDS)."),
            ),
        }
    }
}

/// The answer to a connection beyond a limit, as bytes of HTTP/1.1.
pub(crate) async fn no_place(app: &impl App, why: RefusalReason) -> Vec<u8> {
    let mut response = match why {
        RefusalReason::ConnectionsPerAddress => {
            text(StatusCode::TOO_MANY_REQUESTS, "Too many connections from your address.")
        }
        _ => text(StatusCode::SERVICE_UNAVAILABLE, "Too many connections."),
    };
    retry_after(response.headers_mut(), 5);
    encode(app, response).await
}

/// What is told to a client that speaks HTTP in clear on a port of HTTPS.
pub(crate) async fn in_clear(app: &impl App) -> Vec<u8> {
    let response = text(StatusCode::BAD_REQUEST, "This port speaks HTTPS, and the request came in clear.");
    encode(app, response).await
}

/// An answer to what is no request, as bytes of HTTP/1.1: after it the connection is to be closed.
async fn encode(app: &impl App, mut response: Response<Body>) -> Vec<u8> {
    app.complete(None, &mut response);
    let (mut head, body) = response.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let date = HeaderValue::from_str(&httpdate::fmt_http_date(SystemTime::now()));
    head.headers.insert(DATE, date.expect("a date is a header value"));
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    head.headers.insert(CONNECTION, CLOSE);
    let mut bytes = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes
}

/// Why there is no request to hand to the application; HTTP/1 only.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// The head did not arrive in time.
    Late,
    /// hyper could not parse it.
    Malformed(hyper::Error),
    /// It can be read in two ways, and hyper could not parse it either.
    Ambiguous(Fault),
    TooLarge(TooLarge),
}

impl Unreadable {
    /// What was wrong with a head that hyper would have answered with this status. `is_full`: it has filled the buffer.
    pub(crate) fn new(status: StatusCode, error: hyper::Error, framing: &Framing, is_full: bool) -> Self {
        match status {
            _ if let Some(fault) = framing.fault_of_next() => Self::Ambiguous(fault),
            StatusCode::URI_TOO_LONG => Self::TooLarge(TooLarge::Target),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::TooLarge(match is_full {
                true if framing.is_in_request_line() => TooLarge::Target,
                true => TooLarge::Bytes,
                false => TooLarge::Fields,
            }),
            _ => Self::Malformed(error),
        }
    }

    fn answer(&self, limits: &Limits) -> Response<Body> {
        match self {
            Self::Late => text(
                StatusCode::REQUEST_TIMEOUT,
                format!(
                    "The head of the request did not arrive within {:?} (HEAD_TIMEOUT).",
                    limits.head_timeout
                ),
            ),
            Self::Malformed(error) => {
                text(StatusCode::BAD_REQUEST, format!("The request cannot be read: {error}."))
            }
            Self::Ambiguous(fault) => fault.answer(Version::HTTP_11),
            Self::TooLarge(too_large) => too_large.answer(limits),
        }
    }

    /// Sends the answer, after which the connection is to be closed. A client that does not take it at once may not get all.
    pub(crate) async fn send(
        self,
        app: &impl App,
        to: &mut Watched,
        (places, client, limits): (&Places, SocketAddr, &Limits),
    ) {
        let response = self.answer(limits);
        let reason = match self {
            Self::Malformed(error) => error.to_string(),
            Self::Late => "the head did not arrive within HEAD_TIMEOUT".to_owned(),
            Self::Ambiguous(fault) => fault.to_string(),
            Self::TooLarge(_) => "the head is too large".to_owned(),
        };
        note(places, client, response.status(), &reason);
        // Fails only where the client is gone.
        let _ = to.write_all(&encode(app, response).await).await;
    }
}
