//! Orders to revoke: what one means now, and whether it was given before.

use std::time::{Duration, SystemTime};

use session::{Mode, Record, Revocation, RevocationId, RevokeError, Selector};
use uuid::Uuid;

use crate::node::Node;
use crate::revoke::{NotRevoked, Outcome};

/// How much the clock may have been corrected between two orders of the same revocation.
const SAME_END: Duration = Duration::from_secs(2);

/// What somebody wants revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationOrder {
    /// Chosen by whoever orders it, so that the order can be repeated; `None`: a new one.
    pub id: Option<RevocationId>,
    /// Whose tokens.
    pub selector: Selector,
    /// Up to when the tokens were issued; `None`: whenever.
    pub issued: Option<Issued>,
    /// What happens to the tokens.
    pub mode: Mode,
    /// The validity that is wanted.
    pub lasts: Option<Lasts>,
    /// The shortest validity: that of the token by which the session was named.
    pub at_least: Duration,
    /// Who orders it.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Also if tokens of open connections outlive it.
    pub forced: bool,
}

/// Up to when tokens were issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issued {
    /// Up to the time when the order is handled.
    Now,
    /// Up to this second since 1970.
    UpTo(u64),
}

/// A validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// For this time, from now on.
    For(Duration),
    /// Until this time.
    Until(SystemTime),
}

/// An order whose revocation is known.
#[derive(Debug)]
pub struct ResolvedOrder {
    /// What it means.
    pub revocation: Revocation,
    /// Also if tokens of open connections outlive it.
    pub forced: bool,
    /// The record of the same revocation, if it was accepted before.
    pub known: Option<Box<Record>>,
}

impl Node {
    /// Returns what the order means `now`. Blocks while the log does.
    ///
    /// # Errors
    /// Fails with [`RevokeError::Conflict`] if another revocation has its id.
    pub fn resolve(&self, order: RevocationOrder, now: SystemTime) -> Result<ResolvedOrder, RevokeError> {
        let kept = match &order.id {
            // If the log cannot be read now, the conflict is found when it is written: the
            // revocation must not wait.
            Some(id) => self.sessions().log().find(id).unwrap_or_default(),
            None => None,
        };
        let issued_up_to = order.issued.map(|issued| match (issued, &kept) {
            (Issued::UpTo(second), _) => second,
            // A repeated order means the same time.
            (Issued::Now, Some(record)) if record.revocation.issued_up_to.is_some() => {
                record.revocation.issued_up_to.unwrap_or_default()
            }
            (Issued::Now, _) => self.sessions().issued_up_to_now(&order.selector),
        });
        let revocation = Revocation {
            validity: order.validity(now),
            id: order.id.unwrap_or_else(new_id),
            selector: order.selector,
            issued_up_to,
            mode: order.mode,
            by: order.by,
            reason: order.reason,
            extends: false,
        };
        if kept.as_ref().is_some_and(|record| !is_repeated(record, &revocation)) {
            return Err(RevokeError::Conflict);
        }
        Ok(ResolvedOrder { revocation, forced: order.forced, known: kept.map(Box::new) })
    }

    /// Carries an order out, unless that was done before: see [`Node::revoke`].
    ///
    /// # Errors
    /// See [`NotRevoked`].
    pub async fn execute(&self, order: ResolvedOrder) -> Result<Outcome, NotRevoked> {
        match order.known {
            Some(record) => Ok(Outcome::Before(record)),
            None => self.revoke(order.revocation, order.forced).await,
        }
    }
}

impl RevocationOrder {
    /// Returns an order to disconnect: connections are terminated, and tokens stay valid.
    pub fn disconnect(selector: Selector, by: Option<String>, reason: Option<String>) -> Self {
        Self {
            id: None,
            selector,
            issued: None,
            mode: Mode::Disconnect,
            lasts: None,
            at_least: Duration::ZERO,
            by,
            reason,
            forced: false,
        }
    }

    fn validity(&self, now: SystemTime) -> Duration {
        let given = match self.lasts {
            Some(Lasts::For(validity)) => validity,
            Some(Lasts::Until(at)) => at.duration_since(now).unwrap_or_default(),
            None => Duration::ZERO,
        };
        match self.mode {
            Mode::Revoke => given.max(self.at_least),
            Mode::Disconnect => Duration::ZERO,
        }
    }
}

fn new_id() -> RevocationId {
    RevocationId::new(&Uuid::new_v4().to_string()).expect("a UUID is short and has no control characters")
}

/// Returns whether both are the same revocation, with the same validity or the same end.
fn is_repeated(record: &Record, revocation: &Revocation) -> bool {
    let lasts = revocation.validity == record.revocation.validity
        || revocation.validity.abs_diff(record.left) <= SAME_END
        || revocation.mode == Mode::Disconnect;
    record.revocation.is_same(revocation) && lasts
}

#[cfg(test)]
mod tests;
