//! The definitions of the node: those of its file, overlaid by what the internal port changed, which a store keeps.
//!
//! What is stored about an id, a definition or that it was deleted, wins over the file's definition of that id. Every
//! change is checked, compiled together with all others, stored, and only then served.

mod definitions;
mod difference;
mod file;
mod load;
mod store;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::definition::{Api, without_ours};
use crate::fault::{Fault, Warning};
use crate::table::Table;
use crate::target::TargetMaker;
pub use definitions::Definitions;
use definitions::{all_indexed, check_bounds, list};
pub use difference::{Difference, difference};
pub use file::FileStore;
pub use load::LoadError;
pub use store::{MemoryStore, Store, StoreError};
use stored::Stored;

/// Gives the environment variables that definitions name (`use_env`).
type Environment = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The definitions of the node.
pub struct Apis {
    store: Box<dyn Store>,
    environment: Environment,
    targets: TargetMaker,
    /// Whether to warn of definitions that take cookies.
    warns_of_cookies: bool,
    /// Changes are made one after the other; what is served is read without it.
    changing: Mutex<Changing>,
    standing: ArcSwap<BTreeMap<Arc<str>, Standing>>,
    table: ArcSwap<Table>,
}

/// What only changes look at.
struct Changing {
    /// The file's definitions.
    base: BTreeMap<Arc<str>, Map<String, Value>>,
    /// What the table said of itself: a change is told only what is new.
    warnings: HashSet<String>,
}

/// One definition, as it stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What it says.
    pub api: Arc<Api>,
    /// How often it was changed.
    pub ref_number: u64,
    /// When it was last changed, or read from the file (RFC 3339).
    pub timestamp: String,
}

/// Why a change was not made. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is one with this id already.
    #[error("API with id={0} already exists.")]
    Exists(String),
    /// There is none with this id.
    #[error("API with id={0} doesn't exists.")]
    Missing(String),
    /// The definition is wrong.
    #[error("{} faults in API definitions", .0.len())]
    Faults(Vec<Fault>),
    /// It could not be stored.
    #[error("the change could not be stored: {0}")]
    Store(#[from] StoreError),
}

impl fmt::Debug for Apis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apis").field("standing", &self.standing.load().len()).finish_non_exhaustive()
    }
}

impl Apis {
    /// Warns of definitions that take cookies from now on: under `CORS=*` no page of another origin may use them. Returns
    /// the warnings of those that stand and are not the file's.
    pub fn warn_of_cookies(&mut self) -> Vec<Warning> {
        self.warns_of_cookies = true;
        let base = &self.changing.get_mut().base;
        let standing = self.standing.load();
        let stored = standing.values().filter(|it| base.get(&it.api.id) != Some(&it.api.document));
        let warned =
            |it: &Standing| Some(Warning(format!("API {}: {}", it.api.id, it.api.warning_of_cookie()?.0)));
        stored.filter_map(warned).collect()
    }

    /// A new definition.
    ///
    /// # Errors
    /// Its id is taken, it is wrong, or it cannot be stored. May wait for a disk.
    pub fn create(&self, document: &Value) -> Result<Vec<Warning>, ChangeError> {
        let mut changing = self.changing.lock();
        // RIG looks for the id first.
        let id = document.get("id").and_then(Value::as_str).unwrap_or_default();
        if self.standing.load().contains_key(id) {
            return Err(ChangeError::Exists(id.to_owned()));
        }
        let (api, warnings) = self.parse(document)?;
        let mut standing = self.snapshot();
        standing.insert(api.id.clone(), Standing { api: Arc::new(api), ref_number: 0, timestamp: now() });
        self.change(&mut changing, standing, warnings)
    }

    /// Replaces the top-level members of a definition that `body` has. The id stays.
    ///
    /// # Errors
    /// There is none, the result is wrong (RIG wants `proxy` and `version_data` in the body too), or it cannot be
    /// stored. May wait for a disk.
    pub fn merge(&self, id: &str, body: &Map<String, Value>) -> Result<Vec<Warning>, ChangeError> {
        let mut changing = self.changing.lock();
        let mut standing = self.snapshot();
        let before = standing.get(id).ok_or_else(|| ChangeError::Missing(id.to_owned()))?;
        let mut document = before.api.document.clone();
        document.extend(without_ours(body.clone()));
        document.insert("id".to_owned(), id.into());
        for needed in ["proxy", "version_data"] {
            if body.get(needed).is_none_or(Value::is_null) {
                document.remove(needed);
            }
        }
        let (api, warnings) = self.parse(&Value::Object(document))?;
        let ref_number = before.ref_number + 1;
        standing.insert(api.id.clone(), Standing { api: Arc::new(api), ref_number, timestamp: now() });
        self.change(&mut changing, standing, warnings)
    }

    /// Forgets a definition, also where the file has it.
    ///
    /// # Errors
    /// There is none, or it cannot be stored. May wait for a disk.
    pub fn delete(&self, id: &str) -> Result<(), ChangeError> {
        let mut changing = self.changing.lock();
        let mut standing = self.snapshot();
        standing.remove(id).ok_or_else(|| ChangeError::Missing(id.to_owned()))?;
        self.change(&mut changing, standing, Vec::new()).map(drop)
    }

    /// Makes a list of documents the definitions of the node: all of it or nothing. `dry_run` only says what would be.
    ///
    /// # Errors
    /// One of them is wrong, or they cannot be stored. May wait for a disk.
    pub fn replace_all(
        &self,
        documents: &Value,
        dry_run: bool,
    ) -> Result<(Vec<Difference>, Vec<Warning>), ChangeError> {
        let mut changing = self.changing.lock();
        let parsed = Definitions::parse(documents, &self.environment);
        let (definitions, mut warnings) = parsed.map_err(ChangeError::Faults)?;
        warnings.extend(definitions.warnings_of_cookies().filter(|_| self.warns_of_cookies));
        let Definitions { apis } = definitions;
        let before = self.snapshot();
        let now = now();
        let stand = |api: &Arc<Api>| match before.get(&api.id) {
            Some(same) if same.api.document == api.document => same.clone(),
            Some(before) => {
                let ref_number = before.ref_number + 1;
                Standing { api: api.clone(), ref_number, timestamp: now.clone() }
            }
            None => Standing { api: api.clone(), ref_number: 0, timestamp: now.clone() },
        };
        let standing: BTreeMap<_, _> = apis.iter().map(|api| (api.id.clone(), stand(api))).collect();
        let differences = difference(&documents_of(&before), &documents_of(&standing));
        if dry_run {
            check_bounds(&standing).map_err(ChangeError::Faults)?;
            let built = Table::build(&list(&standing), &self.table(), &self.targets);
            built.map_err(|faults| ChangeError::Faults(all_indexed(faults, &apis)))?;
            return Ok((differences, warnings));
        }
        let changed = self.change(&mut changing, standing, warnings).map_err(|error| match error {
            ChangeError::Faults(faults) => ChangeError::Faults(all_indexed(faults, &apis)),
            error => error,
        });
        Ok((differences, changed?))
    }

    /// Makes what the file has by now the definitions of the file. What the internal port has changed stays as it is.
    ///
    /// # Errors
    /// They cannot be served together, or stored. May wait for a disk.
    pub fn replace_file(&self, file: Definitions) -> Result<Vec<Warning>, ChangeError> {
        let mut changing = self.changing.lock();
        let (before, now) = (self.snapshot(), now());
        let base = &changing.base;
        let of_file = |id: &Arc<str>, standing: &Standing| {
            standing.ref_number == 0 && base.get(id) == Some(&standing.api.document)
        };
        let mut standing: BTreeMap<_, _> = before
            .iter()
            .filter(|(id, api)| !of_file(id, api))
            .map(|(id, api)| (id.clone(), api.clone()))
            .collect();
        for api in &file.apis {
            let was_deleted = base.contains_key(&api.id) && !before.contains_key(&api.id);
            if was_deleted || standing.contains_key(&api.id) {
                continue;
            }
            let same = before.get(&api.id).filter(|same| same.api.document == api.document).cloned();
            let fresh = || Standing { api: api.clone(), ref_number: 0, timestamp: now.clone() };
            standing.insert(api.id.clone(), same.unwrap_or_else(fresh));
        }
        let warnings = file.warnings_of_cookies().filter(|_| self.warns_of_cookies).collect();
        let of_file = file.apis.iter().map(|api| (api.id.clone(), api.document.clone())).collect();
        let old = std::mem::replace(&mut changing.base, of_file);
        let changed = self.change(&mut changing, standing, warnings);
        if changed.is_err() {
            changing.base = old;
        }
        changed
    }

    /// Reads the files that definitions name again where one has changed, or where it is `forced`. May wait for a disk.
    pub fn refresh_files(&self, forced: bool) {
        self.table().upstreams().for_each(|(_, upstream)| upstream.refresh(forced));
    }

    /// The definitions, by id.
    pub fn standing(&self) -> Vec<Standing> {
        self.standing.load().values().cloned().collect()
    }

    /// One of them.
    pub fn one(&self, id: &str) -> Option<Standing> {
        self.standing.load().get(id).cloned()
    }

    /// What is served.
    pub(crate) fn table(&self) -> Guard<Arc<Table>> {
        self.table.load()
    }

    fn parse(&self, document: &Value) -> Result<(Api, Vec<Warning>), ChangeError> {
        let (api, mut warnings) = Api::parse(document, &self.environment).map_err(ChangeError::Faults)?;
        warnings.extend(api.warning_of_cookie().filter(|_| self.warns_of_cookies));
        Ok((api, warnings))
    }

    fn snapshot(&self) -> BTreeMap<Arc<str>, Standing> {
        BTreeMap::clone(&self.standing.load())
    }

    /// Compiles, stores, serves.
    fn change(
        &self,
        changing: &mut Changing,
        standing: BTreeMap<Arc<str>, Standing>,
        mut warnings: Vec<Warning>,
    ) -> Result<Vec<Warning>, ChangeError> {
        check_bounds(&standing).map_err(ChangeError::Faults)?;
        let (table, of_table) =
            Table::build(&list(&standing), &self.table(), &self.targets).map_err(ChangeError::Faults)?;
        Stored::over(&changing.base, &standing).save(&*self.store)?;
        warnings.extend(of_table.iter().filter(|warning| !changing.warnings.contains(&warning.0)).cloned());
        changing.warnings = of_table.into_iter().map(|warning| warning.0).collect();
        self.standing.store(Arc::new(standing));
        self.table.store(Arc::new(table));
        Ok(warnings)
    }
}

fn documents_of(standing: &BTreeMap<Arc<str>, Standing>) -> Vec<Map<String, Value>> {
    standing.values().map(|standing| standing.api.document.clone()).collect()
}

/// The time of day as RIG shows it: with microseconds.
fn now() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
