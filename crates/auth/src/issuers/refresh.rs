//! The task that keeps the key set of an issuer new.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use tokio::select;
use tokio::time::{Instant, sleep_until};

use super::fetch::{Failure, Fetch, Fetched, Hint, Source};
use super::schedule::{Schedule, Times};
use super::{EndedMark, Issuer, Mark, OnWithdrawn, OpenConnections};

/// Fetches the keys of an issuer, at once and then regularly, until `leaving` resolves. There must
/// be one such task for each issuer.
///
/// A key is withdrawn if two good fetches at least 30 s apart did not bring it. Its tokens were
/// refused since the first of them; its connections are terminated, unless the settings let them
/// stay.
pub async fn keep_keys(
    issuer: Arc<Issuer>,
    connections: Arc<dyn OpenConnections>,
    leaving: impl Future<Output = ()>,
) {
    let source = Source::new(&issuer.config, issuer.keys.client.clone(), issuer.keys.counts.clone());
    keep(&issuer, source, &*connections, leaving).await;
}

/// Does the work of [`keep_keys`] with any source.
pub(super) async fn keep(
    issuer: &Issuer,
    mut source: impl Fetch,
    connections: &dyn OpenConnections,
    leaving: impl Future<Output = ()>,
) {
    let mut leaving = pin!(leaving);
    let mut task = Task { issuer, schedule: Schedule::new(&issuer.config, Instant::now()), complaint: None };
    let demand = &issuer.keys.demand;
    loop {
        task.issuer.keys.note(|fetches| fetches.next = Some(task.schedule.next()));
        let is_regular = select! {
            biased;
            () = &mut leaving => return,
            () = until(task.schedule.expires_at()) => {
                task.expire();
                continue;
            }
            () = sleep_until(task.schedule.next()) => true,
            () = demand.requested() => false,
            () = demand.refused() => {
                task.schedule.hasten(Instant::now());
                continue;
            }
        };
        demand.begin();
        let begun = Instant::now();
        let hint = match is_regular {
            true if demand.has_absent() => Hint::Moved,
            true => Hint::Regular,
            false => Hint::OnDemand,
        };
        let mut fetching = pin!(source.fetch(hint));
        let fetched = loop {
            select! {
                biased;
                () = &mut leaving => return,
                fetched = &mut fetching => break fetched,
                // A fetch may take longer than the old keys are good.
                () = until(task.schedule.expires_at()) => task.expire(),
            }
        };
        let times = Times { begun, ended: Instant::now(), is_regular };
        let is_good = fetched.is_ok();
        match fetched {
            Ok(fetched) => task.succeeded(fetched, times, connections),
            Err(failure) => task.failed(&failure, times),
        }
        demand.end(is_good, is_regular);
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

struct Task<'i> {
    issuer: &'i Issuer,
    schedule: Schedule,
    /// What the log has said last.
    complaint: Option<String>,
}

impl Task<'_> {
    fn succeeded(&mut self, fetched: Fetched, times: Times, connections: &dyn OpenConnections) {
        let Issuer { config, keys, .. } = self.issuer;
        let (set, withdrawn) = self.schedule.succeeded(fetched.set, fetched.fresh_for, times);
        if let Some(set) = set {
            let (usable, skipped) = (set.len(), set.skipped().len());
            if keys.put(set) {
                tracing::info!(issuer = %config.id, keys = usable, skipped, "the keys of an issuer have changed");
            }
        }
        for key in withdrawn {
            keys.counts.withdrawn();
            keys.note(|fetches| fetches.withdrawn += 1);
            tracing::warn!(issuer = %config.id, %key, "an issuer has withdrawn a key");
            let reason = format!("key withdrawn, thumbprint {key}");
            let mark = Mark { issuer: config.issuer.clone(), kind: "key", value: key };
            // None can have been registered since: its tokens are refused since the first fetch
            // without it. An issuer that replaces its keys fills no log.
            if config.on_withdrawn == OnWithdrawn::Disconnect && connections.have(&mark) {
                connections.end(EndedMark { mark, reason });
            }
        }
        let complaint = fetched.complaint.map(|failure| failure.to_string());
        match (&self.complaint, &complaint) {
            (Some(_), None) => {
                tracing::info!(issuer = %config.id, "the keys of an issuer can be fetched again");
            }
            (before, Some(error)) if before.as_ref() != Some(error) => {
                tracing::warn!(issuer = %config.id, %error, "the metadata of an issuer cannot be fetched, its keys can");
            }
            _ => {}
        }
        self.note(complaint);
        keys.note(|fetches| fetches.good_at = Some(times.ended));
    }

    fn failed(&mut self, failure: &Failure, times: Times) {
        let error = failure.to_string();
        let is_first = self.schedule.failed(times);
        if is_first || self.complaint.as_ref() != Some(&error) {
            let has_keys = self.issuer.keys.current().is_some();
            let issuer = &self.issuer.config.id;
            tracing::warn!(%issuer, %error, has_keys, "the keys of an issuer cannot be fetched");
        }
        self.note(Some(error));
    }

    fn expire(&mut self) {
        self.schedule.expired();
        self.issuer.keys.expire();
        let issuer = &self.issuer.config.id;
        tracing::error!(%issuer, "the keys of an issuer are too old: its tokens are refused");
    }

    fn note(&mut self, complaint: Option<String>) {
        self.issuer.keys.note(|fetches| fetches.error.clone_from(&complaint));
        self.complaint = complaint;
    }
}

#[cfg(test)]
mod tests;
