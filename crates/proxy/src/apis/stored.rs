//! What is kept of changes to definitions, and where.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Standing;

/// The form of what is stored.
const FORMAT: u64 = 1;

/// Keeps bytes over a restart.
pub trait Store: Send + Sync {
    /// What was saved last; `None` where nothing ever was.
    ///
    /// # Errors
    /// It cannot be read.
    fn load(&self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keeps these bytes instead of those before: on success they survive the end of the process, on an error those
    /// before do, or these, and never a part.
    ///
    /// # Errors
    /// They may not be kept.
    fn save(&self, bytes: &[u8]) -> Result<(), StoreError>;

    /// Names the store in errors: the path of a file.
    fn name(&self) -> String;
}

/// Why definitions cannot be loaded or kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk says no.
    #[error("{name}: {error}")]
    Io {
        /// The file.
        name: String,
        /// Why.
        error: std::io::Error,
    },
    /// What is there was not written by a gateway, or was damaged.
    #[error(
        "{name} is damaged: {reason}; restore it from a copy, or move it away to begin with PROXY_CONFIG_FILE only"
    )]
    Damaged {
        /// The file.
        name: String,
        /// What was found.
        reason: String,
    },
    /// It was written by a newer gateway.
    #[error("{name} has format {format}, which is newer than this gateway reads ({FORMAT})")]
    Newer {
        /// The file.
        name: String,
        /// Its format.
        format: u64,
    },
}

/// Keeps definitions as long as the process runs.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Option<Vec<u8>>>);

impl Store for MemoryStore {
    fn load(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.lock().clone())
    }

    fn save(&self, bytes: &[u8]) -> Result<(), StoreError> {
        *self.0.lock() = Some(bytes.to_vec());
        Ok(())
    }

    fn name(&self) -> String {
        "memory".to_owned()
    }
}

/// What the internal port changed.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    format: u64,
    pub(super) apis: BTreeMap<String, Entry>,
}

/// A definition that was changed, or without a document one of the file that was deleted.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) document: Option<Map<String, Value>>,
    pub(super) ref_number: u64,
    pub(super) timestamp: String,
}

impl Stored {
    /// What makes a set of definitions of those of the file.
    pub(super) fn over(
        base: &BTreeMap<Arc<str>, Map<String, Value>>,
        standing: &BTreeMap<Arc<str>, Standing>,
    ) -> Self {
        // One that was changed and changed back stays stored: its number goes on.
        let changed = standing.iter().filter(|(id, standing)| {
            standing.ref_number > 0 || base.get(*id) != Some(&standing.api.document)
        });
        let changed = changed.map(|(id, standing)| {
            let entry = Entry {
                document: Some(standing.api.document.clone()),
                ref_number: standing.ref_number,
                timestamp: standing.timestamp.clone(),
            };
            (id.to_string(), entry)
        });
        let deleted = base
            .keys()
            .filter(|id| !standing.contains_key(*id))
            .map(|id| (id.to_string(), Entry { document: None, ref_number: 0, timestamp: super::now() }));
        Self { format: FORMAT, apis: changed.chain(deleted).collect() }
    }

    pub(super) fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let Some(bytes) = store.load()? else { return Ok(Self { format: FORMAT, apis: BTreeMap::new() }) };
        let damaged =
            |error: serde_json::Error| StoreError::Damaged { name: store.name(), reason: error.to_string() };
        // The format first: a newer one may have any members.
        let value: Value = serde_json::from_slice(&bytes).map_err(damaged)?;
        match value.get("format").and_then(Value::as_u64) {
            Some(format) if format > FORMAT => return Err(StoreError::Newer { name: store.name(), format }),
            Some(FORMAT) => {}
            _ => {
                let reason = "it has no format".to_owned();
                return Err(StoreError::Damaged { name: store.name(), reason });
            }
        }
        let stored: Self = serde_json::from_value(value).map_err(damaged)?;
        for (id, entry) in &stored.apis {
            let own = entry.document.as_ref().map(|document| document.get("id").and_then(Value::as_str));
            if own.is_some_and(|own| own != Some(id)) {
                let reason = format!("the definition under {id} has another id");
                return Err(StoreError::Damaged { name: store.name(), reason });
            }
        }
        Ok(stored)
    }

    pub(super) fn save(&self, store: &dyn Store) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(self)
            .map_err(|error| StoreError::Io { name: store.name(), error: error.into() })?;
        store.save(&bytes)
    }
}
