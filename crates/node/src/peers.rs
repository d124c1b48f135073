//! Puts operations of other nodes into effect, and reads what this node has to share with them.

use session::{
    Epoch, LIFT_KEPT, LogError, NodeName, Operation, Place, Position, Receipt, Record, Revocation,
    RevocationId, Seq, Sessions, SharedState, StateCursor, StatePage,
};

use crate::node::Node;
use crate::revoke::{panicked, terminate};

impl Node {
    /// Puts a revocation of another node in force before it is recorded, and terminates its
    /// connections. Yields regularly. [`Node::record`] then stores it; a process that exits before
    /// has lost it. It is the `revision`th change of its id: earlier ones that are recorded later
    /// leave it in force.
    pub async fn enforce(&self, revocation: &Revocation, revision: u32) -> Receipt {
        terminate(self.sessions().enforce(revocation, revision)).await
    }

    /// Records operations of the stream, in their order, and puts into effect what is not yet:
    /// lifts, and revocations that were not [enforced](Node::enforce).
    ///
    /// Returns, for each operation, the number of the record that it has changed, if it has.
    ///
    /// # Errors
    /// Fails if the operations are not recorded together with the position of the last one. What
    /// was enforced then stays in force until the process exits; lifts have no effect.
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

    /// Stores that the log holds no stream up to any position: the one that it held has gone back.
    /// Returns once it is stored.
    ///
    /// # Errors
    /// Fails if it is not stored, or if that is not certain.
    pub async fn forget_position(&self) -> Result<(), LogError> {
        self.advance(Position { epoch: Epoch::NONE, sequence: 0 });
        // A commit stores the position too.
        self.record(Vec::new()).await.map(|_| ())
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

    /// Returns the present state of an id, as a node puts it back into a stream that has lost it;
    /// `None` if the id is new.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    pub async fn state(&self, id: RevocationId) -> Result<Option<SharedState>, LogError> {
        let state = move |sessions: &Sessions| {
            if let Some(record) = sessions.log().find(&id)? {
                return Ok(Some(SharedState::from(record)));
            }
            let lifted = sessions.log().lifted(&id)?;
            let operation = Operation::Lift { id, by: None };
            Ok(lifted.map(|revision| SharedState { operation, revision, left: LIFT_KEPT }))
        };
        self.blocking(state).await.map_err(panicked)?
    }

    /// Returns the present state of an id if the stream has had it, as far as this node knows, and
    /// it is a later change than this one.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    pub async fn later_state(
        &self,
        id: RevocationId,
        revision: u32,
    ) -> Result<Option<SharedState>, LogError> {
        let later = move |sessions: &Sessions| {
            if let Some(record) = sessions.log().find(&id)? {
                let is_later = record.in_stream && record.revision > revision;
                return Ok(is_later.then(|| SharedState::from(record)));
            }
            let lifted = sessions.log().lifted(&id)?.filter(|lifted| *lifted > revision);
            let operation = Operation::Lift { id, by: None };
            Ok(lifted.map(|revision| SharedState { operation, revision, left: LIFT_KEPT }))
        };
        self.blocking(later).await.map_err(panicked)?
    }

    /// Returns how many changes of an id the stream has had, as far as this node knows; 0 if none.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    pub async fn revision(&self, id: RevocationId) -> Result<u32, LogError> {
        let revision = move |sessions: &Sessions| match sessions.log().find(&id)? {
            Some(record) => Ok(record.revision),
            None => Ok(sessions.log().lifted(&id)?.unwrap_or_default()),
        };
        self.blocking(revision).await.map_err(panicked)?
    }

    /// Returns whether a revocation that is not known to be in the stream may be
    /// [enforced](Node::enforce): no later state of its id is known, and no other revocation has
    /// the id. If the log cannot be read, it may.
    pub async fn takes_early(&self, revocation: &Revocation, revision: u32) -> bool {
        let (id, revocation) = (revocation.id.clone(), revocation.clone());
        let takes = move |sessions: &Sessions| match sessions.log().find(&id)? {
            Some(known) if known.revocation.is_same(&revocation) => Ok(true),
            Some(known) => Ok(known.in_stream && revision > known.revision),
            None => Ok(sessions.log().lifted(&id)?.is_none_or(|lifted| revision > lifted)),
        };
        let takes: Result<bool, LogError> = self.blocking(takes).await.unwrap_or(Ok(true));
        takes.unwrap_or(true)
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
