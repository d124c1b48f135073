//! `apis`: single definitions of the reverse proxy (RIG, v2 and v3).

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use proxy::{ChangeError, Fault, Standing, StoreError, Warning};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::RigError;
use crate::aside::aside;
use crate::params::params;
use crate::port::Port;

/// The endpoints of single definitions.
pub(crate) fn router() -> OpenApiRouter<Port> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(one, update, delete))
}

/// Limit of the warnings of one change that are logged.
const LOGGED: usize = 20;

/// The members that RIG validates, and reports with texts that its clients may depend on.
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

/// RIG's texts about invalid members.
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
        let Standing { api, ref_number, timestamp, .. } = standing;
        Self { document: api.document.clone(), node_name: node_name.to_owned(), ref_number, timestamp }
    }
}

/// All definitions, by id. The gateway adds `node_name`, `ref_number` (the number of changes) and
/// `timestamp`.
#[utoipa::path(
    get,
    path = "/apis",
    tag = "APIs (RIG)",
    operation_id = "list_apis_of_rig",
    responses((status = 200, description = "The definitions", body = Vec<Object>))
)]
pub(crate) async fn list(State(port): State<Port>) -> Result<Response, RigError> {
    let list = aside(move || {
        let shown = port.apis.standing().into_iter().map(|api| Shown::of(api, &port.node_name));
        Json(shown.collect::<Vec<_>>()).into_response()
    });
    Ok(list.await?)
}

/// Adds a definition.
#[utoipa::path(
    post,
    path = "/apis",
    tag = "APIs (RIG)",
    operation_id = "create_api",
    request_body = Object,
    responses(
        (status = 201, description = "It is served"),
        (status = 400, description = "It is invalid: all faults, by what they belong to", body = Object),
        (status = 409, description = "Its id is taken"),
        (status = 415, description = "The body is neither JSON nor a form"),
        (status = 503, description = "It could not be stored, and is not served"),
    )
)]
pub(crate) async fn create(
    State(port): State<Port>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, RigError> {
    let document = Value::Object(params(&headers, &body)?);
    let warnings = aside(move || port.apis.create(&document)).await??;
    Ok(changed(StatusCode::CREATED, &warnings))
}

/// A definition.
#[utoipa::path(
    get,
    path = "/apis/{id}",
    tag = "APIs (RIG)",
    operation_id = "api",
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "The definition", body = Object),
        (status = 404, description = "No definition has this id"),
    )
)]
pub(crate) async fn one(State(port): State<Port>, Path(id): Path<String>) -> Result<Response, RigError> {
    let api = port.apis.one(&id).ok_or(ChangeError::Missing(id))?;
    Ok(Json(Shown::of(api, &port.node_name)).into_response())
}

/// Replaces members of a definition. `proxy` and `version_data` are required; other members that
/// are missing stay as they are.
#[utoipa::path(
    put,
    path = "/apis/{id}",
    tag = "APIs (RIG)",
    operation_id = "update_api",
    params(("id" = String, Path, description = "Its id; an `id` in the body is ignored")),
    request_body = Object,
    responses(
        (status = 200, description = "The change is served"),
        (status = 400, description = "It is invalid: all faults, by what they belong to", body = Object),
        (status = 404, description = "No definition has this id"),
        (status = 415, description = "The body is neither JSON nor a form"),
        (status = 503, description = "It could not be stored, and is not served"),
    )
)]
pub(crate) async fn update(
    State(port): State<Port>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, RigError> {
    let members = params(&headers, &body)?;
    let warnings = aside(move || port.apis.merge(&id, &members)).await??;
    Ok(changed(StatusCode::OK, &warnings))
}

/// Removes a definition.
#[utoipa::path(
    delete,
    path = "/apis/{id}",
    tag = "APIs (RIG)",
    operation_id = "delete_api",
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 204, description = "It is not served any more"),
        (status = 404, description = "No definition has this id"),
        (status = 503, description = "The removal could not be stored; it is still served"),
    )
)]
pub(crate) async fn delete(State(port): State<Port>, Path(id): Path<String>) -> Result<StatusCode, RigError> {
    aside(move || port.apis.delete(&id)).await??;
    Ok(StatusCode::NO_CONTENT)
}

fn changed(done: StatusCode, warnings: &[Warning]) -> Response {
    log(warnings);
    (done, Json(json!({ "message": "ok" }))).into_response()
}

/// Logs the warnings about a change.
pub(crate) fn log(warnings: &[Warning]) {
    for Warning(warning) in warnings.iter().take(LOGGED) {
        tracing::warn!(warning, "in a new definition of an API");
    }
}

impl From<ChangeError> for RigError {
    fn from(error: ChangeError) -> Self {
        match &error {
            ChangeError::Exists(_) => Self::ApiExists(error.to_string()),
            ChangeError::Missing(_) => Self::ApiMissing(error.to_string()),
            ChangeError::Faults(faults) => Self::ApiInvalid(json!(by_group(faults))),
            // None of RIG's endpoints names a revision.
            ChangeError::Outdated { .. } => Self::ApiNotStored,
            ChangeError::Store(StoreError::NotReady { reason }) => Self::ApiNotReady(reason.clone()),
            ChangeError::Store(error) => {
                tracing::error!(%error, "a definition of an API could not be stored");
                Self::ApiNotStored
            }
        }
    }
}

/// Returns faults in RIG's form. The pointer is appended to texts that are not RIG's.
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
