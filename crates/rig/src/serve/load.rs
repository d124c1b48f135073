//! Loads what earlier runs of the node have stored.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use auth::Cors;
use cluster::identity::NodeIdentity;
use journal::{Journal, Outlet, ReportingLog};
use metric::Registry;
use proxy::{Apis, Definitions, FileStore, MemoryStore, Store, Targets};
use seal::Incarnation;
use session::{MemoryLog, Sessions};
use tokio::time::Instant;

use super::definitions::ClusterStore;
use super::hook::Outboxes;
use super::membership::Membership;
use crate::settings::{self, ClusterSettings, StoredSettings};

/// What earlier runs have stored, and who this node is.
pub(super) struct Loaded {
    pub(super) sessions: Sessions,
    /// The queues of what is reported of revocations.
    pub(super) outboxes: Outboxes,
    /// This life of the node.
    pub(super) life: Incarnation,
    /// Its membership in a cluster; `None` for a single node.
    pub(super) membership: Option<Membership>,
    pub(super) apis: Arc<Apis>,
    /// The data folder, which is locked as long as `sessions` exist; `None` if nothing is stored.
    pub(super) folder: Option<PathBuf>,
}

impl Loaded {
    /// Loads the revocations in force and the APIs. A node of a cluster begins a new life, and
    /// connects to NATS, but joins nothing yet. `cors` names the pages that may read answers,
    /// `targets` what else than HTTP services requests can go to.
    ///
    /// # Errors
    /// Fails if the data folder or its content cannot be used, or NATS as it is configured.
    pub(super) async fn load(
        settings: StoredSettings,
        cluster: Option<ClusterSettings>,
        (cors, targets): (&Cors, Box<dyn Targets>),
        registry: &mut Registry,
    ) -> anyhow::Result<Self> {
        let folder = settings.data.as_ref().map(|data| data.folder.clone());
        let StoredSettings { session, data, outlets, audit_key, apis, is_single } = settings;
        // Opening the log locks the folder, which everything below relies on.
        let journal = data.map(|data| Journal::open(&data).context("DATA_DIR")).transpose()?;
        let (life, membership) = match (cluster, &folder) {
            (Some(cluster), Some(folder)) => {
                let membership = Membership::begin(cluster, folder, registry).await?;
                (membership.life, Some(membership))
            }
            (None, Some(folder)) if !is_single && NodeIdentity::is_kept(folder) => anyhow::bail!(
                "CLUSTER_NATS is missing, but DATA_DIR is that of a node of a cluster: it would not learn of the revocations of others; CLUSTER=single says that it is meant to stand alone from now on"
            ),
            _ => (Incarnation::unnamed(), None),
        };
        let session = match &membership {
            Some(membership) => session.with_node(membership.node.clone()),
            None => session,
        };
        let (sessions, outboxes) = match (journal, &folder) {
            (Some(journal), Some(folder)) => load_sessions(session, journal, folder)?,
            _ => new_sessions(session, &outlets, audit_key.as_deref())?,
        };
        let store: Box<dyn Store> = match (&membership, &folder) {
            (Some(membership), Some(folder)) => Box::new(membership.store(folder)),
            (None, Some(folder)) => {
                if ClusterStore::file(folder).exists() {
                    tracing::warn!(
                        "this node was in a cluster, and does not use its definitions of APIs: export them at a node of the cluster and import them here"
                    );
                }
                Box::new(FileStore::new(folder))
            }
            (_, None) => Box::new(MemoryStore::default()),
        };
        let apis = Arc::new(load_apis(apis, store, (cors, targets))?);
        Ok(Self { sessions, outboxes, life, membership, apis, folder })
    }
}

/// Loads all revocations in force, before any client is admitted.
fn load_sessions(
    config: session::Config,
    journal: Journal,
    folder: &Path,
) -> anyhow::Result<(Sessions, Outboxes)> {
    let began = Instant::now();
    journal.set_node(config.node().clone());
    let outboxes = Outboxes { hook: journal.outbox(Outlet::Hook), topic: journal.outbox(Outlet::Topic) };
    let sessions = Sessions::new(config, journal)?;
    tracing::info!(
        folder = %folder.display(),
        revocations = sessions.counts().blacklisted,
        milliseconds = began.elapsed().as_millis() as u64,
        "revocation log loaded"
    );
    Ok((sessions, outboxes))
}

/// Returns sessions without any revocation.
fn new_sessions(
    config: session::Config,
    outlets: &[Outlet],
    audit_key: Option<&str>,
) -> anyhow::Result<(Sessions, Outboxes)> {
    tracing::warn!("DATA_DIR = memory: a restart forgets every revocation, and every change of an API");
    if outlets.is_empty() {
        return Ok((Sessions::new(config, MemoryLog::new())?, Outboxes::default()));
    }
    tracing::warn!("DATA_DIR = memory: a restart forgets what is still to be reported of revocations");
    let log = ReportingLog::new(MemoryLog::new(), outlets, audit_key);
    let outboxes = Outboxes { hook: log.outbox(Outlet::Hook), topic: log.outbox(Outlet::Topic) };
    Ok((Sessions::new(config, log)?, outboxes))
}

/// Loads the definitions of the file, overlaid by the changes that earlier runs have stored.
fn load_apis(
    file: Definitions,
    store: Box<dyn Store>,
    (cors, targets): (&Cors, Box<dyn Targets>),
) -> anyhow::Result<Apis> {
    let (mut apis, mut warnings) = Apis::load_with_targets(file, store, settings::variable, targets)?;
    if cors.is_any() {
        warnings.extend(apis.warn_of_cookies());
    }
    for warning in warnings {
        tracing::warn!("{}", warning.0);
    }
    tracing::info!(apis = apis.standing().len(), "API definitions loaded");
    Ok(apis)
}
