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

pub(crate) mod apis;
mod fields;
mod order;
mod page;
pub(crate) mod problem;
mod query;
pub(crate) mod receipt;
pub(crate) mod request;
pub(crate) mod revocations;
pub(crate) mod sessions;
mod time;

use axum::Router;
use axum::middleware::{from_fn, map_response};
use axum::response::Response;
use axum::routing::{get, post};
use http::HeaderValue;
use http::header::CACHE_CONTROL;

use crate::body::refuse_coded;
use crate::port::Port;
use problem::Problem;

/// The endpoints below `/v4`.
pub(crate) fn router() -> Router<Port> {
    Router::new()
        .route("/apis", get(apis::list).put(apis::replace))
        .route("/revocations", post(revocations::revoke).get(revocations::list))
        .route("/revocations/{id}", get(revocations::one).delete(revocations::lift))
        .route("/sessions", get(sessions::list))
        .route("/sessions/{name}", get(sessions::one).delete(sessions::disconnect))
        .route_layer(from_fn(refuse_coded))
        .fallback(async || Problem::NOTHING_HERE)
        .method_not_allowed_fallback(async || Problem::Method)
        .layer(map_response(not_stored))
}

/// Answers are good for the moment only, and tell who is connected.
async fn not_stored(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
