//! Folders and ports that no other process uses.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;

/// Returns a path in the temporary folder that nothing uses.
pub(super) fn free_folder(of: &str) -> anyhow::Result<PathBuf> {
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    Ok(std::env::temp_dir().join(format!("rig-bench-{of}-{}-{stamp}", std::process::id())))
}

/// Returns a free port of the loopback address. Another process can take it before the server
/// does; then the start of the server fails.
pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A folder that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct TempFolder(PathBuf);

impl TempFolder {
    /// Creates the folder. Fails if it exists, so that files of somebody else are never used.
    pub(crate) fn new(of: &str) -> anyhow::Result<Self> {
        let folder = Self::absent(of)?;
        fs::create_dir(&folder.0).with_context(|| format!("create {}", folder.display()))?;
        Ok(folder)
    }

    /// Returns a folder that does not exist yet; whoever uses it creates it.
    pub(crate) fn absent(of: &str) -> anyhow::Result<Self> {
        Ok(Self(free_folder(of)?))
    }

    /// Writes a file in the folder. Returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let file = self.join(name);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        Ok(file)
    }
}

impl Deref for TempFolder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
