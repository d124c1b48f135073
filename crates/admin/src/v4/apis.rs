//! `/v4/apis`: all definitions of the reverse proxy at once.

use axum::Json;
use axum::extract::{OriginalUri, Request, State};
use axum::response::{IntoResponse, Response};
use proxy::{ChangeError, Difference};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::fields::{json, json_body};
use super::problem::{InvalidPlace, Problem, ProblemDocument};
use super::query::Parameters;
use crate::aside::aside;
use crate::port::Port;

/// The endpoints of all definitions.
pub(crate) fn router() -> OpenApiRouter<Port> {
    OpenApiRouter::new().routes(routes!(list, replace))
}

/// The result of replacing all definitions, or of the dry run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Replaced {
    /// Whether nothing was changed.
    dry_run: bool,
    /// Each API that differs from before, by id.
    #[schema(value_type = Vec<Object>, example = json!([
        { "id": "users", "what": "changed", "pointers": ["/proxy/port"] }, { "id": "old", "what": "removed" }
    ]))]
    differences: Vec<Difference>,
    /// What is valid, but probably not intended.
    warnings: Vec<String>,
}

/// All definitions, by id: a list that `PUT` and `PROXY_CONFIG_FILE` accept.
#[utoipa::path(
    get,
    path = "/apis",
    tag = "APIs",
    operation_id = "list_apis",
    responses((status = 200, description = "The definitions", body = Vec<Object>))
)]
pub(crate) async fn list(State(port): State<Port>) -> Result<Response, Problem> {
    let list = aside(move || {
        let standing = port.apis.standing();
        let documents: Vec<&Map<String, Value>> = standing.iter().map(|it| &it.api.document).collect();
        Json(documents).into_response()
    });
    Ok(list.await?)
}

/// Replaces all definitions by this list: all of it, or nothing if one of them is invalid.
#[utoipa::path(
    put,
    path = "/apis",
    tag = "APIs",
    operation_id = "replace_apis",
    params(("dry_run" = Option<bool>, Query, description = "Only reports what it would change")),
    request_body = Vec<Object>,
    responses(
        (status = 200, description = "They are served; or the dry run", body = Replaced),
        (status = 400, description = "Not JSON, or a definition is invalid: `errors` lists all faults", body = ProblemDocument),
        (status = 408, description = "The body did not arrive in time", body = ProblemDocument),
        (status = 413, description = "The body is too large", body = ProblemDocument),
        (status = 415, description = "The body is not announced as JSON", body = ProblemDocument),
        (status = 503, description = "They could not be stored, and are not served", body = ProblemDocument),
    )
)]
pub(crate) async fn replace(
    State(port): State<Port>,
    OriginalUri(uri): OriginalUri,
    request: Request,
) -> Result<Json<Replaced>, Problem> {
    let mut query = Parameters::of(&uri);
    let dry_run = query.dry_run();
    query.finish()?;
    let (body, _counted) = json_body(&port, request).await?;
    aside(move || {
        let documents = json(&body)?;
        let (differences, warnings) = port.apis.replace_all(&documents, dry_run)?;
        if !dry_run {
            crate::apis::log(&warnings);
        }
        let warnings = warnings.into_iter().map(|warning| warning.0).collect();
        Ok(Json(Replaced { dry_run, differences, warnings }))
    })
    .await?
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Faults(faults) => Self::Faults(faults.into_iter().map(InvalidPlace::from).collect()),
            ChangeError::Store(error) => Self::NotStored(error),
            ChangeError::Exists(_) | ChangeError::Missing(_) => Self::NotFound("there is no such definition"),
        }
    }
}

impl From<proxy::Fault> for InvalidPlace {
    fn from(fault: proxy::Fault) -> Self {
        Self { pointer: Some(fault.pointer), parameter: None, detail: fault.reason }
    }
}
