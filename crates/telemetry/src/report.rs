//! What became of a proxied request, told to whoever wants to know it in full.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, StatusCode};

use crate::spans::Spans;
use crate::trace_context::TraceContext;

/// The names of an endpoint that does not exist (RIG).
const NONE: &str = "N/A";

/// All that is told of one request.
#[derive(Debug)]
pub struct Report {
    /// Its method.
    pub method: Method,
    /// Its path as it came, without the query: tokens may stand there.
    pub path: Box<str>,
    /// Where it went; `None` if no endpoint has its path and method.
    pub endpoint: Option<EndpointNames>,
    /// Who has sent it.
    pub address: SocketAddr,
    /// Whether it came over TLS.
    pub secure: bool,
    /// The session of its token, where it needed one.
    pub session: Option<Box<str>>,
    /// Where it stands in its trace.
    pub trace: TraceContext,
    /// The status that the client was told; `None`: nothing was told to it.
    pub status: Option<StatusCode>,
    /// What became of it, in one word.
    pub outcome: &'static str,
    /// Whether `outcome` says why it failed; otherwise `status` does, if it failed.
    pub failed: bool,
    /// Why its service has failed, or its token was refused; `None` otherwise.
    pub reason: Option<Box<str>>,
    /// When its head had come.
    pub began: SystemTime,
    /// How long it took, to the end of its answer or of the connection that it became.
    pub took: Duration,
    /// What a service was asked.
    pub call: Option<Call>,
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
pub struct Call {
    /// Where it stands in the trace.
    pub trace: TraceContext,
    /// Host and port of the server that has answered.
    pub target: Option<(Box<str>, u16)>,
    /// When it was about to be sent.
    pub began: SystemTime,
    /// How long it took until its answer began; `None`: it did not.
    pub took: Option<Duration>,
    /// What the service has said.
    pub status: Option<StatusCode>,
}

/// Tells of requests: in the log (RIG: `REQUEST_LOG`), and to a collector of traces.
#[derive(Debug, Default)]
pub struct Reporter {
    /// One log line for each request.
    log: bool,
    spans: Option<Arc<Spans>>,
}

impl Reporter {
    /// Writes log lines, if `log` says so, and exports spans, where there is somebody to do it.
    pub fn new(log: bool, spans: Option<Arc<Spans>>) -> Self {
        Self { log, spans }
    }

    /// The span of a request with these headers, in the trace of its caller or the first of another.
    pub fn trace(&self, headers: &HeaderMap) -> TraceContext {
        let caller = TraceContext::of_caller(headers);
        let mut trace = caller.map_or_else(TraceContext::root, |caller| caller.child());
        if let Some(spans) = &self.spans {
            trace.sampled = spans.sampler.samples(caller.as_ref(), trace.trace_id);
        }
        trace
    }

    /// Whether anybody wants to know of such a request.
    pub fn wants(&self, trace: &TraceContext) -> bool {
        self.log || self.exports(trace)
    }

    /// Whether its spans are exported.
    pub fn exports(&self, trace: &TraceContext) -> bool {
        self.spans.is_some() && trace.sampled
    }

    /// A request has ended.
    pub fn tell(&self, report: &Report) {
        if self.log {
            report.log();
        }
        if let Some(spans) = &self.spans
            && report.trace.sampled
        {
            spans.tell(report);
        }
    }
}

impl Report {
    /// One line. Its texts are fields, which all formats escape.
    fn log(&self) {
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

/// An address as a text, without a port that nobody knows.
pub fn address_text(address: SocketAddr) -> String {
    match address.port() {
        0 => address.ip().to_string(),
        _ => address.to_string(),
    }
}
