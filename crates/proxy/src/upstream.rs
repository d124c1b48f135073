//! The servers of one API: which of them gets a request, and the connections to each.

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

/// What an operator decides about the connections to services and their answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLimits {
    /// How long a connection gets new requests; then the name of its service is resolved again.
    pub connection_age: Duration,
    /// How long a body, in either direction, may stand still.
    pub idle: Duration,
    /// The most header fields of an answer; more are answered with 502.
    pub fields: usize,
    /// The most bytes of an answer's head; more are answered with 502.
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

/// Why there is no answer, and how the client is refused.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) rejection: Rejection,
    /// `None` if the client is to blame.
    pub(crate) reason: Option<Failure>,
}

impl Failed {
    /// A limit of time is exceeded while this side is waited for.
    pub(crate) fn silent(awaited: Awaited) -> Self {
        match awaited {
            Awaited::Client(_) => Self { rejection: Rejection::ClientSilent, reason: None },
            Awaited::Service(_) | Awaited::Answer(_) => {
                let reason = Some(Failure::new(FailureKind::Silent, ""));
                Self { rejection: Rejection::ServiceSilent, reason }
            }
        }
    }

    /// A target has failed that is no HTTP service; what is wrong with the request's body comes
    /// first.
    pub(crate) fn of_target(error: &TargetError, fault: Option<BodyFault>) -> Self {
        if let Some(rejection) = fault.and_then(of_body) {
            return Self { rejection, reason: None };
        }
        let (rejection, kind) = match error {
            TargetError::Unreachable(_) => (Rejection::Unreachable, FailureKind::Connect),
            TargetError::Busy(_) => (Rejection::Busy, FailureKind::Busy),
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
    /// Ask the servers whether they are well; they end with this.
    checks: OnceLock<JoinSet<()>>,
}

/// An answer that has begun.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) response: Response<AnswerBody>,
    pub(crate) link: Box<Link>,
    /// Whose it is.
    pub(crate) server: usize,
}

impl Upstream {
    /// The servers of this API, without connections yet. Reads the files for HTTPS if a server
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

    /// Begins to ask the servers whether they are well, where the definition wants it, until this
    /// is dropped.
    pub(crate) fn watch(self: &Arc<Self>, limits: &ServiceLimits) {
        let Some(check) = &self.config.health_check else { return };
        self.checks.get_or_init(|| {
            let asked = self.servers.iter().enumerate().filter(|(_, server)| server.config.weight > 0);
            asked.map(|(at, _)| check::watch(Arc::downgrade(self), at, check.clone(), *limits)).collect()
        });
    }

    /// Sends a request to one of the servers, to another one where it cannot be reached, and waits
    /// for the head of the answer. It is sent again
    /// - where nothing of it was sent, or the service says that it has not processed it, and its
    ///   body is still in hand: whatever its method (RFC 9113, section 8.7);
    /// - where it is idempotent and has no body, and a server has closed a connection that was
    ///   kept, or a new one while there is another server (RFC 9110, section 9.2.2; RFC 9112,
    ///   section 9.3.1).
    ///
    /// `client` gets what comes before the answer; `memory` counts what is kept of the body.
    ///
    /// # Errors
    /// Fails with how the client is refused, and why.
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

    /// Says in the log what is wrong with a server, at a bounded rate.
    fn complain(&self, server: &Server, failure: &Failure) {
        let Some(suppressed) = server.complaints.due(failure.kind, Instant::now()) else { return };
        let (server, reason) = (server.authority.as_str(), failure.to_string());
        tracing::warn!(api = &*self.api, server, reason = reason.as_str(), suppressed, "service failed");
    }

    /// Notes that the body of an answer has broken off; returns why, for the request log.
    pub(crate) fn broke_off(&self, at: usize) -> Failure {
        let failure = Failure::new(FailureKind::Body, "");
        self.complain(&self.servers[at], &failure);
        failure
    }

    /// Notes that an answer cannot be passed on; returns how the client is refused.
    pub(crate) fn is_invalid(&self, at: usize, detail: impl fmt::Display) -> Failed {
        let failure = Failure::new(FailureKind::Protocol, detail);
        self.complain(&self.servers[at], &failure);
        Failed { rejection: Rejection::Unreachable, reason: Some(failure) }
    }

    /// Takes note of an answer: it may come from a gateway in front of a service that is down.
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

    /// One of the servers.
    pub(crate) fn server(&self, at: usize) -> &TargetConfig {
        &self.servers[at].config
    }

    /// Takes a connection back after an exchange.
    pub(crate) fn keep(&self, link: Box<Link>, server: usize) {
        self.servers[server].pool.put(link);
    }

    /// Reads the files of HTTPS again if one has changed, or if it is `forced`. From then on,
    /// requests go over connections that are made with what they hold. May wait for a disk.
    pub(crate) fn refresh(&self, forced: bool) {
        if self.tls.as_ref().is_some_and(|tls| tls.refresh(&self.api, forced)) {
            self.servers.iter().for_each(|server| server.pool.renew());
        }
    }

    /// Closes connections that are not needed.
    pub(crate) fn sweep(&self) {
        self.servers.iter().for_each(|server| server.pool.sweep());
    }

    /// Connections that wait for a request.
    pub(crate) fn idle(&self) -> usize {
        self.servers.iter().map(|server| server.pool.idle()).sum()
    }

    /// Counts the servers that were ejected since it was done last.
    pub(crate) fn count_ejections(&self, metrics: &Metrics) {
        for server in &self.servers {
            let times = server.ejections.swap(0, Relaxed);
            if times > 0 {
                metrics.upstream_ejected(&self.api, server.authority.as_str(), times);
            }
        }
    }
}

/// Returns how a client is refused whose body is not whole; `None` if the request is sent again.
fn of_body(fault: BodyFault) -> Option<Rejection> {
    match fault {
        BodyFault::TooLarge => Some(Rejection::TooLarge),
        BodyFault::Broken => Some(Rejection::ClientBroken),
        BodyFault::NoRoom => Some(Rejection::NoRoom),
        BodyFault::SentAgain => None,
    }
}
