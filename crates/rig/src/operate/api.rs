//! An HTTP client for the internal API of a gateway.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::timeout;

use super::call::{Call, CallBody};
use super::line::CommandLine;
use super::operation::{API_VARIABLE, DEFAULT_API};
use super::text;
use super::trouble::Trouble;

/// Time limit of an answer, beside the time that the gateway is asked to wait for other nodes.
/// Terminating ten thousand connections takes less than a second.
const WITHIN: Duration = Duration::from_secs(60);

/// Limit of an answer, in bytes: enough for a page of a thousand connections with long
/// subscriptions.
const MAX_ANSWER: usize = 64 << 20;

/// The address of an API, and its token.
pub(super) struct InternalPort {
    url: Uri,
    authorization: Option<HeaderValue>,
}

/// An answer of the API.
#[derive(Debug)]
pub(super) struct ApiAnswer {
    /// The HTTP status.
    pub(super) status: u16,
    /// Whether it is a problem document (RFC 9457).
    pub(super) is_problem: bool,
    /// The raw body.
    body: Bytes,
    /// The parsed body; null if it is not JSON.
    pub(super) json: Value,
}

impl ApiAnswer {
    /// Creates an answer with this body.
    pub(super) fn new(status: u16, is_problem: bool, body: Bytes) -> Self {
        let json = serde_json::from_slice(&body).unwrap_or_default();
        Self { status, is_problem, body, json }
    }

    /// Returns whether the body is JSON, or empty.
    pub(super) fn is_readable(&self) -> bool {
        self.body.is_empty() || !self.json.is_null()
    }

    /// Returns the JSON as it came, in separate lines, with unsafe characters escaped.
    pub(super) fn json_text(&self) -> String {
        let text = text::safe_json(&String::from_utf8_lossy(&self.body));
        match self.is_readable() && !text.is_empty() {
            true if text.ends_with('\n') => text,
            true => text + "\n",
            false => String::new(),
        }
    }
}

impl InternalPort {
    /// Returns the API named by the command line, or else by the environment, or else the default
    /// on this host. `None` if it is wrong, which the command line notes.
    pub(super) fn new(line: &mut CommandLine<'_>, token: &str) -> Option<Self> {
        let url =
            line.once_or_variable("api", API_VARIABLE, DEFAULT_API, |text| parse(text).ok_or_else(expected));
        let authorization = (!token.is_empty()).then(|| HeaderValue::try_from(format!("Bearer {token}")));
        let authorization = authorization.transpose();
        if authorization.is_err() {
            line.wrong("--api", "the API_TOKEN of the environment or the settings file cannot be sent");
        }
        let authorization = authorization.ok()?.map(|mut value| {
            value.set_sensitive(true);
            value
        });
        Some(Self { url: url?, authorization })
    }

    /// Sends a request, and waits for the whole answer.
    ///
    /// # Errors
    /// Fails if there is no answer.
    pub(super) fn send(&self, call: &Call) -> Result<ApiAnswer, Trouble> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let answer = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
            runtime.block_on(async {
                let within = WITHIN + call.waits;
                timeout(within, self.ask(call)).await.with_context(|| {
                    format!("no answer within {within:?}; what was asked for may have been done")
                })?
            })
        });
        answer.map_err(|error| Trouble::failed(format!("{}: {error:#}", self.shown())))
    }

    async fn ask(&self, call: &Call) -> anyhow::Result<ApiAnswer> {
        let request = self.request(call)?;
        let response = if self.url.scheme_str() == Some("https") {
            let roots = trust::system_roots();
            anyhow::ensure!(!roots.is_empty(), "the certificates of this host cannot be read");
            let tls = trust::client(roots).with_no_client_auth();
            let connector =
                HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
            exchange(connector, request).await?
        } else {
            exchange(HttpConnector::new(), request).await?
        };
        let status = response.status().as_u16();
        let is_problem =
            response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("the answer breaks off: {error}"))?;
        Ok(ApiAnswer::new(status, is_problem, body.to_bytes()))
    }

    fn request(&self, call: &Call) -> anyhow::Result<Request<Full<Bytes>>> {
        let prefix = self.url.path().trim_end_matches('/');
        let path = format!("{prefix}{}", call.path);
        let uri = Uri::builder()
            .scheme(self.url.scheme_str().unwrap_or("http"))
            .authority(self.url.authority().context("a URL of an API has a host")?.as_str())
            .path_and_query(path)
            .build()?;
        let body = match &call.body {
            None => None,
            Some(CallBody::Bytes(bytes)) => Some(bytes.clone()),
            Some(CallBody::Members(members)) => Some(serde_json::to_vec(members)?),
            Some(CallBody::File(path)) => anyhow::bail!("{} was not read", path.display()),
        };
        let mut request = Request::builder().method(call.method).uri(uri).header(ACCEPT, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        Ok(request.body(Full::from(body.unwrap_or_default()))?)
    }

    /// Returns the address for messages.
    pub(super) fn shown(&self) -> String {
        text::safe(&self.url.to_string())
    }
}

async fn exchange(
    connector: impl Connect + Clone + Send + Sync + 'static,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<Response<Incoming>> {
    let client = Client::builder(TokioExecutor::new()).build(connector);
    Ok(client.request(request).await?)
}

fn parse(text: &str) -> Option<Uri> {
    let url: Uri = text.parse().ok()?;
    let is_http = matches!(url.scheme_str(), Some("http" | "https"));
    let authority = url.authority()?;
    // Other users of the host could see a password in the arguments.
    let is_plain = url.query().is_none() && !authority.as_str().contains('@') && !authority.host().is_empty();
    (is_http && is_plain).then_some(url)
}

fn expected() -> String {
    format!("expected an http:// or https:// URL without user and query, such as {DEFAULT_API}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_an_api_has_a_scheme_and_a_host() {
        for good in ["http://localhost", "https://[::1]:4011", "https://a.example/rig/", "HTTP://h"] {
            assert!(parse(good).is_some(), "{good}");
        }
        for wrong in
            ["", "localhost:4010", "/v4", "ftp://h", "http://", "http://me:pw@h", "http://h/?a=b", "h\n"]
        {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_json_is_not_printed_as_json() {
        assert_eq!(ApiAnswer::new(200, false, "<html>".into()).json_text(), "");
        assert!(!ApiAnswer::new(200, false, "<html>".into()).is_readable());
        assert_eq!(ApiAnswer::new(204, false, Bytes::new()).json_text(), "");
        assert_eq!(
            ApiAnswer::new(200, false, "{\"a\":\"\u{9b}\"}".into()).json_text(),
            "{\"a\":\"\\u009b\"}\n"
        );
    }
}
