//! Lists sessions and their connections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use connection::{Connection, Description};
use session::SessionName;

use crate::node::Node;

/// A session with connections on this node.
#[derive(Clone, Debug)]
pub struct SessionSummary {
    /// Number of its connections.
    pub connections: usize,
    /// When the oldest of them was opened.
    pub since: SystemTime,
    /// The transports of its connections.
    pub transports: BTreeSet<&'static str>,
    /// Whether the session is revoked, whatever the token: its connections are about to be
    /// terminated.
    pub revoked: bool,
}

/// A session and some of its connections.
#[derive(Clone, Debug)]
pub struct SessionPage {
    /// Whether the session is revoked, whatever the token.
    pub revoked: bool,
    /// Total number of its connections.
    pub connection_count: usize,
    /// The connections of this page, the oldest first.
    pub connections: Vec<Description>,
}

impl Node {
    /// Returns up to `limit` sessions whose names come after `after`, in the order of their names,
    /// byte by byte. Visits every connection, and keeps no more than it returns.
    pub fn list(&self, after: Option<&str>, limit: usize) -> BTreeMap<String, SessionSummary> {
        let mut all: BTreeMap<String, SessionSummary> = BTreeMap::new();
        for connection in self.open_connections() {
            let mut names = connection.sessions();
            // Several tokens of a connection may belong to the same session.
            names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
            names.dedup();
            for name in names.iter().filter(|name| after.is_none_or(|after| name.as_str() > after)) {
                let is_full = all.len() == limit
                    && all.last_key_value().is_some_and(|(last, _)| name.as_str() > last.as_str());
                if is_full {
                    continue;
                }
                if !all.contains_key(name.as_str()) {
                    let (since, transports) = (connection.since(), BTreeSet::new());
                    let summary = SessionSummary { connections: 0, since, transports, revoked: false };
                    all.insert(name.as_str().to_owned(), summary);
                }
                let summary = all.get_mut(name.as_str()).expect("it has just been inserted");
                summary.connections += 1;
                summary.since = summary.since.min(connection.since());
                summary.transports.insert(connection.transport().as_str());
                if all.len() > limit {
                    all.pop_last();
                }
            }
        }
        // Checked only for the sessions that are returned.
        for (name, summary) in &mut all {
            summary.revoked = name.parse().is_ok_and(|name| self.is_blacklisted(&name));
        }
        all
    }

    /// Returns a session with up to `limit` of its connections whose numbers are above `after`;
    /// `None` if it has no connections and is not revoked.
    pub fn session(&self, name: &SessionName, after: Option<u64>, limit: usize) -> Option<SessionPage> {
        let mut connections: Vec<Arc<Connection>> =
            self.open_connections().filter(|connection| connection.belongs_to(name)).collect();
        let revoked = self.is_blacklisted(name);
        let connection_count = connections.len();
        if connection_count == 0 && !revoked {
            return None;
        }
        connections.retain(|connection| after.is_none_or(|after| connection.id().number() > after));
        connections.sort_by_key(|connection| connection.id().number());
        connections.truncate(limit);
        let connections = connections.iter().map(|connection| connection.describe()).collect();
        Some(SessionPage { revoked, connection_count, connections })
    }

    /// Returns the connections that are not being terminated. Those that are receive nothing more,
    /// and remain until their clients have closed.
    fn open_connections(&self) -> impl Iterator<Item = Arc<Connection>> {
        self.hub().all().filter(|connection| connection.close_reason().is_none())
    }
}
