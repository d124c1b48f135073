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

/// Whether the node accepts new clients: for load balancers. Names the brokers that it is not
/// connected to; they make it fail only with `BROKERS_NEEDED`.
#[utoipa::path(get, path = "/readyz", tag = "Node", responses(
    (status = 200, description = "The node serves", body = String),
    (status = 503, description = "The node is about to shut down, has no lease in its cluster, or lacks a broker that it needs", body = String),
))]
async fn ready(State(port): State<Port>) -> (StatusCode, String) {
    let failed = |reason: &str| (StatusCode::SERVICE_UNAVAILABLE, reason.to_owned());
    match port.node.readiness() {
        Readiness::Ready => {
            let missing = port.node.sources().iter().filter(|source| !source.is_up());
            let lines = missing.map(|source| format!("\n{}: not connected", source.name()));
            (StatusCode::OK, "OK".to_owned() + &lines.collect::<String>())
        }
        Readiness::Leaving => failed("leaving"),
        Readiness::NoLease => failed("no lease: this node may have missed revocations"),
        Readiness::NoSource(name) => failed(&format!("{name}: not connected")),
    }
}
