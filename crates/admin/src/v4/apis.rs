//! `/v4/apis`: all definitions of the reverse proxy at once.

use axum::Json;
use axum::extract::{OriginalUri, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, StatusCode};
use proxy::{ChangeError, Difference, Revision, ServedBy};
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

/// The header with the revision of the definitions.
const REVISION: HeaderName = HeaderName::from_static("rig-revision");

/// The state of a node that has not said whether it serves the definitions.
const PENDING: &str = "pending";

/// All nodes serve them.
const COMPLETE: &str = "complete";

/// The state of a node that cannot serve them.
const REFUSED: &str = "refused";

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
    #[serde(flatten)]
    spread: Option<DefinitionSpread>,
}

/// Which nodes of a cluster serve the definitions. A gateway without a cluster has none of these
/// members.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DefinitionSpread {
    /// `complete`: all nodes serve them. `refused`: some cannot. `pending`: some have not said so
    /// yet.
    #[schema(value_type = String)]
    cluster: &'static str,
    /// What that means.
    cluster_detail: &'static str,
    /// The revision of the definitions.
    revision: u64,
    /// Each node that may serve clients, by name.
    nodes: Vec<DefinitionsOfNode>,
}

/// Which definitions a node of a cluster serves.
#[derive(Debug, Serialize, ToSchema)]
struct DefinitionsOfNode {
    /// Its name.
    node: String,
    /// `served`; `refused`: it cannot serve them, and keeps older ones; `pending`: it has not said
    /// yet that it does.
    #[schema(value_type = String)]
    state: &'static str,
    /// The revision that it serves.
    revision: u64,
    /// Why it refuses them.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl DefinitionSpread {
    fn of(revision: Revision, nodes: Vec<ServedBy>) -> Self {
        let nodes: Vec<_> = nodes.into_iter().map(|node| DefinitionsOfNode::of(revision, node)).collect();
        let any = |state| nodes.iter().any(|node| node.state == state);
        let (cluster, cluster_detail) = match (any(REFUSED), any(PENDING)) {
            (true, _) => (REFUSED, "stored; a node cannot serve them, and keeps older ones"),
            (false, true) => (PENDING, "stored; a node has not said yet that it serves them"),
            (false, false) => (COMPLETE, "all nodes serve them"),
        };
        Self { cluster, cluster_detail, revision: revision.0, nodes }
    }

    fn is_complete(&self) -> bool {
        self.cluster == COMPLETE
    }
}

impl DefinitionsOfNode {
    fn of(revision: Revision, ServedBy { node, serving }: ServedBy) -> Self {
        let (state, reason) = match serving.refused {
            _ if serving.revision >= revision => ("served", None),
            Some((refused, reason)) if refused >= revision => (REFUSED, Some(reason)),
            _ => (PENDING, None),
        };
        Self { node, state, revision: serving.revision.0, reason }
    }
}

/// All definitions, by id: a list that `PUT` and `PROXY_CONFIG_FILE` accept. The header
/// `rig-revision` has their revision, which `PUT` accepts as `revision`.
#[utoipa::path(
    get,
    path = "/apis",
    tag = "APIs",
    operation_id = "list_apis",
    responses((status = 200, description = "The definitions", body = Vec<Object>))
)]
pub(crate) async fn list(State(port): State<Port>) -> Result<Response, Problem> {
    let list = aside(move || {
        let (standing, revision) = port.apis.standing_at();
        let documents: Vec<&Map<String, Value>> = standing.iter().map(|it| &it.api.document).collect();
        ([(REVISION, revision.0)], Json(documents)).into_response()
    });
    Ok(list.await?)
}

/// Replaces all definitions by this list: all of it, or nothing if one of them is invalid. In a
/// cluster, the answer says which nodes serve it.
#[utoipa::path(
    put,
    path = "/apis",
    tag = "APIs",
    operation_id = "replace_apis",
    params(
        ("dry_run" = Option<bool>, Query, description = "Only reports what it would change"),
        (
            "revision" = Option<u64>, Query,
            description = "Replaces the definitions of this revision, or nothing: 409. Without it, the last `PUT` \
                           wins. The revisions of a gateway without a cluster begin anew when it starts"
        ),
        (
            "wait" = Option<String>, Query,
            description = "How long the answer waits for the other nodes of a cluster at most, such as `500ms`, `5s` \
                           or `0`; by default `CLUSTER_WAIT`"
        ),
    ),
    request_body = Vec<Object>,
    responses(
        (status = 200, description = "They are served, in a cluster by all nodes; or the dry run", body = Replaced),
        (status = 202, description = "They are served here, and not by all nodes of the cluster", body = Replaced),
        (status = 400, description = "Not JSON, or a definition is invalid: `errors` lists all faults", body = ProblemDocument),
        (status = 408, description = "The body did not arrive in time", body = ProblemDocument),
        (status = 409, description = "They have another revision than `revision`", body = ProblemDocument),
        (status = 413, description = "The body is too large", body = ProblemDocument),
        (status = 415, description = "The body is not announced as JSON", body = ProblemDocument),
        (status = 503, description = "They could not be stored, and are not served", body = ProblemDocument),
    )
)]
pub(crate) async fn replace(
    State(port): State<Port>,
    OriginalUri(uri): OriginalUri,
    request: Request,
) -> Result<(StatusCode, Json<Replaced>), Problem> {
    let mut query = Parameters::of(&uri);
    let (dry_run, within) = (query.dry_run(), query.wait(port.cluster_wait));
    let over = query
        .take_as("revision", |text| text.parse().map(Revision).map_err(|_| "expected a number".to_owned()));
    query.finish()?;
    let (body, _counted) = json_body(&port, request).await?;
    let apis = port.apis.clone();
    let (replaced, revision) = aside(move || {
        let documents = json(&body)?;
        let (differences, warnings) = port.apis.replace_all(&documents, over, dry_run)?;
        if !dry_run {
            crate::apis::log(&warnings);
        }
        let warnings = warnings.into_iter().map(|warning| warning.0).collect();
        Ok::<_, Problem>((Replaced { dry_run, differences, warnings, spread: None }, port.apis.revision()))
    })
    .await??;
    let served_by = if dry_run { None } else { apis.served_by(revision, within).await };
    let spread = served_by.map(|nodes| DefinitionSpread::of(revision, nodes));
    let is_everywhere = spread.as_ref().is_none_or(DefinitionSpread::is_complete);
    let status = if is_everywhere { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(Replaced { spread, ..replaced })))
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Faults(faults) => Self::Faults(faults.into_iter().map(InvalidPlace::from).collect()),
            ChangeError::Store(error) => Self::NotStored(error),
            ChangeError::Outdated { present } => Self::Outdated(present),
            ChangeError::Exists(_) | ChangeError::Missing(_) => Self::NotFound("there is no such definition"),
        }
    }
}

impl From<proxy::Fault> for InvalidPlace {
    fn from(fault: proxy::Fault) -> Self {
        Self { pointer: Some(fault.pointer), parameter: None, detail: fault.reason }
    }
}
