//! The OpenAPI 3.1 document of the internal port.

use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

#[derive(OpenApi)]
#[openapi(info(
    title = "Reactive Interaction Gateway: internal API",
    description = "Everything under `/v3` answers under `/v2` as well, where `/v2` has nothing of its own."
))]
struct Internal;

/// Returns the document without paths, which the routers of the endpoints add.
pub(crate) fn base() -> Document {
    Internal::openapi()
}
