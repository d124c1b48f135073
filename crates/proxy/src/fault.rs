//! Faults of a definition, with their position.

use std::fmt;

/// A mistake in a document. The document is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A JSON Pointer into the document (RFC 6901), such as
    /// `/version_data/default/endpoints/0/path_regex`.
    pub pointer: String,
    /// RIG's name for the owner of the field: `api`, the id of the API, or `API/ENDPOINT`.
    pub group: String,
    /// RIG's name for the field.
    pub field: String,
    /// The reason, in RIG's words if RIG reports it too.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pointer.is_empty() {
            return f.write_str(&self.reason);
        }
        write!(f, "{}: {}", self.pointer, self.reason)
    }
}

/// A probable mistake, accepted nevertheless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub String);
