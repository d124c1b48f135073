//! Loads what earlier runs of the node have stored.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use auth::Cors;
use journal::Journal;
use proxy::{Apis, Definitions, FileStore, MemoryStore, Store};
use session::{MemoryLog, Sessions};
use tokio::time::Instant;

use crate::settings::{self, StoredSettings};

/// The revocations in force, and the APIs.
pub(super) struct Loaded {
    pub(super) sessions: Sessions,
    pub(super) apis: Arc<Apis>,
}

impl Loaded {
    /// Loads both from the data folder. `cors` names the pages that may read answers.
    ///
    /// # Errors
    /// Fails if the folder or its content cannot be used.
    pub(super) fn load(settings: StoredSettings, cors: &Cors) -> anyhow::Result<Self> {
        let folder = settings.data.as_ref().map(|data| data.folder.clone());
        let sessions = load_sessions(settings.session, settings.data)?;
        // After the log, since opening the log locks the folder.
        let apis = Arc::new(load_apis(settings.apis, folder.as_deref(), cors)?);
        Ok(Self { sessions, apis })
    }
}

/// Loads all revocations in force, before any client is admitted.
fn load_sessions(config: session::Config, data: Option<journal::Config>) -> anyhow::Result<Sessions> {
    let Some(data) = data else {
        tracing::warn!("DATA_DIR = memory: a restart forgets every revocation, and every change of an API");
        return Ok(Sessions::new(config, MemoryLog::new())?);
    };
    let began = Instant::now();
    let sessions = Sessions::new(config, Journal::open(&data).context("DATA_DIR")?)?;
    tracing::info!(
        folder = %data.folder.display(),
        revocations = sessions.counts().blacklisted,
        milliseconds = began.elapsed().as_millis() as u64,
        "revocation log loaded"
    );
    Ok(sessions)
}

/// Loads the definitions of the file, overlaid by the changes that earlier runs have stored.
fn load_apis(file: Definitions, folder: Option<&Path>, cors: &Cors) -> anyhow::Result<Apis> {
    let store: Box<dyn Store> = match folder {
        Some(folder) => Box::new(FileStore::new(folder)),
        None => Box::new(MemoryStore::default()),
    };
    let (mut apis, mut warnings) = Apis::load(file, store, settings::variable)?;
    if cors.is_any() {
        warnings.extend(apis.warn_of_cookies());
    }
    for warning in warnings {
        tracing::warn!("{}", warning.0);
    }
    tracing::info!(apis = apis.standing().len(), "API definitions loaded");
    Ok(apis)
}
