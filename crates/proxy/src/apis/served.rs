//! The definitions that are served, and how a change replaces them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use super::definitions::{check_bounds, list};
use super::load::{Overlaid, Overlay};
use super::store::{Revision, Saved, Serving, StoreError};
use super::stored::StoredApis;
use super::{Apis, ChangeError, LoadError, Standing};
use crate::definition::Api;
use crate::fault::{Fault, Warning};
use crate::table::Table;

/// How many times a change is retried because another one was stored first. Each retry means that
/// some other change has succeeded.
const ATTEMPTS: usize = 100;

/// The served definitions. Immutable: a change replaces the whole set.
pub(super) struct Served {
    /// The file's definitions.
    pub(super) file: Arc<BTreeMap<Arc<str>, Arc<Api>>>,
    /// All definitions, by id.
    pub(super) standing: BTreeMap<Arc<str>, Standing>,
    /// The warnings of the table: a change reports only new ones.
    pub(super) warnings: HashSet<String>,
    /// The store's revision of these definitions.
    pub(super) revision: Revision,
    /// Where several nodes share the store: the deleted ids, with the time of the deletion.
    pub(super) deleted: BTreeMap<Arc<str>, String>,
    /// Whether the store lacks a definition of this node's file.
    pub(super) unoffered: bool,
}

/// The definitions as a change leaves them.
pub(super) struct Edited {
    pub(super) file: Arc<BTreeMap<Arc<str>, Arc<Api>>>,
    pub(super) standing: BTreeMap<Arc<str>, Standing>,
    /// Warnings of probable mistakes.
    pub(super) warnings: Vec<Warning>,
    pub(super) deleted: BTreeMap<Arc<str>, String>,
}

impl Served {
    /// Copies the definitions, for a change to edit.
    pub(super) fn edited(&self, warnings: Vec<Warning>) -> Edited {
        let (file, standing, deleted) = (self.file.clone(), self.standing.clone(), self.deleted.clone());
        Edited { file, standing, warnings, deleted }
    }

    /// Returns the definitions of the file alone. Those that are already served unchanged keep
    /// their timestamps.
    fn of_file_alone(&self, node: Option<&Arc<str>>) -> BTreeMap<Arc<str>, Standing> {
        let of_file = |(id, api): (&Arc<str>, &Arc<Api>)| {
            let same = self
                .standing
                .get(id)
                .filter(|same| same.ref_number == 0 && same.api.document == api.document);
            let fresh = || Standing::fresh(api.clone(), None);
            let standing = same.cloned().unwrap_or_else(fresh);
            (id.clone(), Standing { offered_by: node.cloned(), ..standing })
        };
        self.file.iter().map(of_file).collect()
    }

    /// Returns whether a definition equals the one of the file.
    pub(super) fn is_of_file(&self, standing: &Standing) -> bool {
        self.file.get(&standing.api.id).is_some_and(|api| api.document == standing.api.document)
    }
}

impl Apis {
    /// Applies `edit` to the definitions, compiles the result, stores it and serves it. If
    /// something else was stored meanwhile, by this or another node, `edit` is applied again to
    /// that.
    pub(super) fn change(
        &self,
        mut edit: impl FnMut(&Served) -> Result<Edited, ChangeError>,
    ) -> Result<Vec<Warning>, ChangeError> {
        for _ in 0..ATTEMPTS {
            let before = self.served.load_full();
            let Edited { file, standing, mut warnings, mut deleted } = match edit(&before) {
                Ok(edited) => edited,
                // The store is authoritative on which definitions exist.
                Err(
                    error @ (ChangeError::Exists(_) | ChangeError::Missing(_) | ChangeError::Outdated { .. }),
                ) => {
                    self.catch_up()?;
                    match self.served.load().revision > before.revision {
                        true => continue,
                        false => return Err(error),
                    }
                }
                Err(error @ (ChangeError::Faults(_) | ChangeError::Store(_))) => return Err(error),
            };
            let (table, of_table) = self.compile(&standing).map_err(ChangeError::Faults)?;
            deleted.retain(|id, _| !standing.contains_key(id));
            let stored = match self.store.node() {
                Some(_) => StoredApis::shared(&standing, &deleted),
                None => StoredApis::over(&file, &standing),
            };
            let bytes = stored.to_bytes();
            let revision = match self.store.save(&bytes, before.revision) {
                Ok(revision) => revision,
                Err(StoreError::Conflict { .. }) => {
                    self.catch_up()?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            warnings.extend(new_warnings(&before, &of_table));
            let of_table = of_table.into_iter().map(|warning| warning.0).collect();
            let same_file = Arc::ptr_eq(&file, &before.file);
            let (warnings_of_table, unoffered) = (of_table, false);
            let served = Served { file, standing, warnings: warnings_of_table, revision, deleted, unoffered };
            let served = self.serve(served, table, &before);
            // If something else is served by now, it was read from the store after this save, so it
            // includes this change. The file is not part of the store, though.
            if served || same_file {
                return Ok(warnings);
            }
        }
        Err(StoreError::Conflict { name: self.store.name() }.into())
    }

    /// Checks the result of `edit` without changing anything. Returns its warnings, without those
    /// of the table.
    pub(super) fn try_out(
        &self,
        edit: &mut dyn FnMut(&Served) -> Result<Edited, ChangeError>,
    ) -> Result<Vec<Warning>, ChangeError> {
        let Edited { standing, warnings, .. } = edit(&self.served.load())?;
        self.compile(&standing).map_err(ChangeError::Faults)?;
        Ok(warnings)
    }

    /// Serves the content of the store if it is newer. May block on a disk.
    ///
    /// # Errors
    /// Fails like [`Apis::reload`].
    pub(super) fn catch_up(&self) -> Result<(), StoreError> {
        let saved = self
            .store
            .load()?
            .unwrap_or_else(|| Saved { bytes: Vec::new().into(), revision: Revision::default() });
        self.reload(&saved).map(drop)
    }

    /// Serves what was saved in the store, by another node for instance, if it is newer than the
    /// served definitions. Returns the warnings that are new. May block on a disk.
    ///
    /// # Errors
    /// Fails if it is damaged, or cannot be served by this node. The served definitions stay.
    pub fn reload(&self, saved: &Saved) -> Result<Vec<Warning>, StoreError> {
        let reloaded = self.try_reload(saved);
        if let Err(error) = &reloaded {
            let reason = match error {
                StoreError::Unusable { reason, .. } => reason.clone(),
                error => error.to_string(),
            };
            let revision = self.served.load().revision;
            self.store.serves(Serving { revision, refused: Some((saved.revision, reason)) });
        }
        reloaded
    }

    fn try_reload(&self, saved: &Saved) -> Result<Vec<Warning>, StoreError> {
        let name = self.store.name();
        let unusable = |error: LoadError| match error {
            LoadError::Store(error) => error,
            error => StoreError::Unusable { name: name.clone(), reason: error.to_string() },
        };
        loop {
            let before = self.served.load_full();
            if saved.revision <= before.revision {
                return Ok(Vec::new());
            }
            let node = self.store.node().map(Arc::from);
            let mut standing = before.of_file_alone(node.as_ref());
            let stored = StoredApis::read(&name, Some(saved))?;
            let unset = RefCell::new(BTreeSet::new());
            let variables = |variable: &str| {
                let value = (self.variables)(variable).filter(|value| !value.is_empty());
                if value.is_none() {
                    unset.borrow_mut().insert(variable.to_owned());
                }
                value
            };
            let over =
                Overlay { name: &name, variables: &variables, node: node.as_deref(), prefers_file: false };
            let Overlaid { deleted, unoffered, .. } = over.lay(&mut standing, stored).map_err(unusable)?;
            // At the node that was asked, the operator reads of it in the answer. Here, the older
            // definitions serve better than a target that nothing reaches.
            if self.store.node().is_some()
                && let Some(variable) = unset.into_inner().first()
            {
                let reason = format!("the environment variable {variable} is not set");
                return Err(StoreError::Unusable { name, reason });
            }
            let compiled = self.compile(&standing);
            let (table, of_table) = compiled.map_err(|faults| unusable(LoadError::Together(faults)))?;
            let warnings = new_warnings(&before, &of_table).collect();
            let of_table = of_table.into_iter().map(|warning| warning.0).collect();
            let (file, revision) = (before.file.clone(), saved.revision);
            let served = Served { file, standing, warnings: of_table, revision, deleted, unoffered };
            // Retried if something else is served by now: its file may be another one.
            if self.serve(served, table, &before) {
                return Ok(warnings);
            }
        }
    }

    fn compile(&self, standing: &BTreeMap<Arc<str>, Standing>) -> Result<(Table, Vec<Warning>), Vec<Fault>> {
        check_bounds(standing)?;
        Table::build(&list(standing), &self.table(), &*self.targets)
    }

    /// Serves the new definitions if `over`, which they were derived from, is still served. Returns
    /// whether it did.
    fn serve(&self, served: Served, table: Table, over: &Arc<Served>) -> bool {
        let _replacing = self.replacing.lock();
        let replaces = Arc::ptr_eq(&self.served.load(), over);
        if replaces {
            let revision = served.revision;
            self.served.store(Arc::new(served));
            self.table.store(Arc::new(table));
            self.store.serves(Serving { revision, refused: None });
        }
        replaces
    }
}

fn new_warnings(before: &Served, of_table: &[Warning]) -> impl Iterator<Item = Warning> {
    of_table.iter().filter(|warning| !before.warnings.contains(&warning.0)).cloned()
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served")
            .field("standing", &self.standing.len())
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}
