//! The servers of one API: which of them gets a request, and the connections to each.

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

use crate::body::{BodyFault, RequestBody, Upload};
use crate::definition::{TargetConfig, UpstreamConfig};
use crate::informational::{Recipient, Watcher};
use crate::metrics::Metrics;
use crate::rejection::Rejection;
use crate::target::TargetError;
use crate::time_limits::{Awaited, TimeLimits};
use balance::Balancer;
pub(crate) use connect::Io;
use copy::Copy;
pub(crate) use failure::{Failure, FailureKind};
pub(crate) use link::{AnswerBody, Link, SendError};
pub(crate) use respelling::RawTarget;
use server::Server;
pub(crate) use streams::StreamPermit;
use tls::ClientTls;
pub(crate) use tls::{SystemRoots, TlsFault};

/// How long a request looks for a server that it can reach.
const SEARCH: Duration = Duration::from_secs(8);

/// How often a request that the service has not processed is sent again.
const RESENDS: u32 = 16;

/// Each time after this number of resends, a request has an HTTP/2 connection of its own.
const UNSHARED: u32 = 4;

/// Resends beyond this many wait a little, by chance: whoever refuses all would be asked without
/// end.
const RESENDS_AT_ONCE: u32 = 3;

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
        let upload = request.body().upload();
        let replayable = request.body().is_empty() && request.method().is_idempotent();
        let (mut tried, mut searched, mut resent) = (0u64, Duration::ZERO, 0u32);
        // One connection that was closed is bad luck; a request must not go through all that are
        // kept.
        let mut only_new = false;
        let mut reason = None;
        while let Some(at) = self.balancer.pick(tried) {
            let server = &self.servers[at];
            let began = Instant::now();
            // Others may have taken all that a shared connection is good for: a new one is good for
            // one exchange at least.
            let is_unlucky = resent > 0 && resent.is_multiple_of(UNSHARED);
            let mut link = match self.link(server, only_new || is_unlucky, limits).await {
                Ok(link) => link,
                Err(failure) => {
                    self.complain(server, &failure);
                    if failure.kind == FailureKind::Exhausted {
                        return Err(Failed { rejection: Rejection::Exhausted, reason: Some(failure) });
                    }
                    if failure.kind != FailureKind::Busy {
                        self.failed(at);
                    }
                    reason = Some(failure);
                    tried |= 1 << at;
                    searched += began.elapsed();
                    if searched > SEARCH {
                        break;
                    }
                    continue;
                }
            };
            server.address(&mut request, link.is_http2());
            let again = replayable && (!link.fresh || self.balancer.has_choice());
            let copy = (again || link.is_http2()).then(|| Copy::of(&request));
            if link.is_http2()
                && let Some(upload) = &upload
            {
                upload.keep(memory);
            }
            // A server that closes a new HTTP/1 connection at once would do so again.
            let most = if link.fresh && !link.is_http2() { 1 } else { RESENDS };
            let watcher = Watcher::new(&request, client);
            match link.send(request, watcher, time_limits).await {
                Ok(response) if response.headers().len() <= limits.fields => {
                    if let Some(upload) = &upload {
                        upload.answered();
                    }
                    self.answered(at, response.status());
                    return Ok(Answered { response, link, server: at });
                }
                Ok(_) => {
                    let failure = Failure::new(FailureKind::Head, link::HEAD_LIMITS);
                    return Err(self.give_up(at, &SendError::Garbage(failure), upload.as_deref()));
                }
                Err(SendError::NotSent(unsent)) if resent < most => {
                    resent += 1;
                    only_new = !link.is_http2();
                    request = *unsent;
                }
                Err(SendError::Unprocessed(failure))
                    if resent < RESENDS
                        && copy.is_some()
                        && let Some(body) = RequestBody::again(upload.as_ref()) =>
                {
                    resent += 1;
                    tracing::debug!(api = %self.api, server = %server.authority, %failure, resent, "sent again");
                    link.refused();
                    drop(link);
                    request = copy.expect("it was looked for").into_request(body);
                    if resent > RESENDS_AT_ONCE {
                        tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=5 * u64::from(resent))))
                            .await;
                    }
                }
                Err(SendError::Closed(failure)) if let Some(copy) = copy.filter(|_| again) => {
                    if link.fresh {
                        self.complain(server, &failure);
                        self.failed(at);
                        tried |= 1 << at;
                    }
                    reason = Some(failure);
                    only_new = true;
                    request = copy.into_request(RequestBody::empty());
                }
                Err(error) => return Err(self.give_up(at, &error, upload.as_deref())),
            }
        }
        let rejection = match &reason {
            Some(failure) if failure.kind == FailureKind::Busy => Rejection::Busy,
            _ => Rejection::Unreachable,
        };
        Err(Failed { rejection, reason })
    }

    /// No server is asked any more.
    fn give_up(&self, at: usize, error: &SendError, upload: Option<&Upload>) -> Failed {
        let rejection = rejection(error, upload);
        if rejection == Rejection::NoRoom {
            return Failed { rejection, reason: Some(Failure::new(FailureKind::NoRoom, "")) };
        }
        let reason = match error {
            _ if upload.and_then(Upload::fault).is_some() => None,
            SendError::ClientSilent => None,
            SendError::ServiceSilent => Some(Failure::new(FailureKind::Silent, "")),
            SendError::NotSent(_) => Some(Failure::new(FailureKind::Closed, "nothing was sent")),
            SendError::Unprocessed(failure) | SendError::Closed(failure) | SendError::Garbage(failure) => {
                Some(failure.clone())
            }
        };
        if let Some(failure) = &reason {
            self.complain(&self.servers[at], failure);
            self.failed(at);
        }
        Failed { rejection, reason }
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

/// Returns how the client is refused; what is wrong with its body comes first.
fn rejection(error: &SendError, upload: Option<&Upload>) -> Rejection {
    if let Some(rejection) = upload.and_then(Upload::fault).and_then(of_body) {
        return rejection;
    }
    match error {
        SendError::ClientSilent => Rejection::ClientSilent,
        SendError::ServiceSilent => Rejection::ServiceSilent,
        SendError::NotSent(_) | SendError::Unprocessed(_) | SendError::Closed(_) | SendError::Garbage(_) => {
            Rejection::Unreachable
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
