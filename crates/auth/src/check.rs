//! Who may subscribe, and who may publish (RIG: `SUBSCRIPTION_CHECK`, `SUBMISSION_CHECK`).

pub(crate) mod connector;

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use self::connector::Connector;

/// How requests are checked: one of RIG's three ways.
#[derive(Clone, Debug)]
pub enum Check {
    /// Everyone is allowed.
    NoCheck,
    /// A valid token is required.
    JwtValidation,
    /// A service decides.
    External(Box<ExternalCheck>),
}

/// A service that allows or denies requests.
#[derive(Clone, Debug)]
pub struct ExternalCheck {
    url: Uri,
    within: Duration,
    client: Client<HttpsConnector<Connector>, Full<Bytes>>,
}

/// The value of the setting is neither a known word nor a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected no_check, jwt_validation, or the http or https URL of a service")]
pub struct CheckError;

/// The request is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("denied")]
pub struct Denied;

/// The parts of a request that a check depends on.
#[derive(Debug)]
pub struct CheckRequest<'a> {
    /// Passed to the service.
    pub authorization: Option<&'a HeaderValue>,
    /// Passed to the service.
    pub content_type: Option<&'a HeaderValue>,
    /// Passed to the service.
    pub body: Bytes,
    /// Whether the request carries a token, all of its tokens are valid, and none is revoked.
    pub token_valid: bool,
}

impl Check {
    /// Parses the value of the setting; the service must answer `within` this time.
    ///
    /// # Errors
    /// Fails if the value is neither a known word nor a URL.
    pub fn parse(value: &str, within: Duration) -> Result<Self, CheckError> {
        match value.to_ascii_lowercase().as_str() {
            "no_check" => Ok(Self::NoCheck),
            "jwt_validation" => Ok(Self::JwtValidation),
            _ => {
                let url: Uri = value.parse().map_err(|_| CheckError)?;
                if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none_or(str::is_empty)
                {
                    return Err(CheckError);
                }
                Ok(Self::External(Box::new(ExternalCheck::new(url, within))))
            }
        }
    }

    /// Returns whether requests are checked at all.
    pub fn is_asked(&self) -> bool {
        !matches!(self, Self::NoCheck)
    }

    /// Returns whether a service decides. It may accept tokens that the gateway cannot read.
    pub fn is_external(&self) -> bool {
        matches!(self, Self::External(_))
    }

    /// Returns the time limit of the service that decides; zero if none does.
    pub fn within(&self) -> Duration {
        match self {
            Self::NoCheck | Self::JwtValidation => Duration::ZERO,
            Self::External(service) => service.within,
        }
    }

    /// Decides on a request.
    ///
    /// # Errors
    /// Fails if the request is denied.
    pub async fn allows(&self, request: &CheckRequest<'_>) -> Result<(), Denied> {
        match self {
            Self::NoCheck => Ok(()),
            Self::JwtValidation => request.token_valid.then_some(()).ok_or(Denied),
            Self::External(service) => service.allows(request).await,
        }
    }
}

impl ExternalCheck {
    fn new(url: Uri, within: Duration) -> Self {
        // If the system has no trusted authorities, an https check denies everything.
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust::system_client())
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector::new());
        Self { url, within, client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// 2xx allows, 401 and 403 deny; anything else denies and is logged. Redirects are not
    /// followed.
    async fn allows(&self, request: &CheckRequest<'_>) -> Result<(), Denied> {
        let mut question = Request::new(Full::new(request.body.clone()));
        *question.method_mut() = Method::POST;
        *question.uri_mut() = self.url.clone();
        let headers = question.headers_mut();
        headers.extend(request.authorization.map(|value| (AUTHORIZATION, value.clone())));
        headers.extend(request.content_type.map(|value| (CONTENT_TYPE, value.clone())));
        match timeout(self.within, self.client.request(question)).await {
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(answer)) => {
                if !matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                    tracing::warn!(
                        status = answer.status().as_u16(),
                        "the external check gave no decision: denied"
                    );
                }
                Err(Denied)
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the external check cannot be reached: denied");
                Err(Denied)
            }
            Err(_) => {
                tracing::warn!(within = ?self.within, "the external check did not answer in time: denied");
                Err(Denied)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(token_valid: bool) -> CheckRequest<'static> {
        CheckRequest { authorization: None, content_type: None, body: Bytes::new(), token_valid }
    }

    #[tokio::test]
    async fn d16_a_valid_token_is_enough() {
        let check = Check::parse("jwt_validation", Duration::from_secs(5)).unwrap();
        assert_eq!(check.allows(&request(true)).await, Ok(()));
        assert_eq!(check.allows(&request(false)).await, Err(Denied));
    }

    #[test]
    fn what_is_no_check_is_an_error() {
        for value in ["", "nocheck", "ftp://x", "http://", "/path", "http://a b"] {
            assert_eq!(Check::parse(value, Duration::from_secs(5)).map(|_| ()), Err(CheckError), "{value}");
        }
        assert!(matches!(Check::parse("NO_CHECK", Duration::ZERO), Ok(Check::NoCheck)));
        assert!(matches!(
            Check::parse("http://localhost:5555/check", Duration::ZERO),
            Ok(Check::External(_))
        ));
    }

    #[tokio::test]
    async fn d16_the_service_decides() {
        for (answer, expected) in [
            ("200 OK", Ok(())),
            ("204 No Content", Ok(())),
            ("401 Unauthorized", Err(Denied)),
            ("403 Forbidden", Err(Denied)),
            ("500 Internal Server Error", Err(Denied)),
            ("302 Found\r\nlocation: /elsewhere", Err(Denied)),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/check", listener.local_addr().unwrap());
            let service = tokio::spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut seen = Vec::new();
                while !seen.ends_with(b"the body") {
                    stream.read_buf(&mut seen).await.unwrap();
                }
                let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
                String::from_utf8(seen).unwrap()
            });
            let check = Check::parse(&url, Duration::from_secs(5)).unwrap();
            let authorization = HeaderValue::from_static("Bearer test");
            let request = CheckRequest {
                authorization: Some(&authorization),
                content_type: None,
                body: Bytes::from_static(b"the body"),
                token_valid: false,
            };
            assert_eq!(check.allows(&request).await, expected, "{answer}");
            let seen = service.await.unwrap();
            assert!(
                seen.starts_with("POST /check HTTP/1.1\r\n")
                    && seen.contains("authorization: Bearer test\r\n")
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_says_nothing_denies() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let check = Check::parse(&url, Duration::from_secs(5)).unwrap();
        assert_eq!(check.allows(&request(true)).await, Err(Denied));
        drop(listener);
        assert_eq!(check.allows(&request(true)).await, Err(Denied));
    }
}
