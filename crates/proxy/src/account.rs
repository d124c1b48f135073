//! The outcome of a request: counted in metrics and reported to the log once, however the request
//! terminates.

use std::mem::take;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use session::SessionName;
use telemetry::{Report, Reporter, ServiceCall, TraceContext};

use crate::definition::TargetConfig;
use crate::metrics::{ProxyEndpoint, ProxyStatus};
use crate::rejection::Rejection;
use crate::upstream::Failure;

/// Accompanies a request from its route to the last byte of its answer, and counts its outcome when
/// dropped. The default value belongs to no request and counts nothing.
#[derive(Debug, Default)]
pub(crate) struct Account(Option<Ongoing>);

#[derive(Debug)]
struct Ongoing {
    counters: Arc<ProxyEndpoint>,
    began: Instant,
    /// The duration, if it was measured before the account is dropped.
    took: Option<Duration>,
    /// Initially `ClientClosed`: if no other outcome is recorded, the client has left.
    outcome: ProxyStatus,
    /// `None` if the request is not reported.
    told: Option<Box<PendingReport>>,
}

#[derive(Debug)]
struct PendingReport {
    to: Arc<Reporter>,
    report: Report,
}

impl Account {
    /// Counts a new request as in flight.
    pub(crate) fn new(counters: Arc<ProxyEndpoint>) -> Self {
        counters.begun();
        let outcome = ProxyStatus::ClientClosed;
        Self(Some(Ongoing { counters, began: Instant::now(), took: None, outcome, told: None }))
    }

    /// Requests a report when the request has finished.
    pub(crate) fn tell(&mut self, to: Arc<Reporter>, report: Report) {
        if let Some(request) = &mut self.0 {
            request.told = Some(Box::new(PendingReport { to, report }));
        }
    }

    /// Notes the session of the request.
    pub(crate) fn in_session(&mut self, name: &SessionName) {
        if let Some(report) = self.report() {
            report.session = Some(name.as_str().into());
        }
    }

    /// Notes that a request is about to be sent to a service. Returns the trace context for that
    /// request.
    pub(crate) fn asks(&mut self, trace: &TraceContext) -> TraceContext {
        let told = self.0.as_mut().and_then(|request| request.told.as_mut());
        let Some(told) = told.filter(|told| told.to.exports(trace)) else { return *trace };
        let (trace, began) = (trace.child(), SystemTime::now());
        told.report.call =
            Some(ServiceCall { trace, target: None, began, took: None, status: None, broker: None });
        trace
    }

    /// Notes that the service, at this server, has begun to answer.
    pub(crate) fn heard(&mut self, status: StatusCode, target: &TargetConfig) {
        if let Some(call) = self.report().and_then(|report| report.call.as_mut()) {
            call.status = Some(status);
            call.took = call.began.elapsed().ok();
            call.target = Some((target.host.as_str().into(), target.port));
        }
    }

    /// Notes that the request is sent to a broker.
    pub(crate) fn asks_broker(&mut self, broker: &'static str, topic: &Arc<str>) {
        if let Some(call) = self.report().and_then(|report| report.call.as_mut()) {
            call.broker = Some((broker, topic.clone()));
        }
    }

    /// Notes that the broker has the request, or has replied to it.
    pub(crate) fn acknowledged(&mut self) {
        if let Some(call) = self.report().and_then(|report| report.call.as_mut()) {
            call.took = call.began.elapsed().ok();
        }
    }

    /// Notes why the service has failed.
    pub(crate) fn failed(&mut self, reason: Option<&Failure>) {
        if let Some(report) = self.report() {
            report.reason = reason.map(|reason| reason.to_string().into());
        }
    }

    /// Notes the status that the client is about to get.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        if let Some(report) = self.report() {
            report.status = Some(status);
        }
    }

    /// Takes the account out, to pass it on. The one that is left behind counts nothing.
    pub(crate) fn take(&mut self) -> Self {
        take(self)
    }

    /// Notes that the proxy answers the request itself.
    pub(crate) fn refused(mut self, refusal: &Rejection) {
        if let (Rejection::Unauthenticated(reason), Some(report)) = (refusal, self.report()) {
            report.reason = Some(reason.to_string().into());
        }
        self.answered(refusal.status());
        self.ends(refusal.outcome());
    }

    /// Notes that the request has become an upgraded connection. The duration is measured up to
    /// here, since the lifetime of the connection is not that of a request.
    pub(crate) fn upgraded(&mut self) {
        if let Some(request) = &mut self.0 {
            request.took = Some(request.began.elapsed());
        }
    }

    /// Notes that the whole answer was sent.
    pub(crate) fn whole(&mut self) {
        self.ends(ProxyStatus::Ok);
    }

    /// Notes that the service broke off in the middle of the answer.
    pub(crate) fn broken(&mut self) {
        self.ends(ProxyStatus::Broken);
    }

    /// Notes that the session was terminated.
    pub(crate) fn killed(&mut self) {
        self.ends(ProxyStatus::Killed);
    }

    /// Records the outcome, unless there is one already: the first one counts.
    fn ends(&mut self, outcome: ProxyStatus) {
        if let Some(request) = &mut self.0
            && request.outcome == ProxyStatus::ClientClosed
        {
            request.outcome = outcome;
        }
    }

    fn report(&mut self) -> Option<&mut Report> {
        Some(&mut self.0.as_mut()?.told.as_mut()?.report)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let Some(Ongoing { counters, began, took, outcome, told }) = self.0.take() else { return };
        let elapsed = began.elapsed();
        counters.ended(outcome, took.unwrap_or(elapsed));
        if let Some(told) = told {
            let PendingReport { to, mut report } = *told;
            report.took = elapsed;
            report.outcome = outcome.as_str();
            report.failed = outcome.is_failure(report.status);
            to.report(&report);
        }
    }
}

#[cfg(test)]
mod tests;
