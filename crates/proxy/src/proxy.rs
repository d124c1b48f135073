//! The proxy: finds the endpoint of a request, and creates the request's account.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use auth::{Cors, TokenError, Verifier};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request};
use listener::{Answer, ClientBody, Peer, given_request_id};
use memory::Memory;
use session::{Fencing, Sessions};
use telemetry::{Report, Reporter, TraceContext};

use crate::access::{Access, Unauthenticated};
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

/// How often unneeded connections to services are searched for.
const SWEEP: Duration = Duration::from_secs(5);

/// Settings of the proxy.
#[derive(Clone, Debug)]
pub struct Config {
    /// The pages that may read the proxy's own answers, and use their users' cookies (RIG: `CORS`).
    pub cors: Cors,
    /// How long a service may take until its answer begins (RIG: `PROXY_RECV_TIMEOUT`).
    pub answer_timeout: Duration,
    /// Limits of connections to services, and of the heads of their answers.
    pub services: ServiceLimits,
    /// Counts the bytes that are queued for slow services and clients.
    pub memory: Arc<Memory>,
    /// The fences of new requests and of answers, for requests that belong to a session.
    pub fencing: Fencing,
}

/// The parts of the gateway that the proxy uses.
pub struct Collaborators {
    /// The definitions that are served.
    pub apis: Arc<Apis>,
    /// Requests that wait for an asynchronous answer.
    pub waiting: Arc<Waiting>,
    /// Verifies the tokens of requests.
    pub verifier: Arc<Verifier>,
    /// Requests in flight are registered here, and refused if their session is revoked.
    pub sessions: Sessions,
    /// The proxy's metrics.
    pub metrics: Arc<Metrics>,
    /// Writes the request log and the spans.
    pub reporter: Arc<Reporter>,
}

/// A request that is ready for a service, and what it is counted by.
type Begun = (Arc<Route>, Prepared, Account);

/// A request that is not ready for a service.
enum NotBegun {
    /// It is answered at once.
    Answered(Box<Answer>),
    /// The issuer of one of its tokens must be asked first.
    Unasked(Box<Found<'static>>),
}

/// A request whose endpoint is known.
struct Found<'p> {
    route: Arc<Route>,
    head: Parts,
    /// The path that the service gets.
    path: Cow<'p, str>,
    body: ClientBody,
    trace: TraceContext,
    account: Account,
}

/// The issuer of a token must be asked about it.
const UNASKED: Rejection = Rejection::Unauthenticated(Unauthenticated::Token(TokenError::Unasked));

/// The issuer of a token could not be asked about it.
const UNAVAILABLE: Rejection = Rejection::Unauthenticated(Unauthenticated::Token(TokenError::Unavailable));

/// The proxy of a node.
pub struct Proxy {
    pub(crate) config: Config,
    pub(crate) apis: Arc<Apis>,
    pub(crate) access: Access,
    pub(crate) waiting: Arc<Waiting>,
    metrics: Arc<Metrics>,
    reporter: Arc<Reporter>,
}

impl Proxy {
    /// Creates a proxy without connections.
    pub fn new(config: Config, collaborators: Collaborators) -> Self {
        let Collaborators { apis, waiting, verifier, sessions, metrics, reporter } = collaborators;
        let (counted, pooled, responses) = (apis.clone(), apis.clone(), waiting.clone());
        metrics.watch(
            move |metrics| counted.table().upstreams().for_each(|(_, it)| it.count_ejections(metrics)),
            move || pooled.table().upstreams().map(|(_, upstream)| upstream.idle()).sum(),
            move || responses.len(),
        );
        let access = Access::new(verifier, sessions, metrics.clone());
        Self { config, apis, waiting, access, metrics, reporter }
    }

    /// Runs the background work: serves definitions that others change in the store, closes
    /// unneeded connections to services, and starts the health checks of new services. Never
    /// returns.
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
                // The counts are lost when the definition changes.
                upstream.count_ejections(&self.metrics);
            });
        }
    }

    /// Answers a request that is not for the gateway itself.
    pub async fn call(&self, request: Request<ClientBody>, peer: Peer) -> Answer {
        let origin = Cors::asking(request.headers()).cloned();
        let origin = origin.as_ref();
        // The work before the service is called is in functions of their own, so that their local
        // variables do not enlarge this future.
        let mut begun = self.begin(request, &peer, origin);
        if let Err(NotBegun::Unasked(found)) = begun {
            begun = Box::pin(self.begin_later(found, &peer, origin)).await;
        }
        let (route, prepared, mut account) = match begun {
            Ok(begun) => begun,
            Err(NotBegun::Answered(answer)) => return *answer,
            // What the issuer has said could not be kept for as long as it took to use it.
            Err(NotBegun::Unasked(found)) => return self.refuse(UNAVAILABLE, found.account, origin),
        };
        let exchange = Exchange { proxy: self, route: &route, peer: &peer, origin };
        // Boxed: the listener moves the future of a request several times before it is polled.
        match Box::pin(exchange.run(prepared, &mut account)).await {
            Ok(answer) => answer,
            Err(refusal) => self.refuse(refusal, account, origin),
        }
    }

    /// Finds the endpoint of a request, and does everything that does not wait. May answer the
    /// request at once.
    fn begin(
        &self,
        request: Request<ClientBody>,
        peer: &Peer,
        origin: Option<&HeaderValue>,
    ) -> Result<Begun, NotBegun> {
        let answered = |answer| Err(NotBegun::Answered(Box::new(answer)));
        let (head, body) = request.into_parts();
        let target = head.uri.clone();
        let trace = self.reporter.trace(&head.headers);
        let unmatched = || {
            let counters = self.metrics.unmatched(head.method.as_str());
            self.account(counters, None, &head, peer, trace)
        };
        // `OPTIONS *` is meant for the gateway, and has no path (RFC 9110, section 9.3.7).
        if !target.path().starts_with('/') {
            return answered(self.refuse(Rejection::NotFound, unmatched(), origin));
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
                    return answered(self.refuse(Rejection::NotFound, unmatched(), origin));
                }
                return answered(self.preflight(&head.headers, &methods, unmatched()));
            }
            Err(refusal) => return answered(self.refuse(Rejection::Path(refusal), unmatched(), origin)),
        };
        let counters = route.counters(&self.metrics);
        let account = self.account(counters, Some(&route), &head, peer, trace);
        if head::hops_left(&head) == Some(0) {
            return answered(self.preflight(&head.headers, &table.methods(&path), account));
        }
        match route.pattern.rewrite(&path) {
            Ok(path) => self.prepare(Found { route, head, path, body, trace, account }, peer, origin),
            Err(refusal) => answered(self.refuse(Rejection::Path(refusal), account, origin)),
        }
    }

    /// Admits a request to its endpoint, and prepares it.
    fn prepare(
        &self,
        found: Found<'_>,
        peer: &Peer,
        origin: Option<&HeaderValue>,
    ) -> Result<Begun, NotBegun> {
        let Found { route, mut head, path, body, trace, mut account } = found;
        let exchange = Exchange { proxy: self, route: &route, peer, origin };
        let prepared = match exchange.admit(&mut head) {
            Ok(admission) => exchange.prepare(head, &path, body, trace, admission, &mut account),
            Err(UNASKED) => {
                let path = Cow::Owned(path.into_owned());
                let found = Found { route, head, path, body, trace, account };
                return Err(NotBegun::Unasked(Box::new(found)));
            }
            Err(refusal) => Err(refusal),
        };
        match prepared {
            Ok(prepared) => Ok((route, prepared, account)),
            Err(refusal) => Err(NotBegun::Answered(Box::new(self.refuse(refusal, account, origin)))),
        }
    }

    /// Asks the issuers of a request's tokens, then admits and prepares it.
    async fn begin_later(
        &self,
        found: Box<Found<'static>>,
        peer: &Peer,
        origin: Option<&HeaderValue>,
    ) -> Result<Begun, NotBegun> {
        if let Some(sources) = &found.route.token_sources
            && let Err(error) = self.access.ask(sources, &found.head).await
        {
            let refusal = Unauthenticated::from(error).into();
            return Err(NotBegun::Answered(Box::new(self.refuse(refusal, found.account, origin))));
        }
        self.prepare(*found, peer, origin)
    }

    fn account(
        &self,
        counters: Arc<ProxyEndpoint>,
        route: Option<&Arc<Route>>,
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
                // Both are known when the account is dropped.
                outcome: "",
                failed: false,
                reason: None,
                began: SystemTime::now(),
                took: Duration::ZERO,
                call: None,
                definition: route
                    .filter(|_| self.reporter.wants_definitions())
                    .map(|route| route.definition.clone()),
                request_id: given_request_id(&head.headers).and_then(|id| id.to_str().ok().map(Into::into)),
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
