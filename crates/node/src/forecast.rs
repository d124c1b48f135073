//! What a revocation would do.

use std::time::Duration;

use session::{Revocation, RevokeError};

use crate::node::Node;

/// What a revocation would do now. Nothing has happened.
#[derive(Debug)]
pub struct Forecast {
    /// How many connections it would terminate.
    pub connections: usize,
    /// When the last of their tokens expires; `None` if there is none, or if tokens do not expire.
    pub last_token: Option<Duration>,
    /// Why it would be refused.
    pub refused: Option<RevokeError>,
}

impl Node {
    /// Returns what [`Node::revoke`] would do now.
    pub fn forecast(&self, revocation: &Revocation, forced: bool) -> Forecast {
        let affected = self.sessions().affected(&revocation.selector, revocation.issued_up_to);
        Forecast {
            connections: affected.connections,
            last_token: affected.last_token,
            refused: self.sessions().check(revocation, forced).err(),
        }
    }
}
