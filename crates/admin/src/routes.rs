//! The routes of the internal port.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use auth::Verifier;
use axum::Router;
use axum::body::Body as AxumBody;
use axum::extract::{DefaultBodyLimit, OriginalUri, State};
use axum::http::header::{ALLOW, CONTENT_TYPE, VARY};
use axum::middleware;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use event::ExtensionNames;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use listener::{Answer, App, Body, ClientBody, Peer, REQUEST_ID, given_request_id, new_request_id};
use metric::Registry;
use node::Node;
use proxy::{Apis, Waiting};
use session::Sessions;
use telemetry::Exposition;
use tower::ServiceExt;
use utoipa_swagger_ui::SwaggerUi;

use crate::access::{self, ApiToken};
use crate::door::Door;
use crate::metrics::Metrics;
use crate::port::Port;
use crate::wording::Turned;
use crate::{apis, body, messages, openapi, responses, session_blacklist, v4};

/// The path of the OpenAPI document. RIG's was `/swagger-ui/rig_api_swagger.json`.
const DOCUMENT: &str = "/openapi.json";

/// What an operator decides about the internal port.
#[derive(Clone, Debug)]
pub struct Config {
    /// The token that callers must present; without one, everybody who reaches the port by a name of its own is let in.
    pub token: Option<ApiToken>,
    /// The largest request body, in bytes.
    pub max_body: usize,
    /// How long a request body may take to arrive.
    pub body_timeout: Duration,
    /// Which names extensions of events may have.
    pub extension_names: ExtensionNames,
    /// Whether revocations survive a restart: what receipts say of it.
    pub durable: bool,
    /// The name of the host (`HOST`), by which callers without a token may address the port.
    pub host: String,
    /// Whether `/metrics` answers (RIG: `PROMETHEUS_METRICS_ENABLED`).
    pub metrics: bool,
}

/// The internal port of a node.
#[derive(Clone)]
pub struct Admin {
    pub(crate) router: Router,
    door: Arc<Door>,
}

/// What the internal port works on.
pub struct Parts {
    /// What revokes, publishes and lists.
    pub node: Node,
    /// The sessions of `node`, for names and selectors.
    pub sessions: Sessions,
    /// Says which tokens can be revoked by presenting them.
    pub verifier: Arc<Verifier>,
    /// The proxied requests that services can answer.
    pub waiting: Arc<Waiting>,
    /// The definitions that are served.
    pub apis: Arc<Apis>,
    /// Holds what all other rooms count.
    pub registry: Registry,
}

impl Admin {
    /// Returns the internal port over its `parts`.
    pub fn new(config: Config, parts: Parts) -> Self {
        let Parts { node, sessions, verifier, waiting, apis, mut registry } = parts;
        let Config { token, max_body, body_timeout, extension_names, durable, host, .. } = config;
        let door = Arc::new(Door::new(&host, token.is_some(), Metrics::register(&mut registry)));
        let node_name = format!("rig@{host}").into();
        let api = Router::new()
            .route("/session-blacklist", post(session_blacklist::add))
            .route("/session-blacklist/{sessionId}", get(session_blacklist::check))
            .route("/messages", post(messages::publish))
            .route("/apis", get(apis::list).post(apis::create))
            .route("/apis/{id}", get(apis::one).put(apis::update).delete(apis::delete));
        let plain = middleware::from_fn(body::refuse_coded);
        let bodies = body::Bounds::new(max_body, body_timeout);
        let whole = middleware::from_fn_with_state(bodies.clone(), body::read);
        let v2 = api.clone().route("/responses", post(responses::answer_by_event)).route_layer(plain.clone());
        // The coding of an answer goes on to the client, with its header.
        let v3 = api.route_layer(plain).route("/responses", post(responses::answer));
        let mut router = Router::new()
            .route("/health", get(health))
            .route("/health/", get(health))
            .route("/readyz", get(ready))
            .route("/readyz/", get(ready))
            .nest("/v2", v2.route_layer(whole.clone()))
            .nest("/v3", v3.route_layer(whole))
            .nest("/v4", v4::router());
        let registry = Arc::new(registry);
        let port = Port {
            node,
            sessions,
            verifier,
            waiting,
            apis,
            node_name,
            bodies,
            extension_names,
            durable,
            registry,
        };
        if config.metrics {
            router = router.route("/metrics", get(metrics));
        }
        let router = router
            .with_state(port)
            .route("/swagger-ui/rig_api_swagger.json", get(async || Redirect::temporary(DOCUMENT)))
            .merge(SwaggerUi::new("/swagger-ui").url(DOCUMENT, openapi::document()))
            .fallback(not_found)
            .method_not_allowed_fallback(not_found)
            .layer(DefaultBodyLimit::max(max_body))
            .layer(middleware::from_fn_with_state(token, access::require));
        Self { router, door }
    }
}

impl App for Admin {
    async fn call(&self, request: Request<ClientBody>, peer: Peer) -> Answer {
        let id = given_request_id(request.headers());
        let mut response = match self.door.refusal(&request, &peer) {
            Some(reason) => Turned::Away(reason).answer(request.uri().path()),
            None => {
                let routed = self.router.clone().oneshot(request.map(AxumBody::new));
                let answered: Result<Response, Infallible> = routed.await;
                let Ok(response) = answered;
                response
            }
        };
        // RIG does not tell a wrong method from a wrong path, and what is not found allows nothing.
        if response.status() == StatusCode::NOT_FOUND {
            response.headers_mut().remove(ALLOW);
        }
        response.headers_mut().insert(REQUEST_ID, id.unwrap_or_else(new_request_id));
        Answer::Response(response.map(|body| body.map_err(Into::into).boxed_unsync()))
    }

    fn complete(&self, request: Option<&HeaderMap>, response: &mut http::Response<Body>) {
        let id = request.and_then(given_request_id);
        response.headers_mut().insert(REQUEST_ID, id.unwrap_or_else(new_request_id));
    }
}

async fn not_found(OriginalUri(uri): OriginalUri) -> Response {
    Turned::NotFound.answer(uri.path())
}

/// Whether the node is up.
#[utoipa::path(get, path = "/health", responses((status = 200, description = "The node is up", body = String)))]
pub(crate) async fn health() -> &'static str {
    "OK"
}

/// Whether the node wants new clients: what a load balancer asks.
#[utoipa::path(get, path = "/readyz", responses(
    (status = 200, description = "The node serves", body = String),
    (status = 503, description = "The node is about to leave", body = String),
))]
pub(crate) async fn ready(State(port): State<Port>) -> (StatusCode, &'static str) {
    if port.node.is_ready() { (StatusCode::OK, "OK") } else { (StatusCode::SERVICE_UNAVAILABLE, "leaving") }
}

/// All metrics: as OpenMetrics if `Accept` asks for that, else as Prometheus text.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "OpenMetrics 1.0 or Prometheus text 0.0.4", body = String)))]
pub(crate) async fn metrics(State(port): State<Port>, headers: HeaderMap) -> Response {
    let form = Exposition::negotiate(&headers);
    ([(CONTENT_TYPE, form.content_type()), (VARY, "accept")], form.text(&port.registry)).into_response()
}
