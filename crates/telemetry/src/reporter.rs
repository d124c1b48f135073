//! Reports proxied requests to the request log and to traces.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;

use crate::report::{Report, ReportSink};
use crate::spans::Spans;
use crate::trace_context::TraceContext;

/// Reports requests: in the log and elsewhere (RIG: `REQUEST_LOG`), and to a collector of traces.
#[derive(Default)]
pub struct Reporter {
    /// `true` if each request is logged.
    log: bool,
    sink: Option<Arc<dyn ReportSink>>,
    spans: Option<Arc<Spans>>,
}

impl Reporter {
    /// Creates a reporter that logs requests if `log` is `true`, and exports their spans if `spans`
    /// is given.
    pub fn new(log: bool, spans: Option<Arc<Spans>>) -> Self {
        Self { log, sink: None, spans }
    }

    /// Also passes each report to `sink`.
    #[must_use]
    pub fn with_sink(self, sink: Option<Arc<dyn ReportSink>>) -> Self {
        Self { sink, ..self }
    }

    /// Returns `true` if the definitions of endpoints are reported.
    pub fn wants_definitions(&self) -> bool {
        self.sink.is_some()
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
        self.log || self.sink.is_some() || self.exports(trace)
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
        if let Some(sink) = &self.sink {
            sink.report(report);
        }
        if let Some(spans) = &self.spans
            && report.trace.sampled
        {
            spans.queue(report);
        }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").field("log", &self.log).field("spans", &self.spans).finish_non_exhaustive()
    }
}
