//! Loads the definitions at start: those of the file, overlaid by those of the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::Value;

use super::definitions::{check_bounds, list};
use super::served::Served;
use super::store::{Revision, Serving, Store, StoreError};
use super::stored::StoredApis;
use super::{Apis, Definitions, Standing, Variables, by_id, now};
use crate::definition::Api;
use crate::fault::{Fault, Warning};
use crate::table::Table;
use crate::target::TargetMaker;

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
        Self::load_with_targets(file, store, variables, Box::new(|_, _| None))
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
        targets: TargetMaker,
    ) -> Result<(Self, Vec<Warning>), LoadError> {
        let variables: Variables = Box::new(variables);
        let Definitions { apis: of_file } = file;
        let now = now();
        let stand = |api: &Arc<Api>| Standing { api: api.clone(), ref_number: 0, timestamp: now.clone() };
        let mut standing: BTreeMap<_, _> = of_file.iter().map(|api| (api.id.clone(), stand(api))).collect();
        let (name, saved) = (store.name(), store.load()?);
        let stored = StoredApis::read(&name, saved.as_ref())?;
        let mut warnings = overlay(&mut standing, stored, &name, &variables)?;
        check_bounds(&standing).map_err(LoadError::Together)?;
        let (table, of_table) =
            Table::build(&list(&standing), &Table::default(), &targets).map_err(LoadError::Together)?;
        warnings.extend(of_table.iter().cloned());
        let served = Served {
            file: by_id(&of_file),
            standing,
            warnings: of_table.into_iter().map(|warning| warning.0).collect(),
            revision: saved.map_or(Revision::default(), |saved| saved.revision),
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

/// Overlays the definitions of the file with the stored ones, and warns of each definition of the
/// file that is replaced or deleted by that. `name` is that of the store.
pub(super) fn overlay(
    standing: &mut BTreeMap<Arc<str>, Standing>,
    stored: StoredApis,
    name: &str,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Warning>, LoadError> {
    let mut warnings = Vec::new();
    for (id, entry) in stored.apis {
        let Some(document) = entry.document else {
            if standing.remove(id.as_str()).is_some() {
                warnings.push(Warning(format!("API {id}: was deleted, though PROXY_CONFIG_FILE has it")));
            }
            continue;
        };
        let (api, of_it) = Api::parse(&Value::Object(document), variables)
            .map_err(|faults| LoadError::Stored { name: name.to_owned(), id: id.clone(), faults })?;
        warnings.extend(of_it.into_iter().map(|warning| Warning(format!("API {id}: {}", warning.0))));
        let stands =
            Standing { api: Arc::new(api), ref_number: entry.ref_number, timestamp: entry.timestamp };
        let document = stands.api.document.clone();
        let of_file = standing.insert(stands.api.id.clone(), stands);
        if of_file.is_some_and(|of_file| of_file.api.document != document) {
            warnings.push(Warning(format!(
                "API {id}: its stored definition is served, not the other one of PROXY_CONFIG_FILE"
            )));
        }
    }
    Ok(warnings)
}
