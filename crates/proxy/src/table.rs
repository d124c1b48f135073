//! What is served: every active endpoint with all that a request to it needs, compiled from the definitions at once.

use std::sync::Arc;

use crate::definition::Api;
use crate::fault::{Fault, Warning};

/// The routes and upstreams of one set of definitions. Never changed: another set makes another table.
#[derive(Debug, Default)]
pub(crate) struct Table {}

impl Table {
    /// Compiles the definitions. Upstreams that have not changed are taken over from the table before, with their
    /// connections.
    ///
    /// # Errors
    /// What cannot be served: with the pointer of each fault inside the document of its API.
    pub(crate) fn build(_apis: &[Arc<Api>], _before: &Self) -> Result<(Self, Vec<Warning>), Vec<Fault>> {
        Ok((Self {}, Vec::new()))
    }
}
