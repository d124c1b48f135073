//! The routes of the inbound port, and what every answer carries.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use auth::{Check, CheckRequest, Cors, Credential, Denied, Sender, TokenPlace, TokenSources, Verifier};
use bytes::Bytes;
use connection::{Hub, Transport};
use event::ExtensionNames;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Body as _;
use listener::{
    Answer, App, Body, BodyError, ClientBody, Counted, Metrics, Peer, REQUEST_ID, given_request_id,
    new_request_id, read_counted,
};
use node::Node;
use proxy::Proxy;
use session::Sessions;

use crate::answer::{TEXT, answer, method_not_allowed, not_found};
use crate::{events, longpolling, sse, subscriptions, websocket};

/// What an operator decides about the inbound port.
pub struct Config {
    /// Which pages may read the answers, and use the cookies of their users.
    pub cors: Cors,
    /// Connects of all transports within a minute (RIG: `MAX_CONNECTIONS_PER_MINUTE`).
    pub connects_per_minute: NonZeroU32,
    /// The largest request body, in bytes.
    pub max_body: usize,
    /// How long a request body may take to arrive.
    pub body_timeout: Duration,
    /// Which names extensions of events may have.
    pub extension_names: ExtensionNames,
    /// The cookie that may carry the token, if any.
    pub cookie: Option<String>,
    /// Who may subscribe.
    pub subscription_check: Check,
    /// Who may publish.
    pub submission_check: Check,
}

/// What the inbound port works on.
pub struct Parts {
    /// What publishes, and says whom the node lets in.
    pub node: Node,
    /// The connections of `node`, for opening and polling them.
    pub hub: Arc<Hub>,
    /// The sessions of `node`, for the names in tokens.
    pub sessions: Sessions,
    /// Verifies tokens.
    pub verifier: Arc<Verifier>,
    /// The fields that subscriptions can constrain.
    pub extractors: Arc<subscription::Extractors>,
    /// Gets every request that is not for the gateway itself.
    pub proxy: Arc<Proxy>,
    /// Counts clients that are refused.
    pub listening: Arc<listener::Metrics>,
}

/// The inbound port of a node. Cloning is cheap: all clones are the same port.
#[derive(Clone)]
pub struct Inbound(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) node: Node,
    pub(crate) hub: Arc<Hub>,
    pub(crate) sessions: Sessions,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) extractors: Arc<subscription::Extractors>,
    /// Where requests that connect carry their tokens.
    pub(crate) token_sources: TokenSources,
    /// Where all others do.
    pub(crate) authorization: TokenSources,
    proxy: Arc<Proxy>,
    /// Of the listeners: they and this port turn clients away.
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) connects: DefaultDirectRateLimiter,
    pub(crate) sse_headers: HeaderMap,
}

/// One request, and where it came from.
pub(crate) struct Asked {
    pub(crate) request: Request<ClientBody>,
    pub(crate) peer: Peer,
}

/// The headers of a request for a stream: what `EventSource` and its substitutes send, which reconnect by themselves.
const STREAM_HEADERS: &str = "content-type,authorization,last-event-id,cache-control";

impl Asked {
    /// Which page has sent it.
    pub(crate) fn sender(&self) -> Sender<'_> {
        Sender::of(self.request.uri(), self.request.headers(), self.peer.secure)
    }

    /// Its `Origin`, for the answer.
    pub(crate) fn origin(&self) -> Option<HeaderValue> {
        Cors::asking(self.request.headers()).cloned()
    }
}

impl Inbound {
    /// Returns the inbound port over its `parts`.
    pub fn new(config: Config, parts: Parts) -> Self {
        let Parts { node, hub, sessions, verifier, extractors, proxy, listening } = parts;
        let connects = RateLimiter::direct(Quota::per_minute(config.connects_per_minute));
        let sse_headers = sse::headers(&config.cors, None);
        let authorization = TokenSources::authorization();
        let token_sources = TokenSources {
            query: Some("jwt".to_owned()),
            cookie: config.cookie.clone(),
            ..authorization.clone()
        };
        Self(Arc::new(Shared {
            config,
            node,
            hub,
            sessions,
            verifier,
            extractors,
            token_sources,
            authorization,
            proxy,
            metrics: listening,
            connects,
            sse_headers,
        }))
    }

    async fn route(&self, asked: Asked) -> Answer {
        if listener::is_coded(asked.request.headers()) && !asked.request.body().is_end_stream() {
            let mut response = crate::answer::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, listener::CODED);
            response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            return Answer::Response(self.0.with_cors(asked.origin().as_ref(), response));
        }
        let path = asked.request.uri().path().to_owned();
        let path = path.strip_suffix('/').unwrap_or(&path);
        let method = asked.request.method().clone();
        let shared = &self.0;
        let response = match path {
            "/_rig/v1/connection/sse" => match method {
                Method::GET => return sse::connect(shared, asked).await,
                Method::HEAD => sse::head(shared, &asked),
                Method::OPTIONS => shared.preflight(&asked, "GET", STREAM_HEADERS),
                _ => method_not_allowed("GET, HEAD, OPTIONS"),
            },
            "/_rig/v1/connection/ws" => match method {
                Method::GET => return websocket::connect(shared, asked).await,
                Method::OPTIONS => shared.preflight(&asked, "GET", Cors::REQUEST_HEADERS),
                _ => method_not_allowed("GET, OPTIONS"),
            },
            "/_rig/v1/connection/longpolling" => match method {
                Method::GET => longpolling::connect(shared, asked).await,
                Method::OPTIONS => longpolling::preflight(shared, &asked),
                _ => not_found(),
            },
            "/_rig/v1/events" => match method {
                Method::POST => events::submit(shared, asked).await,
                Method::OPTIONS => shared.preflight(&asked, "POST", Cors::REQUEST_HEADERS),
                _ => not_found(),
            },
            "/_rig/health" if matches!(method, Method::GET | Method::HEAD) => health(shared),
            _ => match (subscriptions::connection_token(path), method) {
                (Some(token), Method::PUT) => subscriptions::replace(shared, asked, &token).await,
                (Some(_), Method::OPTIONS) => shared.preflight(&asked, "PUT", Cors::REQUEST_HEADERS),
                _ => not_found(),
            },
        };
        Answer::Response(response)
    }
}

impl Shared {
    /// Reads a body whole; what is returned beside it counts its bytes for as long as it is kept.
    pub(crate) async fn read(&self, body: ClientBody) -> Result<(Bytes, Option<Counted>), BodyError> {
        let Config { max_body, body_timeout, .. } = self.config;
        read_counted(body, max_body, body_timeout, &self.hub.config().memory).await
    }

    /// Asks a check about a request. While a service decides, the body waits for that, however it has come.
    pub(crate) async fn decide(
        &self,
        check: &Check,
        request: &CheckRequest<'_>,
        counted: Option<Counted>,
    ) -> Result<Result<(), Denied>, BodyError> {
        if !check.is_external() {
            return Ok(check.allows(request).await);
        }
        let memory = &self.hub.config().memory;
        let counted = counted.unwrap_or_else(|| Counted::new(request.body.len(), memory));
        counted.during(check.allows(request)).await
    }

    pub(crate) fn preflight(
        &self,
        asked: &Asked,
        methods: &'static str,
        names: &'static str,
    ) -> Response<Body> {
        let mut response = crate::answer::empty(StatusCode::NO_CONTENT);
        let methods = HeaderValue::from_static(methods);
        Cors::preflight(asked.request.headers(), response.headers_mut(), methods, names);
        self.with_cors(asked.origin().as_ref(), response)
    }

    /// Lets pages read an answer. `origin` is that of the request.
    pub(crate) fn with_cors(
        &self,
        origin: Option<&HeaderValue>,
        mut response: Response<Body>,
    ) -> Response<Body> {
        self.config.cors.allow(origin, response.headers_mut());
        response
    }

    /// Whether the tokens of a request count for the page that has sent it. A browser adds cookies by itself, whichever
    /// page asks; for all other tokens the page must know them.
    pub(crate) fn trusts<'r>(
        &self,
        credentials: &[Credential<'_>],
        transport: Option<Transport>,
        sender: impl FnOnce() -> Sender<'r>,
    ) -> bool {
        let is_cookie = credentials.first().is_some_and(|credential| credential.place == TokenPlace::Cookie);
        let cors = &self.config.cors;
        !is_cookie
            || match transport {
                Some(Transport::WebSocket) => cors.trusts_socket(sender()),
                _ => cors.trusts(sender()),
            }
    }
}

impl App for Inbound {
    async fn call(&self, request: Request<ClientBody>, peer: Peer) -> Answer {
        if !is_ours(request.uri().path()) {
            return self.0.proxy.call(request, peer).await;
        }
        let id = given_request_id(request.headers());
        // Boxed: a proxied request need not carry this.
        match Box::pin(self.route(Asked { request, peer })).await {
            Answer::Response(mut response) => {
                let id = id.unwrap_or_else(new_request_id);
                tracing::debug!(
                    request_id = &*String::from_utf8_lossy(id.as_bytes()),
                    status = response.status().as_u16(),
                    "answered"
                );
                response.headers_mut().insert(REQUEST_ID, id);
                Answer::Response(response)
            }
            takeover => takeover,
        }
    }

    fn complete(&self, request: Option<&HeaderMap>, response: &mut Response<Body>) {
        let id = request.and_then(given_request_id);
        response.headers_mut().insert(REQUEST_ID, id.unwrap_or_else(new_request_id));
        let origin = request.and_then(Cors::asking);
        self.0.config.cors.allow(origin, response.headers_mut());
    }
}

/// Fails as soon as the node is about to leave: load balancers ask here.
fn health(shared: &Shared) -> Response<Body> {
    if shared.node.is_ready() {
        answer(StatusCode::OK, TEXT, "OK")
    } else {
        answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "leaving")
    }
}

/// Whether a path is the gateway's own.
fn is_ours(path: &str) -> bool {
    path.strip_prefix("/_rig").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
