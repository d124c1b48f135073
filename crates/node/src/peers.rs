//! Puts operations of other nodes into effect, and reads what this node has to share with them.

use session::{
    LogError, NodeName, Operation, Place, Position, Receipt, Record, Revocation, RevocationId, Seq,
    StateCursor, StatePage,
};

use crate::node::Node;
use crate::revoke::{panicked, terminate};

impl Node {
    /// Puts a revocation of another node in force before it is recorded, and terminates its
    /// connections. Yields regularly. [`Node::record`] then stores it; a process that exits before
    /// has lost it.
    ///
    /// Not for an id with an operation that waits to be recorded: see
    /// [`Sessions::record`](session::Sessions::record).
    pub async fn enforce(&self, revocation: &Revocation) -> Receipt {
        terminate(self.sessions().enforce(revocation)).await
    }

    /// Records operations of the stream, in their order, and puts into effect what is not yet: lifts,
    /// and revocations that were not [enforced](Node::enforce).
    ///
    /// Returns, for each operation, the number of the record that it has changed, if it has.
    ///
    /// # Errors
    /// Fails if the operations are not recorded together with the position of the last one. What was
    /// enforced then stays in force until the process exits; lifts have no effect.
    pub async fn record(&self, operations: Vec<(Operation, Place)>) -> Result<Vec<Option<Seq>>, LogError> {
        // On a thread that continues if the caller is cancelled.
        self.blocking(move |sessions| sessions.record(&operations)).await.map_err(panicked)?
    }

    /// Returns the position up to which the log held the stream when the node started.
    pub fn position(&self) -> Position {
        self.sessions().position()
    }

    /// Stores a position with the next commit of the log, best effort: nothing before it is missing
    /// in the log.
    pub fn advance(&self, position: Position) {
        self.sessions().log().advance(position);
    }

    /// Returns up to `limit` records with numbers above `after` that were accepted here and are not
    /// in the stream yet, the oldest first.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    pub async fn unshared(&self, after: Seq, limit: usize) -> Result<Vec<Record>, LogError> {
        self.blocking(move |sessions| sessions.log().unshared(after, limit)).await.map_err(panicked)?
    }

    /// Returns how many records are not in the stream yet.
    pub fn unshared_count(&self) -> u64 {
        self.sessions().log().unshared_count()
    }

    /// Returns up to `limit` states of the log from `after` on, to repair a stream that has lost
    /// them.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    pub async fn states(&self, after: Option<StateCursor>, limit: usize) -> Result<StatePage, LogError> {
        self.blocking(move |sessions| sessions.log().states(after.as_ref(), limit)).await.map_err(panicked)?
    }

    /// Stores this node's receipt of a revocation that was recorded, best effort. Never blocks.
    pub fn store_receipt(&self, seq: Seq, receipt: Receipt) {
        self.sessions().log().receipt(seq, self.name(), receipt);
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
