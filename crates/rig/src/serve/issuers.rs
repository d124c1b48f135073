//! What identity providers cause: their feeds, and the end of connections whose keys are withdrawn.

use std::future::pending;
use std::sync::Arc;

use auth::{Issuer, Issuers, ProviderClient, Withdrawn, keep_keys};
use feed::{Feed, Feeds};
use identity::{FeedConfig, PollConfig, SeenSessions};
use metric::Registry;
use node::{Node, Tasks};
use session::Selector;
use tokio::sync::watch;

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

/// Spawns the tasks that keep the keys of all issuers, and those that fetch their events until
/// `leaving` is set.
pub(super) fn spawn(
    issuers: &Issuers,
    feeds: &Arc<Feeds>,
    node: &Node,
    tasks: &mut Tasks,
    leaving: &watch::Receiver<bool>,
) {
    for issuer in issuers.iter() {
        let withdrawn = disconnect_withdrawn(node.clone(), issuer);
        // Tokens are verified until the process ends, and the keys are kept as long.
        tasks.spawn("keys of an issuer", keep_keys(issuer.clone(), withdrawn, pending()));
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
        tasks.spawn("security events of an issuer", async move {
            polling.await;
            // A task that stops before the node has left is an error.
            pending().await
        });
    }
}

/// Returns the client that reaches the servers of an issuer's events.
fn client_of(issuer: &Issuer, config: &PollConfig) -> ProviderClient {
    let mut access = issuer.config.access();
    access.named.extend([&config.url, &config.token_url].into_iter().filter_map(|url| url.parse().ok()));
    ProviderClient::new(access)
}

/// Returns what happens when this issuer withdraws a key: the connections of its tokens are
/// terminated on this node. Each node fetches keys, so each terminates its own.
fn disconnect_withdrawn(node: Node, issuer: &Arc<Issuer>) -> impl Fn(Withdrawn) + Send + 'static {
    let by = format!("issuer:{}", issuer.config.id);
    move |Withdrawn { issuer, key }| {
        let (node, by) = (node.clone(), by.clone());
        let value = key.parse().expect("a thumbprint is a short text");
        let selector = Selector::mark("key", value).issued_by(Some(issuer));
        let reason = format!("key withdrawn, thumbprint {key}");
        // The node logs what cannot be recorded.
        drop(tokio::spawn(async move { node.disconnect_here(selector, Some(by), Some(reason)).await }));
    }
}
