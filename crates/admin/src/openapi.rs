//! The OpenAPI 3.1 document of the internal port.

use http::Method;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, Paths};

use crate::access::needs;

#[derive(OpenApi)]
#[openapi(info(
    title = "Reactive Interaction Gateway: internal API",
    description = "Every endpoint under `/v3` exists under `/v2` as well, unless `/v2` has its own."
))]
struct Internal;

/// The name of the security scheme.
const SCHEME: &str = "caller";

/// What the scheme is.
const CALLER: &str = "Only if callers have to prove who they are: `API_TOKEN`, or a token of `API_ACCESS`; over HTTPS \
                      a client certificate can take its place. The role that an operation requires is the right \
                      that the caller needs; `API_TOKEN` gives all of them.";

/// Returns the document without paths. The routers of the endpoints add these.
pub(crate) fn base() -> Document {
    Internal::openapi()
}

/// Adds to each operation the right that it needs.
pub(crate) fn with_rights(mut document: Document) -> Document {
    let Paths { paths, .. } = &mut document.paths;
    for (path, item) in paths {
        for (method, operation) in operations(item) {
            if let Some(right) = needs::right(&method, path) {
                operation.security = Some(vec![SecurityRequirement::new(SCHEME, [right.as_str()])]);
            }
        }
    }
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(CALLER)).build();
    let components = document.components.get_or_insert_default();
    components.security_schemes.insert(SCHEME.to_owned(), SecurityScheme::Http(bearer).into());
    document
}

/// Returns the operations of a path.
pub(crate) fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let PathItem { get, put, post, delete, options, head, patch, trace, .. } = item;
    let all = [
        (Method::GET, get),
        (Method::PUT, put),
        (Method::POST, post),
        (Method::DELETE, delete),
        (Method::OPTIONS, options),
        (Method::HEAD, head),
        (Method::PATCH, patch),
        (Method::TRACE, trace),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}
