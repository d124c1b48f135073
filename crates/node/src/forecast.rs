//! Forecasts the effect of an order to revoke.

use std::time::Duration;

use session::RevokeError;

use crate::node::Node;
use crate::order::ResolvedOrder;

/// The effect that an order would have now. Nothing has happened.
#[derive(Debug)]
pub struct Forecast {
    /// Number of connections that it would terminate.
    pub connections: usize,
    /// Remaining validity of the last of their tokens; `None` if there is none, or if tokens do not
    /// expire.
    pub last_token: Option<Duration>,
    /// Why it would be refused; `None` if it would be accepted.
    pub refused: Option<RevokeError>,
}

impl Node {
    /// Returns what [`Node::execute`] would do now.
    pub fn forecast(&self, order: &ResolvedOrder) -> Forecast {
        let ResolvedOrder { revocation, forced, known } = order;
        let affected = self.sessions().affected(&revocation.selector, revocation.issued_up_to);
        let last_token = affected.last_token;
        if known.is_some() {
            return Forecast { connections: 0, last_token, refused: None };
        }
        let refused = self.sessions().check(revocation, *forced).err();
        Forecast { connections: affected.connections, last_token, refused }
    }
}
