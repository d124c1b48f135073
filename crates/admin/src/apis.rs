//! `apis`: the definitions of the reverse proxy, one by one (RIG, v2 and v3).

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use proxy::{ChangeError, Fault, Standing, Warning};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::params::params;
use crate::port::Port;
use crate::v4::aside;

/// Warnings of one change that are logged.
const LOGGED: usize = 20;

/// What RIG checks, and so what its clients know.
const CHECKED_BY_RIG: [&str; 15] = [
    "auth_type",
    "default",
    "endpoints",
    "header_name",
    "id",
    "method",
    "name",
    "path_regex",
    "port",
    "proxy",
    "query_name",
    "target",
    "target_url",
    "topic",
    "version_data",
];

/// RIG's words for what is wrong.
const WORDS_OF_RIG: [&str; 7] = [
    "must be integer",
    "must be list",
    "must be present",
    "must be string",
    "must have a length of at least 1",
    "must have at least one version, e.g. default",
    r#"must be one of ["jwt"]"#,
];

/// A definition as RIG shows it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    document: Map<String, Value>,
    node_name: String,
    ref_number: u64,
    timestamp: String,
}

impl Shown {
    fn of(standing: Standing, node_name: &str) -> Self {
        let Standing { api, ref_number, timestamp } = standing;
        Self { document: api.document.clone(), node_name: node_name.to_owned(), ref_number, timestamp }
    }
}

/// All definitions, by id. The gateway adds `node_name`, `ref_number` (how often one was changed) and `timestamp`.
#[utoipa::path(
    get,
    path = "/v3/apis",
    responses((status = 200, description = "The definitions", body = Vec<Object>))
)]
pub(crate) async fn list(State(port): State<Port>) -> Response {
    let list = aside(move || {
        let shown = port.apis.standing().into_iter().map(|api| Shown::of(api, &port.node_name));
        Json(shown.collect::<Vec<_>>()).into_response()
    });
    list.await.into_response()
}

/// Adds a definition.
#[utoipa::path(
    post,
    path = "/v3/apis",
    request_body = Object,
    responses(
        (status = 201, description = "It is served"),
        (status = 400, description = "It is wrong: each fault, by what it belongs to", body = Object),
        (status = 409, description = "Its id is taken"),
        (status = 415, description = "The body is neither JSON nor a form"),
        (status = 503, description = "It could not be stored, and is not served"),
    )
)]
pub(crate) async fn create(State(port): State<Port>, headers: HeaderMap, body: Bytes) -> Response {
    let document = match params(&headers, &body) {
        Ok(document) => Value::Object(document),
        Err(unread) => return unread.into_response(),
    };
    let created = aside(move || port.apis.create(&document)).await;
    created.map_or_else(IntoResponse::into_response, |created| changed(StatusCode::CREATED, created))
}

/// A definition.
#[utoipa::path(
    get,
    path = "/v3/apis/{id}",
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "The definition", body = Object),
        (status = 404, description = "There is none of this id"),
    )
)]
pub(crate) async fn one(State(port): State<Port>, Path(id): Path<String>) -> Response {
    match port.apis.one(&id) {
        Some(api) => Json(Shown::of(api, &port.node_name)).into_response(),
        None => refused(ChangeError::Missing(id)),
    }
}

/// Replaces members of a definition. `proxy` and `version_data` must be there; others that are not stay as they are.
#[utoipa::path(
    put,
    path = "/v3/apis/{id}",
    params(("id" = String, Path, description = "Its id; another one in the body means nothing")),
    request_body = Object,
    responses(
        (status = 200, description = "The change is served"),
        (status = 400, description = "It is wrong: each fault, by what it belongs to", body = Object),
        (status = 404, description = "There is none of this id"),
        (status = 415, description = "The body is neither JSON nor a form"),
        (status = 503, description = "It could not be stored, and is not served"),
    )
)]
pub(crate) async fn update(
    State(port): State<Port>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let members = match params(&headers, &body) {
        Ok(members) => members,
        Err(unread) => return unread.into_response(),
    };
    let updated = aside(move || port.apis.merge(&id, &members)).await;
    updated.map_or_else(IntoResponse::into_response, |updated| changed(StatusCode::OK, updated))
}

/// Removes a definition.
#[utoipa::path(
    delete,
    path = "/v3/apis/{id}",
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 204, description = "It is not served any more"),
        (status = 404, description = "There is none of this id"),
        (status = 503, description = "That could not be stored, and it is still served"),
    )
)]
pub(crate) async fn delete(State(port): State<Port>, Path(id): Path<String>) -> Response {
    match aside(move || port.apis.delete(&id)).await {
        Ok(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Ok(Err(error)) => refused(error),
        Err(problem) => problem.into_response(),
    }
}

fn changed(done: StatusCode, change: Result<Vec<Warning>, ChangeError>) -> Response {
    let warnings = match change {
        Ok(warnings) => warnings,
        Err(error) => return refused(error),
    };
    log(&warnings);
    (done, Json(json!({ "message": "ok" }))).into_response()
}

/// Logs what there is to warn of after a change.
pub(crate) fn log(warnings: &[Warning]) {
    for Warning(warning) in warnings.iter().take(LOGGED) {
        tracing::warn!(warning, "in a new definition of an API");
    }
}

fn refused(error: ChangeError) -> Response {
    let status = match &error {
        ChangeError::Exists(_) => StatusCode::CONFLICT,
        ChangeError::Missing(_) => StatusCode::NOT_FOUND,
        ChangeError::Faults(faults) => {
            return (StatusCode::BAD_REQUEST, Json(by_group(faults))).into_response();
        }
        ChangeError::Store(error) => {
            tracing::error!(%error, "a definition of an API could not be stored");
            let message = "The change could not be stored, and was not made.";
            return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "message": message }))).into_response();
        }
    };
    (status, Json(json!({ "message": error.to_string() }))).into_response()
}

/// Faults as RIG tells them. Where it has no words for one, the pointer stands behind it.
fn by_group(faults: &[Fault]) -> BTreeMap<&str, Vec<Value>> {
    let mut groups: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for Fault { pointer, group, field, reason } in faults {
        let of_rig = CHECKED_BY_RIG.contains(&field.as_str()) && WORDS_OF_RIG.contains(&reason.as_str());
        let reason = if of_rig { reason.clone() } else { format!("{reason} (at {pointer})") };
        groups.entry(group).or_default().push(json!({ field: reason }));
    }
    groups
}

#[cfg(test)]
mod tests;
