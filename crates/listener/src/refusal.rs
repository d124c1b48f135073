//! The listener's own answers: to heads that are too large, too slow, or malformed.

use std::net::SocketAddr;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use tokio::io::AsyncWriteExt;

use crate::app::App;
use crate::body::Body;
use crate::framing::{self, Framing, MessageFault, RawQuery};
use crate::limits::{Limits, Places};
use crate::log_limiter::LogLimiter;
use crate::metrics::RefusalReason;
use crate::own_answer::{retry_after, whole_body};
use crate::path::{self, PathFault};
use crate::stream::Watched;

/// `Connection` of an answer after which the connection is closed.
pub(crate) const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// `Allow` of an answer that refuses a method, which must name those that are supported (RFC 9110,
/// section 15.5.6).
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

static LOG: LogLimiter = LogLimiter::new();

/// Returns an answer with a status only.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// Returns an answer with a status, and its reason as text.
pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(whole_body(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Returns the answer to a head that is too large (RFC 9110, section 15.5.15; RFC 6585, section 5)
/// or malformed; `followed` is the result of [`Framing::next_head`] for an HTTP/1 message. `None`
/// if the head is accepted; its path is then in normal form.
pub(crate) fn of_head<B>(
    request: &mut Request<B>,
    limits: &Limits,
    followed: Result<Option<RawQuery>, MessageFault>,
) -> Option<Response<Body>> {
    let raw = match followed {
        Ok(raw) if raw.as_ref().is_none_or(|raw| raw.is_of(request.uri().query())) => raw,
        followed => return Some(answer(followed.err().unwrap_or(MessageFault::Target), request.version())),
    };
    let mut target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if let Some(raw) = raw {
        target = target + raw.as_bytes().len() - request.uri().query().map_or(0, str::len);
        request.extensions_mut().insert(raw);
    }
    let headers: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let too_large = if target > limits.request_line {
        HeadLimit::Target
    } else if headers > limits.headers {
        HeadLimit::Bytes
    } else if request.headers().len() > limits.header_fields {
        HeadLimit::Fields
    } else {
        return of_fields(request);
    };
    Some(closing_http1(too_large.answer(limits), request.version()))
}

/// Returns the answer to a request that is refused whatever its target is. Otherwise normalizes the
/// path of the request and returns `None`.
fn of_fields<B>(request: &mut Request<B>) -> Option<Response<Body>> {
    let response = match *request.method() {
        // TRACE would reveal the headers that proxies have added (RFC 9110, section 9.3.8). RIG
        // answers without a text.
        Method::TRACE => empty(StatusCode::NOT_IMPLEMENTED),
        Method::CONNECT => {
            let reason = format!("The method {} is not supported.", request.method());
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, reason);
            response.headers_mut().insert(ALLOW, METHODS);
            response
        }
        _ => {
            let fault =
                framing::fault(request).or_else(|| path::normalize(request).err().map(MessageFault::Path));
            return fault.map(|fault| answer(fault, request.version()));
        }
    };
    Some(closing_http1(response, request.version()))
}

/// Returns the answer to a request with this fault. The connection is closed after it.
fn answer(fault: MessageFault, version: Version) -> Response<Body> {
    closing_http1(text(status(fault), fault.to_string()), version)
}

fn status(fault: MessageFault) -> StatusCode {
    match fault {
        MessageFault::Expect => StatusCode::EXPECTATION_FAILED,
        MessageFault::BothLengths
        | MessageFault::ContentLength
        | MessageFault::TransferEncoding
        | MessageFault::LineEnd
        | MessageFault::Chunk
        | MessageFault::Disguised
        | MessageFault::Host
        | MessageFault::OtherHost
        | MessageFault::Target
        | MessageFault::Path(PathFault::Percent | PathFault::Overlong) => StatusCode::BAD_REQUEST,
    }
}

/// Announces in the answer that the connection is closed after it. Over HTTP/2, only the stream is
/// reset.
fn closing_http1(mut response: Response<Body>, version: Version) -> Response<Body> {
    if version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, CLOSE);
    }
    response
}

/// Counts and logs a request that was refused because of its head.
pub(crate) fn note(places: &Places, client: SocketAddr, status: StatusCode, reason: &str) {
    places.metrics().refused(RefusalReason::Head);
    if LOG.allows() {
        tracing::warn!(%client, status = status.as_u16(), reason, "request refused for its head");
    }
}

/// The limit that a head exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadLimit {
    Target,
    Bytes,
    Fields,
}

impl HeadLimit {
    /// Returns the answer, which names the limit and its setting.
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

/// Returns the answer to a connection beyond a limit, as bytes of HTTP/1.1.
pub(crate) async fn no_place(app: &impl App, why: RefusalReason) -> Vec<u8> {
    let mut response = match why {
        RefusalReason::ConnectionsPerAddress => {
            text(StatusCode::TOO_MANY_REQUESTS, "Too many connections from your address.")
        }
        RefusalReason::Rate
        | RefusalReason::Connections
        | RefusalReason::Descriptors
        | RefusalReason::Head
        | RefusalReason::ProxyProtocol
        | RefusalReason::ClientCertificate
        | RefusalReason::BadRequest
        | RefusalReason::Token
        | RefusalReason::Origin
        | RefusalReason::SessionBlacklisted
        | RefusalReason::SubscriptionCheck
        | RefusalReason::Shutdown
        | RefusalReason::NoLease => text(StatusCode::SERVICE_UNAVAILABLE, "Too many connections."),
    };
    retry_after(response.headers_mut(), 5);
    encode(app, response).await
}

/// Returns the answer to a client that speaks HTTP in clear on an HTTPS port.
pub(crate) async fn in_clear(app: &impl App) -> Vec<u8> {
    let response = text(StatusCode::BAD_REQUEST, "This port speaks HTTPS, and the request came in clear.");
    encode(app, response).await
}

/// Encodes an answer that belongs to no request, as bytes of HTTP/1.1. The connection must be
/// closed after it.
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
    /// It is ambiguous, and hyper could not parse it either.
    Ambiguous(MessageFault),
    TooLarge(HeadLimit),
}

impl Unreadable {
    /// Classifies a head that hyper would have answered with this status. `is_full` means that the
    /// head has filled the buffer.
    pub(crate) fn new(status: StatusCode, error: hyper::Error, framing: &Framing, is_full: bool) -> Self {
        match status {
            _ if let Some(fault) = framing.fault_of_next() => Self::Ambiguous(fault),
            StatusCode::URI_TOO_LONG => Self::TooLarge(HeadLimit::Target),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::TooLarge(match is_full {
                true if framing.is_in_request_line() => HeadLimit::Target,
                true => HeadLimit::Bytes,
                false => HeadLimit::Fields,
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
            Self::Ambiguous(fault) => answer(*fault, Version::HTTP_11),
            Self::TooLarge(too_large) => too_large.answer(limits),
        }
    }

    /// Sends the answer. The connection must be closed after it. A client that does not read it at
    /// once may receive only a part.
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
        // Fails only if the client has disconnected.
        let _ = to.write_all(&encode(app, response).await).await;
    }
}
