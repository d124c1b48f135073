//! What becomes of a request: counted and told when it has ended, whichever way.

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

/// Accompanies a request from its route to the last byte of its answer; counted once, when dropped.
/// The default is of no request, and counts nothing.
#[derive(Debug, Default)]
pub(crate) struct Account(Option<Ongoing>);

#[derive(Debug)]
struct Ongoing {
    counters: Arc<ProxyEndpoint>,
    began: Instant,
    /// How long it took, where that is not until now.
    took: Option<Duration>,
    /// Without an end of its own, it is its client who has left.
    outcome: ProxyStatus,
    /// Where somebody wants to know.
    told: Option<Box<PendingReport>>,
}

#[derive(Debug)]
struct PendingReport {
    to: Arc<Reporter>,
    report: Report,
}

impl Account {
    /// A request has come.
    pub(crate) fn new(counters: Arc<ProxyEndpoint>) -> Self {
        counters.begun();
        let outcome = ProxyStatus::ClientClosed;
        Self(Some(Ongoing { counters, began: Instant::now(), took: None, outcome, told: None }))
    }

    /// Tells somebody of it when it has ended.
    pub(crate) fn tell(&mut self, to: Arc<Reporter>, report: Report) {
        if let Some(request) = &mut self.0 {
            request.told = Some(Box::new(PendingReport { to, report }));
        }
    }

    /// It has a token of this session.
    pub(crate) fn in_session(&mut self, name: &SessionName) {
        if let Some(report) = self.report() {
            report.session = Some(name.as_str().into());
        }
    }

    /// Notes that a service is about to be asked. Returns the span to name in that request.
    pub(crate) fn asks(&mut self, trace: &TraceContext) -> TraceContext {
        let told = self.0.as_mut().and_then(|request| request.told.as_mut());
        let Some(told) = told.filter(|told| told.to.exports(trace)) else { return *trace };
        let (trace, began) = (trace.child(), SystemTime::now());
        told.report.call = Some(ServiceCall { trace, target: None, began, took: None, status: None });
        trace
    }

    /// The service has begun to answer; it is on this server.
    pub(crate) fn heard(&mut self, status: StatusCode, target: &TargetConfig) {
        if let Some(call) = self.report().and_then(|report| report.call.as_mut()) {
            call.status = Some(status);
            call.took = call.began.elapsed().ok();
            call.target = Some((target.host.as_str().into(), target.port));
        }
    }

    /// The service has failed, for this reason.
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

    /// To be passed on; what is left counts nothing.
    pub(crate) fn take(&mut self) -> Self {
        take(self)
    }

    /// The proxy answers it itself.
    pub(crate) fn refused(mut self, refusal: &Rejection) {
        if let (Rejection::Unauthenticated(reason), Some(report)) = (refusal, self.report()) {
            report.reason = Some(reason.to_string().into());
        }
        self.answered(refusal.status());
        self.ends(refusal.outcome());
    }

    /// It is a connection from now on. How long that lasts is no matter of ours.
    pub(crate) fn upgraded(&mut self) {
        if let Some(request) = &mut self.0 {
            request.took = Some(request.began.elapsed());
        }
    }

    /// It has all of its answer.
    pub(crate) fn whole(&mut self) {
        self.ends(ProxyStatus::Ok);
    }

    /// The service breaks off.
    pub(crate) fn broken(&mut self) {
        self.ends(ProxyStatus::Broken);
    }

    /// Its session has ended.
    pub(crate) fn killed(&mut self) {
        self.ends(ProxyStatus::Killed);
    }

    /// What ended it first has ended it.
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
