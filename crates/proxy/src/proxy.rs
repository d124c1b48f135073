//! The proxy: which endpoint a request is for, and what is noted of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use auth::{Cors, Verifier};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request};
use listener::{Answer, ClientBody, Peer};
use memory::Memory;
use session::Sessions;
use telemetry::{Report, Reporter, TraceContext};

use crate::access::Access;
use crate::account::Account;
use crate::answer;
use crate::apis::Apis;
use crate::exchange::{Exchange, Prepared};
use crate::head;
use crate::metrics::{Metrics, ProxyEndpoint};
use crate::path::PathView;
use crate::rejection::Rejection;
use crate::table::Route;
use crate::upstream::ServiceLimits;
use crate::waiting::Waiting;

/// How often connections to services are looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// What an operator decides about the proxy.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which pages may read the proxy's own answers, and use the cookies of their users (RIG:
    /// `CORS`).
    pub cors: Cors,
    /// How long a service may take to begin its answer (RIG: `PROXY_RECV_TIMEOUT`).
    pub answer_timeout: Duration,
    /// The connections to services, and how large the heads of their answers may be.
    pub services: ServiceLimits,
    /// Counts the bytes that are queued for slow services and clients.
    pub memory: Arc<Memory>,
}

/// What a proxy works with.
pub struct Collaborators {
    /// The definitions that are served.
    pub apis: Arc<Apis>,
    /// Requests that wait for an asynchronous answer.
    pub waiting: Arc<Waiting>,
    /// Verifies the tokens of requests.
    pub verifier: Arc<Verifier>,
    /// Knows which sessions are revoked; requests in flight are registered there.
    pub sessions: Sessions,
    /// What the proxy counts.
    pub metrics: Arc<Metrics>,
    /// Writes the request log and the spans.
    pub reporter: Arc<Reporter>,
}

/// The proxy of a node.
pub struct Proxy {
    pub(crate) config: Config,
    apis: Arc<Apis>,
    pub(crate) access: Access,
    pub(crate) waiting: Arc<Waiting>,
    metrics: Arc<Metrics>,
    reporter: Arc<Reporter>,
}

impl Proxy {
    /// A proxy that has no connections yet.
    pub fn new(config: Config, collaborators: Collaborators) -> Self {
        let Collaborators { apis, waiting, verifier, sessions, metrics, reporter } = collaborators;
        metrics.watch(&apis, &waiting);
        let access = Access::new(verifier, sessions, metrics.clone());
        Self { config, apis, waiting, access, metrics, reporter }
    }

    /// Serves definitions that others change in the store, closes connections to services that are
    /// not needed, and starts the health checks of new services. Never returns.
    pub async fn keep(&self) {
        tokio::join!(self.apis.clone().follow(), self.sweep());
    }

    async fn sweep(&self) {
        let mut every = tokio::time::interval(SWEEP);
        loop {
            every.tick().await;
            self.apis.table().upstreams().for_each(|(_, upstream)| {
                upstream.watch(&self.config.services);
                upstream.sweep();
                // A definition that is changed takes with it what has not been counted.
                upstream.count_ejections(&self.metrics);
            });
        }
    }

    /// Answers a request that is not for the gateway itself.
    pub async fn call(&self, request: Request<ClientBody>, peer: Peer) -> Answer {
        let origin = Cors::asking(request.headers()).cloned();
        let origin = origin.as_ref();
        // What comes before the service is asked is done there, so that its leftovers are not
        // carried along here.
        let (route, prepared, mut account) = match self.begin(request, &peer, origin) {
            Ok(begun) => begun,
            Err(answer) => return *answer,
        };
        let exchange = Exchange { proxy: self, route: &route, peer: &peer, origin };
        // Boxed: the listener moves the future of a request about before it runs.
        match Box::pin(exchange.run(prepared, &mut account)).await {
            Ok(answer) => answer,
            Err(refusal) => self.refuse(refusal, account, origin),
        }
    }

    /// Finds the endpoint of a request, and does all that is done without waiting; or answers it at
    /// once.
    fn begin(
        &self,
        request: Request<ClientBody>,
        peer: &Peer,
        origin: Option<&HeaderValue>,
    ) -> Result<(Arc<Route>, Prepared, Account), Box<Answer>> {
        let (head, body) = request.into_parts();
        let target = head.uri.clone();
        let trace = self.reporter.trace(&head.headers);
        let unmatched = || {
            let counters = self.metrics.unmatched(head.method.as_str());
            self.account(counters, &head, peer, trace)
        };
        // `OPTIONS *` is for the gateway, and asks for no path (RFC 9110, section 9.3.7).
        if !target.path().starts_with('/') {
            return Err(Box::new(self.refuse(Rejection::NotFound, unmatched(), origin)));
        }
        let path = PathView::new(target.path());
        let table = self.apis.table();
        let route = match table.choose(&head.method, &path) {
            Ok(Some(route)) => route.clone(),
            Ok(None) => {
                let methods = match head.method {
                    Method::OPTIONS => table.methods(&path),
                    _ => Vec::new(),
                };
                if methods.is_empty() {
                    return Err(Box::new(self.refuse(Rejection::NotFound, unmatched(), origin)));
                }
                return Err(Box::new(self.preflight(&head.headers, &methods, unmatched())));
            }
            Err(refusal) => return Err(Box::new(self.refuse(Rejection::Path(refusal), unmatched(), origin))),
        };
        let mut account = self.account(route.counters(&self.metrics), &head, peer, trace);
        if head::hops_left(&head) == Some(0) {
            return Err(Box::new(self.preflight(&head.headers, &table.methods(&path), account)));
        }
        let exchange = Exchange { proxy: self, route: &route, peer, origin };
        let prepared = match route.pattern.rewrite(&path) {
            Ok(path) => exchange.prepare(head, &path, body, trace, &mut account),
            Err(refusal) => Err(Rejection::Path(refusal)),
        };
        match prepared {
            Ok(prepared) => Ok((route, prepared, account)),
            Err(refusal) => Err(Box::new(self.refuse(refusal, account, origin))),
        }
    }

    fn account(
        &self,
        counters: Arc<ProxyEndpoint>,
        head: &Parts,
        peer: &Peer,
        trace: TraceContext,
    ) -> Account {
        let mut account = Account::new(counters.clone());
        if self.reporter.wants(&trace) {
            let report = Report {
                method: head.method.clone(),
                path: head.uri.path().into(),
                endpoint: counters.names(),
                address: peer.address,
                secure: peer.secure,
                session: None,
                trace,
                status: None,
                // Both are known when it is dropped.
                outcome: "",
                failed: false,
                reason: None,
                began: SystemTime::now(),
                took: Duration::ZERO,
                call: None,
            };
            account.tell(self.reporter.clone(), report);
        }
        account
    }

    fn preflight(&self, asked: &HeaderMap, methods: &[Method], mut account: Account) -> Answer {
        let answer = answer::preflight(asked, methods, &self.config.cors);
        account.answered(answer.status());
        account.whole();
        Answer::Response(answer)
    }

    fn refuse(&self, refusal: Rejection, account: Account, origin: Option<&HeaderValue>) -> Answer {
        account.refused(&refusal);
        Answer::Response(refusal.answer(&self.config.cors, origin))
    }
}
