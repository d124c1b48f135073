//! Sends events to a URL (Standard Webhooks 1.0.0; CloudEvents 1.0.2, HTTP Protocol Binding,
//! structured mode).

mod url;

use std::error::Error;
use std::fmt;
use std::iter::successors;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

use crate::event::{Event, MEDIA_TYPE};
use crate::recipient::{Failure, Recipient};
use crate::secrets::Secrets;

pub use url::{HookUrl, HookUrlError};

/// How long one attempt may take, from the connection to the end of the answer.
const WITHIN: Duration = Duration::from_secs(10);

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a connection without a request is kept.
const IDLE: Duration = Duration::from_secs(20);

/// How many bytes of an answer are read. Above that, its connection is closed.
const ANSWER: u64 = 64 << 10;

/// The longest text of a cause, in characters.
const LONGEST_CAUSE: usize = 300;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Sends events to a URL, each signed with the present secrets. Redirects are not followed, and the
/// proxies of the environment are not used.
pub struct WebHook {
    url: HookUrl,
    secrets: Arc<Secrets>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl WebHook {
    /// Returns a recipient that connects when the first event is sent. Blocks on disk I/O: reads
    /// the authorities that the system trusts.
    pub fn new(url: HookUrl, secrets: Arc<Secrets>) -> Self {
        let mut tcp = HttpConnector::new();
        // TLS is layered on top.
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust::system_client())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(1)
            .build(connector);
        Self { url, secrets, client }
    }

    fn request(&self, event: &Event) -> Request<Full<Bytes>> {
        // Each attempt has its own time: receivers refuse one that is five minutes old.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let signature = self.secrets.sign(&event.id, now, &event.body);
        let mut request = Request::new(Full::new(event.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.uri().clone();
        let visible = |text: &str| HeaderValue::from_str(text).expect("digits, letters and Base64");
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("rig/", env!("CARGO_PKG_VERSION"))));
        headers.insert(ID, visible(&event.id));
        headers.insert(TIMESTAMP, now.into());
        headers.insert(SIGNATURE, visible(&signature));
        request
    }

    async fn post(&self, event: &Event) -> Result<(), Failure> {
        let deadline = Instant::now() + WITHIN;
        let late = |_| Failure::new(format!("no answer within {} s", WITHIN.as_secs()));
        let exchange = async {
            match self.client.request(self.request(event)).await {
                // The receiver may have closed a connection that was kept open. Reports can be
                // repeated.
                Err(error) if !error.is_connect() => self.client.request(self.request(event)).await,
                answer => answer,
            }
        };
        let answer = timeout_at(deadline, exchange).await.map_err(late)?;
        let answer = answer.map_err(|error| Failure::new(in_full(&error)))?;
        let (status, retry_after) = (answer.status(), retry_after(answer.status(), answer.headers()));
        // Read so that the connection can be used again. What it says does not matter, nor whether
        // all of it comes.
        let _ = timeout_at(deadline, discard(answer.into_body())).await;
        let cause = format!("status {}", status.as_u16());
        match status.as_u16() {
            200..=299 => Ok(()),
            300..=399 => Err(Failure::new(cause + ", and redirects are not followed")),
            _ => Err(Failure { cause, retry_after }),
        }
    }
}

impl Recipient for WebHook {
    fn send<'r>(&'r self, event: &'r Event) -> BoxFuture<'r, Result<(), Failure>> {
        self.post(event).boxed()
    }
}

/// Returns how long the receiver asks to wait (RFC 9110, section 10.2.3), in seconds: a date counts
/// as absent, since clocks differ. Only an answer that says that there is too much to do has it.
fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE).then_some(())?;
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Reads a body to its end, but no more than [`ANSWER`] bytes.
async fn discard(body: impl Body<Data = Bytes, Error: Error>) {
    let mut body = std::pin::pin!(body);
    let mut read = 0;
    while read < ANSWER
        && let Some(Ok(frame)) = body.frame().await
    {
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
}

/// Returns the text of an error with its sources, cut: one of TLS may list every name of a
/// certificate.
fn in_full(error: &(dyn Error + 'static)) -> String {
    let errors = successors(Some(error), |error| (*error).source()).map(ToString::to_string);
    errors.collect::<Vec<_>>().join(": ").chars().take(LONGEST_CAUSE).collect()
}

/// Shows the host only: the path of a web hook may be as secret as its secrets.
impl fmt::Debug for WebHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebHook").field("url", &self.url).finish_non_exhaustive()
    }
}
