//! Who makes a request, as the audit log names it.

use std::sync::Arc;

/// The caller of a request that is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The name of its entry, for a JWT followed by `/` and its `sub`. `None` with `API_TOKEN`, and
    /// if everyone is let in: then callers are believed about who they are.
    name: Option<Arc<str>>,
}

impl Caller {
    /// Returns the caller of this name.
    pub(crate) fn named(name: impl Into<Arc<str>>) -> Self {
        Self { name: Some(name.into()) }
    }

    /// Returns who orders something: the name of the caller, and what it says of itself. Only a
    /// caller without a name is believed.
    pub(crate) fn signs(&self, said: Option<String>) -> Option<String> {
        match (&self.name, said) {
            (None, said) => said,
            (Some(name), None) => Some((**name).to_owned()),
            (Some(name), Some(said)) => Some(format!("{name} (on behalf of {said})")),
        }
    }
}
