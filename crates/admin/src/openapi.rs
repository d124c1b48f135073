//! The OpenAPI 3.1 document of the internal port.

use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

#[derive(OpenApi)]
#[openapi(info(
    title = "Reactive Interaction Gateway: internal API",
    description = "Every endpoint under `/v3` exists under `/v2` as well, unless `/v2` has its own."
))]
struct Internal;

/// Returns the document without paths. The routers of the endpoints add these.
pub(crate) fn base() -> Document {
    Internal::openapi()
}
