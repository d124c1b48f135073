//! The definitions of the node: those of its file, overlaid by what the internal port changed, which a store keeps.
//!
//! What is stored about an id, a definition or that it was deleted, wins over the file's definition of that id. Every
//! change is checked, compiled together with all others, stored, and only then served.

mod difference;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::definition::{Api, without_ours};
use crate::fault::{Fault, Warning};
use crate::table::Table;
pub use difference::{Difference, difference};
use stored::Stored;
pub use stored::{MemoryStore, Store, StoreError};

/// Definitions of a node.
const MAX_APIS: usize = 10_000;

/// Endpoints of all definitions together.
const MAX_ENDPOINTS: usize = 100_000;

/// Gives the environment variables that definitions name (`use_env`).
type Environment = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The definitions of the node.
pub struct Apis {
    store: Box<dyn Store>,
    environment: Environment,
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

/// Why the definitions of a node cannot be served at its start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file's definitions are wrong; pointers begin with the index in its list.
    #[error("{}", shown(.0))]
    Faults(Vec<Fault>),
    /// A definition that was stored is not valid any more.
    #[error("the stored definition of API {id}: {}", shown(.faults))]
    StoredFaults {
        /// Its id.
        id: String,
        /// What is wrong.
        faults: Vec<Fault>,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn shown(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; ")
}

impl fmt::Debug for Apis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apis").field("standing", &self.standing.load().len()).finish_non_exhaustive()
    }
}

impl Apis {
    /// The definitions of the file (`PROXY_CONFIG_FILE`, a list), overlaid by those of the store; with warnings of what
    /// is probably not what was meant.
    ///
    /// # Errors
    /// A definition is wrong, or the store cannot be read.
    pub fn load(
        file: &Value,
        store: Box<dyn Store>,
        environment: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Result<(Self, Vec<Warning>), LoadError> {
        let environment: Environment = Box::new(environment);
        let (of_file, mut warnings) = parse_list(file, &environment).map_err(LoadError::Faults)?;
        let stored = Stored::load(&*store)?;
        let now = now();
        let standing = of_file.iter().map(|api| {
            (api.id.clone(), Standing { api: api.clone(), ref_number: 0, timestamp: now.clone() })
        });
        let mut standing: BTreeMap<_, _> = standing.collect();
        let mut differing = Vec::new();
        for (id, entry) in &stored.apis {
            let Some(document) = &entry.document else {
                differing.extend(standing.remove(id.as_str()).map(|_| id.clone()));
                continue;
            };
            let api = Api::parse(&Value::Object(document.clone()), &environment);
            let (api, of_it) = api.map_err(|faults| LoadError::StoredFaults { id: id.clone(), faults })?;
            warnings.extend(of_it.into_iter().map(|warning| Warning(format!("API {id}: {}", warning.0))));
            let stands = Standing {
                api: Arc::new(api),
                ref_number: entry.ref_number,
                timestamp: entry.timestamp.clone(),
            };
            let api = stands.api.clone();
            let over = standing.insert(api.id.clone(), stands);
            differing.extend(over.filter(|over| over.api.document != api.document).map(|_| id.clone()));
        }
        if !differing.is_empty() {
            let ids = differing.join(", ");
            warnings.push(Warning(format!("stored definitions win over those of PROXY_CONFIG_FILE: {ids}")));
        }
        check_bounds(&standing).map_err(LoadError::Faults)?;
        let (table, of_table) = Table::build(&list(&standing), &Table::default())
            .map_err(|faults| LoadError::Faults(all_indexed(faults, &of_file)))?;
        warnings.extend(of_table.iter().cloned());
        let base = of_file.iter().map(|api| (api.id.clone(), api.document.clone())).collect();
        let warned = of_table.into_iter().map(|warning| warning.0).collect();
        let apis = Self {
            store,
            environment,
            changing: Mutex::new(Changing { base, warnings: warned }),
            standing: ArcSwap::from_pointee(standing),
            table: ArcSwap::from_pointee(table),
        };
        Ok((apis, warnings))
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
        let (api, warnings) = Api::parse(document, &self.environment).map_err(ChangeError::Faults)?;
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
        let api = Api::parse(&Value::Object(document), &self.environment);
        let (api, warnings) = api.map_err(ChangeError::Faults)?;
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
        let (apis, warnings) = parse_list(documents, &self.environment).map_err(ChangeError::Faults)?;
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
            let built = Table::build(&list(&standing), &self.table.load());
            built.map_err(|faults| ChangeError::Faults(all_indexed(faults, &apis)))?;
            return Ok((differences, warnings));
        }
        let changed = self.change(&mut changing, standing, warnings).map_err(|error| match error {
            ChangeError::Faults(faults) => ChangeError::Faults(all_indexed(faults, &apis)),
            error => error,
        });
        Ok((differences, changed?))
    }

    /// The definitions, by id.
    pub fn standing(&self) -> Vec<Standing> {
        self.standing.load().values().cloned().collect()
    }

    /// One of them.
    pub fn one(&self, id: &str) -> Option<Standing> {
        self.standing.load().get(id).cloned()
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
            Table::build(&list(&standing), &self.table.load()).map_err(ChangeError::Faults)?;
        Stored::over(&changing.base, &standing).save(&*self.store)?;
        warnings.extend(of_table.iter().filter(|warning| !changing.warnings.contains(&warning.0)).cloned());
        changing.warnings = of_table.into_iter().map(|warning| warning.0).collect();
        self.standing.store(Arc::new(standing));
        self.table.store(Arc::new(table));
        Ok(warnings)
    }
}

fn list(standing: &BTreeMap<Arc<str>, Standing>) -> Vec<Arc<Api>> {
    standing.values().map(|standing| standing.api.clone()).collect()
}

fn documents_of(standing: &BTreeMap<Arc<str>, Standing>) -> Vec<Map<String, Value>> {
    standing.values().map(|standing| standing.api.document.clone()).collect()
}

/// Reads a list of definitions; pointers of its faults begin with the index.
fn parse_list(
    documents: &Value,
    environment: &Environment,
) -> Result<(Vec<Arc<Api>>, Vec<Warning>), Vec<Fault>> {
    let fault = |pointer: String, field: &str, reason: &str| Fault {
        pointer,
        group: "api".to_owned(),
        field: field.to_owned(),
        reason: reason.to_owned(),
    };
    let documents = match documents.as_array() {
        Some(documents) if documents.len() <= MAX_APIS => documents,
        Some(_) => return Err(vec![fault(String::new(), "api", "must have at most 10000 entries")]),
        None => return Err(vec![fault(String::new(), "api", "must be list")]),
    };
    let (mut apis, mut faults, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    let mut ids = HashSet::new();
    for (index, document) in documents.iter().enumerate() {
        if document.get("id").and_then(Value::as_str).is_some_and(|id| !ids.insert(id)) {
            faults.push(fault(format!("/{index}/id"), "id", "must be unique"));
        }
        match Api::parse(document, environment) {
            Ok((api, of_it)) => {
                warnings.extend(of_it.into_iter().map(|warning| Warning(format!("/{index}{}", warning.0))));
                apis.push(Arc::new(api));
            }
            Err(of_it) => faults.extend(
                of_it
                    .into_iter()
                    .map(|fault| Fault { pointer: format!("/{index}{}", fault.pointer), ..fault }),
            ),
        }
        // As for one document: nobody reads more.
        if faults.len() > 1000 {
            break;
        }
    }
    if faults.is_empty() { Ok((apis, warnings)) } else { Err(faults) }
}

/// A fault of the table with the index of its API in a list.
fn indexed(fault: Fault, apis: &[Arc<Api>]) -> Fault {
    let of = |api: &Arc<Api>| {
        let rest = fault.group.strip_prefix(&*api.id);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match apis.iter().position(of) {
        Some(index) => Fault { pointer: format!("/{index}{}", fault.pointer), ..fault },
        None => fault,
    }
}

fn all_indexed(faults: Vec<Fault>, apis: &[Arc<Api>]) -> Vec<Fault> {
    faults.into_iter().map(|fault| indexed(fault, apis)).collect()
}

fn check_bounds(standing: &BTreeMap<Arc<str>, Standing>) -> Result<(), Vec<Fault>> {
    let endpoints: usize = standing.values().map(|standing| standing.api.endpoints.len()).sum();
    let reason = if standing.len() > MAX_APIS {
        format!("a node has at most {MAX_APIS} APIs")
    } else if endpoints > MAX_ENDPOINTS {
        format!("the APIs of a node have at most {MAX_ENDPOINTS} endpoints")
    } else {
        return Ok(());
    };
    Err(vec![Fault { pointer: String::new(), group: "api".to_owned(), field: "api".to_owned(), reason }])
}

/// The time of day as RIG shows it: with microseconds.
fn now() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
