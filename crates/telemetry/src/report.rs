//! What became of a proxied request, told to whoever wants to know it in full.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};

use crate::metrics::{ProxyEndpoint, ProxyStatus};
use crate::trace_context::TraceContext;

/// All that is told of one request.
#[derive(Debug)]
pub struct Report {
    /// Its method.
    pub method: Method,
    /// Its path as it came, without the query: tokens may stand there.
    pub path: Box<str>,
    /// Where it went.
    pub endpoint: Arc<ProxyEndpoint>,
    /// Who has sent it.
    pub address: SocketAddr,
    /// The session of its token, where it needed one.
    pub session: Option<Box<str>>,
    /// Where it stands in its trace.
    pub trace: TraceContext,
    /// The status that the client was told; `None`: nothing was told to it.
    pub status: Option<StatusCode>,
    /// What became of it.
    pub outcome: ProxyStatus,
    /// When its head had come.
    pub began: SystemTime,
    /// How long it took, to the end of its answer or of the connection that it became.
    pub took: Duration,
}

/// Tells of requests (RIG: `REQUEST_LOG`).
#[derive(Debug, Default)]
pub struct Reporter {
    /// One log line for each request.
    log: bool,
}

impl Reporter {
    /// Writes log lines, if `log` says so.
    pub fn new(log: bool) -> Self {
        Self { log }
    }

    /// Whether anybody wants to know.
    pub fn is_on(&self) -> bool {
        self.log
    }

    /// A request has ended.
    pub fn tell(&self, report: &Report) {
        if self.log {
            report.log();
        }
    }
}

impl Report {
    /// One line. Its texts are fields, which all formats escape.
    fn log(&self) {
        let labels = self.endpoint.labels();
        tracing::info!(
            target: "rig::request",
            method = self.method.as_str(),
            path = &*self.path,
            api = &*labels.api,
            endpoint = &*labels.endpoint,
            status = self.status.map(|status| status.as_u16()),
            outcome = self.outcome.as_str(),
            duration_ms = self.took.as_micros() as f64 / 1000.0,
            remote = self.address.to_string(),
            session = self.session.as_deref(),
            trace_id = self.trace.trace_id.to_string(),
            "request"
        );
    }
}
