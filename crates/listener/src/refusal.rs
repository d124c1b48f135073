//! What the listener answers itself: to heads that are too large, too slow, or no heads.

use std::net::SocketAddr;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use tokio::io::AsyncWriteExt;

use crate::accept::Refusal;
use crate::app::{App, Body};
use crate::framing::{self, Fault, RawQuery};
use crate::limits::{Limits, Places};
use crate::pace::Pace;
use crate::stream::Watched;

/// After an answer with it, the connection is closed.
pub(crate) const CLOSE: HeaderValue = HeaderValue::from_static("close");

static LOG: Pace = Pace::new();

/// A status with its reason as text.
pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).map_err(|never| match never {}).boxed_unsync());
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
    let status = if target > limits.request_line {
        StatusCode::URI_TOO_LONG
    } else if headers > limits.headers || request.headers().len() > limits.header_fields {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    } else {
        return framing::refusal(request);
    };
    let mut response = text(status, too_large(status, limits));
    if request.version() < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, CLOSE);
    }
    Some(response)
}

/// Counts and logs a request that was refused for its head.
pub(crate) fn note(places: &Places, client: SocketAddr, status: StatusCode, reason: &str) {
    places.observer().refused(Refusal::Head);
    if LOG.allows() {
        tracing::warn!(%client, status = status.as_u16(), reason, "request refused for its head");
    }
}

/// Says which limit a head has exceeded, and the setting of it.
fn too_large(status: StatusCode, limits: &Limits) -> String {
    match status {
        StatusCode::URI_TOO_LONG => {
            format!("The request's target is longer than {} bytes (MAX_REQUEST_LINE).", limits.request_line)
        }
        _ => format!(
            "The request's headers are more than {} bytes (MAX_HEADER_BYTES) or more than {} fields (MAX_HEADER_FIELDS).",
            limits.headers, limits.header_fields
        ),
    }
}

/// Why there is no request to hand to the application; HTTP/1 only.
pub(crate) enum Unreadable {
    /// The head did not arrive in time.
    Late,
    /// hyper could not parse it.
    Malformed(StatusCode, hyper::Error),
}

impl Unreadable {
    fn answer(&self, limits: &Limits) -> Response<Body> {
        match self {
            Self::Late => text(
                StatusCode::REQUEST_TIMEOUT,
                format!(
                    "The head of the request did not arrive within {:?} (HEAD_TIMEOUT).",
                    limits.head_timeout
                ),
            ),
            Self::Malformed(StatusCode::BAD_REQUEST, error) => {
                text(StatusCode::BAD_REQUEST, format!("The request cannot be read: {error}."))
            }
            Self::Malformed(status, _) => text(*status, too_large(*status, limits)),
        }
    }

    /// Sends the answer, after which the connection is to be closed. A client that does not take it at once may not get all.
    pub(crate) async fn send(self, app: &impl App, to: &mut Watched, limits: &Limits) {
        let mut response = self.answer(limits);
        app.complete(None, &mut response);
        let (mut head, body) = response.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let date = HeaderValue::from_str(&httpdate::fmt_http_date(SystemTime::now()));
        head.headers.insert(DATE, date.expect("a date is a header value"));
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        head.headers.insert(CONNECTION, CLOSE);
        let mut bytes = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
        for (name, value) in &head.headers {
            field(&mut bytes, name, value);
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&body);
        // Fails only where the client is gone.
        let _ = to.write_all(&bytes).await;
    }
}

fn field(bytes: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
        bytes.extend_from_slice(part);
    }
}
