//! Where definitions are kept: bytes, whatever they say.

use parking_lot::Mutex;

use super::stored::FORMAT;

/// Keeps bytes over a restart.
pub trait Store: Send + Sync {
    /// What was saved last; `None` where nothing ever was.
    ///
    /// # Errors
    /// It cannot be read.
    fn load(&self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keeps these bytes instead of those before: on success they survive the end of the process, on an error those
    /// before do, or these, and never a part.
    ///
    /// # Errors
    /// They may not be kept.
    fn save(&self, bytes: &[u8]) -> Result<(), StoreError>;

    /// Names the store in errors: the path of a file.
    fn name(&self) -> String;
}

/// Why definitions cannot be loaded or kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk says no.
    #[error("{name}: {error}")]
    Io {
        /// The file.
        name: String,
        /// Why.
        error: std::io::Error,
    },
    /// What is there was not written by a gateway, or was damaged.
    #[error(
        "{name} is damaged: {reason}; restore it from a copy, or move it away to begin with PROXY_CONFIG_FILE only"
    )]
    Damaged {
        /// The file.
        name: String,
        /// What was found.
        reason: String,
    },
    /// It was written by a newer gateway.
    #[error("{name} has format {format}, which is newer than this gateway reads ({FORMAT})")]
    Newer {
        /// The file.
        name: String,
        /// Its format.
        format: u64,
    },
}

/// Keeps definitions as long as the process runs.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Option<Vec<u8>>>);

impl Store for MemoryStore {
    fn load(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.lock().clone())
    }

    fn save(&self, bytes: &[u8]) -> Result<(), StoreError> {
        *self.0.lock() = Some(bytes.to_vec());
        Ok(())
    }

    fn name(&self) -> String {
        "memory".to_owned()
    }
}
