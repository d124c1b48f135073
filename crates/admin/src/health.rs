//! `/health` and `/readyz`, for probes.

use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use node::Readiness;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::port::Port;

/// The endpoints for probes. RIG also answers them with a trailing slash.
pub(crate) fn router() -> OpenApiRouter<Port> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(ready))
        .route("/health/", get(health))
        .route("/readyz/", get(ready))
}

/// Answers as long as the node is up.
#[utoipa::path(get, path = "/health", tag = "Node", responses((status = 200, description = "The node is up", body = String)))]
async fn health() -> &'static str {
    "OK"
}

/// Whether the node accepts new clients: for load balancers.
#[utoipa::path(get, path = "/readyz", tag = "Node", responses(
    (status = 200, description = "The node serves", body = String),
    (status = 503, description = "The node is about to shut down, or has no lease in its cluster", body = String),
))]
async fn ready(State(port): State<Port>) -> (StatusCode, &'static str) {
    match port.node.readiness() {
        Readiness::Ready => (StatusCode::OK, "OK"),
        Readiness::Leaving => (StatusCode::SERVICE_UNAVAILABLE, "leaving"),
        Readiness::NoLease => {
            (StatusCode::SERVICE_UNAVAILABLE, "no lease: this node may have missed revocations")
        }
    }
}
