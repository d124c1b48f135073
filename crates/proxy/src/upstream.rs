//! The servers of one API: which of them gets a request, and the connections to each.

mod connect;
mod link;
mod pool;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::time::timeout;

use crate::answer::Refusal;
use crate::body::{BodyFault, RequestBody, Upload};
use crate::definition::{TargetConfig, UpstreamConfig};
pub(crate) use connect::Io;
pub(crate) use link::{Link, Patience, SendError};
use pool::Pool;

/// How long making a connection may take, name resolution and TLS included.
const CONNECT: Duration = Duration::from_secs(5);

/// How often a silent HTTP/2 connection is asked whether it is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);

/// The servers of an API.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) config: UpstreamConfig,
    targets: Vec<Target>,
    tls: Option<Arc<ClientConfig>>,
}

/// One of them.
#[derive(Debug)]
struct Target {
    config: TargetConfig,
    /// Its name, without the port where it is the scheme's own.
    authority: Authority,
    host: HeaderValue,
    pool: Pool,
}

/// An answer that has begun.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) response: Response<Incoming>,
    pub(crate) link: Box<Link>,
    /// Whose it is.
    pub(crate) target: usize,
}

/// A request without a body, kept so that it can be sent again.
struct Copy {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Upstream {
    pub(crate) fn new(config: &UpstreamConfig) -> Self {
        Self { config: config.clone(), targets: config.targets.iter().map(Target::new).collect(), tls: None }
    }

    fn pick(&self, tried: u64) -> Option<usize> {
        (0..self.targets.len()).find(|at| tried & (1 << at) == 0)
    }

    fn failed(&self, _: usize) {}

    /// Sends a request to one of the servers, to another one where it cannot be reached, and waits for the head of the
    /// answer. Where a server has closed a connection that was kept, an idempotent request without a body is sent again
    /// (RFC 9110, section 9.2.2; RFC 9112, section 9.3.1).
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
        let mut tried = 0u64;
        while let Some(at) = self.pick(tried) {
            let target = &self.targets[at];
            let kept = target.pool.take();
            let mut link = match kept {
                Some(link) => link,
                // Boxed: most requests find a connection.
                None => match Box::pin(self.connect(target)).await {
                    Ok(link) => link,
                    Err(error) => {
                        tracing::debug!(target = %target.authority, %error, "cannot connect");
                        tried |= 1 << at;
                        self.failed(at);
                        continue;
                    }
                },
            };
            target.address(&mut request, link.is_http2());
            let copy = (replayable && !link.fresh).then(|| Copy::of(&request));
            match link.send(request, patience).await {
                Ok(response) => return Ok(Answered { response, link, target: at }),
                Err(SendError::NotSent(again)) if !link.fresh => request = *again,
                Err(SendError::Closed) if let Some(copy) = copy => request = copy.into_request(),
                Err(error) => {
                    tracing::debug!(target = %target.authority, ?error, "no answer");
                    if !matches!(error, SendError::ClientSilent) {
                        self.failed(at);
                    }
                    return Err(refusal(&error, upload.as_deref()));
                }
            }
        }
        Err(Refusal::Unreachable)
    }

    /// Takes a connection back when an exchange is over.
    pub(crate) fn keep(&self, link: Box<Link>, target: usize) {
        self.targets[target].pool.put(link);
    }

    /// Closes connections that nobody needs.
    pub(crate) fn sweep(&self) {
        self.targets.iter().for_each(|target| target.pool.sweep());
    }

    /// Connections that wait for a request.
    pub(crate) fn idle(&self) -> usize {
        self.targets.iter().map(|target| target.pool.idle()).sum()
    }

    async fn connect(&self, target: &Target) -> io::Result<Box<Link>> {
        let connecting = async {
            let io = Io::connect(&target.config, self.tls.as_ref()).await?;
            let http2 = match self.tls {
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
            target.pool.share(&sender);
            Ok(Link::over(sender))
        };
        timeout(CONNECT, connecting).await?.map(Box::new)
    }
}

impl Target {
    fn new(config: &TargetConfig) -> Self {
        let host = match config.host.contains(':') {
            true => format!("[{}]", config.host),
            false => config.host.clone(),
        };
        let own = if config.scheme == Scheme::HTTPS { 443 } else { 80 };
        let authority = if config.port == own { host } else { format!("{host}:{}", config.port) };
        Self {
            config: config.clone(),
            host: HeaderValue::from_str(&authority).expect("a host name is ASCII"),
            authority: authority.parse().expect("a host name and a port are an authority"),
            pool: Pool::default(),
        }
    }

    /// Makes a request one for this server (RFC 9112, section 3.2.1; RFC 9113, section 8.3.1).
    fn address(&self, request: &mut Request<RequestBody>, http2: bool) {
        let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = Some(path);
        if http2 {
            parts.scheme = Some(self.config.scheme.clone());
            parts.authority = Some(self.authority.clone());
            request.headers_mut().remove(HOST);
            *request.version_mut() = Version::HTTP_2;
        } else {
            request.headers_mut().insert(HOST, self.host.clone());
            *request.version_mut() = Version::HTTP_11;
        }
        *request.uri_mut() = Uri::from_parts(parts).expect("both a path alone and a whole URI are one");
    }
}

impl Copy {
    fn of(request: &Request<RequestBody>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        }
    }

    fn into_request(self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::empty());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
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
