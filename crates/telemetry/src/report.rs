//! The data about a proxied request for the request log and for traces.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use serde_json::Value;

use crate::trace_context::TraceContext;

/// The names of an endpoint that does not exist (RIG).
const NONE: &str = "N/A";

/// Everything that is reported about one request.
#[derive(Debug)]
pub struct Report {
    /// Its method.
    pub method: Method,
    /// Its path as received, without the query, which may contain tokens.
    pub path: Box<str>,
    /// Where it went; `None` if no endpoint has its path and method.
    pub endpoint: Option<EndpointNames>,
    /// Its client's address.
    pub address: SocketAddr,
    /// `true` if it came over TLS.
    pub secure: bool,
    /// The session of its token, if the endpoint requires one.
    pub session: Option<Box<str>>,
    /// Its place in its trace.
    pub trace: TraceContext,
    /// The status sent to the client; `None` if the client left before.
    pub status: Option<StatusCode>,
    /// Its outcome, in one word.
    pub outcome: &'static str,
    /// `true` if it failed for the reason that `outcome` names. Otherwise only a 5xx status is a
    /// failure.
    pub failed: bool,
    /// Why its service failed, or why its token was refused.
    pub reason: Option<Box<str>>,
    /// When its head was complete.
    pub began: SystemTime,
    /// Time to the end of its answer, or of the connection that it became.
    pub took: Duration,
    /// The request to a service, if there was one.
    pub call: Option<ServiceCall>,
    /// The definition of its endpoint, if that is reported anywhere.
    pub definition: Option<Arc<Value>>,
    /// The `x-request-id` that its client, or a proxy before the gateway, has given it.
    pub request_id: Option<Box<str>>,
}

/// Takes the reports of proxied requests, beside the log and the traces. Must not block.
pub trait ReportSink: Send + Sync + 'static {
    /// Takes the report of a request that is finished.
    fn report(&self, report: &Report);

    /// Takes nothing more. Resolves when everything that was taken is stored, or the time `within`
    /// has passed.
    fn leave(&self, within: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The endpoint that a request went to.
#[derive(Clone, Debug)]
pub struct EndpointNames {
    /// The id of its API.
    pub api: Arc<str>,
    /// Its id.
    pub id: Arc<str>,
    /// Its path, as the regular expression of its definition.
    pub path: Arc<str>,
}

/// A request to a service.
#[derive(Debug)]
pub struct ServiceCall {
    /// Its place in the trace.
    pub trace: TraceContext,
    /// Host and port of the server that answered.
    pub target: Option<(Box<str>, u16)>,
    /// When it was sent.
    pub began: SystemTime,
    /// Time until its answer began; `None` if it did not.
    pub took: Option<Duration>,
    /// The status of the service's answer.
    pub status: Option<StatusCode>,
    /// The broker and its topic, if the service is one.
    pub broker: Option<(&'static str, Arc<str>)>,
}

/// A message of a broker that was read.
#[derive(Debug)]
pub struct Consumption<'m> {
    /// The kind of broker, by OpenTelemetry's names (`messaging.system`).
    pub system: &'static str,
    /// The topic.
    pub topic: &'m str,
    /// The span of whoever has sent the message.
    pub sender: TraceContext,
    /// When its event began to be published.
    pub began: SystemTime,
    /// How long that took.
    pub took: Duration,
    /// Why it was not published.
    pub failure: Option<&'static str>,
}

impl Report {
    /// Logs one line. Texts of clients are fields, which all formats escape.
    pub(crate) fn log(&self) {
        let endpoint = self.endpoint.as_ref();
        tracing::info!(
            target: "rig::request",
            method = self.method.as_str(),
            path = &*self.path,
            api = endpoint.map_or(NONE, |names| &*names.api),
            endpoint = endpoint.map_or(NONE, |names| &*names.id),
            status = self.status.map(|status| status.as_u16()),
            outcome = self.outcome,
            reason = self.reason.as_deref(),
            duration_ms = self.took.as_micros() as f64 / 1000.0,
            remote = address_text(self.address),
            session = self.session.as_deref(),
            trace_id = self.trace.trace_id.to_string(),
            "request"
        );
    }
}

/// Returns an address as text; without the port if that is unknown (0).
pub fn address_text(address: SocketAddr) -> String {
    match address.port() {
        0 => address.ip().to_string(),
        _ => address.to_string(),
    }
}
