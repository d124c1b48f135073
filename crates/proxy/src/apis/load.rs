//! Loads the definitions at start: those of the file, overlaid by those of the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::Value;

use super::definitions::{check_bounds, list};
use super::served::Served;
use super::store::{Revision, Serving, Store, StoreError};
use super::stored::{StoredApi, StoredApis};
use super::{Apis, Definitions, Standing, Variables, by_id, now};
use crate::definition::Api;
use crate::fault::{Fault, Warning};
use crate::table::Table;
use crate::target::{NoTargets, Targets};

/// Why the definitions of a node cannot be served at start. Each fault is a line.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A stored definition is not valid any more.
    #[error("{}", lines(.faults, |fault| format!("{name}: API {id}: {fault}")))]
    Stored {
        /// The name of the store.
        name: String,
        /// The id of the definition.
        id: String,
        /// The faults.
        faults: Vec<Fault>,
    },
    /// Each definition is valid, but they cannot be served together.
    #[error("{}", lines(.0, |fault| format!("API definitions: {}: {fault}", fault.group)))]
    Together(Vec<Fault>),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn lines(faults: &[Fault], line: impl Fn(&Fault) -> String) -> String {
    faults.iter().map(line).collect::<Vec<_>>().join("\n")
}

impl Apis {
    /// Loads the definitions of the file (`PROXY_CONFIG_FILE`), overlaid by those of the store.
    /// Returns warnings of overlaid definitions and of probable mistakes. `variables` looks up the
    /// environment variables that definitions name (`use_env`).
    ///
    /// # Errors
    /// Fails if the store cannot be read, a stored definition is not valid any more, or the
    /// definitions cannot be served together.
    pub fn load(
        file: Definitions,
        store: Box<dyn Store>,
        variables: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Result<(Self, Vec<Warning>), LoadError> {
        Self::load_with_targets(file, store, variables, Box::new(NoTargets))
    }

    /// Does the same for a node whose endpoints may have other targets than HTTP services, which
    /// `targets` makes.
    ///
    /// # Errors
    /// Fails like [`Apis::load`].
    pub fn load_with_targets(
        file: Definitions,
        store: Box<dyn Store>,
        variables: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
        targets: Box<dyn Targets>,
    ) -> Result<(Self, Vec<Warning>), LoadError> {
        let variables: Variables = Box::new(variables);
        let Definitions { apis: of_file } = file;
        let now = now();
        let node: Option<Arc<str>> = store.node().map(Arc::from);
        let stand = |api: &Arc<Api>| Standing {
            api: api.clone(),
            ref_number: 0,
            timestamp: now.clone(),
            offered_by: node.clone(),
        };
        let mut standing: BTreeMap<_, _> = of_file.iter().map(|api| (api.id.clone(), stand(api))).collect();
        let (name, saved) = (store.name(), store.load()?);
        let stored = StoredApis::read(&name, saved.as_ref())?;
        let over = Overlay { name: &name, variables: &variables, node: node.as_deref(), prefers_file: true };
        let Overlaid { mut warnings, deleted, unoffered } = over.lay(&mut standing, stored)?;
        check_bounds(&standing).map_err(LoadError::Together)?;
        let (table, of_table) =
            Table::build(&list(&standing), &Table::default(), &*targets).map_err(LoadError::Together)?;
        warnings.extend(of_table.iter().cloned());
        let served = Served {
            file: by_id(&of_file),
            standing,
            warnings: of_table.into_iter().map(|warning| warning.0).collect(),
            revision: saved.map_or(Revision::default(), |saved| saved.revision),
            deleted,
            unoffered,
        };
        let apis = Self {
            store,
            variables,
            targets,
            warns_of_cookies: false,
            replacing: Mutex::default(),
            served: ArcSwap::from_pointee(served),
            table: ArcSwap::from_pointee(table),
        };
        apis.store.serves(Serving { revision: apis.revision(), refused: None });
        Ok((apis, warnings))
    }
}

/// How the definitions of the file are overlaid by those of a store.
pub(super) struct Overlay<'o> {
    /// The name of the store.
    pub(super) name: &'o str,
    pub(super) variables: &'o dyn Fn(&str) -> Option<String>,
    /// The name of this node, if others share the store.
    pub(super) node: Option<&'o str>,
    /// Whether the file has just been read: then its definitions replace those that other nodes
    /// have offered from their files.
    pub(super) prefers_file: bool,
}

/// What came of overlaying.
#[derive(Default)]
pub(super) struct Overlaid {
    /// Warnings of definitions of the file that are not served, and of probable mistakes.
    pub(super) warnings: Vec<Warning>,
    /// The ids that are stored as deleted.
    pub(super) deleted: BTreeMap<Arc<str>, String>,
    /// Whether the store lacks a definition of the file, or has one that the file had before.
    pub(super) unoffered: bool,
}

impl Overlay<'_> {
    /// Overlays the definitions of the file (`standing`) with the stored ones.
    ///
    /// # Errors
    /// Fails if a stored definition is not valid any more.
    pub(super) fn lay(
        &self,
        standing: &mut BTreeMap<Arc<str>, Standing>,
        stored: StoredApis,
    ) -> Result<Overlaid, LoadError> {
        let is_stored = |id: &Arc<str>| stored.apis.contains_key(&**id);
        let unoffered = self.node.is_some() && !standing.keys().all(is_stored);
        let mut overlaid = Overlaid { unoffered, ..Overlaid::default() };
        for (id, entry) in stored.apis {
            let Some(document) = entry.document else {
                if standing.remove(id.as_str()).is_some() {
                    overlaid.warn(format!("API {id}: was deleted, though PROXY_CONFIG_FILE has it"));
                }
                overlaid.deleted.insert(id.into(), entry.timestamp);
                continue;
            };
            let of_file = standing.get(id.as_str());
            let is_same = of_file.is_some_and(|of_file| of_file.api.document == document);
            if let Some(by) = entry.offered_by.as_deref() {
                let is_withdrawn = of_file.is_none() && self.node == Some(by);
                let is_replaced = of_file.is_some() && !is_same && self.prefers_file;
                if is_replaced && self.node != Some(by) {
                    overlaid.warn(format!(
                        "API {id}: the definition of PROXY_CONFIG_FILE replaces the one of node {by}"
                    ));
                }
                if is_withdrawn || is_replaced {
                    overlaid.unoffered = true;
                    continue;
                }
            }
            let (api, of_it) = Api::parse(&Value::Object(document), self.variables)
                .map_err(|faults| LoadError::Stored { name: self.name.to_owned(), id: id.clone(), faults })?;
            let of_it = of_it.into_iter().map(|warning| Warning(format!("API {id}: {}", warning.0)));
            overlaid.warnings.extend(of_it);
            if of_file.is_some() && !is_same {
                overlaid.warn(format!(
                    "API {id}: its stored definition is served, not the other one of PROXY_CONFIG_FILE"
                ));
            }
            let StoredApi { ref_number, timestamp, offered_by, .. } = entry;
            let stands = Standing { api: Arc::new(api), ref_number, timestamp, offered_by };
            standing.insert(stands.api.id.clone(), stands);
        }
        Ok(overlaid)
    }
}

impl Overlaid {
    fn warn(&mut self, warning: String) {
        self.warnings.push(Warning(warning));
    }
}
