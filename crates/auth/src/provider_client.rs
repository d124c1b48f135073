//! Requests to the servers of an identity provider.
//!
//! Every request has a limit of time and of bytes, and follows no redirect. Proxies that the
//! environment names are not used. Where a request may go is checked for each connection
//! (`issuers/address.rs`).

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, IF_NONE_MATCH, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use tokio::time::timeout;

use self::tls::Clients;
use crate::issuers::address::{AddressError, Reach};

mod connector;
mod tls;

/// Sent with every request. Some providers refuse requests without it.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("rig/", env!("CARGO_PKG_VERSION")));

/// The longest text of an error, in characters.
const LONGEST_REASON: usize = 300;

/// Sends requests to the servers of one provider. Clones share the connections.
#[derive(Clone)]
pub struct ProviderClient {
    clients: Clients,
}

/// Where a client may connect, and whom it trusts.
#[derive(Clone, Debug, Default)]
pub struct ProviderAccess {
    /// The issuer. Its host may be anywhere; those that its documents name may not.
    pub issuer: Option<Uri>,
    /// Other URIs in the settings. Their hosts may be anywhere too, at their ports.
    pub named: Vec<Uri>,
    /// Certificate authorities that are trusted in addition to those of the system. Read again when
    /// the file changes.
    pub ca_file: Option<PathBuf>,
    /// Whether the named hosts may be reached without TLS. Loopback addresses always may.
    pub insecure_http: bool,
}

/// The bounds of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// From the start to the last byte of the answer.
    pub within: Duration,
    /// The largest body of an answer, in bytes.
    pub bytes: usize,
}

/// Why there is no answer. The texts are for operators, and never contain a secret: neither headers
/// nor bodies, and no query of a URI.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The gateway must not connect there.
    #[error("{0}")]
    Forbidden(String),
    /// There is no connection, or it was lost; this includes TLS.
    #[error("{0}")]
    Unreachable(String),
    /// The answer was not complete in time.
    #[error("no answer within {} s", .0.as_millis().div_ceil(1000))]
    Timeout(Duration),
    /// The body is larger than is read.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The body is compressed, although that was not asked for.
    #[error("the answer has a content-encoding, which was not asked for")]
    Encoded,
    /// The authorities of `ca_file` cannot be read.
    #[error("{0}")]
    Authorities(String),
}

impl ProviderClient {
    /// Creates a client. Opens nothing before the first request.
    pub fn new(access: ProviderAccess) -> Self {
        let reach = Reach::new(access.issuer.as_ref(), &access.named, access.insecure_http);
        Self { clients: Clients::new(reach, access.ca_file) }
    }

    /// Requests a document. `etag` is that of the version that is already known: the answer may
    /// then be 304.
    ///
    /// # Errors
    /// See [`RequestError`]. Any status is an answer.
    pub async fn get(
        &self,
        uri: &Uri,
        accept: &'static str,
        etag: Option<&HeaderValue>,
        limits: RequestLimits,
    ) -> Result<Response<Bytes>, RequestError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        headers.extend(etag.map(|etag| (IF_NONE_MATCH, etag.clone())));
        self.send(Method::GET, uri, headers, Bytes::new(), limits).await
    }

    /// Sends a form (`application/x-www-form-urlencoded`).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn post_form(
        &self,
        uri: &Uri,
        headers: HeaderMap,
        form: impl Into<Bytes>,
        limits: RequestLimits,
    ) -> Result<Response<Bytes>, RequestError> {
        self.post(uri, "application/x-www-form-urlencoded", headers, form.into(), limits).await
    }

    /// Sends a JSON document.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn post_json(
        &self,
        uri: &Uri,
        headers: HeaderMap,
        json: impl Into<Bytes>,
        limits: RequestLimits,
    ) -> Result<Response<Bytes>, RequestError> {
        self.post(uri, "application/json", headers, json.into(), limits).await
    }

    async fn post(
        &self,
        uri: &Uri,
        content_type: &'static str,
        mut headers: HeaderMap,
        body: Bytes,
        limits: RequestLimits,
    ) -> Result<Response<Bytes>, RequestError> {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.send(Method::POST, uri, headers, body, limits).await
    }

    async fn send(
        &self,
        method: Method,
        uri: &Uri,
        mut headers: HeaderMap,
        body: Bytes,
        limits: RequestLimits,
    ) -> Result<Response<Bytes>, RequestError> {
        headers.insert(USER_AGENT, AGENT);
        // Without it, any coding would be a right answer (RFC 9110, section 12.5.3).
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let request = || {
            let mut request = Request::new(Full::new(body.clone()));
            *request.method_mut() = method.clone();
            *request.uri_mut() = uri.clone();
            *request.headers_mut() = headers.clone();
            request
        };
        let exchange = async {
            let client = self.clients.current().await?;
            let answer = match client.request(request()).await {
                // The server may have closed a connection that was kept open. Every request here
                // can be repeated.
                Err(error) if !error.is_connect() => client.request(request()).await,
                answer => answer,
            };
            let answer = answer.map_err(|error| unreachable(&error))?;
            let (head, body) = answer.into_parts();
            let is_encoded = |coding: &HeaderValue| !coding.as_bytes().eq_ignore_ascii_case(b"identity");
            if head.headers.get(CONTENT_ENCODING).is_some_and(is_encoded) {
                return Err(RequestError::Encoded);
            }
            let body = Limited::new(body, limits.bytes).collect().await;
            let body = body.map_err(|error| match error.is::<LengthLimitError>() {
                true => RequestError::TooLarge(limits.bytes),
                false => RequestError::Unreachable(in_full(&*error)),
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        timeout(limits.within, exchange).await.unwrap_or(Err(RequestError::Timeout(limits.within)))
    }
}

fn unreachable(error: &(dyn Error + 'static)) -> RequestError {
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    match causes.find_map(|cause| cause.downcast_ref::<AddressError>()) {
        Some(AddressError::Unresolved(..)) | None => RequestError::Unreachable(in_full(error)),
        Some(forbidden) => RequestError::Forbidden(forbidden.to_string()),
    }
}

/// Returns the text of an error with its sources. The first only says that a request failed.
fn in_full(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error.source().unwrap_or(error)), |error| (*error).source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    // Errors of I/O repeat the text of what they wrap.
    texts.dedup();
    texts.join(": ").chars().take(LONGEST_REASON).collect()
}

impl fmt::Debug for ProviderClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProviderClient")
    }
}
