//! `/v4`: revocations, sessions and definitions of APIs, for operators and services that want to know what became of
//! them.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `revocations`, `sessions`, `apis` | the endpoints |
//! | `request`, `fields` | what a body asks for, and all that is wrong with it |
//! | `query` | parameters and names in the URL |
//! | `order` | from what was asked for to a revocation |
//! | `receipt`, `page` | what is answered |
//! | `time` | instants as text |
//! | `problem` | what is answered where that is not possible |

mod apis;
mod fields;
mod order;
mod page;
pub(crate) mod problem;
mod query;
mod receipt;
mod request;
mod revocations;
mod sessions;
mod time;

use axum::middleware::{from_fn, map_response};
use axum::response::Response;
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use utoipa_axum::router::OpenApiRouter;

use crate::body::refuse_coded;
use crate::port::Port;
use problem::Problem;

/// The endpoints below `/v4`, with their document.
pub(crate) fn router() -> OpenApiRouter<Port> {
    let endpoints = apis::router().merge(revocations::router()).merge(sessions::router());
    let (router, document) = endpoints.route_layer(from_fn(refuse_coded)).split_for_parts();
    let router = router
        .fallback(async || Problem::NOTHING_HERE)
        .method_not_allowed_fallback(async || Problem::Method)
        .layer(map_response(not_stored));
    let mut router = OpenApiRouter::from(router);
    *router.get_openapi_mut() = document;
    router
}

/// Answers are good for the moment only, and tell who is connected.
async fn not_stored(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
