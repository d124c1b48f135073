//! The name of a session.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What names a session: the value of the session claim. Not empty, at most [`SessionName::MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionName(Arc<str>);

/// The text cannot name a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// It is longer than [`SessionName::MAX`] bytes.
    #[error("it is longer than {} bytes", SessionName::MAX)]
    TooLong,
}

impl SessionName {
    /// The longest name, in bytes.
    pub const MAX: usize = 1024;
}

impl FromStr for SessionName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.len() {
            0 => Err(NameError::Empty),
            1..=Self::MAX => Ok(Self(text.into())),
            _ => Err(NameError::TooLong),
        }
    }
}

impl AsRef<str> for SessionName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
