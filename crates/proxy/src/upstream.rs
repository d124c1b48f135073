//! The servers of one API: selects one for each request, and keeps the connections to each.

mod attempts;
mod balance;
mod check;
mod connect;
mod copy;
mod failure;
mod http2;
mod link;
mod pool;
mod reach;
mod respelling;
mod server;
mod streams;
mod tls;

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::uri::Scheme;
use http::{Request, Response, StatusCode};
use memory::Memory;
use tokio::task::JoinSet;

use crate::body::{BodyFault, RequestBody};
use crate::definition::{TargetConfig, UpstreamConfig};
use crate::informational::{Recipient, Watcher};
use crate::metrics::Metrics;
use crate::rejection::Rejection;
use crate::target::TargetError;
use crate::time_limits::{Awaited, TimeLimits};
use attempts::Attempts;
use balance::Balancer;
pub(crate) use connect::Io;
pub(crate) use failure::{Failure, FailureKind};
pub(crate) use link::{AnswerBody, Link, SendError};
pub(crate) use respelling::RawTarget;
use server::Server;
pub(crate) use streams::StreamPermit;
use tls::ClientTls;
pub(crate) use tls::{SystemRoots, TlsFault};

/// Settings of connections to services and of their answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLimits {
    /// How long a connection may get new requests. A new connection resolves the service's name
    /// again.
    pub connection_age: Duration,
    /// How long a body may make no progress, in either direction.
    pub idle: Duration,
    /// Limit of the header fields of an answer; more lead to a 502.
    pub fields: usize,
    /// Limit of the bytes of an answer's head; more lead to a 502.
    pub head: usize,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            connection_age: Duration::from_secs(600),
            idle: Duration::from_secs(60),
            fields: 256,
            head: 64 << 10,
        }
    }
}

/// Why there is no answer, and the rejection that the client gets.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) rejection: Rejection,
    /// `None` if the client is responsible.
    pub(crate) reason: Option<Failure>,
}

impl Failed {
    /// A time limit was exceeded while waiting for this side.
    pub(crate) fn silent(awaited: Awaited) -> Self {
        match awaited {
            Awaited::Client(_) => Self { rejection: Rejection::ClientSilent, reason: None },
            Awaited::Service(_) | Awaited::Answer(_) => {
                let reason = Some(Failure::new(FailureKind::Silent, ""));
                Self { rejection: Rejection::ServiceSilent, reason }
            }
        }
    }

    /// A target that is not an HTTP service has failed. A fault of the request's body takes
    /// precedence.
    pub(crate) fn of_target(error: &TargetError, fault: Option<BodyFault>) -> Self {
        if let Some(rejection) = fault.and_then(of_body) {
            return Self { rejection, reason: None };
        }
        let (rejection, kind) = match error {
            TargetError::Unreachable(_) => (Rejection::Unreachable, FailureKind::Connect),
            TargetError::Busy(_) => (Rejection::Busy, FailureKind::Busy),
            TargetError::Invalid(text) => {
                return Self { rejection: Rejection::Invalid(text.clone()), reason: None };
            }
            TargetError::TooLarge(_) => (Rejection::TooLarge, FailureKind::Refused),
            TargetError::Unavailable(_) => (Rejection::BrokerUnavailable, FailureKind::Connect),
            TargetError::TimedOut(_) => (Rejection::NoAnswer, FailureKind::Silent),
        };
        Self { rejection, reason: Some(Failure::new(kind, error)) }
    }
}

/// The servers of an API.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// The id of the API.
    api: Arc<str>,
    pub(crate) config: UpstreamConfig,
    servers: Vec<Server>,
    balancer: Balancer,
    tls: Option<ClientTls>,
    /// The health checks of the servers, aborted when this is dropped.
    checks: OnceLock<JoinSet<()>>,
}

/// An answer whose head was received.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) response: Response<AnswerBody>,
    pub(crate) link: Box<Link>,
    /// The server that answers.
    pub(crate) server: usize,
}

impl Upstream {
    /// Creates the servers of an API, without connections. Reads the files for HTTPS if a server
    /// needs them.
    ///
    /// # Errors
    /// Fails if these files cannot be used.
    pub(crate) fn new(
        api: &Arc<str>,
        config: &UpstreamConfig,
        system: &SystemRoots,
    ) -> Result<Self, TlsFault> {
        let is_https = config.targets.iter().any(|target| target.scheme == Scheme::HTTPS);
        let tls = is_https.then(|| ClientTls::load(&config.tls, config.http2, system)).transpose()?;
        Ok(Self {
            api: api.clone(),
            config: config.clone(),
            servers: config.targets.iter().map(Server::new).collect(),
            balancer: Balancer::new(config),
            tls,
            checks: OnceLock::new(),
        })
    }

    /// Starts the health checks, if the definition has any. They run until this is dropped.
    pub(crate) fn watch(self: &Arc<Self>, limits: &ServiceLimits) {
        let Some(check) = &self.config.health_check else { return };
        self.checks.get_or_init(|| {
            let asked = self.servers.iter().enumerate().filter(|(_, server)| server.config.weight > 0);
            asked.map(|(at, _)| check::watch(Arc::downgrade(self), at, check.clone(), *limits)).collect()
        });
    }

    /// Sends a request to one of the servers, or to another one if that cannot be reached, and
    /// waits for the head of the answer. The request is sent again
    /// - if nothing of it was sent, or the service reports that it has not processed it, and its
    ///   body is still available, whatever its method (RFC 9113, section 8.7);
    /// - if it is idempotent and has no body, and the server has closed a reused connection, or a
    ///   new one while there is another server (RFC 9110, section 9.2.2; RFC 9112, section 9.3.1).
    ///
    /// `client` gets the informational answers; `memory` accounts for the copy of the body.
    ///
    /// # Errors
    /// Fails with the rejection for the client, and the reason.
    pub(crate) async fn send(
        &self,
        mut request: Request<RequestBody>,
        client: Option<&Recipient>,
        time_limits: TimeLimits,
        limits: &ServiceLimits,
        memory: &Arc<Memory>,
    ) -> Result<Answered, Failed> {
        let mut attempts = Attempts::new(self, &request);
        while let Some(at) = attempts.next_server() {
            let began = Instant::now();
            let link = match self.link(&self.servers[at], attempts.wants_new_link(), limits).await {
                Ok(link) => link,
                Err(failure) => {
                    attempts.unreachable(at, failure, began.elapsed())?;
                    continue;
                }
            };
            let mut attempt = attempts.begin(at, link, &mut request, memory);
            let watcher = Watcher::new(&request, client);
            request = match attempt.link.send(request, watcher, time_limits).await {
                Ok(response) => return attempts.answered(attempt.server, attempt.link, response, limits),
                Err(error) => attempts.again(attempt, error)?,
            };
            attempts.pause().await;
        }
        Err(attempts.exhausted())
    }

    /// Logs the failure of a server, at a bounded rate.
    fn complain(&self, server: &Server, failure: &Failure) {
        let Some(suppressed) = server.complaints.due(failure.kind, Instant::now()) else { return };
        let (server, reason) = (server.authority.as_str(), failure.to_string());
        tracing::warn!(api = &*self.api, server, reason = reason.as_str(), suppressed, "service failed");
    }

    /// Notes that the body of an answer has broken off. Returns the reason, for the request log.
    pub(crate) fn broke_off(&self, at: usize) -> Failure {
        let failure = Failure::new(FailureKind::Body, "");
        self.complain(&self.servers[at], &failure);
        failure
    }

    /// Notes that an answer cannot be forwarded. Returns the rejection for the client.
    pub(crate) fn is_invalid(&self, at: usize, detail: impl fmt::Display) -> Failed {
        let failure = Failure::new(FailureKind::Protocol, detail);
        self.complain(&self.servers[at], &failure);
        Failed { rejection: Rejection::Unreachable, reason: Some(failure) }
    }

    /// Counts an answer as success or failure of the server: a 502 to 504 may come from a gateway
    /// in front of a service that is down.
    fn answered(&self, at: usize, status: StatusCode) {
        match status {
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                self.failed(at);
            }
            _ if self.balancer.succeeded(at) => {
                tracing::info!(api = %self.api, server = %self.servers[at].authority, "target is back");
            }
            _ => {}
        }
    }

    fn failed(&self, at: usize) {
        if self.balancer.failed(at) {
            self.servers[at].ejections.fetch_add(1, Relaxed);
            tracing::warn!(api = %self.api, server = %self.servers[at].authority, "target is ejected: it failed too often");
        }
    }

    fn set_well(&self, at: usize, well: bool) {
        self.balancer.set_well(at, well);
        let server = &self.servers[at].authority;
        match well {
            true => tracing::info!(api = %self.api, %server, "target is well"),
            false => tracing::warn!(api = %self.api, %server, "target is unwell"),
        }
    }

    /// Returns one of the servers.
    pub(crate) fn server(&self, at: usize) -> &TargetConfig {
        &self.servers[at].config
    }

    /// Returns a connection to the pool after an exchange.
    pub(crate) fn keep(&self, link: Box<Link>, server: usize) {
        self.servers[server].pool.put(link);
    }

    /// Reads the files for HTTPS again if one has changed, or if `forced`. Later requests use only
    /// connections that are made with the new content. May block on a disk.
    pub(crate) fn refresh(&self, forced: bool) {
        if self.tls.as_ref().is_some_and(|tls| tls.refresh(&self.api, forced)) {
            self.servers.iter().for_each(|server| server.pool.renew());
        }
    }

    /// Closes unneeded connections.
    pub(crate) fn sweep(&self) {
        self.servers.iter().for_each(|server| server.pool.sweep());
    }

    /// Returns the number of idle connections.
    pub(crate) fn idle(&self) -> usize {
        self.servers.iter().map(|server| server.pool.idle()).sum()
    }

    /// Adds the ejections since the last call to the metrics.
    pub(crate) fn count_ejections(&self, metrics: &Metrics) {
        for server in &self.servers {
            let times = server.ejections.swap(0, Relaxed);
            if times > 0 {
                metrics.upstream_ejected(&self.api, server.authority.as_str(), times);
            }
        }
    }
}

/// Returns the rejection for a request whose body is incomplete; `None` if the request is sent
/// again.
fn of_body(fault: BodyFault) -> Option<Rejection> {
    match fault {
        BodyFault::TooLarge => Some(Rejection::TooLarge),
        BodyFault::Broken => Some(Rejection::ClientBroken),
        BodyFault::NoRoom => Some(Rejection::NoRoom),
        BodyFault::SentAgain => None,
    }
}
