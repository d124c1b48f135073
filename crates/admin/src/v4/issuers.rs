//! `/v4/issuers`: the identity providers whose tokens are accepted.

use std::sync::Arc;

use auth::{Introspected, Issuer, ListState};
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
    /// Its opaque tokens; null if the issuer is not asked about such tokens.
    opaque_tokens: Option<OpaqueTokens>,
    /// The status lists that its tokens refer to, as far as the node watches them.
    status_lists: Vec<ListEntry>,
    /// What the issuer has stated last, by feed; empty if it has stated nothing since the node
    /// started.
    feeds: Vec<FeedEntry>,
}

/// What this node knows of the opaque tokens of an issuer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OpaqueTokens {
    /// Remembered tokens that were active when the issuer was last asked.
    active: usize,
    /// Why the last question had no answer; null if it had one.
    last_error: Option<String>,
}

/// A status list that tokens of an issuer refer to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StatusList)]
pub(crate) struct ListEntry {
    /// Where it is.
    uri: String,
    /// Its number of entries; null if it was never fetched, or is no longer valid.
    entries: Option<u64>,
    /// Seconds since it was last fetched; null if it never was.
    age_seconds: Option<u64>,
    /// Why the last fetch has failed; null if it has not.
    last_error: Option<String>,
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

impl From<Introspected> for OpaqueTokens {
    fn from(introspected: Introspected) -> Self {
        Self { active: introspected.tokens, last_error: introspected.last_error }
    }
}

impl From<ListState> for ListEntry {
    fn from(list: ListState) -> Self {
        Self {
            uri: list.uri,
            entries: list.entries,
            age_seconds: list.age.map(|age| age.as_secs()),
            last_error: list.last_error,
        }
    }
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
            opaque_tokens: state.introspected.map(OpaqueTokens::from),
            status_lists: state.lists.into_iter().map(ListEntry::from).collect(),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use auth::{Audience, ConfiguredKey, IntrospectionConfig, IssuerConfig, Issuers, TokenConfig, Verifier};
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt;
    use proxy::{Waiting, WaitingConfig};
    use seal::{Incarnation, Purpose, Seal};
    use serde_json::{Value, json};
    use session::{MemoryLog, Sessions};
    use tower::ServiceExt;

    use super::*;
    use crate::{Access, Admin, OperatedRooms, testing};

    fn port(issuers: Vec<IssuerConfig>) -> Admin {
        let algorithms = "HS256".parse().unwrap();
        let key = ConfiguredKey::load(None, &algorithms).unwrap();
        let config = TokenConfig { algorithms, issuer: None, audience: Vec::new(), leeway: Duration::ZERO };
        let sessions = Sessions::new(session::Config::default(), MemoryLog::new()).unwrap();
        let seal = Seal::new(None, Purpose::Correlation, Incarnation::unnamed());
        let rooms = OperatedRooms {
            node: testing::node(&sessions, None),
            sessions,
            verifier: Arc::new(Verifier::new(Arc::new(key), config).with_issuers(Issuers::new(issuers))),
            waiting: Arc::new(Waiting::new(WaitingConfig::default(), seal)),
            apis: testing::no_apis(),
            registry: Default::default(),
        };
        testing::port_for(Access::default(), rooms)
    }

    async fn get(admin: &Admin, path: &str) -> (u16, Value) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = admin.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn issuers_are_listed_in_the_order_of_the_settings_with_what_is_known_of_them() {
        let mut opaque = IssuerConfig::new("b", "https://b.example/", Audience::Any);
        opaque.introspection = Some(IntrospectionConfig {
            prefix: "ory_at_".to_owned(),
            url: "https://b.example/introspect".parse().unwrap(),
            client_id: "gateway".to_owned(),
            client_secret_file: "/nonexistent".into(),
        });
        let jwt = IssuerConfig::new("a", "https://a.example", Audience::Any);
        let (status, list) = get(&port(vec![opaque, jwt]), "/v4/issuers").await;
        let entry = |id: &str, issuer: &str, opaque: Value| {
            json!({
                "id": id, "issuer": issuer, "keys": 0, "skippedKeys": [], "ageSeconds": null, "lastError": null,
                "opaqueTokens": opaque, "statusLists": [], "feeds": [],
            })
        };
        let none_asked = json!({"active": 0, "lastError": null});
        let expected =
            [entry("b", "https://b.example/", none_asked), entry("a", "https://a.example", Value::Null)];
        let list = list["issuers"].as_array().unwrap().clone();
        assert_eq!((status, list), (200, expected.to_vec()));
    }

    #[tokio::test]
    async fn without_issuers_the_list_is_empty_and_there_are_no_parameters() {
        let admin = port(Vec::new());
        assert_eq!(get(&admin, "/v4/issuers").await, (200, json!({"issuers": []})));
        assert_eq!(get(&admin, "/v4/issuers?after=x").await.0, 400);
    }

    #[test]
    fn the_error_of_the_last_question_is_shown() {
        let introspected = Introspected { tokens: 3, last_error: Some("status 500".to_owned()) };
        let shown = serde_json::to_value(OpaqueTokens::from(introspected)).unwrap();
        assert_eq!(shown, json!({"active": 3, "lastError": "status 500"}));
    }
}
