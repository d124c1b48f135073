//! What becomes of a request: counted when it has ended, whichever way.

use std::mem::take;
use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry::{ProxyEndpoint, ProxyStatus};

use crate::answer::Refusal;

/// Accompanies a request from its route to the last byte of its answer; counted once, when dropped. The default is of no
/// request, and counts nothing.
#[derive(Debug, Default)]
pub(crate) struct Record(Option<Request>);

#[derive(Debug)]
struct Request {
    counters: Arc<ProxyEndpoint>,
    began: Instant,
    /// How long it took, where that is not until now.
    took: Option<Duration>,
    /// Without an end of its own, it is its client who has left.
    status: ProxyStatus,
}

impl Record {
    /// A request has come.
    pub(crate) fn new(counters: Arc<ProxyEndpoint>) -> Self {
        counters.begun();
        let status = ProxyStatus::ClientClosed;
        Self(Some(Request { counters, began: Instant::now(), took: None, status }))
    }

    /// To be passed on; what is left counts nothing.
    pub(crate) fn take(&mut self) -> Self {
        take(self)
    }

    /// The proxy answers it itself.
    pub(crate) fn refused(mut self, refusal: Refusal) {
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
    fn ends(&mut self, status: ProxyStatus) {
        if let Some(request) = &mut self.0
            && request.status == ProxyStatus::ClientClosed
        {
            request.status = status;
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(Request { counters, began, took, status }) = self.0.take() {
            counters.ended(status, took.unwrap_or_else(|| began.elapsed()));
        }
    }
}

#[cfg(test)]
mod tests;
