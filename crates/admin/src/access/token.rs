//! Bearer tokens that the settings or files hold.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fmt, io};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use document::{WatchedFiles, read_file};
use parking_lot::{Mutex, RwLock};

/// A bearer token of the internal port. Never shown.
#[derive(Clone)]
pub struct ApiToken(Box<[u8]>);

/// The text cannot be a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected at least {} of the characters A-Z a-z 0-9 - . _ ~ + /, which = may follow",
    ApiToken::LEAST
)]
pub struct ApiTokenError;

/// The file gives no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// Its content is no token.
    #[error("{0}")]
    Content(#[from] ApiTokenError),
    /// Another caller has the same token.
    #[error("another caller has the same token")]
    Taken,
}

/// A token in a file, which can be reloaded.
pub struct TokenFile {
    path: PathBuf,
    current: RwLock<ApiToken>,
    watched: Mutex<WatchedFiles>,
}

/// Limit of a file with a token, in bytes: that of a request's head.
const MAX_FILE: u64 = 64 << 10;

impl ApiToken {
    /// The least length, in bytes, so that a token cannot be guessed.
    pub const LEAST: usize = 16;

    /// Compares in a time that does not depend on how many bytes match.
    pub(crate) fn admits(&self, token: &[u8]) -> bool {
        verify_slices_are_equal(token, &self.0).is_ok()
    }

    /// Returns whether both are the same token.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.admits(&other.0)
    }
}

impl FromStr for ApiToken {
    type Err = ApiTokenError;

    /// Checks that the text can stand in a header (`b64token`, RFC 6750, section 2.1), and is long
    /// enough.
    fn from_str(text: &str) -> Result<Self, ApiTokenError> {
        let body = text.trim_end_matches('=');
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        let fits = text.len() >= Self::LEAST && !body.is_empty() && body.bytes().all(allowed);
        fits.then(|| Self(text.as_bytes().into())).ok_or(ApiTokenError)
    }
}

impl TokenFile {
    /// Reads the token of a file. A line feed at its end, which editors add, is not part of it.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or its content is no token.
    pub fn load(path: &Path) -> Result<Self, TokenFileError> {
        // Created before the file is read, so that `refresh` notices a change meanwhile.
        let watched = Mutex::new(WatchedFiles::new([path.to_owned()]));
        let current = RwLock::new(read(path)?);
        Ok(Self { path: path.to_owned(), current, watched })
    }

    /// Returns whether both files hold the same token.
    pub fn is_same(&self, other: &Self) -> bool {
        let token = other.current.read().clone();
        self.holds(&token)
    }

    /// Returns whether this is the token of the file.
    pub fn holds(&self, token: &ApiToken) -> bool {
        self.current.read().is(token)
    }

    /// Compares in a time that does not depend on how many bytes match.
    pub(crate) fn admits(&self, token: &[u8]) -> bool {
        self.current.read().admits(token)
    }

    /// Reads the file of the caller `name` again if it has changed, or if `forced`.
    pub(super) fn refresh(&self, forced: bool, is_taken: impl Fn(&ApiToken) -> bool, name: &str) {
        let read = || match read(&self.path)? {
            fresh if is_taken(&fresh) => Err(TokenFileError::Taken),
            fresh => Ok(fresh),
        };
        match self.watched.lock().refresh(forced, read) {
            Some(Ok(fresh)) => {
                *self.current.write() = fresh;
                tracing::info!(name, "token of the internal port reloaded");
            }
            Some(Err(error)) => {
                tracing::error!(name, %error, "token of the internal port not reloaded, the old one stays");
            }
            None => {}
        }
    }
}

fn read(path: &Path) -> Result<ApiToken, TokenFileError> {
    let bytes = read_file(path, MAX_FILE)?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let token = line.strip_suffix(b"\r").unwrap_or(line);
    Ok(str::from_utf8(token).map_err(|_| ApiTokenError)?.parse()?)
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken")
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFile").field("path", &self.path).finish_non_exhaustive()
    }
}
