//! The stored form of changes to definitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Standing;
use super::store::{Saved, StoreError};
use crate::definition::Api;

/// Version of the stored form.
pub(super) const FORMAT: u64 = 1;

/// The changes made through the internal port.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredApis {
    format: u64,
    pub(super) apis: BTreeMap<String, StoredApi>,
}

/// A changed definition. Without a document, it marks a deleted definition of the file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredApi {
    pub(super) document: Option<Map<String, Value>>,
    pub(super) ref_number: u64,
    pub(super) timestamp: String,
    /// The node in whose file the definition is; absent if it was changed through a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) offered_by: Option<Arc<str>>,
}

impl StoredApi {
    fn deleted(timestamp: String) -> Self {
        Self { document: None, ref_number: 0, timestamp, offered_by: None }
    }
}

impl StoredApis {
    /// Returns the changes that turn the definitions of the file into these.
    pub(super) fn over(file: &BTreeMap<Arc<str>, Arc<Api>>, standing: &BTreeMap<Arc<str>, Standing>) -> Self {
        // A definition that was changed back stays stored, so that its number goes on counting.
        let changed = standing.iter().filter(|(id, standing)| {
            standing.ref_number > 0 || file.get(*id).map(|api| &api.document) != Some(&standing.api.document)
        });
        let changed = changed.map(|(id, standing)| {
            let entry = StoredApi {
                document: Some(standing.api.document.clone()),
                ref_number: standing.ref_number,
                timestamp: standing.timestamp.clone(),
                offered_by: None,
            };
            (id.to_string(), entry)
        });
        let deleted = file
            .keys()
            .filter(|id| !standing.contains_key(*id))
            .map(|id| (id.to_string(), StoredApi::deleted(super::now())));
        Self { format: FORMAT, apis: changed.chain(deleted).collect() }
    }

    /// Returns all definitions, for nodes with other files.
    pub(super) fn shared(
        standing: &BTreeMap<Arc<str>, Standing>,
        deleted: &BTreeMap<Arc<str>, String>,
    ) -> Self {
        let standing = standing.iter().map(|(id, standing)| {
            let entry = StoredApi {
                document: Some(standing.api.document.clone()),
                ref_number: standing.ref_number,
                timestamp: standing.timestamp.clone(),
                offered_by: standing.offered_by.clone(),
            };
            (id.to_string(), entry)
        });
        let deleted = deleted.iter().map(|(id, at)| (id.to_string(), StoredApi::deleted(at.clone())));
        Self { format: FORMAT, apis: standing.chain(deleted).collect() }
    }

    /// Parses the content of a store; empty if the store is.
    ///
    /// # Errors
    /// Fails if [`StoredApis::to_bytes`] did not write these bytes. `name` is that of the store.
    pub(super) fn read(name: &str, saved: Option<&Saved>) -> Result<Self, StoreError> {
        let Some(Saved { bytes, .. }) = saved else {
            return Ok(Self { format: FORMAT, apis: BTreeMap::new() });
        };
        let damaged = |reason: String| StoreError::Damaged { name: name.to_owned(), reason };
        // Checks the format first: a newer one may have any members.
        let value = document::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        match value.get("format").and_then(Value::as_u64) {
            Some(format) if format > FORMAT => {
                return Err(StoreError::Newer { name: name.to_owned(), format });
            }
            Some(FORMAT) => {}
            _ => return Err(damaged("it has no format".to_owned())),
        }
        let stored: Self = serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
        for (id, entry) in &stored.apis {
            let own = entry.document.as_ref().map(|document| document.get("id").and_then(Value::as_str));
            if own.is_some_and(|own| own != Some(id)) {
                return Err(damaged(format!("the definition under {id} has another id")));
            }
        }
        Ok(stored)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("definitions are JSON, and their names are texts")
    }
}
