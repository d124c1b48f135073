//! The servers of one API: which of them gets a request, and the connections to each.

mod balance;
mod check;
mod connect;
mod copy;
mod link;
mod pool;
mod target;
mod tls;

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::uri::Scheme;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use telemetry::ProxyMetrics;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::answer::Refusal;
use crate::body::{BodyFault, RequestBody, Upload};
use crate::definition::{TargetConfig, UpstreamConfig};
use balance::Balancer;
pub(crate) use connect::Io;
use copy::Copy;
pub(crate) use link::{Link, Patience, SendError};
use target::Target;
use tls::Tls;
pub(crate) use tls::{SystemRoots, TlsFault};

/// How long making a connection may take, name resolution and TLS included.
const CONNECT: Duration = Duration::from_secs(5);

/// A request that has not reached any server for so long does not look for another one.
const SEARCH: Duration = Duration::from_secs(8);

/// How often a silent HTTP/2 connection is asked whether it is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);

/// The servers of an API.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// The id of the API.
    api: Arc<str>,
    pub(crate) config: UpstreamConfig,
    targets: Vec<Target>,
    balancer: Balancer,
    tls: Option<Tls>,
    /// Ask the servers whether they are well; they end with this.
    checks: OnceLock<JoinSet<()>>,
}

/// An answer that has begun.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) response: Response<Incoming>,
    pub(crate) link: Box<Link>,
    /// Whose it is.
    pub(crate) target: usize,
}

impl Upstream {
    /// The servers of this API, and nothing of their connections yet. Reads the files for HTTPS where there is some.
    ///
    /// # Errors
    /// These files cannot be used.
    pub(crate) fn new(
        api: &Arc<str>,
        config: &UpstreamConfig,
        system: &SystemRoots,
    ) -> Result<Self, TlsFault> {
        let is_https = config.targets.iter().any(|target| target.scheme == Scheme::HTTPS);
        let tls = is_https.then(|| Tls::load(&config.tls, config.http2, system)).transpose()?;
        Ok(Self {
            api: api.clone(),
            config: config.clone(),
            targets: config.targets.iter().map(Target::new).collect(),
            balancer: Balancer::new(config),
            tls,
            checks: OnceLock::new(),
        })
    }

    /// Begins to ask the servers whether they are well, where the definition wants it, until this is dropped.
    pub(crate) fn watch(self: &Arc<Self>) {
        let Some(check) = &self.config.health_check else { return };
        self.checks.get_or_init(|| {
            let asked = self.targets.iter().enumerate().filter(|(_, target)| target.config.weight > 0);
            asked.map(|(at, _)| check::watch(Arc::downgrade(self), at, check.clone())).collect()
        });
    }

    /// Sends a request to one of the servers, to another one where it cannot be reached, and waits for the head of the
    /// answer. An idempotent request without a body is sent again where a server has closed a connection that was kept, and
    /// to another server where one has closed a new connection (RFC 9110, section 9.2.2; RFC 9112, section 9.3.1).
    ///
    /// # Errors
    /// What the client is told.
    pub(crate) async fn send(
        &self,
        mut request: Request<RequestBody>,
        patience: Patience,
    ) -> Result<Answered, Refusal> {
        let upload = request.body().upload();
        let replayable = request.body().is_empty() && request.method().is_idempotent();
        let (mut tried, mut searched) = (0u64, Duration::ZERO);
        // One connection that was closed is bad luck; a request must not go through all that are kept.
        let mut only_new = false;
        while let Some(at) = self.balancer.pick(tried) {
            let target = &self.targets[at];
            let kept = if only_new { None } else { target.pool.take() };
            let mut link = match kept {
                Some(link) => link,
                None => {
                    let began = Instant::now();
                    // Boxed: most requests find a connection.
                    match Box::pin(self.connect(target)).await {
                        Ok(link) => {
                            target.pool.share(&link);
                            link
                        }
                        Err(error) if connect::is_exhausted(&error) => return Err(Refusal::Exhausted),
                        Err(error) => {
                            tracing::debug!(server = %target.authority, %error, "cannot connect");
                            self.failed(at);
                            tried |= 1 << at;
                            searched += began.elapsed();
                            if searched > SEARCH {
                                break;
                            }
                            continue;
                        }
                    }
                }
            };
            target.address(&mut request, link.is_http2());
            let again = replayable && (!link.fresh || self.balancer.has_choice());
            let copy = again.then(|| Copy::of(&request));
            match link.send(request, patience).await {
                Ok(response) => {
                    self.answered(at, response.status());
                    return Ok(Answered { response, link, target: at });
                }
                Err(SendError::NotSent(unsent)) if !link.fresh => {
                    only_new = true;
                    request = *unsent;
                }
                Err(SendError::Closed) if let Some(copy) = copy => {
                    if link.fresh {
                        self.failed(at);
                        tried |= 1 << at;
                    }
                    only_new = true;
                    request = copy.into_request();
                }
                Err(error) => {
                    tracing::debug!(server = %target.authority, ?error, "no answer");
                    if !matches!(error, SendError::ClientSilent)
                        && upload.as_deref().and_then(Upload::fault).is_none()
                    {
                        self.failed(at);
                    }
                    return Err(refusal(&error, upload.as_deref()));
                }
            }
        }
        Err(Refusal::Unreachable)
    }

    /// Takes note of an answer: it may say that there is nobody behind it.
    fn answered(&self, at: usize, status: StatusCode) {
        match status {
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                self.failed(at);
            }
            _ if self.balancer.succeeded(at) => {
                tracing::info!(api = %self.api, server = %self.targets[at].authority, "target is back");
            }
            _ => {}
        }
    }

    fn failed(&self, at: usize) {
        if self.balancer.failed(at) {
            self.targets[at].ejections.fetch_add(1, Relaxed);
            tracing::warn!(api = %self.api, server = %self.targets[at].authority, "target is ejected: it failed too often");
        }
    }

    fn set_well(&self, at: usize, well: bool) {
        self.balancer.set_well(at, well);
        let server = &self.targets[at].authority;
        match well {
            true => tracing::info!(api = %self.api, %server, "target is well"),
            false => tracing::warn!(api = %self.api, %server, "target is unwell"),
        }
    }

    /// One of the servers.
    pub(crate) fn target(&self, at: usize) -> &TargetConfig {
        &self.targets[at].config
    }

    /// Takes a connection back when an exchange is over.
    pub(crate) fn keep(&self, link: Box<Link>, target: usize) {
        self.targets[target].pool.put(link);
    }

    /// Reads the files of HTTPS again where one has changed, or where it is `forced`. From then on, requests go over
    /// connections that are made with what they hold. May wait for a disk.
    pub(crate) fn refresh(&self, forced: bool) {
        if self.tls.as_ref().is_some_and(|tls| tls.refresh(&self.api, forced)) {
            self.targets.iter().for_each(|target| target.pool.renew());
        }
    }

    /// Closes connections that nobody needs.
    pub(crate) fn sweep(&self) {
        self.targets.iter().for_each(|target| target.pool.sweep());
    }

    /// Connections that wait for a request.
    pub(crate) fn idle(&self) -> usize {
        self.targets.iter().map(|target| target.pool.idle()).sum()
    }

    /// Counts the servers that were ejected since it was done last.
    pub(crate) fn count_ejections(&self, metrics: &ProxyMetrics) {
        for target in &self.targets {
            let times = target.ejections.swap(0, Relaxed);
            if times > 0 {
                metrics.upstream_ejected(&self.api, target.authority.as_str(), times);
            }
        }
    }

    async fn connect(&self, target: &Target) -> io::Result<Box<Link>> {
        let connecting = async {
            let tls = self.tls.as_ref().filter(|_| target.config.scheme == Scheme::HTTPS).map(Tls::config);
            let io = Io::connect(&target.config, tls.as_ref()).await?;
            let http2 = match tls {
                Some(_) => io.has_chosen_http2(),
                None => self.config.http2,
            };
            if !http2 {
                return Link::http1(io).await.map_err(io::Error::other);
            }
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(PING)
                .keep_alive_timeout(PING)
                .handshake(TokioIo::new(io))
                .await
                .map_err(io::Error::other)?;
            // Whoever has an exchange on it sees its end; nobody else needs to.
            tokio::spawn(async move { connection.await.unwrap_or_default() });
            Ok(Link::over(sender))
        };
        // Before the credentials are looked up: a connection made with those of before is not kept.
        let epoch = target.pool.epoch();
        let mut link = timeout(CONNECT, connecting).await??;
        link.epoch = epoch;
        Ok(Box::new(link))
    }
}

/// What the client is told; what is wrong with its body comes first.
fn refusal(error: &SendError, upload: Option<&Upload>) -> Refusal {
    match (upload.and_then(Upload::fault), error) {
        (Some(BodyFault::TooLarge), _) => Refusal::TooLarge,
        (Some(BodyFault::Broken), _) => Refusal::ClientBroken,
        (None, SendError::ClientSilent) => Refusal::ClientSilent,
        (None, SendError::ServiceSilent) => Refusal::ServiceSilent,
        (None, _) => Refusal::Unreachable,
    }
}
