//! The right that each route of the internal port needs.

use axum::extract::MatchedPath;
use http::Method;

use super::Right;

/// What a request has to prove before its handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: probes have no token.
    Nothing,
    /// That it comes from some caller, so that others cannot find out which paths exist.
    Caller,
    /// That its caller has this right.
    Right(Right),
}

/// The paths that anybody may read.
const OPEN: [&str; 4] = ["/health", "/health/", "/readyz", "/readyz/"];

/// The routes outside of `/v2` and `/v3`.
const OWN: &[(Method, &str, Right)] = &[
    (Method::GET, "/metrics", Right::Read),
    (Method::GET, "/openapi.json", Right::Read),
    (Method::GET, "/swagger-ui", Right::Read),
    (Method::GET, "/swagger-ui/", Right::Read),
    (Method::GET, "/swagger-ui/{*rest}", Right::Read),
    (Method::GET, "/swagger-ui/rig_api_swagger.json", Right::Read),
    (Method::GET, "/v4/apis", Right::Read),
    (Method::PUT, "/v4/apis", Right::Admin),
    (Method::GET, "/v4/issuers", Right::Read),
    (Method::GET, "/v4/revocations", Right::Read),
    (Method::POST, "/v4/revocations", Right::Revoke),
    (Method::GET, "/v4/revocations/{id}", Right::Read),
    (Method::DELETE, "/v4/revocations/{id}", Right::Revoke),
    (Method::GET, "/v4/sessions", Right::Read),
    (Method::GET, "/v4/sessions/{name}", Right::Read),
    (Method::DELETE, "/v4/sessions/{name}", Right::Revoke),
];

/// The routes of RIG, which are below `/v2` and `/v3`.
const OF_RIG: &[(Method, &str, Right)] = &[
    (Method::GET, "/apis", Right::Read),
    (Method::POST, "/apis", Right::Admin),
    (Method::GET, "/apis/{id}", Right::Read),
    (Method::PUT, "/apis/{id}", Right::Admin),
    (Method::DELETE, "/apis/{id}", Right::Admin),
    (Method::POST, "/messages", Right::Publish),
    (Method::POST, "/responses", Right::Publish),
    (Method::POST, "/session-blacklist", Right::Revoke),
    (Method::GET, "/session-blacklist/{sessionId}", Right::Read),
];

/// Returns what a request has to prove; `path` is that of its route. A route without a row, and a
/// method that a route does not have, need [`Right::Admin`].
pub(crate) fn of(method: &Method, path: Option<&MatchedPath>) -> Need {
    match path.map(MatchedPath::as_str) {
        None => Need::Caller,
        Some(path) if is_open(path) => Need::Nothing,
        Some(path) => Need::Right(right(method, path).unwrap_or(Right::Admin)),
    }
}

/// Returns the right of a route's row; `None` if it has no row.
pub(crate) fn right(method: &Method, path: &str) -> Option<Right> {
    // HEAD is answered by the route of GET.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let of_rig = path.strip_prefix("/v2").or_else(|| path.strip_prefix("/v3"));
    let (rows, path) = of_rig.map_or((OWN, path), |path| (OF_RIG, path));
    let row = rows.iter().find(|(of, at, _)| of == method && *at == path);
    row.map(|(_, _, right)| *right)
}

/// Returns whether anybody may read the path of a route.
pub(crate) fn is_open(path: &str) -> bool {
    OPEN.contains(&path)
}
