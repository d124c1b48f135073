//! Lists sessions and their connections at all nodes.
//!
//! Every node is asked for the same page. The pages are merged up to the first last entry of a page
//! that another one follows: what comes after it at that node is not known.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use connection::{Client, Description, Transport};
use serde::{Deserialize, Serialize};
use session::{NodeName, SessionName};
use tokio::task::JoinError;

use crate::ask::Replies;
use crate::listing::{SessionPage, SessionSummary};
use crate::node::Node;

/// How long the other nodes may take.
const WITHIN: Duration = Duration::from_secs(1);

/// Limit of the entries of a page that a node asks for.
const MAX_LIMIT: usize = 1000;

/// The sessions of all nodes.
#[derive(Clone, Debug)]
pub struct GatheredSessions {
    /// The sessions of this page, by name.
    pub sessions: BTreeMap<String, SessionSummary>,
    /// Whether another page follows.
    pub more: bool,
    /// The nodes that did not answer: their connections are missing.
    pub partial: Vec<NodeName>,
}

/// A session at all nodes, and some of its connections.
#[derive(Clone, Debug)]
pub struct GatheredSession {
    /// Whether the session is revoked, whatever the token.
    pub revoked: bool,
    /// Total number of its connections.
    pub connection_count: usize,
    /// The connections of this page, with their nodes: by their numbers, then by the names of their
    /// nodes.
    pub connections: Vec<(NodeName, Description)>,
    /// Whether another page follows.
    pub more: bool,
    /// The nodes that did not answer: their connections are missing.
    pub partial: Vec<NodeName>,
}

/// The place of a connection in the list of a session's connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionPlace {
    /// Its number at its node.
    pub id: u64,
    /// The name of its node; `None` comes after all nodes.
    pub node: Option<String>,
}

/// What the other nodes are asked for.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum Wanted {
    Sessions { after: Option<String>, limit: usize },
    Session { name: String, after: Option<ConnectionPlace>, limit: usize },
}

/// A page of one node.
#[derive(Serialize, Deserialize)]
struct Page<T> {
    entries: Vec<T>,
    /// Whether another page follows.
    more: bool,
}

#[derive(Serialize, Deserialize)]
struct SessionAtNode {
    name: String,
    connections: usize,
    /// In microseconds since 1970.
    since: u64,
    transports: Vec<String>,
    revoked: bool,
}

#[derive(Serialize, Deserialize)]
struct ConnectionsAtNode<P = Page<ConnectionAtNode>> {
    revoked: bool,
    connection_count: usize,
    page: P,
}

#[derive(Serialize, Deserialize)]
struct ConnectionAtNode {
    id: u64,
    transport: String,
    /// In microseconds since 1970.
    since: u64,
    address: String,
    user_agent: Option<String>,
    /// In milliseconds.
    token_left: Option<u64>,
    subscriptions: String,
    delivered: u32,
    dropped: u32,
}

impl Node {
    /// Returns up to `limit` sessions of all nodes whose names come after `after`, in the order of
    /// their names, byte by byte.
    ///
    /// # Errors
    /// Fails if listing those of this node panics.
    pub async fn list_everywhere(
        &self,
        after: Option<String>,
        limit: usize,
    ) -> Result<GatheredSessions, JoinError> {
        let wanted = Wanted::Sessions { after: after.clone(), limit };
        let (here, replies) = tokio::join!(self.page_of_sessions(after.clone(), limit), self.gather(&wanted));
        let (pages, partial) = parsed::<Page<SessionAtNode>>(replies);
        let mut all = GatheredSessions { sessions: BTreeMap::new(), more: false, partial };
        let pages = std::iter::once(here?).chain(pages.into_iter().map(|(_, page)| page));
        // The last name up to which every node has listed its sessions.
        let mut horizon: Option<String> = None;
        for page in pages {
            let last = page.entries.last().filter(|_| page.more).map(|last| last.name.clone());
            horizon = [horizon, last].into_iter().flatten().min();
            all.more |= page.more;
            for session in page.entries {
                if after.as_ref().is_none_or(|after| session.name > *after) {
                    session.add_to(&mut all.sessions);
                }
            }
        }
        all.sessions.retain(|name, _| horizon.as_ref().is_none_or(|horizon| name <= horizon));
        while all.sessions.len() > limit {
            all.sessions.pop_last();
            all.more = true;
        }
        Ok(all)
    }

    /// Returns a session at all nodes, with up to `limit` of its connections that come after
    /// `after`; `None` if it has no connections and is not revoked.
    ///
    /// # Errors
    /// Fails if listing those of this node panics.
    pub async fn session_everywhere(
        &self,
        name: &SessionName,
        after: Option<ConnectionPlace>,
        limit: usize,
    ) -> Result<Option<GatheredSession>, JoinError> {
        let wanted = Wanted::Session { name: name.to_string(), after: after.clone(), limit };
        let here = self.page_of_connections(name.clone(), after, limit);
        let (here, replies) = tokio::join!(here, self.gather(&wanted));
        let (pages, partial) = parsed::<ConnectionsAtNode>(replies);
        let mut all = GatheredSession {
            revoked: false,
            connection_count: 0,
            connections: Vec::new(),
            more: false,
            partial,
        };
        let mut horizon: Option<(u64, NodeName)> = None;
        let mut found = BTreeMap::new();
        for (node, at_node) in std::iter::once((self.name().clone(), here?)).chain(pages) {
            let ConnectionsAtNode { revoked, connection_count, page } = at_node;
            all.revoked |= revoked;
            all.connection_count = all.connection_count.saturating_add(connection_count);
            all.more |= page.more;
            let last = page.entries.last().filter(|_| page.more).map(|last| (last.id, node.clone()));
            horizon = [horizon, last].into_iter().flatten().min();
            for connection in page.entries {
                if let Some(connection) = connection.described() {
                    found.insert((connection.id, node.clone()), connection);
                }
            }
        }
        if all.connection_count == 0 && !all.revoked && all.partial.is_empty() {
            return Ok(None);
        }
        found.retain(|place, _| horizon.as_ref().is_none_or(|horizon| place <= horizon));
        all.more |= found.len() > limit;
        all.connections =
            found.into_iter().take(limit).map(|((_, node), connection)| (node, connection)).collect();
        Ok(Some(all))
    }

    async fn gather(&self, wanted: &Wanted) -> Replies {
        let Some(peers) = self.peers() else { return Replies::default() };
        let mut request = vec![Self::LISTING];
        request.append(&mut serde_json::to_vec(wanted).expect("it has text keys"));
        peers.ask_all(request.into(), WITHIN).await
    }

    /// The first byte of what the other nodes are asked for here.
    pub(crate) const LISTING: u8 = b'l';

    /// Answers [`Node::gather`] of another node. The answer is empty if the request is not
    /// understood.
    pub(crate) async fn answer_gathering(self, request: Bytes) -> Bytes {
        let max = self.peers().map_or(0, |peers| peers.max_bytes());
        let answer = match serde_json::from_slice(&request) {
            Ok(Wanted::Sessions { after, limit: limit @ 1..=MAX_LIMIT }) => {
                let page = self.page_of_sessions(after, limit).await;
                page.ok().and_then(|page| page.fitting(max, serde_json::to_vec, |_| ()))
            }
            Ok(Wanted::Session { name, after, limit: limit @ 1..=MAX_LIMIT }) => match name.parse() {
                Ok(name) => {
                    let page = self.page_of_connections(name, after, limit).await.ok();
                    page.and_then(|ConnectionsAtNode { revoked, connection_count, page }| {
                        let whole = |page: &Page<ConnectionAtNode>| {
                            serde_json::to_vec(&ConnectionsAtNode { revoked, connection_count, page })
                        };
                        page.fitting(max, whole, ConnectionAtNode::shorten)
                    })
                }
                Err(_) => None,
            },
            Ok(_) | Err(_) => None,
        };
        answer.unwrap_or_default().into()
    }

    async fn page_of_sessions(
        &self,
        after: Option<String>,
        limit: usize,
    ) -> Result<Page<SessionAtNode>, JoinError> {
        let node = self.clone();
        tokio::task::spawn_blocking(move || {
            let found = node.list(after.as_deref(), limit + 1);
            Page::cut(found.into_iter().map(|(name, found)| SessionAtNode::of(name, &found)).collect(), limit)
        })
        .await
    }

    async fn page_of_connections(
        &self,
        name: SessionName,
        after: Option<ConnectionPlace>,
        limit: usize,
    ) -> Result<ConnectionsAtNode, JoinError> {
        let node = self.clone();
        tokio::task::spawn_blocking(move || {
            let after = after.and_then(|after| after.number_at(node.name()));
            let none = || SessionPage { revoked: false, connection_count: 0, connections: Vec::new() };
            let found = node.session(&name, after, limit + 1).unwrap_or_else(none);
            let SessionPage { revoked, connection_count, connections } = found;
            let connections = connections.into_iter().map(ConnectionAtNode::of).collect();
            ConnectionsAtNode { revoked, connection_count, page: Page::cut(connections, limit) }
        })
        .await
    }
}

impl ConnectionPlace {
    /// Returns the number after which the connections of this node come after the place; `None` if
    /// all do.
    fn number_at(&self, node: &NodeName) -> Option<u64> {
        match &self.node {
            Some(of) if node.as_str() > of.as_str() => self.id.checked_sub(1),
            _ => Some(self.id),
        }
    }
}

impl<T: Serialize> Page<T> {
    fn cut(mut entries: Vec<T>, limit: usize) -> Self {
        let more = entries.len() > limit;
        entries.truncate(limit);
        Self { entries, more }
    }

    /// Returns the answer with as many of the entries as fit into `max` bytes. If not even one
    /// fits, it is shortened.
    fn fitting(
        mut self,
        max: usize,
        answer: impl Fn(&Self) -> serde_json::Result<Vec<u8>>,
        shorten: impl Fn(&mut T),
    ) -> Option<Vec<u8>> {
        loop {
            let whole = answer(&self).ok()?;
            if whole.len() <= max {
                return Some(whole);
            }
            if let [only] = &mut *self.entries {
                shorten(only);
                return answer(&self).ok().filter(|shortened| shortened.len() <= max);
            }
            self.entries.truncate(self.entries.len() / 2);
            self.more = true;
        }
    }
}

/// Parses the answers. Nodes whose answers are not understood count among those that are missing.
fn parsed<T: for<'d> Deserialize<'d>>(replies: Replies) -> (Vec<(NodeName, T)>, Vec<NodeName>) {
    let Replies { answers, mut missing } = replies;
    let mut pages = Vec::new();
    for (node, answer) in answers {
        match serde_json::from_slice(&answer) {
            Ok(page) => pages.push((node, page)),
            Err(_) => missing.push(node),
        }
    }
    missing.sort();
    (pages, missing)
}

impl SessionAtNode {
    fn of(name: String, found: &SessionSummary) -> Self {
        Self {
            name,
            connections: found.connections,
            since: micros(found.since),
            transports: found.transports.iter().map(|name| (*name).to_owned()).collect(),
            revoked: found.revoked,
        }
    }

    fn add_to(self, all: &mut BTreeMap<String, SessionSummary>) {
        let since = time(self.since);
        let summary = all.entry(self.name).or_insert_with(|| SessionSummary {
            connections: 0,
            since,
            transports: BTreeSet::new(),
            revoked: false,
        });
        summary.connections = summary.connections.saturating_add(self.connections);
        summary.since = summary.since.min(since);
        summary
            .transports
            .extend(self.transports.iter().filter_map(|name| transport(name)).map(Transport::as_str));
        summary.revoked |= self.revoked;
    }
}

impl ConnectionAtNode {
    fn of(it: Description) -> Self {
        Self {
            id: it.id,
            transport: it.transport.as_str().to_owned(),
            since: micros(it.since),
            address: it.client.address.to_string(),
            user_agent: it.client.user_agent.map(Into::into),
            token_left: it.token_left.map(|left| left.as_millis() as u64),
            subscriptions: it.subscriptions.into(),
            delivered: it.delivered,
            dropped: it.dropped,
        }
    }

    /// Returns its description; `None` if another node has sent what is not one.
    fn described(self) -> Option<Description> {
        Some(Description {
            id: self.id,
            transport: transport(&self.transport)?,
            since: time(self.since),
            client: Client {
                address: self.address.parse().ok()?,
                user_agent: self.user_agent.map(Into::into),
            },
            sessions: Vec::new(),
            token_left: self.token_left.map(Duration::from_millis),
            subscriptions: self.subscriptions.into(),
            delivered: self.delivered,
            dropped: self.dropped,
        })
    }

    /// Drops what has no limit of its own.
    fn shorten(&mut self) {
        self.subscriptions = "[]".to_owned();
    }
}

fn transport(name: &str) -> Option<Transport> {
    let all = [Transport::Sse, Transport::WebSocket, Transport::LongPolling];
    all.into_iter().find(|transport| transport.as_str() == name)
}

fn micros(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

fn time(micros: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(micros)
}
