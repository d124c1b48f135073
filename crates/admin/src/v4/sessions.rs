//! `/v4/sessions`: who is connected, and ending that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use connection::{Connection, Description, Hub};
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use session::{Mode, SessionName, Sessions};
use utoipa::ToSchema;

use super::order::Order;
use super::problem::{Document, Problem};
use super::query::{Name, Query, named};
use super::receipt::Answer;
use super::request::{Asked, Whom};
use super::revocations::would_do;
use super::{aside, page, time};
use crate::routes::Node;

/// A session, in short.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionSummary {
    /// Its name.
    name: String,
    /// How many connections it has.
    connection_count: usize,
    /// When the oldest of them was opened.
    since: Option<String>,
    /// How they are held: `sse`, `websocket`, `longpolling`.
    #[schema(value_type = Vec<String>)]
    transports: Vec<&'static str>,
    /// Whether it is illegal to use, whatever the token: its connections are about to be told.
    revoked: bool,
}

/// Sessions with connections, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionPage {
    /// In the order of their names, byte by byte.
    sessions: Vec<SessionSummary>,
    /// The URL of the next page, where there is one.
    next: Option<String>,
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionDetail {
    /// Its name.
    name: String,
    /// Whether it is illegal to use, whatever the token.
    revoked: bool,
    /// How many connections it has.
    connection_count: usize,
    /// The connections of this page, the oldest first.
    connections: Vec<ConnectionDetail>,
    /// The URL of the next page, where there is one.
    next: Option<String>,
}

/// A connection.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConnectionDetail {
    /// Its number on this node.
    id: u64,
    /// `sse`, `websocket` or `longpolling`.
    #[schema(value_type = String)]
    transport: &'static str,
    /// When it was opened.
    since: Option<String>,
    /// From where: address and port.
    remote_address: String,
    /// What the client says it is, cut to 200 bytes.
    user_agent: Option<String>,
    /// When the token ends that ends first; null: there is none, or tokens do not end.
    token_expires_at: Option<String>,
    /// Its subscriptions, those derived from its tokens included.
    #[schema(value_type = Vec<Object>)]
    subscriptions: Box<RawValue>,
    /// Events taken for the client.
    delivered: u32,
    /// Events thrown away because the client was too slow, or gone.
    dropped: u32,
}

impl ConnectionDetail {
    fn of(it: Description, now: SystemTime) -> Self {
        let none = || RawValue::from_string("[]".to_owned()).expect("an empty list is JSON");
        Self {
            id: it.id,
            transport: it.transport.as_str(),
            since: time::shown(it.since),
            remote_address: telemetry::address_text(it.client.address),
            user_agent: it.client.user_agent.map(Into::into),
            token_expires_at: it.token_left.and_then(|left| time::shown(now.checked_add(left)?)),
            // A connection that is just being opened has announced none yet.
            subscriptions: RawValue::from_string(it.subscriptions.into()).unwrap_or_else(|_| none()),
            delivered: it.delivered,
            dropped: it.dropped,
        }
    }
}

/// All sessions that have connections, by name.
#[utoipa::path(
    get,
    path = "/v4/sessions",
    params(
        ("limit" = Option<usize>, Query, description = "Entries of a page, 1 to 1000; 100 where it is missing"),
        ("after" = Option<String>, Query, description = "Only sessions whose names come behind this one"),
    ),
    responses(
        (status = 200, description = "A page", body = SessionPage),
        (status = 400, description = "A parameter is wrong", body = Document),
    )
)]
pub(crate) async fn list(
    State(node): State<Node>,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<SessionPage>, Problem> {
    let mut query = Query::of(&uri);
    let (limit, after) = (page::limit(&mut query), query.take("after"));
    query.finish()?;
    let mut sessions = aside(move || {
        let found = summarize(&node.hub, after.as_deref(), limit + 1);
        found.into_iter().map(|(name, found)| found.summary(&name, node.sessions())).collect::<Vec<_>>()
    })
    .await?;
    let next = page::cut(&mut sessions, limit).map(|last| page::next(uri.path(), limit, "after", &last.name));
    Ok(Json(SessionPage { sessions, next }))
}

/// What is found of a session while all connections are looked at.
struct Found {
    connections: usize,
    since: SystemTime,
    transports: BTreeSet<&'static str>,
}

impl Found {
    fn summary(self, name: &str, sessions: &Sessions) -> SessionSummary {
        let revoked = name.parse().is_ok_and(|name: SessionName| sessions.is_blacklisted(&name));
        SessionSummary {
            name: name.to_owned(),
            connection_count: self.connections,
            since: time::shown(self.since),
            transports: self.transports.into_iter().collect(),
            revoked,
        }
    }
}

/// Those that have not been told to end. One that has gets nothing more, and lingers until its client has closed.
fn open_connections(hub: &Hub) -> impl Iterator<Item = Arc<Connection>> {
    hub.all().filter(|connection| connection.close_reason().is_none())
}

/// The `most` sessions that come first behind `after`. Looks at every connection, and keeps no more than it returns.
fn summarize(hub: &Hub, after: Option<&str>, most: usize) -> BTreeMap<String, Found> {
    let mut all: BTreeMap<String, Found> = BTreeMap::new();
    for connection in open_connections(hub) {
        let mut names = connection.sessions();
        // Several tokens of one session are one session.
        names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        for name in
            names.iter().map(SessionName::as_str).filter(|name| after.is_none_or(|after| *name > after))
        {
            let is_full =
                all.len() == most && all.last_key_value().is_some_and(|(last, _)| name > last.as_str());
            if is_full {
                continue;
            }
            if !all.contains_key(name) {
                let found = Found { connections: 0, since: connection.since(), transports: BTreeSet::new() };
                all.insert(name.to_owned(), found);
            }
            let found = all.get_mut(name).expect("it has just been inserted");
            found.connections += 1;
            found.since = found.since.min(connection.since());
            found.transports.insert(connection.transport().as_str());
            if all.len() > most {
                all.pop_last();
            }
        }
    }
    all
}

/// A session and its connections.
#[utoipa::path(
    get,
    path = "/v4/sessions/{name}",
    params(
        ("name" = String, Path, description = "The name of the session"),
        ("limit" = Option<usize>, Query, description = "Connections of a page, 1 to 1000; 100 where it is missing"),
        ("after" = Option<u64>, Query, description = "Only connections with a higher number than this"),
    ),
    responses(
        (status = 200, description = "The session", body = SessionDetail),
        (status = 404, description = "It has no connections, and is not revoked", body = Document),
    )
)]
pub(crate) async fn one(
    State(node): State<Node>,
    OriginalUri(uri): OriginalUri,
    name: Name,
) -> Result<Json<SessionDetail>, Problem> {
    let mut query = Query::of(&uri);
    let limit = page::limit(&mut query);
    let after = query.take_as("after", |text| {
        text.parse::<u64>().map_err(|_| "allowed: the number of a connection".to_owned())
    });
    query.finish()?;
    let name = named(name, "name", str::parse::<SessionName>)?;
    aside(move || {
        let mut connections: Vec<Arc<Connection>> =
            open_connections(&node.hub).filter(|connection| connection.belongs_to(&name)).collect();
        let revoked = node.sessions().is_blacklisted(&name);
        if connections.is_empty() && !revoked {
            return Err(Problem::NotFound("the session has no connections, and is not revoked"));
        }
        let connection_count = connections.len();
        connections.retain(|connection| after.is_none_or(|after| connection.id().number() > after));
        connections.sort_by_key(|connection| connection.id().number());
        let next = page::cut(&mut connections, limit)
            .map(|last| page::next(uri.path(), limit, "after", &last.id().number().to_string()));
        let now = SystemTime::now();
        let connections =
            connections.iter().map(|connection| ConnectionDetail::of(connection.describe(), now)).collect();
        Ok(Json(SessionDetail { name: name.to_string(), revoked, connection_count, connections, next }))
    })
    .await?
}

/// Disconnects a session: its connections are terminated before the answer. Its tokens stay good.
#[utoipa::path(
    delete,
    path = "/v4/sessions/{name}",
    params(
        ("name" = String, Path, description = "The name of the session"),
        ("by" = Option<String>, Query, description = "Who asks, up to 1000 bytes"),
        ("reason" = Option<String>, Query, description = "Why, up to 1000 bytes"),
        ("dry_run" = Option<bool>, Query, description = "Only say what it would do"),
    ),
    responses(
        (status = 200, description = "What it has done; or the dry run", body = Answer),
        (status = 400, description = "A parameter is wrong", body = Document),
        (status = 503, description = "Done, but not recorded", body = Document),
    )
)]
pub(crate) async fn disconnect(
    State(node): State<Node>,
    OriginalUri(uri): OriginalUri,
    name: Name,
) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let (dry_run, by, reason) = (query.dry_run(), query.remark("by"), query.remark("reason"));
    query.finish()?;
    let name = named(name, "name", str::parse::<SessionName>)?;
    let asked = Asked {
        id: None,
        whom: Whom::Session(name),
        issued: None,
        mode: Mode::Disconnect,
        lasts: None,
        reason,
        by,
        force: false,
    };
    let order = Order::new(asked, node.sessions(), &node.verifier, SystemTime::now())?;
    if dry_run { would_do(&node, order).await } else { node.end(order, StatusCode::OK).await }
}
