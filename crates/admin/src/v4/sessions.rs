//! `/v4/sessions`: lists sessions and their connections, and disconnects them.

use std::time::SystemTime;

use axum::extract::{OriginalUri, State};
use axum::response::Response;
use axum::{Extension, Json};
use http::StatusCode;
use node::{
    ConnectionPlace, Description, GatheredSession, GatheredSessions, RevocationOrder, SessionSummary,
};
use serde::Serialize;
use serde_json::value::RawValue;
use session::{NodeName, SessionName};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::{Problem, ProblemDocument};
use super::query::{Parameters, PathName, named};
use super::receipt::ReceiptOrDryRun;
use super::revocations::would_do;
use super::{page, time};
use crate::access::Caller;
use crate::aside::TaskPanicked;
use crate::port::Port;

/// The endpoints of sessions.
pub(crate) fn router() -> OpenApiRouter<Port> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one, disconnect))
}

/// A session, in short.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SessionSummary)]
pub(crate) struct SessionEntry {
    /// Its name.
    name: String,
    /// Its number of connections.
    connection_count: usize,
    /// When the oldest of them was opened.
    since: Option<String>,
    /// Their transports: `sse`, `websocket`, `longpolling`.
    #[schema(value_type = Vec<String>)]
    transports: Vec<&'static str>,
    /// Whether it is revoked, whatever the token: its connections are about to be terminated.
    revoked: bool,
}

impl SessionEntry {
    fn of(name: String, summary: SessionSummary) -> Self {
        Self {
            name,
            connection_count: summary.connections,
            since: time::shown(summary.since),
            transports: summary.transports.into_iter().collect(),
            revoked: summary.revoked,
        }
    }
}

/// Sessions with connections, by name.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SessionPage)]
pub(crate) struct SessionList {
    /// In the order of their names, byte by byte.
    sessions: Vec<SessionEntry>,
    /// The URL of the next page; null on the last one.
    next: Option<String>,
    /// The nodes that did not answer: their connections are missing. Absent if all did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    partial: Vec<String>,
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionDetail {
    /// Its name.
    name: String,
    /// Whether it is revoked, whatever the token.
    revoked: bool,
    /// Its number of connections.
    connection_count: usize,
    /// The connections of this page, the oldest first.
    connections: Vec<ConnectionDetail>,
    /// The URL of the next page; null on the last one.
    next: Option<String>,
    /// The nodes that did not answer: their connections are missing. Absent if all did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    partial: Vec<String>,
}

/// A connection.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConnectionDetail {
    /// Its number on its node.
    id: u64,
    /// Its node; absent if there is one node.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// `sse`, `websocket` or `longpolling`.
    #[schema(value_type = String)]
    transport: &'static str,
    /// When it was opened.
    since: Option<String>,
    /// Address and port of the client.
    remote_address: String,
    /// The client's `User-Agent`, cut off after 200 bytes.
    user_agent: Option<String>,
    /// When the first of its tokens expires; null if it has none, or tokens do not expire.
    token_expires_at: Option<String>,
    /// Its subscriptions, including those derived from its tokens.
    #[schema(value_type = Vec<Object>)]
    subscriptions: Box<RawValue>,
    /// Events accepted for the client.
    delivered: u32,
    /// Events dropped because the client was too slow, or gone.
    dropped: u32,
}

impl ConnectionDetail {
    fn of(node: Option<String>, it: Description, now: SystemTime) -> Self {
        let none = || RawValue::from_string("[]".to_owned()).expect("an empty list is JSON");
        Self {
            id: it.id,
            node,
            transport: it.transport.as_str(),
            since: time::shown(it.since),
            remote_address: telemetry::address_text(it.client.address),
            user_agent: it.client.user_agent.map(Into::into),
            token_expires_at: it.token_left.and_then(|left| time::shown(now.checked_add(left)?)),
            // A connection that is being opened has no subscriptions yet.
            subscriptions: RawValue::from_string(it.subscriptions.into()).unwrap_or_else(|_| none()),
            delivered: it.delivered,
            dropped: it.dropped,
        }
    }

    /// Returns what the next page comes after.
    fn place(&self) -> String {
        match &self.node {
            Some(node) => format!("{}@{node}", self.id),
            None => self.id.to_string(),
        }
    }
}

/// All sessions that have connections, by name.
#[utoipa::path(
    get,
    path = "/sessions",
    tag = "Sessions",
    operation_id = "list_sessions",
    params(
        ("limit" = Option<usize>, Query, description = "Entries of a page, 1 to 1000; 100 by default"),
        ("after" = Option<String>, Query, description = "Only sessions with names after this one"),
    ),
    responses(
        (status = 200, description = "A page", body = SessionList),
        (status = 400, description = "A parameter is wrong", body = ProblemDocument),
    )
)]
pub(crate) async fn list(
    State(port): State<Port>,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<SessionList>, Problem> {
    let mut query = Parameters::of(&uri);
    let (limit, after) = (page::limit(&mut query), query.take("after"));
    query.finish()?;
    let GatheredSessions { sessions, more, partial } =
        port.node.list_everywhere(after, limit).await.map_err(TaskPanicked::from)?;
    let sessions: Vec<_> = sessions.into_iter().map(|(name, found)| SessionEntry::of(name, found)).collect();
    let last = sessions.last().filter(|_| more);
    let next = last.map(|last| page::next(uri.path(), limit, "after", &last.name));
    Ok(Json(SessionList { sessions, next, partial: names(partial) }))
}

/// A session and its connections.
#[utoipa::path(
    get,
    path = "/sessions/{name}",
    tag = "Sessions",
    operation_id = "session",
    params(
        ("name" = String, Path, description = "The name of the session"),
        ("limit" = Option<usize>, Query, description = "Connections of a page, 1 to 1000; 100 by default"),
        ("after" = Option<String>, Query, description = "Only connections after this one: its number, in a cluster followed by `@` and its node"),
    ),
    responses(
        (status = 200, description = "The session", body = SessionDetail),
        (status = 404, description = "It has no connections, and is not revoked", body = ProblemDocument),
    )
)]
pub(crate) async fn one(
    State(port): State<Port>,
    OriginalUri(uri): OriginalUri,
    name: PathName,
) -> Result<Json<SessionDetail>, Problem> {
    let mut query = Parameters::of(&uri);
    let limit = page::limit(&mut query);
    let after = query.take_as("after", place);
    query.finish()?;
    let name = named(name, "name", str::parse::<SessionName>)?;
    let found = port.node.session_everywhere(&name, after, limit).await.map_err(TaskPanicked::from)?;
    let Some(found) = found else {
        return Err(Problem::NotFound("the session has no connections, and is not revoked"));
    };
    let GatheredSession { revoked, connection_count, connections, more, partial } = found;
    let (now, shows_nodes) = (SystemTime::now(), port.node.has_peers());
    let connections = connections
        .into_iter()
        .map(|(node, it)| ConnectionDetail::of(shows_nodes.then(|| node.to_string()), it, now));
    let connections: Vec<_> = connections.collect();
    let last = connections.last().filter(|_| more);
    let next = last.map(|last| page::next(uri.path(), limit, "after", &last.place()));
    let (name, partial) = (name.to_string(), names(partial));
    Ok(Json(SessionDetail { name, revoked, connection_count, connections, next, partial }))
}

/// Parses the place of a connection: its number, and in a cluster also its node.
fn place(text: &str) -> Result<ConnectionPlace, String> {
    let (id, node) = match text.split_once('@') {
        Some((id, node)) => (id, Some(node.to_owned())),
        None => (text, None),
    };
    let id = id.parse::<u64>().map_err(|_| "expected the number of a connection".to_owned())?;
    Ok(ConnectionPlace { id, node })
}

fn names(nodes: Vec<NodeName>) -> Vec<String> {
    nodes.iter().map(NodeName::to_string).collect()
}

/// Disconnects a session: its connections are terminated before the answer. Its tokens stay valid.
#[utoipa::path(
    delete,
    path = "/sessions/{name}",
    tag = "Sessions",
    params(
        ("name" = String, Path, description = "The name of the session"),
        ("by" = Option<String>, Query, description = "Who asks, up to 1000 bytes"),
        ("reason" = Option<String>, Query, description = "Why, up to 1000 bytes"),
        ("dry_run" = Option<bool>, Query, description = "Only reports what it would do"),
        ("wait" = Option<String>, Query, description = "How long to wait for the other nodes of a cluster: 0 to 5m, \
                                                        such as 500ms or 5s; CLUSTER_WAIT by default"),
        ("require" = Option<String>, Query, description = "`cluster`: 503 instead of 202 if the cluster has not \
                                                           stored it"),
    ),
    responses(
        (status = 200, description = "What it did; or the dry run", body = ReceiptOrDryRun),
        (status = 202, description = "Done on this node; `cluster` and `nodes` say how far it has got in the cluster",
         body = ReceiptOrDryRun,
         headers(("location" = String, description = "The URL of the receipt"))),
        (status = 400, description = "A parameter is wrong", body = ProblemDocument),
        (status = 503, description = "Done, but not recorded (`not-recorded`); done here, but not stored by the \
                                      required cluster (`not-in-cluster`); not accepted, as too many wait for the \
                                      cluster (`queue-full`)", body = ProblemDocument),
    )
)]
pub(crate) async fn disconnect(
    State(port): State<Port>,
    Extension(caller): Extension<Caller>,
    OriginalUri(uri): OriginalUri,
    name: PathName,
) -> Result<Response, Problem> {
    let mut query = Parameters::of(&uri);
    let (dry_run, by, reason) = (query.dry_run(), query.remark("by"), query.remark("reason"));
    let wait = query.waits(port.cluster_wait);
    query.finish()?;
    let name = named(name, "name", str::parse::<SessionName>)?;
    let order = RevocationOrder::disconnect(name.into(), caller.signs(by), reason);
    let order = port.node.resolve(order, SystemTime::now())?;
    if dry_run { would_do(&port, order).await } else { port.execute(order, wait, StatusCode::OK).await }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt;
    use node::Tasks;
    use node::in_memory::Network;
    use proxy::{Waiting, WaitingConfig};
    use seal::{Incarnation, Purpose, Seal};
    use tokio::task::yield_now;
    use tower::ServiceExt;

    use super::*;
    use crate::{Admin, testing};

    fn port(cluster: Option<node::Cluster>) -> (Admin, Tasks) {
        let seal = Seal::new(None, Purpose::Correlation, Incarnation::unnamed());
        let waiting = Arc::new(Waiting::new(WaitingConfig::default(), seal));
        let (admin, node) = testing::port_in_cluster(waiting, testing::no_apis(), cluster);
        let mut tasks = Tasks::default();
        node.spawn(&mut tasks);
        (admin, tasks)
    }

    async fn get(admin: &Admin, path: &str) -> String {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = admin.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        format!("{status} {}", String::from_utf8_lossy(&body))
    }

    #[tokio::test]
    async fn nodes_that_do_not_answer_are_named_and_one_node_says_nothing_of_nodes() {
        let (alone, _tasks) = port(None);
        assert_eq!(get(&alone, "/v4/sessions").await, r#"200 {"sessions":[],"next":null}"#);
        assert!(get(&alone, "/v4/sessions/s").await.starts_with("404 "));

        let network = Network::default();
        let join = |name: &str| {
            let name = NodeName::from(name);
            let mut cluster = network.join(&name, Duration::from_secs(15));
            cluster.peers = Some(network.peers(&name, Incarnation::of(name.as_str())));
            port(Some(cluster))
        };
        let ((a, _a), (_b, _b_tasks)) = (join("a"), join("b"));
        yield_now().await;
        assert_eq!(get(&a, "/v4/sessions").await, r#"200 {"sessions":[],"next":null}"#);
        network.cut(&NodeName::from("b"));
        assert_eq!(get(&a, "/v4/sessions").await, r#"200 {"sessions":[],"next":null,"partial":["b"]}"#);
        assert_eq!(
            get(&a, "/v4/sessions/s").await,
            r#"200 {"name":"s","revoked":false,"connectionCount":0,"connections":[],"next":null,"partial":["b"]}"#
        );
        assert!(get(&a, "/v4/sessions/s?after=7@b@c").await.starts_with("200 "));
        for wrong in ["x", "7b", "@b", "-1@b"] {
            assert!(get(&a, &format!("/v4/sessions/s?after={wrong}")).await.starts_with("400 "), "{wrong}");
        }
    }
}
