//! The port for the keys of tokens, and the key of the settings.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use document::WatchedFiles;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use parking_lot::Mutex;

use crate::key::{self, Algorithms, KeyError, KeySource};

/// The keys that verify tokens. They may change at any time.
pub trait Keys: Send + Sync {
    /// Returns the key for a token whose header names `kid` (RFC 7515, section 4.1.4). `None` if
    /// there is none, which makes the token invalid.
    fn key(&self, kid: Option<&str>) -> Option<Arc<TokenKey>>;

    /// Returns how many times a key was replaced: tokens verified in an earlier generation must be
    /// verified again. The generation changes after the key, so a caller that reads it first never
    /// takes the result of an older key for one of this generation.
    fn generation(&self) -> u64;
}

/// A key that verifies tokens. Never shown.
#[derive(Clone)]
pub struct TokenKey(pub(crate) DecodingKey);

impl TokenKey {
    /// Returns `true` if this key signed the message with this algorithm (RFC 7515, section 5.2).
    /// `signature` is in base64url.
    pub(crate) fn verifies(&self, message: &str, signature: &str, algorithm: Algorithm) -> bool {
        crypto::verify(signature, message.as_bytes(), &self.0, algorithm).unwrap_or(false)
    }
}

/// The one key of `JWT_SECRET_KEY` or its file, whatever `kid` a token names.
pub struct ConfiguredKey {
    key: ArcSwapOption<TokenKey>,
    generation: AtomicU64,
    /// The key's file, its algorithms, and when it changed.
    file: Option<(KeySource, Algorithms, Mutex<WatchedFiles>)>,
}

impl ConfiguredKey {
    /// Loads the key, which all of these algorithms may use. Without a source there is no key.
    ///
    /// # Errors
    /// Fails if the key cannot be read, or does not fit the algorithms.
    pub fn load(source: Option<&KeySource>, algorithms: &Algorithms) -> Result<Self, KeyError> {
        let file = source.and_then(|source| match source {
            // Created before the key is read, so that `refresh` detects a change meanwhile.
            KeySource::File(path) => {
                let watched = Mutex::new(WatchedFiles::new([path.clone()]));
                Some((source.clone(), algorithms.clone(), watched))
            }
            KeySource::Text(_) => None,
        });
        let key = source.map(|source| key::load(source, algorithms)).transpose()?;
        Ok(Self { key: ArcSwapOption::from_pointee(key.map(TokenKey)), generation: AtomicU64::new(0), file })
    }

    /// Reloads the key if its file has changed, or if `forced`. From then on, tokens need the new
    /// key. A file that cannot be used leaves the old key in force. May block on a disk.
    pub fn refresh(&self, forced: bool) {
        let Some((source, algorithms, watched)) = &self.file else { return };
        let mut watched = watched.lock();
        match watched.refresh(forced, || key::load(source, algorithms)) {
            Some(Ok(key)) => {
                self.key.store(Some(Arc::new(TokenKey(key))));
                // After the key: a caller that reads this generation verifies with the new key.
                self.generation.fetch_add(1, Ordering::Release);
                tracing::info!("key of tokens reloaded");
            }
            Some(Err(error)) => tracing::error!(%error, "key of tokens not reloaded, the old one stays"),
            None => {}
        }
    }
}

impl Keys for ConfiguredKey {
    fn key(&self, _kid: Option<&str>) -> Option<Arc<TokenKey>> {
        self.key.load_full()
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey")
    }
}
