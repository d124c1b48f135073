//! Tokens of an identity provider, by which the gateway shows who it is (RFC 6749, section 4.4).

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use form_urlencoded::byte_serialize;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How long the provider may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Limit of the size of an answer. A longer one is an error.
const ANSWER: usize = 64 << 10;

/// How long a token is taken to be valid if the provider does not say so.
const LIFE: Duration = Duration::from_secs(300);

/// The share of its life after which a token is replaced. The library asks for another one after
/// four fifths, and gets the new one then.
const FRESH: f64 = 0.6;

/// How long before its end a token is no longer given away: it would expire on its way.
const MARGIN: Duration = Duration::from_secs(5);

/// The longest and the shortest pause between two tokens, and after a failure.
const PAUSES: [Duration; 2] = [Duration::from_secs(86_400), Duration::from_secs(1)];

/// Gets tokens by the client's own credentials, and keeps the present one.
pub struct OAuth {
    client_id: String,
    secret: String,
    url: Uri,
    scope: Option<String>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    present: Mutex<Option<Token>>,
}

/// A token.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) expires: SystemTime,
    /// When it is to be replaced.
    renewal: Instant,
    /// Until when it is given away if it could not be replaced.
    last: Instant,
}

/// Why there is no token. Never contains a secret, nor what the provider has sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The address is none of HTTPS.
    #[error("expected an https URL")]
    Address,
    /// The provider cannot be reached.
    #[error("the identity provider cannot be reached: {0}")]
    Unreachable(String),
    /// The provider gives no token.
    #[error("the identity provider gives no token: status {0}")]
    Status(u16),
    /// The answer contains no token.
    #[error("the answer of the identity provider contains no token")]
    NoToken,
}

impl OAuth {
    /// Returns a source of tokens at this URL, which is one of HTTPS unless it is of this host.
    /// Blocks on disk I/O: reads the authorities that the system trusts.
    ///
    /// # Errors
    /// Fails if the URL is none.
    pub fn new(
        client_id: String,
        secret: String,
        url: &str,
        scope: Option<String>,
    ) -> Result<Self, TokenError> {
        let url: Uri = url.parse().map_err(|_| TokenError::Address)?;
        let is_here = matches!(url.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
        match (url.scheme_str(), url.host()) {
            (Some("https"), Some(host)) if !host.is_empty() => {}
            (Some("http"), _) if is_here => {}
            _ => return Err(TokenError::Address),
        }
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust::system_client())
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client_id, secret, url, scope, client, present: Mutex::default() })
    }

    /// Returns for whom the tokens are.
    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Returns the present token, if it is still valid.
    pub(crate) fn present(&self) -> Option<Token> {
        self.present.lock().clone().filter(|token| Instant::now() < token.last)
    }

    /// Gets another token, and keeps it.
    pub(crate) async fn renew(&self) -> Result<Token, TokenError> {
        let got = timeout(WITHIN, self.fetch()).await;
        let token = got.map_err(|_| TokenError::Unreachable("it does not answer".to_owned()))??;
        *self.present.lock() = Some(token.clone());
        Ok(token)
    }

    /// Replaces the token in time, again and again. `failed` is called with each failure.
    pub(crate) async fn keep_fresh(&self, failed: impl Fn(&TokenError)) {
        loop {
            match self.present().filter(|token| !token.is_due()) {
                Some(token) => sleep_until(token.renewal).await,
                None => {
                    if let Err(error) = self.renew().await {
                        failed(&error);
                        sleep(PAUSES[1] * 5).await;
                    }
                }
            }
        }
    }

    async fn fetch(&self) -> Result<Token, TokenError> {
        let unreachable = |error: &dyn fmt::Display| TokenError::Unreachable(error.to_string());
        let answer = self.client.request(self.request()).await.map_err(|error| unreachable(&error))?;
        if !answer.status().is_success() {
            return Err(TokenError::Status(answer.status().as_u16()));
        }
        let body = Limited::new(answer.into_body(), ANSWER).collect().await;
        let body = body.map_err(|error| unreachable(&error))?.to_bytes();
        Token::read(&body).ok_or(TokenError::NoToken)
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut form = "grant_type=client_credentials".to_owned();
        if let Some(scope) = &self.scope {
            form.extend(["&scope="].into_iter().chain(byte_serialize(scope.as_bytes())));
        }
        // RFC 6749, section 2.3.1: both are encoded before.
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let credentials = STANDARD.encode(format!("{}:{}", encoded(&self.client_id), encoded(&self.secret)));
        let authorization = HeaderValue::try_from(format!("Basic {credentials}"));
        let mut authorization = authorization.expect("Base64 is a value of a header");
        authorization.set_sensitive(true);
        let mut request = Request::post(self.url.clone()).body(Full::from(form)).expect("the URL is one");
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        request
    }
}

impl Token {
    /// Returns whether it is to be replaced.
    pub(crate) fn is_due(&self) -> bool {
        Instant::now() >= self.renewal
    }

    /// Reads an answer (RFC 6749, section 5.1).
    fn read(answer: &[u8]) -> Option<Self> {
        let answer: Value = serde_json::from_slice(answer).ok()?;
        let text = answer.get("access_token")?.as_str()?.to_owned();
        if text.is_empty() || text.contains(|char: char| char.is_control()) {
            return None;
        }
        // Some providers give the number as a text.
        let seconds = answer.get("expires_in").and_then(|life| match life {
            Value::String(text) => text.parse().ok(),
            life => life.as_f64(),
        });
        let life = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(LIFE);
        let life = life.clamp(PAUSES[1], PAUSES[0]);
        let (now, fresh) = (Instant::now(), life.mul_f64(FRESH));
        let last = life.saturating_sub(MARGIN).max(fresh);
        Some(Self { text, expires: SystemTime::now() + life, renewal: now + fresh, last: now + last })
    }
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth")
            .field("client_id", &self.client_id)
            .field("url", &self.url)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn oauth(url: &str) -> Result<OAuth, TokenError> {
        OAuth::new("ann:1".to_owned(), "s3cret".to_owned(), url, Some("a b".to_owned()))
    }

    /// Answers one request, and returns it.
    async fn answer(listener: &TcpListener, answer: &str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"scope=a+b") {
            stream.read_buf(&mut seen).await.unwrap();
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(seen).unwrap()
    }

    fn ok(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_token_is_got_by_the_credentials_of_the_client() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let oauth = oauth(&format!("http://{}/token", listener.local_addr().unwrap())).unwrap();
        assert!(oauth.present().is_none());
        let good = ok(r#"{"access_token":"T","expires_in":1000,"token_type":"bearer"}"#);
        let (token, seen) = tokio::join!(oauth.renew(), answer(&listener, &good));
        assert!(seen.starts_with("POST /token HTTP/1.1\r\n"), "{seen}");
        let credentials = STANDARD.encode("ann%3A1:s3cret");
        assert!(seen.contains(&format!("authorization: Basic {credentials}\r\n")), "{seen}");
        assert!(seen.ends_with("grant_type=client_credentials&scope=a+b"), "{seen}");
        let token = token.unwrap();
        let left = token.expires.duration_since(SystemTime::now()).unwrap();
        assert!(token.text == "T" && (990..=1000).contains(&left.as_secs()));
        assert_eq!(oauth.present().unwrap().text, "T");

        for (bad, expected) in [
            ("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n".to_owned(), TokenError::Status(401)),
            (ok("{}"), TokenError::NoToken),
            (ok(r#"{"access_token":"a\u0000b"}"#), TokenError::NoToken),
        ] {
            let (token, _) = tokio::join!(oauth.renew(), answer(&listener, &bad));
            assert_eq!(token.map(|_| ()), Err(expected));
        }
        assert_eq!(oauth.present().unwrap().text, "T", "a failure takes no token away");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_replaced_before_it_expires() {
        let oauth = oauth("http://localhost:1/").unwrap();
        *oauth.present.lock() = Token::read(br#"{"access_token":"T","expires_in":"100"}"#);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(!oauth.present().unwrap().is_due());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(oauth.present().unwrap().is_due());
        tokio::time::advance(Duration::from_secs(33)).await;
        assert!(oauth.present().is_some(), "the provider may be away, but this one is valid");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(oauth.present().is_none());
    }

    #[test]
    fn secrets_go_nowhere_else() {
        for url in ["http://example.com/token", "ftp://x", "token", "", "https://"] {
            assert_eq!(oauth(url).map(|_| ()), Err(TokenError::Address), "{url}");
        }
        let shown = format!("{:?}", oauth("https://example.com/token").unwrap());
        assert!(shown.contains("ann:1") && !shown.contains("s3cret"), "{shown}");
    }
}
