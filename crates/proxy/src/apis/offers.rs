//! Several nodes over one store: each serves what the others store, and offers them the definitions
//! of its own file.
//!
//! A file's definition is stored like a change, with the name of its node, unless its id was
//! changed or deleted through a port. If two files differ in an id, the one that was read last
//! wins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::sleep;

use super::definitions::MAX_APIS;
use super::served::{Edited, Served};
use super::store::StoreError;
use super::{Apis, ChangeError, Standing, now};
use crate::definition::Api;
use crate::fault::Warning;

/// How long to wait before definitions that could not be offered are offered again.
const AGAIN: Duration = Duration::from_secs(1);

/// When the file was read whose definitions are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Just now: it counts more than what other nodes have offered.
    Now,
    /// Before that: only what the store lacks is offered.
    Before,
}

impl Served {
    /// Returns the definitions with those of this file, which the node offers to the others.
    pub(super) fn with_offers_of(
        &self,
        node: &str,
        file: Arc<BTreeMap<Arc<str>, Arc<Api>>>,
        read: Reading,
        warnings: Vec<Warning>,
    ) -> Edited {
        let mut edited = self.edited(warnings);
        let is_own = |standing: &Standing| standing.offered_by.as_deref() == Some(node);
        edited.standing.retain(|id, standing| !is_own(standing) || file.contains_key(id));
        for (id, api) in &*file {
            let before = edited.standing.get(id);
            let is_kept = before.is_some_and(|before| {
                let is_changed = before.offered_by.is_none();
                is_changed || read == Reading::Before || before.api.document == api.document
            });
            if is_kept || self.deleted.contains_key(id) {
                continue;
            }
            if let Some(other) =
                before.and_then(|before| before.offered_by.as_deref()).filter(|other| *other != node)
            {
                edited.warnings.push(Warning(format!(
                    "API {id}: the definition of PROXY_CONFIG_FILE replaces the one of node {other}"
                )));
            }
            edited.standing.insert(id.clone(), Standing::fresh(api.clone(), Some(node.into())));
        }
        Edited { file, ..edited }
    }

    /// Returns whether an edit has changed which definitions there are.
    fn differs(&self, edited: &Edited) -> bool {
        let shown = |standing: &BTreeMap<Arc<str>, Standing>| -> Vec<_> {
            standing.values().map(|it| (it.api.clone(), it.offered_by.clone())).collect()
        };
        let (before, after) = (shown(&self.standing), shown(&edited.standing));
        before.len() != after.len()
            || before
                .iter()
                .zip(&after)
                .any(|((api, by), (other, other_by))| !Arc::ptr_eq(api, other) || by != other_by)
    }
}

impl Edited {
    /// Deletes a definition. Returns whether there was one.
    pub(super) fn delete(&mut self, id: &str) -> bool {
        let Some((id, _)) = self.standing.remove_entry(id) else { return false };
        self.deleted.insert(id, now());
        // As many as there can be definitions: an older deletion matters only to a file that has
        // kept its id for as long.
        while self.deleted.len() > MAX_APIS {
            let oldest = self.deleted.iter().min_by(|(_, a), (_, b)| a.cmp(b)).map(|(id, _)| id.clone());
            oldest.and_then(|oldest| self.deleted.remove(&oldest));
        }
        true
    }

    /// Replaces all definitions.
    pub(super) fn delete_all_but(&mut self, standing: BTreeMap<Arc<str>, Standing>) {
        let gone: Vec<_> = self.standing.keys().filter(|id| !standing.contains_key(*id)).cloned().collect();
        for id in gone {
            self.delete(&id);
        }
        self.standing = standing;
    }
}

impl Apis {
    /// Stores the definitions of the file that the store lacks, if other nodes share it.
    pub(super) fn offer(&self, read: Reading) -> Result<(), ChangeError> {
        let Some(node) = self.store.node() else { return Ok(()) };
        let offers = |served: &Served| served.with_offers_of(&node, served.file.clone(), read, Vec::new());
        let served = self.served.load_full();
        if served.unoffered || served.differs(&offers(&served)) {
            for Warning(warning) in self.change(|served| Ok(offers(served)))? {
                tracing::warn!("{warning}");
            }
            tracing::info!("the definitions of PROXY_CONFIG_FILE are offered to the other nodes");
        }
        Ok(())
    }

    /// Serves the changes that others store, until the stream of changes terminates.
    pub async fn follow(self: Arc<Self>) {
        let mut changes = self.store.changes();
        // Revisions saved between the start and the subscription are not among the changes.
        self.aside(Self::catch_up).await;
        let mut read = Reading::Now;
        let mut offered = self.offered(read).await;
        loop {
            let changed = tokio::select! {
                changed = changes.next() => changed,
                () = sleep(AGAIN), if !offered => {
                    offered = self.offered(read).await;
                    continue;
                }
            };
            let Some(saved) = changed else { return };
            self.aside(move |apis| {
                for warning in apis.reload(&saved)? {
                    tracing::warn!("{}", warning.0);
                }
                Ok(())
            })
            .await;
            if offered && self.served.load().unoffered {
                read = Reading::Before;
                offered = self.offered(read).await;
            }
        }
    }

    /// Offers the definitions of the file; returns whether that is done.
    async fn offered(self: &Arc<Self>, read: Reading) -> bool {
        let apis = self.clone();
        let offered = tokio::task::spawn_blocking(move || apis.offer(read)).await;
        match offered
            .map_err(|panicked| panicked.to_string())
            .and_then(|done| done.map_err(|error| error.to_string()))
        {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(error, "the definitions of PROXY_CONFIG_FILE are not offered yet");
                false
            }
        }
    }

    /// Runs `reload`, which may block on a disk or a network, on a thread of its own. Logs its
    /// failure, or the change.
    async fn aside(self: &Arc<Self>, reload: impl FnOnce(&Self) -> Result<(), StoreError> + Send + 'static) {
        let (apis, before) = (self.clone(), self.served.load().revision);
        let reloaded = tokio::task::spawn_blocking(move || reload(&apis)).await;
        let served = self.served.load();
        let reloaded = match reloaded {
            Ok(reloaded) => reloaded.map_err(|error| error.to_string()),
            Err(panicked) => Err(panicked.to_string()),
        };
        match reloaded {
            Ok(()) if served.revision > before => {
                tracing::info!(apis = served.standing.len(), "API definitions changed in the store");
            }
            Ok(()) => {}
            Err(error) => tracing::error!(error, "API definitions not reloaded, the old ones stay"),
        }
    }
}
