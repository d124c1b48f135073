//! `/v4/issuers`: the identity providers whose tokens are accepted.

use std::sync::Arc;

use auth::Issuer;
use axum::extract::{OriginalUri, State};
use axum::{Extension, Json};
use feed::{Feeds, LastStatement};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::{Problem, ProblemDocument};
use super::query::Parameters;
use super::time;
use crate::port::Port;

/// The endpoint of issuers.
pub(crate) fn router() -> OpenApiRouter<Port> {
    OpenApiRouter::new().routes(routes!(list))
}

/// All issuers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IssuerList {
    /// In the order of the settings.
    issuers: Vec<IssuerEntry>,
}

/// An issuer, as this node knows it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Issuer)]
pub(crate) struct IssuerEntry {
    /// Its name in the settings.
    id: String,
    /// The `iss` of its tokens.
    issuer: String,
    /// Its keys that verify tokens; with none, its tokens are refused with 503.
    keys: usize,
    /// Further keys of its key set that are not used, each with the reason.
    skipped_keys: Vec<String>,
    /// Seconds since the key set was last fetched; null if it never was.
    age_seconds: Option<u64>,
    /// Why the last fetch has failed; null if it has not.
    last_error: Option<String>,
    /// What the issuer has stated last, by feed; empty if it has stated nothing since the node
    /// started.
    feeds: Vec<FeedEntry>,
}

/// The last statement of a feed of an issuer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Feed)]
pub(crate) struct FeedEntry {
    /// The feed: logout, events, global-token-revocation, or poll.
    feed: &'static str,
    /// When the last statement was answered (RFC 3339).
    last_statement_at: Option<String>,
    /// What became of it, as `rig_feed_statements_total` counts it.
    last_result: &'static str,
}

impl From<LastStatement> for FeedEntry {
    fn from(last: LastStatement) -> Self {
        Self {
            feed: last.feed.as_str(),
            last_statement_at: time::shown(last.at),
            last_result: last.result.as_str(),
        }
    }
}

impl IssuerEntry {
    fn of(issuer: &Issuer, feeds: Option<&Feeds>) -> Self {
        let state = issuer.state();
        let last = feeds.map(|feeds| feeds.last_statements(&issuer.config.id)).unwrap_or_default();
        Self {
            id: issuer.config.id.to_string(),
            issuer: issuer.config.issuer.to_string(),
            keys: state.keys,
            skipped_keys: state.skipped,
            age_seconds: state.age.map(|age| age.as_secs()),
            last_error: state.last_error,
            feeds: last.into_iter().map(FeedEntry::from).collect(),
        }
    }
}

/// The identity providers whose tokens this node accepts, with the state of their keys and the last
/// statement that each has made.
#[utoipa::path(
    get,
    path = "/issuers",
    tag = "Issuers",
    operation_id = "list_issuers",
    responses(
        (status = 200, description = "The issuers; empty if there are none", body = IssuerList),
        (status = 400, description = "A parameter is wrong", body = ProblemDocument),
    )
)]
pub(crate) async fn list(
    State(port): State<Port>,
    OriginalUri(uri): OriginalUri,
    feeds: Option<Extension<Arc<Feeds>>>,
) -> Result<Json<IssuerList>, Problem> {
    Parameters::of(&uri).finish()?;
    let feeds = feeds.as_ref().map(|Extension(feeds)| &**feeds);
    let issuers = port.verifier.issuers().iter();
    let issuers = issuers.map(|issuer| IssuerEntry::of(issuer, feeds)).collect();
    Ok(Json(IssuerList { issuers }))
}
