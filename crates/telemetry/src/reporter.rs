//! Reports proxied requests to the request log and to traces.

use std::sync::Arc;

use http::HeaderMap;

use crate::report::Report;
use crate::spans::Spans;
use crate::trace_context::TraceContext;

/// Reports requests: in the log (RIG: `REQUEST_LOG`), and to a collector of traces.
#[derive(Debug, Default)]
pub struct Reporter {
    /// `true` if each request is logged.
    log: bool,
    spans: Option<Arc<Spans>>,
}

impl Reporter {
    /// Creates a reporter that logs requests if `log` is `true`, and exports their spans if `spans`
    /// is given.
    pub fn new(log: bool, spans: Option<Arc<Spans>>) -> Self {
        Self { log, spans }
    }

    /// Returns the span of a request with these headers: in the trace of its caller, or the first
    /// of a new trace.
    pub fn trace(&self, headers: &HeaderMap) -> TraceContext {
        let caller = TraceContext::of_caller(headers);
        let mut trace = caller.map_or_else(TraceContext::root, |caller| caller.child());
        if let Some(spans) = &self.spans {
            trace.sampled = spans.sampler.samples(caller.as_ref(), trace.trace_id);
        }
        trace
    }

    /// Returns `true` if such a request is reported at all.
    pub fn wants(&self, trace: &TraceContext) -> bool {
        self.log || self.exports(trace)
    }

    /// Returns `true` if its spans are exported.
    pub fn exports(&self, trace: &TraceContext) -> bool {
        self.spans.is_some() && trace.sampled
    }

    /// Reports a request that is finished.
    pub fn report(&self, report: &Report) {
        if self.log {
            report.log();
        }
        if let Some(spans) = &self.spans
            && report.trace.sampled
        {
            spans.queue(report);
        }
    }
}
