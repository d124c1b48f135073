//! Applies the operations of other nodes.

use session::{LogError, NodeName, Operation, Position, Receipt, RevocationId};

use crate::node::Node;
use crate::revoke::{panicked, terminate};

impl Node {
    /// Applies an operation of another node. A revocation is put in force, and its connections are
    /// terminated, before it is recorded in this node's own log; a lift takes effect after it is
    /// recorded. Operations on one id must be applied one after the other.
    ///
    /// Returns the receipt of a revocation on this node; `None` for a lift.
    ///
    /// # Errors
    /// Fails if the operation is not recorded together with `position`. A revocation then stays in
    /// force until the process exits; a lift has no effect.
    pub async fn apply(&self, operation: Operation, position: Position) -> Result<Option<Receipt>, LogError> {
        let node = self.clone();
        // In a task of its own, so that it continues if the caller is cancelled.
        let applied = tokio::spawn(async move {
            let receipt = match &operation {
                Operation::Revoke(revocation) => Some(terminate(node.sessions().enforce(revocation)).await),
                Operation::Lift { .. } => None,
            };
            let here = node.name().clone();
            let record = node.blocking(move |sessions| {
                let seq = sessions.record(&operation, position)?;
                if let (Some(seq), Some(receipt)) = (seq, receipt) {
                    sessions.log().receipt(seq, &here, receipt);
                }
                Ok(receipt)
            });
            record.await.map_err(panicked)?
        });
        applied.await.map_err(panicked)?
    }

    /// Stores the receipt of another node, best effort.
    pub async fn receive_receipt(&self, id: RevocationId, node: NodeName, receipt: Receipt) {
        let stored = self.blocking(move |sessions| {
            if let Some(record) = sessions.log().find(&id)? {
                sessions.log().receipt(record.seq, &node, receipt);
            }
            Ok::<_, LogError>(())
        });
        if let Err(error) = stored.await.map_err(panicked).and_then(|stored| stored) {
            tracing::warn!(%error, "the receipt of another node was not stored");
        }
    }
}
