//! The definitions of a node: those of its file, overlaid by the changes made through the internal
//! port, which a store keeps.
//!
//! What is stored for an id, a definition or its deletion, takes precedence over the file's
//! definition of that id. Every change is checked, compiled together with all other definitions,
//! stored, and only then served. No lock is held while it is stored: if the store holds a newer
//! revision, the change is applied again to that one.

mod definitions;
mod difference;
mod file;
mod load;
mod offers;
mod served;
mod store;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::definition::{Api, ResponseFrom, without_ours};
use crate::fault::{Fault, Warning};
use crate::table::Table;
use crate::target::Targets;
pub use definitions::Definitions;
use definitions::all_indexed;
pub use difference::{Difference, difference};
pub use file::FileStore;
pub use load::LoadError;
use offers::Reading;
use served::{Edited, Served};
pub use store::{Changes, MemoryStore, Revision, Saved, ServedBy, Serving, Store, StoreError};

/// Looks up the environment variables that definitions name (`use_env`).
type Variables = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The definitions of the node.
pub struct Apis {
    store: Box<dyn Store>,
    variables: Variables,
    targets: Box<dyn Targets>,
    /// Whether to warn of definitions that take cookies.
    warns_of_cookies: bool,
    /// Held while the served definitions are replaced, never while definitions are compiled or
    /// stored.
    replacing: Mutex<()>,
    served: ArcSwap<Served>,
    table: ArcSwap<Table>,
}

/// One definition in its current state.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The definition.
    pub api: Arc<Api>,
    /// How many times it was changed.
    pub ref_number: u64,
    /// When it was last changed, or read from the file (RFC 3339).
    pub timestamp: String,
    /// The node in whose file it is, if several nodes share the store; `None` if it was changed
    /// through a port.
    pub offered_by: Option<Arc<str>>,
}

impl Standing {
    /// Returns a definition that begins now.
    fn fresh(api: Arc<Api>, offered_by: Option<Arc<str>>) -> Self {
        Self { api, ref_number: 0, timestamp: now(), offered_by }
    }
}

/// Why a change was rejected. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A definition with this id exists already.
    #[error("API with id={0} already exists.")]
    Exists(String),
    /// No definition has this id.
    #[error("API with id={0} doesn't exists.")]
    Missing(String),
    /// The definitions were changed since the caller has read them.
    #[error("the present revision is {}", .present.0)]
    Outdated {
        /// The revision that is served.
        present: Revision,
    },
    /// The definition is invalid.
    #[error("{} faults in API definitions", .0.len())]
    Faults(Vec<Fault>),
    /// The change could not be stored.
    #[error("the change could not be stored: {0}")]
    Store(#[from] StoreError),
}

impl fmt::Debug for Apis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apis").field("served", &self.served.load()).finish_non_exhaustive()
    }
}

impl Apis {
    /// Makes every later change warn of definitions that take cookies: under `CORS=*` no page of
    /// another origin may use them. Returns the warnings for current definitions that do not come
    /// from the file.
    pub fn warn_of_cookies(&mut self) -> Vec<Warning> {
        self.warns_of_cookies = true;
        let served = self.served.load();
        let stored = served.standing.values().filter(|it| !served.is_of_file(it));
        let warned =
            |it: &Standing| Some(Warning(format!("API {}: {}", it.api.id, it.api.warning_of_cookie()?.0)));
        stored.filter_map(warned).collect()
    }

    /// Adds a definition. May block on a disk.
    ///
    /// # Errors
    /// Fails if its id is taken, it is invalid, or it cannot be stored.
    pub fn create(&self, document: &Value) -> Result<Vec<Warning>, ChangeError> {
        self.change(|served| {
            // RIG checks the id first.
            let id = document.get("id").and_then(Value::as_str).unwrap_or_default();
            if served.standing.contains_key(id) {
                return Err(ChangeError::Exists(id.to_owned()));
            }
            let (api, warnings) = self.parse(document)?;
            let mut edited = served.edited(warnings);
            let standing = Standing::fresh(Arc::new(api), None);
            edited.standing.insert(standing.api.id.clone(), standing);
            Ok(edited)
        })
    }

    /// Replaces those top-level members of a definition that `body` has. The id stays. May block on
    /// a disk.
    ///
    /// # Errors
    /// Fails if no definition has this id, the result is invalid (RIG requires `proxy` and
    /// `version_data` in the body as well), or it cannot be stored.
    pub fn merge(&self, id: &str, body: &Map<String, Value>) -> Result<Vec<Warning>, ChangeError> {
        self.change(|served| {
            let before = served.standing.get(id).ok_or_else(|| ChangeError::Missing(id.to_owned()))?;
            let mut document = before.api.document.clone();
            document.extend(without_ours(body.clone()));
            document.insert("id".to_owned(), id.into());
            for needed in ["proxy", "version_data"] {
                if body.get(needed).is_none_or(Value::is_null) {
                    document.remove(needed);
                }
            }
            let (api, warnings) = self.parse(&Value::Object(document))?;
            let mut edited = served.edited(warnings);
            let ref_number = before.ref_number + 1;
            let standing = Standing { api: Arc::new(api), ref_number, timestamp: now(), offered_by: None };
            edited.standing.insert(standing.api.id.clone(), standing);
            Ok(edited)
        })
    }

    /// Deletes a definition, even one of the file. May block on a disk.
    ///
    /// # Errors
    /// Fails if no definition has this id, or the deletion cannot be stored.
    pub fn delete(&self, id: &str) -> Result<(), ChangeError> {
        let deleted = self.change(|served| {
            let mut edited = served.edited(Vec::new());
            if !edited.delete(id) {
                return Err(ChangeError::Missing(id.to_owned()));
            }
            Ok(edited)
        });
        deleted.map(drop)
    }

    /// Replaces all definitions of the node by a list of documents, or changes nothing. With
    /// `over`, only if they have this revision. With `dry_run`, only returns what would change. May
    /// block on a disk.
    ///
    /// # Errors
    /// Fails if a document is invalid, the present revision is not `over`, or the definitions
    /// cannot be stored.
    pub fn replace_all(
        &self,
        documents: &Value,
        over: Option<Revision>,
        dry_run: bool,
    ) -> Result<(Vec<Difference>, Vec<Warning>), ChangeError> {
        let parsed = Definitions::parse(documents, &self.variables);
        let (definitions, mut warnings) = parsed.map_err(ChangeError::Faults)?;
        warnings.extend(definitions.warnings_of_cookies().filter(|_| self.warns_of_cookies));
        let Definitions { apis } = definitions;
        let now = now();
        let mut differences = Vec::new();
        let mut edit = |served: &Served| {
            if over.is_some_and(|over| over != served.revision) {
                return Err(ChangeError::Outdated { present: served.revision });
            }
            let stand = |api: &Arc<Api>| match served.standing.get(&api.id) {
                Some(same) if same.api.document == api.document => same.clone(),
                Some(before) => {
                    let ref_number = before.ref_number + 1;
                    Standing { api: api.clone(), ref_number, timestamp: now.clone(), offered_by: None }
                }
                None => Standing::fresh(api.clone(), None),
            };
            let standing: BTreeMap<_, _> = apis.iter().map(|api| (api.id.clone(), stand(api))).collect();
            differences = difference(&documents_of(&served.standing), &documents_of(&standing));
            let mut edited = served.edited(warnings.clone());
            edited.delete_all_but(standing);
            Ok(edited)
        };
        let done = match dry_run {
            true => self.try_out(&mut edit),
            false => self.change(edit),
        };
        let warnings = done.map_err(|error| match error {
            ChangeError::Faults(faults) => ChangeError::Faults(all_indexed(faults, &apis)),
            error => error,
        })?;
        Ok((differences, warnings))
    }

    /// Replaces the definitions of the file by its new content. Changes made through the internal
    /// port stay. May block on a disk.
    ///
    /// # Errors
    /// Fails if the definitions cannot be served together, or stored.
    pub fn replace_file(&self, file: Definitions) -> Result<Vec<Warning>, ChangeError> {
        let warnings: Vec<_> = file.warnings_of_cookies().filter(|_| self.warns_of_cookies).collect();
        if let Some(node) = self.store.node() {
            return self.change(|served| {
                Ok(served.with_offers_of(&node, by_id(&file.apis), Reading::Now, warnings.clone()))
            });
        }
        self.change(|served| {
            let before = &served.standing;
            let of_file = |it: &Standing| it.ref_number == 0 && served.is_of_file(it);
            let mut standing: BTreeMap<_, _> = before
                .iter()
                .filter(|(_, api)| !of_file(api))
                .map(|(id, api)| (id.clone(), api.clone()))
                .collect();
            for api in &file.apis {
                let was_deleted = served.file.contains_key(&api.id) && !before.contains_key(&api.id);
                if was_deleted || standing.contains_key(&api.id) {
                    continue;
                }
                let same = before.get(&api.id).filter(|same| same.api.document == api.document).cloned();
                let fresh = || Standing::fresh(api.clone(), None);
                standing.insert(api.id.clone(), same.unwrap_or_else(fresh));
            }
            Ok(Edited { file: by_id(&file.apis), standing, ..served.edited(warnings.clone()) })
        })
    }

    /// Reads the files that definitions name again if one has changed, or if `forced`. May block on
    /// a disk.
    pub fn refresh_files(&self, forced: bool) {
        self.table().upstreams().for_each(|(_, upstream)| upstream.refresh(forced));
    }

    /// Returns all definitions, by id.
    pub fn standing(&self) -> Vec<Standing> {
        self.served.load().standing.values().cloned().collect()
    }

    /// Returns all definitions, by id, and their revision.
    pub fn standing_at(&self) -> (Vec<Standing>, Revision) {
        let served = self.served.load();
        (served.standing.values().cloned().collect(), served.revision)
    }

    /// Returns the revision of the served definitions.
    pub fn revision(&self) -> Revision {
        self.served.load().revision
    }

    /// Waits like [`Store::served_by`].
    pub async fn served_by(&self, revision: Revision, within: Duration) -> Option<Vec<ServedBy>> {
        self.store.served_by(revision, within).await
    }

    /// Returns the definition with this id.
    pub fn one(&self, id: &str) -> Option<Standing> {
        self.served.load().standing.get(id).cloned()
    }

    /// Returns the table that is served.
    pub(crate) fn table(&self) -> Guard<Arc<Table>> {
        self.table.load()
    }

    /// Returns whether answers that come this way are received now.
    pub(crate) fn receives(&self, from: ResponseFrom) -> bool {
        self.targets.receives(from)
    }

    fn parse(&self, document: &Value) -> Result<(Api, Vec<Warning>), ChangeError> {
        let (api, mut warnings) = Api::parse(document, &self.variables).map_err(ChangeError::Faults)?;
        warnings.extend(api.warning_of_cookie().filter(|_| self.warns_of_cookies));
        Ok((api, warnings))
    }
}

fn by_id(apis: &[Arc<Api>]) -> Arc<BTreeMap<Arc<str>, Arc<Api>>> {
    Arc::new(apis.iter().map(|api| (api.id.clone(), api.clone())).collect())
}

fn documents_of(standing: &BTreeMap<Arc<str>, Standing>) -> Vec<Map<String, Value>> {
    standing.values().map(|standing| standing.api.document.clone()).collect()
}

/// Returns the time of day in RIG's format: with microseconds.
fn now() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
