//! Folders and ports that no other process uses.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;

/// A name for a folder that does not exist.
pub(crate) fn free_folder(of: &str) -> anyhow::Result<PathBuf> {
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    Ok(std::env::temp_dir().join(format!("rig-bench-{of}-{}-{stamp}", std::process::id())))
}

/// Returns a free port of the loopback address. Another process can take it before the server
/// does; then the start of the server fails.
pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A folder. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Fails where it exists: nothing that somebody else put there is used.
    pub(super) fn new(of: &str) -> anyhow::Result<Self> {
        let folder = Self::to_come(of)?;
        fs::create_dir(&folder.0).with_context(|| format!("create {}", folder.display()))?;
        Ok(folder)
    }

    /// One that the server makes.
    pub(super) fn to_come(of: &str) -> anyhow::Result<Self> {
        Ok(Self(free_folder(of)?))
    }

    /// Writes a file of it; returns where it is.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let file = self.join(name);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        Ok(file)
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
