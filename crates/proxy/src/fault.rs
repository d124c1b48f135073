//! What is wrong with a definition, and where.

use std::fmt;

/// A mistake in a document: it is refused whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where in the document (RFC 6901), such as `/version_data/default/endpoints/0/path_regex`.
    pub pointer: String,
    /// How RIG names what the field belongs to: `api`, the id of the API, or `API/ENDPOINT`.
    pub group: String,
    /// How RIG names the field.
    pub field: String,
    /// What is wrong, in RIG's words where it has some.
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

/// What is allowed, but is probably not what was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub String);
