//! What is known of an issuer, for operators, and requests for its keys.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::time::Instant;

use super::demand::{Refetched, UnknownKeys};
use super::fetch::{Fetch, Hint, Source};
use super::introspection::{Introspected, Introspection};
use super::status::{ListState, StatusLists};
use super::{Issuer, IssuerConfig, KeysFrom};
use crate::provider_client::{ProviderAccess, ProviderClient};

/// The state of an issuer's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerState {
    /// Usable keys; 0 if none were fetched yet, or they are too old.
    pub keys: usize,
    /// Keys of the set that are not used, each with the reason.
    pub skipped: Vec<String>,
    /// Time since the last good fetch.
    pub age: Option<Duration>,
    /// Why the last fetch failed; `None` if it did not.
    pub last_error: Option<String>,
    /// Time until the next regular fetch; `None` if nothing fetches.
    pub next_fetch: Option<Duration>,
    /// Keys that were withdrawn.
    pub withdrawn: u64,
    /// Tokens that named a key that is not in the set.
    pub unknown_keys: UnknownKeys,
    /// What is known of its opaque tokens; `None` if it has none.
    pub introspected: Option<Introspected>,
    /// The status lists that are known, or were asked for, by their URIs.
    pub lists: Vec<ListState>,
}

/// What one fetch of an issuer's keys has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedIssuer {
    /// Where the metadata was found, if the key set was found by it.
    pub metadata: Option<String>,
    /// Where the key set is.
    pub key_set: String,
    /// The usable keys: the `kid` and the thumbprint of each.
    pub keys: Vec<String>,
    /// Keys of the set that are not used, each with the reason.
    pub skipped: Vec<String>,
}

impl IssuerConfig {
    /// Returns where requests to the issuer may go. Other URIs that the operator has named can be
    /// added.
    pub fn access(&self) -> ProviderAccess {
        let issuer = self.issuer.parse().ok();
        let keys = match &self.keys {
            KeysFrom::Uri(uri) => Some(uri.clone()),
            KeysFrom::Discovery | KeysFrom::File(_) => None,
        };
        let introspection = self.introspection.iter().map(|introspection| introspection.url.clone());
        let lists = self.status_lists.iter().flat_map(|lists| lists.prefixes.clone());
        let named: Vec<Uri> = keys.into_iter().chain(introspection).chain(lists).collect();
        ProviderAccess { issuer, named, ca_file: self.ca_file.clone(), insecure_http: self.insecure_http }
    }
}

impl Issuer {
    /// Requests a fetch of the keys, since none has the `kid` of a token, or fits one without, and
    /// waits for its end.
    pub async fn refetched(&self, kid: Option<&str>, within: Duration) -> Refetched {
        self.keys.counts.unknown();
        let is_known = || kid.is_some_and(|kid| self.keys.current().is_some_and(|set| set.has_kid(kid)));
        self.keys.demand.refetched(kid, within, is_known).await
    }

    /// Returns the state of the keys.
    pub fn state(&self) -> IssuerState {
        let (current, fetches) = (self.keys.current(), self.keys.fetches());
        let skipped = current.iter().flat_map(|set| set.skipped()).map(ToString::to_string).collect();
        IssuerState {
            keys: current.as_ref().map_or(0, |set| set.len()),
            skipped,
            age: fetches.good_at.map(|at| at.elapsed()),
            last_error: fetches.error,
            next_fetch: fetches.next.map(|at| at.saturating_duration_since(Instant::now())),
            withdrawn: fetches.withdrawn,
            unknown_keys: self.keys.demand.report(),
            introspected: self.introspection.as_ref().map(Introspection::state),
            lists: self.lists.as_ref().map(StatusLists::state).unwrap_or_default(),
        }
    }

    /// Returns the client that reaches the hosts of the issuer's settings.
    pub fn client(&self) -> &ProviderClient {
        &self.keys.client
    }
}

/// Fetches the keys of an issuer once, for an operator who checks the settings.
///
/// # Errors
/// Fails if the keys cannot be fetched. The text names the place and the cause; for metadata of
/// another issuer, both texts of the issuer.
pub async fn check_issuer(config: &IssuerConfig) -> Result<CheckedIssuer, String> {
    let client = ProviderClient::new(config.access());
    let mut source = Source::new(config, client, Arc::default());
    let fetched = source.fetch(Hint::Regular).await.map_err(|failure| failure.to_string())?;
    let (metadata, key_set) = source.places();
    let set = fetched.set.ok_or_else(|| format!("{key_set}: the first fetch brought no key set"))?;
    let describe = |kid: Option<&str>, thumbprint: &str| match kid {
        Some(kid) => format!("kid {:?}, thumbprint {thumbprint}", kid.chars().take(100).collect::<String>()),
        None => format!("no kid, thumbprint {thumbprint}"),
    };
    Ok(CheckedIssuer {
        metadata,
        key_set,
        keys: set.keys().iter().map(|key| describe(key.kid(), key.thumbprint())).collect(),
        skipped: set.skipped().iter().map(ToString::to_string).collect(),
    })
}
