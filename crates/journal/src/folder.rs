//! The folder: created for its owner alone, opened by one process at a time, and never taken for a
//! new one if a file of it is missing or empty.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use session::NodeName;

use crate::audit::ChainHead;
use crate::outbox::Outlet;
use crate::store;
use redb::{Builder, Database, DatabaseError, StorageError};

/// The configuration of the logs.
#[derive(Clone)]
pub struct Config {
    /// The folder; created if it is missing.
    pub folder: PathBuf,
    /// If set, the audit log contains the HMAC-SHA256 of session names and claim values instead of
    /// these.
    pub audit_key: Option<String>,
    /// The name of this node. Receipts in a folder of an older version are attributed to it.
    pub node: NodeName,
    /// Whether the node is in a cluster: the log then also stores which revocations are not shared
    /// yet, and what was lifted.
    pub clustered: bool,
    /// Who revocations are reported to: each has a queue in the folder.
    pub outlets: Vec<Outlet>,
}

/// The logs cannot be opened. No revocation is lost. A new folder may have been created, and a
/// store of an older format may have been upgraded.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The folder or a file in it cannot be created, read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has this file open.
    #[error("{path} is in use by another process: each process needs its own folder", path = .0.display())]
    InUse(PathBuf),
    /// The file was written by a later version of this program.
    #[error("{path} was written by a newer version (format {found}, this one knows {known})", path = path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The format of this program.
        known: u64,
    },
    /// The file is damaged, or is not a revocation log.
    #[error(
        "{path} is damaged or not a revocation log: {reason}; restore it from a copy, or move it away to begin without \
         any revocation",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// There is an audit log, but no revocation log that belongs to it.
    #[error(
        "{path} is missing or empty, but audit.log is beside it; restore it from a copy, or move audit.log away to \
         begin without any revocation",
        path = .0.display()
    )]
    Missing(PathBuf),
}

impl JournalError {
    pub(crate) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// Converts an error of the store into one for the operator who starts the program.
    pub(crate) fn of_store(path: &Path, error: DatabaseError) -> Self {
        let path = path.to_owned();
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Self::InUse(path),
            DatabaseError::Storage(StorageError::Io(source))
                if !matches!(source.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) =>
            {
                Self::Io { path, source }
            }
            error => Self::Damaged { path, reason: error.to_string() },
        }
    }
}

/// Memory for pages of the store, in bytes. Little is enough: the log is read once, at the start,
/// and at the request of operators.
const CACHE: usize = 16 << 20;

/// The folder, and the paths of its files.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Creates the folder if it is missing. Accepts a folder that other users can read, with a
    /// warning.
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(JournalError::io(path))?;
        let metadata = fs::metadata(path).map_err(JournalError::io(path))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            tracing::warn!(folder = %path.display(), "users other than its owner can access the folder of the revocation log");
        }
        Ok(Self(path.to_owned()))
    }

    pub(crate) fn revocations(&self) -> PathBuf {
        self.0.join("revocations.redb")
    }

    pub(crate) fn audit(&self) -> PathBuf {
        self.0.join("audit.log")
    }

    /// Opens the store. A missing store is created under another name, filled by `fill`, and
    /// renamed once it is complete, so an empty file is never mistaken for a new store.
    pub(crate) fn store(
        &self,
        fill: impl FnOnce(&Database) -> Result<(), redb::Error>,
    ) -> Result<Database, JournalError> {
        let path = self.revocations();
        if fs::metadata(&path).map_or(0, |file| file.size()) > 0 {
            return open_store(&path);
        }
        if fs::metadata(self.audit()).is_ok_and(|file| file.size() > 0) || path.exists() {
            return Err(JournalError::Missing(path));
        }
        let new = path.with_extension("new");
        let _ = fs::remove_file(&new);
        let made = open_store(&new)?;
        fill(&made)
            .map_err(|error| JournalError::Damaged { path: new.clone(), reason: error.to_string() })?;
        drop(made);
        fs::rename(&new, &path).map_err(JournalError::io(&path))?;
        File::open(&self.0).and_then(|folder| folder.sync_all()).map_err(JournalError::io(&self.0))?;
        open_store(&path)
    }
}

/// A file below this size is never worth compacting, in bytes.
const SMALL: u64 = 64 << 20;

/// Frees the disk space of removed revocations if it is most of the file. Runs only at the start,
/// when no caller waits for a commit; until then the space is reused.
pub(crate) fn compacted(mut store: Database, path: &Path) -> Result<Database, JournalError> {
    let size = fs::metadata(path).map_or(0, |file| file.size());
    if size < SMALL {
        return Ok(store);
    }
    let damaged =
        |error: redb::Error| JournalError::Damaged { path: path.to_owned(), reason: error.to_string() };
    let used = store.begin_write().and_then(|write| Ok(write.stats()?.stored_bytes()));
    let used = used.map_err(|error| damaged(error.into()))?;
    if used < size / 4 {
        tracing::info!(size, used, "compacting the revocation log");
        store.compact().map_err(|error| damaged(error.into()))?;
    }
    Ok(store)
}

/// Returns the last audit line that the revocation log of a folder has recorded; `None` if the log
/// is in use or cannot be read.
pub fn committed_audit_head(folder: &Path) -> Option<ChainHead> {
    let path = folder.join("revocations.redb");
    fs::metadata(&path).ok().filter(|file| file.is_file())?;
    // Opening a damaged store without checking every page can make the library panic.
    catch_unwind(|| {
        let store = Builder::new().set_cache_size(CACHE).open_read_only(&path).ok()?;
        store::audit_head(&store).ok().filter(|head| head.seq > 0)
    })
    .unwrap_or(None)
}

/// Opens a store, creates it if it is missing, and checks every page of it.
pub(crate) fn open_store(path: &Path) -> Result<Database, JournalError> {
    let file = private_file(path).map_err(JournalError::io(path))?;
    let backend = FileBackend::new(file).map_err(|error| JournalError::of_store(path, error))?;
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    builder.create_with_backend(backend).map_err(|error| JournalError::of_store(path, error))
}

/// Opens a file that no other user can read; creates it if it is missing.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}
