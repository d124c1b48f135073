//! Makes the revocations that a statement asks for.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use identity::Ordered;
use node::{Issued, Node, NotRevoked, Outcome, RevocationOrder};
use session::{Mode, Receipt, Record, Revocation, RevocationId, RevokeError, Selector};

use crate::check::{NotTaken, Unavailable};
use crate::feeds::Feeds;
use crate::issuer::IssuerFeeds;
use crate::metrics::{FeedName, StatementResult};

/// How long an answer waits for the other nodes of a cluster. Then the revocation is stored here,
/// and reaches them as soon as they can be reached. Some senders give up after 2.5 s.
const NODES_WITHIN: Duration = Duration::from_secs(2);

/// A revocation is in force at most until the process exits.
struct NotKept;

impl Feeds {
    /// Makes revocations, all at once. If one cannot be kept, the others are made all the same.
    pub(crate) async fn carry_out<E>(
        &self,
        issuer: &IssuerFeeds,
        feed: FeedName,
        orders: Vec<Ordered>,
    ) -> Result<StatementResult, NotTaken<E>> {
        let id = &issuer.config.issuer_id;
        let by = format!("issuer:{id}");
        for order in &orders {
            self.metrics.observe(id, feed, order.happened_at);
        }
        let make = |(number, order)| self.make(id, number, order, &by);
        let made = join_all(orders.into_iter().enumerate().map(make)).await;
        let all: Result<Vec<_>, NotKept> = made.into_iter().collect();
        let all = all.map_err(|NotKept| NotTaken::Unavailable(Unavailable::NotKept))?;
        // The most of what any of them has done.
        use StatementResult::{Ignored, MatchedNobody, Repeated, Revoked};
        Ok([Revoked, MatchedNobody, Repeated].into_iter().find(|one| all.contains(one)).unwrap_or(Ignored))
    }

    async fn make(
        &self,
        transmitter: &str,
        number: usize,
        order: Ordered,
        by: &str,
    ) -> Result<StatementResult, NotKept> {
        let selector =
            self.sessions.config().selector(Some(&order.issuer), &order.claim, order.value.clone());
        let selector = selector.map_err(|error| {
            // The settings make every claim of a feed one that tokens can be revoked by.
            tracing::error!(%error, "a statement of an identity provider selects by another claim");
            NotKept
        })?;
        let outcome = match order.mode {
            Mode::Revoke => self.revoke(order, selector, by).await,
            Mode::Disconnect => self.disconnect(transmitter, number, order, selector, by).await,
        };
        match outcome {
            Ok(Outcome::Done(record, _)) if has_ended_something(&record) => Ok(StatementResult::Revoked),
            Ok(Outcome::Done(..)) => Ok(StatementResult::MatchedNobody),
            Ok(Outcome::Again(..) | Outcome::Before(..)) => Ok(StatementResult::Repeated),
            // Logged there if it is in force but not recorded.
            Err(NotRevoked::Refused(RevokeError::Log(_))) => Err(NotKept),
            Err(error) => {
                tracing::error!(%error, "a statement of an identity provider could not be carried out");
                Err(NotKept)
            }
        }
    }

    async fn revoke(&self, order: Ordered, selector: Selector, by: &str) -> Result<Outcome, NotRevoked> {
        let validity = order.ends_at.duration_since(SystemTime::now()).unwrap_or_default();
        let revocation = Revocation::standing(
            &order.issuer_id,
            &order.claim,
            selector,
            order.issued_up_to,
            validity,
            by.to_owned(),
            order.reason,
        );
        self.node.revoke(revocation, true, NODES_WITHIN).await
    }

    /// Terminates connections. The id is that of the statement, so that a repeated one has no
    /// further effect as long as its record is kept.
    async fn disconnect(
        &self,
        transmitter: &str,
        number: usize,
        order: Ordered,
        selector: Selector,
        by: &str,
    ) -> Result<Outcome, NotRevoked> {
        let (by, reason) = (Some(by.to_owned()), Some(order.reason));
        let again = RevocationOrder {
            issued: Some(Issued::UpTo(order.issued_up_to)),
            ..RevocationOrder::disconnect(selector.clone(), by.clone(), reason.clone())
        };
        let id =
            |statement| RevocationId::new(&format!("issuer/{transmitter}/event/{number}/{statement}")).ok();
        let Some(id) = order.statement.as_ref().and_then(id) else {
            return disconnect_anew(&self.node, again).await;
        };
        let revocation = Revocation {
            id,
            selector,
            issued_up_to: Some(order.issued_up_to),
            mode: Mode::Disconnect,
            validity: Duration::ZERO,
            by,
            reason,
            extends: false,
        };
        match self.node.revoke(revocation, true, NODES_WITHIN).await {
            // The transmitter has used one `jti` for several events.
            Err(NotRevoked::Refused(RevokeError::Conflict)) => disconnect_anew(&self.node, again).await,
            outcome => outcome,
        }
    }
}

/// Terminates connections under a new id.
async fn disconnect_anew(node: &Node, order: RevocationOrder) -> Result<Outcome, NotRevoked> {
    let resolved = node.resolve(order, SystemTime::now())?;
    node.execute(resolved, NODES_WITHIN).await
}

fn has_ended_something(record: &Record) -> bool {
    record.receipts.values().any(|Receipt { connections, requests, .. }| connections + requests > 0)
}
