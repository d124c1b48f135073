//! The name of a session.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::Value;

use crate::digits::whole;

/// The name of a session: the value of its session claim. Not empty, at most [`SessionName::MAX`]
/// bytes.
///
/// A clone shares the text. `Display` shows it; `Debug` does not, so that the value of a claim does
/// not get into a log by accident.
#[derive(Clone, PartialEq, Eq, Hash)]
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
    /// It is a number with a fraction.
    #[error("it is not a whole number")]
    Fraction,
    /// It is a boolean, a list, an object, or null.
    #[error("it is neither a text nor a whole number")]
    Type,
}

impl SessionName {
    /// Length limit in bytes. Real names are UUIDs and user names. A name is stored for as long as
    /// it is blacklisted, so its limit is far below that of a request.
    pub const MAX: usize = 1024;

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for SessionName {
    type Error = NameError;

    fn try_from(text: &str) -> Result<Self, NameError> {
        match text.len() {
            0 => Err(NameError::Empty),
            1..=Self::MAX => Ok(Self(text.into())),
            _ => Err(NameError::TooLong),
        }
    }
}

/// Accepts a string, or an integer of any size, whose name is its decimal digits (d09).
impl TryFrom<&Value> for SessionName {
    type Error = NameError;

    fn try_from(value: &Value) -> Result<Self, NameError> {
        match value {
            Value::String(text) => text.parse(),
            Value::Number(number) => whole(&number.to_string())?.parse(),
            _ => Err(NameError::Type),
        }
    }
}

impl FromStr for SessionName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.try_into()
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

impl fmt::Debug for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionName").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_length() {
        assert_eq!("".parse::<SessionName>(), Err(NameError::Empty));
        assert_eq!("x".repeat(SessionName::MAX + 1).parse::<SessionName>(), Err(NameError::TooLong));
        let longest = "x".repeat(SessionName::MAX);
        assert_eq!(SessionName::try_from(&*longest).unwrap().as_str(), longest);
    }

    #[test]
    fn debug_does_not_tell_the_name() {
        let name: SessionName = "alice".parse().unwrap();
        assert!(!format!("{name:?}").contains("alice"));
        assert_eq!(name.to_string(), "alice");
    }
}
