//! Orders to revoke: which revocation an order means now, and whether it was carried out before.

use std::time::{Duration, SystemTime};

use session::{Mode, Record, Revocation, RevocationId, RevokeError, Selector};
use uuid::Uuid;

use crate::node::Node;
use crate::revoke::{NotRevoked, Outcome};

/// How far the expiries of two orders may differ if both mean the same revocation: the clock may
/// have been corrected between them.
const SAME_END: Duration = Duration::from_secs(2);

/// What a caller wants revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationOrder {
    /// The id of the revocation, if the caller has chosen one so that it can repeat the order;
    /// `None`: it gets a new one.
    pub id: Option<RevocationId>,
    /// Which tokens it selects.
    pub selector: Selector,
    /// Selects only tokens that were issued up to this time; `None`: regardless of when.
    pub issued: Option<Issued>,
    /// Whether the tokens are refused, or only their connections terminated.
    pub mode: Mode,
    /// The requested validity; `None`: `at_least`.
    pub lasts: Option<Lasts>,
    /// The lower bound of the validity: the time left of the token that named the session; zero if
    /// no token did.
    pub at_least: Duration,
    /// Who orders it; kept in the record.
    pub by: Option<String>,
    /// Why; kept in the record.
    pub reason: Option<String>,
    /// Accepts it even if tokens of open connections outlive it.
    pub forced: bool,
}

/// The latest time at which the selected tokens were issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issued {
    /// The time at which the order is resolved.
    Now,
    /// This time, in seconds since 1970.
    UpTo(u64),
}

/// How long a revocation is requested to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// For this time, from now on.
    For(Duration),
    /// Until this time.
    Until(SystemTime),
}

/// An order, resolved to the revocation that it means.
#[derive(Debug)]
pub struct ResolvedOrder {
    /// The revocation.
    pub revocation: Revocation,
    /// Accepts it even if tokens of open connections outlive it.
    pub forced: bool,
    /// The record of the same revocation, if it was accepted before.
    pub known: Option<Box<Record>>,
}

impl Node {
    /// Resolves an order to the revocation that it means `now`. Blocks for as long as the log does.
    ///
    /// # Errors
    /// Fails with [`RevokeError::Conflict`] if another revocation has its id.
    pub fn resolve(&self, order: RevocationOrder, now: SystemTime) -> Result<ResolvedOrder, RevokeError> {
        let kept = match &order.id {
            // If the log cannot be read, a conflict is not found before the revocation is appended:
            // this must not keep the revocation from being put in force.
            Some(id) => self.sessions().log().find(id).unwrap_or_default(),
            None => None,
        };
        let issued_up_to = order.issued.map(|issued| match (issued, &kept) {
            (Issued::UpTo(second), _) => second,
            // A repeated order means the time of the first one.
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

    /// Carries an order out as [`Node::revoke`] does, unless it was carried out before.
    ///
    /// # Errors
    /// See [`NotRevoked`].
    pub async fn execute(&self, order: ResolvedOrder, within: Duration) -> Result<Outcome, NotRevoked> {
        let ResolvedOrder { revocation, forced, known } = order;
        if let Some(record) = known {
            let spread = self.spread(&revocation.id);
            return Ok(Outcome::Before(record, spread));
        }
        match self.revoke(revocation.clone(), forced, within).await? {
            // Another order with the same id was carried out after this one had been resolved.
            Outcome::Before(record, _) if !is_repeated(&record, &revocation) => {
                Err(RevokeError::Conflict.into())
            }
            outcome => Ok(outcome),
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

pub(crate) fn new_id() -> RevocationId {
    RevocationId::new(&Uuid::new_v4().to_string()).expect("a UUID is short and has no control characters")
}

/// Returns `true` if both are the same revocation, with the same validity or the same expiry.
fn is_repeated(record: &Record, revocation: &Revocation) -> bool {
    let lasts = revocation.validity == record.revocation.validity
        || revocation.validity.abs_diff(record.left) <= SAME_END
        || revocation.mode == Mode::Disconnect;
    record.revocation.is_same(revocation) && lasts
}

#[cfg(test)]
mod tests;
