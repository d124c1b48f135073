//! A store in a file that is replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use futures_util::stream::pending;
use parking_lot::Mutex;

use super::store::{Changes, Revision, Saved, Store, StoreError};

/// Revision of a file that an earlier process wrote: each process counts revisions anew.
const FOUND: Revision = Revision(1);

/// Stores definitions as `apis.json` in an existing folder that only this process uses
/// (`DATA_DIR`).
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    /// The revision of the file, once it is known. Locked while the file is read or written.
    revision: Mutex<Option<Revision>>,
}

impl FileStore {
    /// Creates a store in this folder. Opens nothing yet.
    pub fn new(folder: &Path) -> Self {
        Self { path: Self::file(folder), revision: Mutex::default() }
    }

    /// Returns the file that it stores definitions in.
    pub fn file(folder: &Path) -> PathBuf {
        folder.join("apis.json")
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let new = self.path.with_extension("new");
        // Readable for this user only: targets may be internal names, and headers may be secrets.
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Store for FileStore {
    fn load(&self) -> Result<Option<Saved>, StoreError> {
        let mut known = self.revision.lock();
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::Io { name: self.name(), error }),
        };
        let revision = *known.get_or_insert(FOUND);
        Ok(Some(Saved { bytes: bytes.into(), revision }))
    }

    fn save(&self, bytes: &[u8], over: Revision) -> Result<Revision, StoreError> {
        let mut known = self.revision.lock();
        let last = known.unwrap_or_else(|| if self.path.exists() { FOUND } else { Revision::default() });
        if last != over {
            return Err(StoreError::Conflict { name: self.name() });
        }
        self.replace(bytes).map_err(|error| StoreError::Io { name: self.name(), error })?;
        let revision = Revision(last.0 + 1);
        *known = Some(revision);
        Ok(revision)
    }

    /// Returns a stream that never yields: no other process writes to the folder.
    fn changes(&self) -> Changes {
        Box::pin(pending())
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}
