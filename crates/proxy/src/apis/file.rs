//! Definitions in a file that is replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Store, StoreError};

/// Keeps definitions as `apis.json` in a folder that is there, and is this process's own (`DATA_DIR`).
#[derive(Debug)]
pub struct FileStore(PathBuf);

impl FileStore {
    /// The store in this folder. Nothing is opened yet.
    pub fn new(folder: &Path) -> Self {
        Self(folder.join("apis.json"))
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let new = self.0.with_extension("new");
        // Targets may be internal names, and headers may be secrets: nobody else reads them.
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, &self.0)?;
        File::open(self.0.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Store for FileStore {
    fn load(&self) -> Result<Option<Vec<u8>>, StoreError> {
        match fs::read(&self.0) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::Io { name: self.name(), error }),
        }
    }

    fn save(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.replace(bytes).map_err(|error| StoreError::Io { name: self.name(), error })
    }

    fn name(&self) -> String {
        self.0.display().to_string()
    }
}
