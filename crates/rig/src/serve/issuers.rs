//! What identity providers cause: their feeds, and the end of connections whose tokens they
//! no longer stand for.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use auth::{
    EndedMark, Issuer, Issuers, Mark, OpenConnections, ProviderClient, keep_keys, keep_lists, keep_tokens,
};
use feed::{Feed, Feeds};
use identity::{FeedConfig, PollConfig, SeenSessions};
use metric::Registry;
use node::{Node, Tasks};
use session::Selector;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// Creates the feeds of all issuers. `configs` are in the order of the issuers.
pub(super) fn feeds(
    parts: feed::Parts,
    issuers: &Issuers,
    configs: Vec<FeedConfig>,
    registry: &mut Registry,
) -> Arc<Feeds> {
    let feed = |(issuer, config): (&Arc<Issuer>, FeedConfig)| {
        let (seen, sid_at) = (Arc::new(SeenSessions::default()), config.sid_at.clone());
        let noted = seen.clone();
        issuer.observe_tokens(move |claims| noted.note(claims.pointer(&sid_at).is_some()));
        Feed { config, signatures: issuer.clone(), seen }
    };
    Arc::new(Feeds::new(parts, issuers.iter().zip(configs).map(feed).collect(), registry))
}

/// The tasks that fetch events. Each holds a sender until it has acknowledged what it has kept.
pub(super) struct Polls(mpsc::Receiver<Infallible>);

impl Polls {
    /// Waits for their last acknowledgements, for at most `within` this time.
    pub(super) async fn leave(&mut self, within: Duration) {
        // What is not acknowledged comes again.
        let _ = timeout(within, self.0.recv()).await;
    }
}

/// Spawns the tasks that keep what all issuers say of their tokens, and those that fetch their
/// events until `leaving` is set.
pub(super) fn spawn(
    issuers: &Issuers,
    feeds: &Arc<Feeds>,
    node: &Node,
    tasks: &mut Tasks,
    leaving: &watch::Receiver<bool>,
) -> Polls {
    let (poll, polls) = mpsc::channel(1);
    for issuer in issuers.iter() {
        let by = format!("issuer:{}", issuer.config.id);
        let connections = Arc::new(Connections { node: node.clone(), by });
        // Tokens are verified until the process ends, and the issuer is asked as long.
        tasks.spawn("keys of an issuer", keep_keys(issuer.clone(), connections.clone(), pending()));
        if issuer.config.introspection.is_some() {
            let keep = keep_tokens(issuer.clone(), connections.clone(), pending());
            tasks.spawn("opaque tokens of an issuer", keep);
        }
        if issuer.config.status_lists.is_some() {
            tasks.spawn("status lists of an issuer", keep_lists(issuer.clone(), connections, pending()));
        }
    }
    for (id, config) in feeds.polled() {
        let Some(issuer) = issuers.with_id(id) else { continue };
        let client = Arc::new(client_of(issuer, config));
        let mut leaving = leaving.clone();
        let leaving = async move {
            // The sender lives as long as the ports.
            drop(leaving.wait_for(|leaving| *leaving).await);
        };
        let polling = feed::poll(feeds.clone(), id.clone(), client, leaving);
        let poll = poll.clone();
        tasks.spawn("security events of an issuer", async move {
            polling.await;
            drop(poll);
            // A task that stops before the node has left is an error.
            pending().await
        });
    }
    Polls(polls)
}

/// Returns the client that reaches the servers of an issuer's events.
fn client_of(issuer: &Issuer, config: &PollConfig) -> ProviderClient {
    let mut access = issuer.config.access();
    access.named.extend([&config.url, &config.token_url].into_iter().filter_map(|url| url.parse().ok()));
    ProviderClient::new(access)
}

/// The connections of this node. Each node asks the issuers itself, so each terminates its own.
struct Connections {
    node: Node,
    by: String,
}

impl OpenConnections for Connections {
    fn have(&self, mark: &Mark) -> bool {
        self.node.has_connections_of(&selector(mark))
    }

    fn end(&self, EndedMark { mark, reason }: EndedMark) {
        let (node, by, selector) = (self.node.clone(), self.by.clone(), selector(&mark));
        // The node logs what cannot be recorded.
        drop(tokio::spawn(async move { node.disconnect_here(selector, Some(by), Some(reason)).await }));
    }
}

fn selector(mark: &Mark) -> Selector {
    let value = mark.value.parse().expect("marks are short texts");
    Selector::mark(mark.kind, value).issued_by(Some(mark.issuer.clone()))
}
