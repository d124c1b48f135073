//! Why values are not decoded or encoded.

use crate::answer::Failure;

/// Why a message cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message is not in the wire format, does not fit its schema, or its schema cannot be
    /// used. The text repeats nothing of the message.
    #[error("{0}")]
    Malformed(String),
    /// The registry has no schema of this id.
    #[error("the schema registry has no schema {0}")]
    UnknownSchema(u32),
    /// The registry is not reached, or gives no usable answer.
    #[error("the schema registry is unavailable: {0}")]
    Unavailable(String),
}

impl DecodeError {
    /// Returns whether the same message may be decoded later. If not, the message is poison.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    pub(crate) fn of_schema(id: u32, failure: Failure) -> Self {
        match failure {
            Failure::Unknown => Self::UnknownSchema(id),
            Failure::Flaw(reason) => Self::Malformed(format!("schema {id} cannot be used: {reason}")),
            Failure::Unavailable(reason) | Failure::Forbidden(reason) => Self::Unavailable(reason),
        }
    }
}

/// Why a value cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The value does not fit the schema. The text names the place as a JSON Pointer and repeats no
    /// value.
    #[error("{0}")]
    Invalid(String),
    /// The registry has no such subject, or no version of it that can be used.
    #[error("the schema registry has no usable schema for {subject}: {reason}")]
    UnknownSubject {
        /// The subject.
        subject: String,
        /// What is missing or wrong.
        reason: String,
    },
    /// The registry is not reached or gives no usable answer, and no schema is cached.
    #[error("the schema registry is unavailable: {0}")]
    Unavailable(String),
}

impl EncodeError {
    pub(crate) fn of_subject(subject: &str, failure: Failure) -> Self {
        let unknown = |reason| Self::UnknownSubject { subject: subject.to_owned(), reason };
        match failure {
            Failure::Unknown => unknown("no such subject or version".to_owned()),
            Failure::Flaw(reason) => unknown(reason),
            Failure::Unavailable(reason) | Failure::Forbidden(reason) => Self::Unavailable(reason),
        }
    }
}
