//! The HTTP client that sends batches to the collector.

use std::error::Error;
use std::future::Future;
use std::io;
use std::iter::successors;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use parking_lot::Mutex;
use prost::Message;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// Limit of the bytes read of an answer.
const LONGEST_ANSWER: usize = 64 << 10;

/// Limit of a text from the collector, in characters; the rest is cut off.
const LONGEST_TEXT: usize = 200;

/// Results that OpenTelemetry's exporter does not report.
pub(super) type Heard = Arc<Mutex<Answers>>;

/// What the answers of the collector reported.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Why the last failed exchange failed, in full: the exporter only reports a network error.
    pub(super) cause: Option<String>,
    /// Spans rejected out of batches that the collector accepted, and its last text about that.
    pub(super) rejected: Option<(u64, String)>,
}

impl Answers {
    /// Reads the answer to an accepted batch (OTLP, "Partial Success").
    fn read(&mut self, body: &[u8]) {
        let partial = ExportTraceServiceResponse::decode(body).ok().and_then(|answer| answer.partial_success);
        let Some(partial) = partial else { return };
        let spans = u64::try_from(partial.rejected_spans).unwrap_or(0);
        if spans > 0 || !partial.error_message.is_empty() {
            let before = self.rejected.take().map_or(0, |(spans, _)| spans);
            let text = partial.error_message.chars().take(LONGEST_TEXT).collect();
            self.rejected = Some((before + spans, text));
        }
    }
}

/// Sends requests from a thread outside the runtime.
#[derive(Debug)]
pub(super) struct Collector {
    runtime: Handle,
    within: Duration,
    heard: Heard,
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Collector {
    /// Creates a client in the current runtime; each exchange may take as long as `within`.
    pub(super) fn new(within: Duration, heard: Heard) -> Self {
        // If the system has no authorities, exports to an https collector fail.
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust::system_client())
            .https_or_http()
            .enable_http1()
            .build();
        let http = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Self { runtime: Handle::current(), within, heard, http }
    }
}

impl HttpClient for Collector {
    fn send_bytes<'a, 'f>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'a: 'f,
        Self: 'f,
    {
        let answer = self.http.request(request.map(Full::new));
        let exchange = timeout_in(&self.runtime, self.within, async {
            let (head, body) = answer.await?.into_parts();
            let body = Limited::new(body, LONGEST_ANSWER).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        });
        Box::pin(async move {
            let answer = exchange.await;
            let mut heard = self.heard.lock();
            match &answer {
                Ok(answer) if answer.status().is_success() => heard.read(answer.body()),
                Ok(_) => {}
                Err(error) => heard.cause = Some(in_full(&**error)),
            }
            answer
        })
    }
}

/// Returns the text of an error with its sources.
fn in_full(error: &(dyn Error + 'static)) -> String {
    let errors = successors(Some(error), |error| (*error).source()).map(ToString::to_string);
    errors.collect::<Vec<_>>().join(": ")
}

/// Runs `work` as a task of the runtime, which has sockets and timers.
async fn timeout_in<T: Send + 'static>(
    runtime: &Handle,
    within: Duration,
    work: impl Future<Output = Result<T, HttpError>> + Send + 'static,
) -> Result<T, HttpError> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "the collector does not answer");
    runtime.spawn(async move { timeout(within, work).await.map_err(|_| late())? }).await?
}
