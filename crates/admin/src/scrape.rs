//! `/metrics`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, VARY};
use telemetry::Exposition;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::port::Port;

/// The endpoint of metrics.
pub(crate) fn router() -> OpenApiRouter<Port> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// All metrics: as OpenMetrics if `Accept` prefers it, else as Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "Node", responses(
    (status = 200, description = "OpenMetrics 1.0 or Prometheus text 0.0.4", body = String),
))]
async fn metrics(State(port): State<Port>, headers: HeaderMap) -> Response {
    let form = Exposition::negotiate(&headers);
    ([(CONTENT_TYPE, form.content_type()), (VARY, "accept")], form.text(&port.registry)).into_response()
}
