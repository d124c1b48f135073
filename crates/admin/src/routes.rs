//! The routes of the internal port.

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use auth::Verifier;
use axum::body::Body as AxumBody;
use axum::extract::{DefaultBodyLimit, OriginalUri};
use axum::http::header::ALLOW;
use axum::middleware;
use axum::response::{Redirect, Response};
use axum::routing::get;
use axum::{Extension, Router};
use event::ExtensionNames;
use feed::Feeds;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use listener::{Answer, App, Body, ClientBody, Peer, REQUEST_ID, given_request_id, new_request_id};
use metric::Registry;
use node::{Node, PeerRoom};
use proxy::{Apis, Waiting};
use session::Sessions;
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use crate::access::{self, Access, AccessCheck, Connected};
use crate::door::Door;
use crate::metrics::Metrics;
use crate::port::Port;
use crate::responses::AnswersOfPeers;
use crate::wording::Unhandled;
use crate::{apis, body, health, messages, openapi, responses, scrape, session_blacklist, v4};

/// The path of the OpenAPI document. RIG's is `/swagger-ui/rig_api_swagger.json`.
const DOCUMENT: &str = "/openapi.json";

/// Settings of the internal port.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who may call, and what. If that is everyone, it is everyone who reaches the port by one of
    /// its names.
    pub access: Access,
    /// Limit of a request body, in bytes.
    pub max_body: usize,
    /// Time limit for a request body to arrive.
    pub body_timeout: Duration,
    /// The names that extensions of events may have.
    pub extension_names: ExtensionNames,
    /// Whether revocations survive a restart, as receipts report.
    pub durable: bool,
    /// How long requests wait for the other nodes of a cluster, unless they say so themselves
    /// (`CLUSTER_WAIT`).
    pub cluster_wait: Duration,
    /// The host name (`HOST`) that callers without a token may use for the port.
    pub host: String,
    /// Whether `/metrics` exists (RIG: `PROMETHEUS_METRICS_ENABLED`).
    pub metrics: bool,
}

impl Config {
    /// How long requests wait for the other nodes if nothing else is set: for as long as a node
    /// that is cut off keeps a lease of 15 s, by a clock that is 0.2 % slower, and a second more.
    pub const CLUSTER_WAIT: Duration = Duration::from_millis(15_030 + 1000);
}

/// The internal port of a node.
#[derive(Clone)]
pub struct Admin {
    pub(crate) router: Router,
    door: Arc<Door>,
    /// Answers identity providers; `None` if there are no feeds, or the inbound port has them.
    feeds: Option<Arc<Feeds>>,
    /// The node holds it weakly.
    _answers: Arc<AnswersOfPeers>,
}

/// The rooms that the internal port operates.
pub struct OperatedRooms {
    /// Revokes, publishes and lists.
    pub node: Node,
    /// The sessions of `node`, for names and selectors.
    pub sessions: Sessions,
    /// Verifies tokens that are presented to be revoked.
    pub verifier: Arc<Verifier>,
    /// The proxied requests that wait for a service's answer.
    pub waiting: Arc<Waiting>,
    /// The definitions that are served.
    pub apis: Arc<Apis>,
    /// The metrics of all other rooms.
    pub registry: Registry,
}

impl Admin {
    /// Creates the internal port over these `rooms`.
    pub fn new(config: Config, rooms: OperatedRooms) -> Self {
        let OperatedRooms { node, sessions, verifier, waiting, apis, mut registry } = rooms;
        let Config { access, max_body, body_timeout, extension_names, durable, cluster_wait, host, .. } =
            config;
        let metrics = Metrics::register(&mut registry);
        let door = Arc::new(Door::new(&host, !access.is_open(), metrics.clone()));
        let check = Arc::new(AccessCheck::new(access, verifier.clone(), sessions.clone(), metrics));
        let node_name = format!("rig@{host}").into();
        let bodies = body::Bounds::new(max_body, body_timeout);
        let (router, document) = routes(&bodies, config.metrics).split_for_parts();
        let document = openapi::with_rights(document);
        let registry = Arc::new(registry);
        let answers = Arc::new(AnswersOfPeers(waiting.clone()));
        let handler: Weak<AnswersOfPeers> = Arc::downgrade(&answers);
        node.answer_peers(PeerRoom::Admin, handler);
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
            cluster_wait,
            registry,
        };
        let router = router
            .with_state(port)
            .route("/swagger-ui/rig_api_swagger.json", get(async || Redirect::temporary(DOCUMENT)))
            .merge(SwaggerUi::new("/swagger-ui").url(DOCUMENT, document))
            .fallback(not_found)
            .method_not_allowed_fallback(not_found)
            .layer(DefaultBodyLimit::max(max_body))
            .layer(middleware::from_fn_with_state(check, access::require));
        Self { router, door, feeds: None, _answers: answers }
    }

    /// Returns the port with what the feeds of identity providers have received, in `/v4/issuers`.
    #[must_use]
    pub fn showing_feeds(self, feeds: Arc<Feeds>) -> Self {
        Self { router: self.router.layer(Extension(feeds)), ..self }
    }

    /// Returns the port with the feeds themselves (`FEEDS_PORT=internal`). A provider needs no
    /// token of the port, and may call it by any name: what it states is signed.
    #[must_use]
    pub fn serving_feeds(self, feeds: Arc<Feeds>) -> Self {
        Self { feeds: Some(feeds), ..self }
    }
}

impl App for Admin {
    async fn call(&self, mut request: Request<ClientBody>, peer: Peer) -> Answer {
        let id = given_request_id(request.headers());
        if let Some(feeds) = self.feeds.as_ref().filter(|_| Feeds::has_path(request.uri().path())) {
            let mut response = feeds.answer(request).await;
            response.headers_mut().insert(REQUEST_ID, id.unwrap_or_else(new_request_id));
            return Answer::Response(response);
        }
        let mut response = match self.door.refusal(&request, &peer) {
            Some(reason) => Unhandled::Away(reason).answer(request.uri().path()),
            None => {
                request.extensions_mut().insert(Connected(peer));
                let routed = self.router.clone().oneshot(request.map(AxumBody::new));
                let answered: Result<Response, Infallible> = routed.await;
                let Ok(response) = answered;
                response
            }
        };
        // RIG does not distinguish a wrong method from a wrong path, and a 404 has no `Allow`.
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

/// Returns all routes, with their OpenAPI document.
fn routes(bodies: &body::Bounds, metrics: bool) -> OpenApiRouter<Port> {
    let api = || session_blacklist::router().merge(messages::router()).merge(apis::router());
    let plain = middleware::from_fn(body::refuse_coded);
    let whole = middleware::from_fn_with_state(bodies.clone(), body::read);
    // The document mentions once that v2 has the endpoints of v3, and lists only those that differ.
    let (as_in_v3, _) = api().split_for_parts();
    let v2 = OpenApiRouter::from(as_in_v3).merge(responses::router_v2()).route_layer(plain.clone());
    // Content codings are accepted here: they are forwarded to the client, with their header.
    let v3 = api().route_layer(plain).merge(responses::router());
    let router = OpenApiRouter::with_openapi(openapi::base())
        .merge(health::router())
        .nest("/v2", v2.route_layer(whole.clone()))
        .nest("/v3", v3.route_layer(whole))
        .nest("/v4", v4::router());
    if metrics { router.merge(scrape::router()) } else { router }
}

/// Returns the document of all routes.
#[cfg(test)]
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    routes(&body::Bounds::new(1000, Duration::from_secs(5)), true).into_openapi()
}

async fn not_found(OriginalUri(uri): OriginalUri) -> Response {
    Unhandled::NotFound.answer(uri.path())
}

#[cfg(test)]
mod tests;
