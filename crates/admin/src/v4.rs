//! `/v4`: revocations with receipts, sessions, issuers, and definitions of APIs, for operators and
//! services.
//!
//! | file | contents |
//! | --- | --- |
//! | `revocations`, `sessions`, `issuers`, `apis` | the endpoints |
//! | `request`, `fields` | the content of a body, and its faults |
//! | `query`, `wait` | parameters and names in the URL |
//! | `order` | converts a request to an order for the node |
//! | `receipt`, `spread`, `page` | answers |
//! | `time` | instants as text |
//! | `problem` | errors |

mod apis;
mod fields;
mod issuers;
mod order;
mod page;
pub(crate) mod problem;
mod query;
mod receipt;
mod request;
mod revocations;
mod sessions;
mod spread;
mod time;
mod wait;

use axum::middleware::{from_fn, map_response};
use axum::response::Response;
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use utoipa_axum::router::OpenApiRouter;

use crate::body::refuse_coded;
use crate::port::Port;
pub(crate) use page::receipt_of;
use problem::Problem;

/// Returns the endpoints below `/v4`, with their document.
pub(crate) fn router() -> OpenApiRouter<Port> {
    let of_tokens = revocations::router().merge(sessions::router()).merge(issuers::router());
    let endpoints = apis::router().merge(of_tokens);
    let (router, document) = endpoints.route_layer(from_fn(refuse_coded)).split_for_parts();
    let router = router
        .fallback(async || Problem::NOTHING_HERE)
        .method_not_allowed_fallback(async || Problem::Method)
        .layer(map_response(not_stored));
    let mut router = OpenApiRouter::from(router);
    *router.get_openapi_mut() = document;
    router
}

/// Forbids caches to store answers: they describe the present, and reveal who is connected.
async fn not_stored(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
