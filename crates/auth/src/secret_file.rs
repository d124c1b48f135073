//! A secret in a file that is read again when it changes, and the credentials of a client.

use std::fmt;
use std::io::{self, Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use document::{WatchedFiles, read_file};
use form_urlencoded::byte_serialize;
use http::HeaderValue;
use parking_lot::{Mutex, RwLock};

/// Limit of the file in bytes.
const MAX_FILE: u64 = 16 << 10;

/// A secret in a file.
pub struct SecretFile {
    path: PathBuf,
    watched: Mutex<WatchedFiles>,
    /// `None` if it could never be read.
    current: RwLock<Option<Arc<str>>>,
}

impl SecretFile {
    /// Reads a file. If that fails, logs the reason, and the secret is unknown until
    /// [`SecretFile::refresh`] has read it.
    pub fn new(path: PathBuf) -> Self {
        // Created before the file is read, so that `refresh` notices a change meanwhile.
        let watched = Mutex::new(WatchedFiles::new([path.clone()]));
        let secret = Self { path, watched, current: RwLock::new(None) };
        secret.refresh(true);
        secret
    }

    /// Checks that a file holds a secret.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or is not one line of text. The error shows nothing of it.
    pub fn check(path: &Path) -> io::Result<()> {
        read(path).map(drop)
    }

    /// Reads the file again if it has changed, or if `forced`. If that fails, the old secret stays.
    /// May block on a disk.
    pub fn refresh(&self, forced: bool) {
        match self.watched.lock().refresh(forced, || read(&self.path)) {
            Some(Ok(secret)) => *self.current.write() = Some(secret.into()),
            Some(Err(error)) => {
                tracing::error!(file = %self.path.display(), %error, "secret not read, an old one stays");
            }
            None => {}
        }
    }

    /// Returns the secret.
    pub fn current(&self) -> Option<Arc<str>> {
        self.current.read().clone()
    }

    /// Compares in a time that does not depend on how many bytes match.
    pub fn is(&self, given: &[u8]) -> bool {
        let current = self.current.read();
        current.as_ref().is_some_and(|ours| verify_slices_are_equal(given, ours.as_bytes()).is_ok())
    }
}

/// Returns the `Authorization` of a client that a server knows by its id and a secret (RFC 6749,
/// section 2.3.1): both are encoded before.
pub fn basic_credentials(client_id: &str, secret: &str) -> HeaderValue {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let credentials = BASE64_STANDARD.encode(format!("{}:{}", encoded(client_id), encoded(secret)));
    let mut value =
        HeaderValue::try_from(format!("Basic {credentials}")).expect("Base64 is a value of a header");
    value.set_sensitive(true);
    value
}

/// Returns the line of a file that has one.
fn read(path: &Path) -> io::Result<String> {
    let bytes = read_file(path, MAX_FILE)?;
    let text = str::from_utf8(&bytes).map_err(|_| Error::new(ErrorKind::InvalidData, "not UTF-8"))?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line.is_empty() || line.contains(char::is_control) {
        true => Err(Error::new(ErrorKind::InvalidData, "expected one line that is not empty")),
        false => Ok(line.to_owned()),
    }
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretFile").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_secret_is_a_line_and_follows_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = SecretFile::new(path.clone());
        assert!(secret.current().is_none() && !secret.is(b""), "there is no file");
        for (text, expected) in [
            ("one", "one"),
            ("two words\n", "two words"),
            ("three\r\n", "three"),
            ("", "three"),
            ("\n", "three"),
            ("a\nb", "three"),
        ] {
            fs::write(&path, text).unwrap();
            secret.refresh(false);
            assert_eq!(secret.current().as_deref(), Some(expected), "{text:?}");
        }
        assert!(secret.is(b"three") && !secret.is(b"thre") && !secret.is(b"three\n"));
        assert!(!format!("{secret:?}").contains("three"));
    }

    #[test]
    fn the_credentials_of_a_client_are_encoded_and_not_shown() {
        let basic = basic_credentials("ann:1", "s €");
        let expected = format!("Basic {}", BASE64_STANDARD.encode("ann%3A1:s+%E2%82%AC"));
        assert_eq!(basic.to_str().unwrap(), expected);
        assert!(basic.is_sensitive());
    }
}
