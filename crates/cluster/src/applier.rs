//! Applies operations to the node, one after the other.
//!
//! A revocation is put in force, and its connections are terminated, before it is recorded in the
//! node's own log; the log commits in groups, behind. A lift takes effect when it is recorded. An
//! operation on an id waits until the one before it is recorded: what the log knows of the id
//! decides whether it may be put in force early.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use node::Node;
use parking_lot::Mutex;
use seal::Incarnation;
use session::{Operation, Place, Receipt, Revocation, RevocationId};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep};

use crate::core::Input;
use crate::message::Shared;

/// Batches up to this size are put in force one by one before they are recorded. Larger ones come
/// when a node catches up, without a lease: they are recorded together, which puts them in force.
const ONE_BY_ONE: usize = 64;

/// Limit of operations that are in force but not recorded. At the limit, the next ones wait.
const UNRECORDED: usize = 1024;

/// Limit of operations that are recorded in one commit.
const AT_ONCE: usize = 4096;

/// How long to wait before a commit that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What is to be applied.
pub(crate) enum Job {
    /// Operations of the stream, in its order.
    Batch(Vec<(Shared, Place)>),
    /// The stream has gone back, so the position of the log is one of a stream that is no more. It
    /// is forgotten behind everything that was applied before; then this is sent.
    ForgetPosition(oneshot::Sender<()>),
}

/// Applies the operations of a node.
pub(crate) struct Applier {
    node: Node,
    life: Incarnation,
    inputs: mpsc::UnboundedSender<Input>,
    unrecorded: Arc<Unrecorded>,
    receipts: Mutex<Receipts>,
}

/// Limit of receipts that are kept.
const RECEIPTS: usize = 16_384;

/// Within this time, a revocation that comes again is the same one.
const AGAIN_WITHIN: Duration = Duration::from_secs(60);

/// What the last revocations have done here. Each comes at least twice, by the fast path and
/// through the stream, and only the first time finds connections to terminate.
#[derive(Default)]
struct Receipts {
    by_id: HashMap<RevocationId, Enforced>,
    order: VecDeque<RevocationId>,
}

struct Enforced {
    revocation: Revocation,
    revision: u32,
    receipt: Receipt,
    at: Instant,
    /// It has come by the fast path only, and may become a later change of its id in the stream.
    is_early: bool,
}

impl Receipts {
    /// Returns what this revocation has done, with what it did when it came before.
    fn merge(&mut self, revocation: &Revocation, revision: u32, is_early: bool, receipt: Receipt) -> Receipt {
        let (id, at) = (&revocation.id, Instant::now());
        let is_known = self.by_id.contains_key(id);
        let before = self.by_id.get(id).filter(|before| {
            let is_same = before.revocation.is_same(revocation) && at < before.at + AGAIN_WITHIN;
            is_same && (before.revision == revision || before.is_early)
        });
        let receipt = before.map_or(receipt, |before| sum(before.receipt, receipt));
        let enforced = Enforced { revocation: revocation.clone(), revision, receipt, at, is_early };
        self.by_id.insert(id.clone(), enforced);
        if !is_known {
            self.order.push_back(id.clone());
        }
        if self.order.len() > RECEIPTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
        receipt
    }
}

fn sum(first: Receipt, second: Receipt) -> Receipt {
    let found = second.connections > 0 || second.requests > 0;
    Receipt {
        applied_at: if found { second.applied_at } else { first.applied_at },
        connections: first.connections + second.connections,
        requests: first.requests + second.requests,
        last_payload_at: first.last_payload_at.max(second.last_payload_at),
    }
}

/// Operations that are in force, but not recorded.
#[derive(Default)]
struct Unrecorded {
    state: Mutex<UnrecordedState>,
    /// Notified when the recorder has to look.
    added: Notify,
    /// Notified when operations were recorded.
    recorded: Notify,
}

#[derive(Default)]
struct UnrecordedState {
    operations: Vec<Applied>,
    /// How many operations on each id are not recorded, those that are being recorded included.
    ids: HashMap<RevocationId, usize>,
}

/// An operation that is in force, with what it has done.
struct Applied {
    operation: Operation,
    place: Place,
    receipt: Option<Receipt>,
}

impl Applier {
    pub(crate) fn new(node: Node, life: Incarnation, inputs: mpsc::UnboundedSender<Input>) -> Self {
        Self { node, life, inputs, unrecorded: Arc::default(), receipts: Mutex::default() }
    }

    /// Carries out jobs, in order, and between them puts operations in force that are not known to
    /// be in the stream. Never returns while there can be more.
    pub(crate) async fn run(self, mut jobs: mpsc::UnboundedReceiver<Job>, mut early: mpsc::Receiver<Shared>) {
        let recorder = record(self.node.clone(), self.unrecorded.clone(), self.inputs.clone());
        let apply = async {
            loop {
                let done = tokio::select! {
                    // What comes early comes through the stream as well.
                    biased;
                    Some(job) = jobs.recv() => match job {
                        Job::Batch(batch) => Some(Input::Applied(self.apply(batch).await)),
                        Job::ForgetPosition(done) => {
                            self.forget_position().await;
                            // Nothing waits for it if the stream has gone back again.
                            let _ = done.send(());
                            None
                        }
                    },
                    Some(shared) = early.recv() => self.apply_early(shared).await,
                    else => return,
                };
                if let Some(done) = done {
                    // The driver has stopped if it does not listen.
                    let _ = self.inputs.send(done);
                }
            }
        };
        tokio::select! {
            () = recorder => {}
            () = apply => {}
        }
    }

    async fn forget_position(&self) {
        self.unrecorded.wait_for_all().await;
        while let Err(error) = self.node.forget_position().await {
            tracing::error!(%error, "the position of the log cannot be forgotten");
            sleep(AGAIN).await;
        }
    }

    async fn apply(&self, batch: Vec<(Shared, Place)>) -> Vec<Option<Receipt>> {
        let together = batch.len() > ONE_BY_ONE;
        let mut receipts = Vec::with_capacity(batch.len());
        for (Shared { tag, operation, .. }, place) in batch {
            let id = operation.id().clone();
            self.unrecorded.wait_for(&id).await;
            let receipt = match &operation {
                // Its own revocations are in force already.
                Operation::Revoke(revocation) if tag.life != self.life && !together => {
                    Some(self.enforce(revocation, place.revision, false).await)
                }
                _ => None,
            };
            receipts.push(receipt);
            let waits = matches!(operation, Operation::Lift { .. });
            self.unrecorded.add(id.clone(), Applied { operation, place, receipt }).await;
            if waits {
                self.unrecorded.wait_for(&id).await;
            }
        }
        if together {
            self.unrecorded.wait_for_all().await;
        }
        receipts
    }

    async fn enforce(&self, revocation: &Revocation, revision: u32, is_early: bool) -> Receipt {
        let receipt = self.node.enforce(revocation, revision).await;
        self.receipts.lock().merge(revocation, revision, is_early, receipt)
    }

    /// Returns `None` if a later state of the id is known, or another revocation has it: the stream
    /// decides which one counts.
    async fn apply_early(&self, shared: Shared) -> Option<Input> {
        let Operation::Revoke(revocation) = &shared.operation else { return None };
        self.unrecorded.wait_for(&revocation.id).await;
        if !self.node.takes_early(revocation, shared.revision).await {
            return None;
        }
        let receipt = self.enforce(revocation, shared.revision, true).await;
        Some(Input::AppliedEarly { tag: shared.tag, revision: shared.revision, receipt })
    }
}

impl Unrecorded {
    async fn add(&self, id: RevocationId, applied: Applied) {
        self.wait_until(|state| state.operations.len() < UNRECORDED.max(AT_ONCE)).await;
        let mut state = self.state.lock();
        *state.ids.entry(id).or_default() += 1;
        state.operations.push(applied);
        drop(state);
        self.added.notify_one();
    }

    /// Waits until every operation on this id is recorded.
    async fn wait_for(&self, id: &RevocationId) {
        self.wait_until(|state| !state.ids.contains_key(id)).await;
    }

    async fn wait_for_all(&self) {
        self.wait_until(|state| state.ids.is_empty()).await;
    }

    async fn wait_until(&self, condition: impl Fn(&UnrecordedState) -> bool) {
        loop {
            let recorded = self.recorded.notified();
            if condition(&self.state.lock()) {
                return;
            }
            recorded.await;
        }
    }

    fn take(&self) -> Vec<Applied> {
        let mut state = self.state.lock();
        let count = state.operations.len().min(AT_ONCE);
        state.operations.drain(..count).collect()
    }

    fn recorded(&self, batch: &[Applied]) {
        let mut state = self.state.lock();
        for applied in batch {
            let id = applied.operation.id();
            if let Some(count) = state.ids.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    state.ids.remove(id);
                }
            }
        }
        drop(state);
        self.recorded.notify_waiters();
    }
}

/// Records what is in force, in order. Never returns.
///
/// If the log fails, it is tried again and again: meanwhile no lift takes effect, the node catches
/// up with nothing, and so its lease expires.
async fn record(node: Node, unrecorded: Arc<Unrecorded>, inputs: mpsc::UnboundedSender<Input>) {
    loop {
        let batch = unrecorded.take();
        if batch.is_empty() {
            unrecorded.added.notified().await;
            continue;
        }
        loop {
            let operations = batch.iter().map(|applied| (applied.operation.clone(), applied.place)).collect();
            match node.record(operations).await {
                Ok(recorded) => {
                    let is_live = batch.len() <= ONE_BY_ONE;
                    for (seq, applied) in recorded.into_iter().zip(&batch) {
                        match (seq, applied.receipt) {
                            (Some(seq), Some(receipt)) => node.store_receipt(seq, receipt),
                            (None, _) if is_live => put_back_later(&node, applied, &inputs).await,
                            (Some(_) | None, _) => {}
                        }
                    }
                    break;
                }
                Err(error) => {
                    tracing::error!(%error, operations = batch.len(), "operations of other nodes are not recorded");
                    sleep(AGAIN).await;
                }
            }
        }
        unrecorded.recorded(&batch);
    }
}

/// The stream has an operation that has changed nothing. If the log has a later state of its id,
/// somebody has stored an earlier message again in the place of it.
async fn put_back_later(node: &Node, applied: &Applied, inputs: &mpsc::UnboundedSender<Input>) {
    let id = applied.operation.id().clone();
    if let Ok(Some(later)) = node.later_state(id, applied.place.revision).await {
        let _ = inputs.send(Input::Repair(vec![later]));
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_revocation_that_comes_again_keeps_its_receipt() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let receipt = |seconds, connections, last_payload_at| Receipt {
            applied_at: at(seconds),
            connections,
            requests: connections,
            last_payload_at,
        };
        let of = |session: &str| {
            Revocation::blacklist(&session.parse().expect("a short name"), Duration::from_secs(600))
        };
        let (mut receipts, revocation) = (Receipts::default(), of("s"));
        let early = receipt(1, 2, Some(at(1)));
        assert_eq!(receipts.merge(&revocation, 1, true, early), early);
        let stored = receipts.merge(&revocation, 2, false, receipt(2, 0, None));
        assert_eq!(stored, early, "another node was first, so the stream has it as the second change");
        let late = receipts.merge(&revocation, 2, true, receipt(3, 1, None));
        assert_eq!(late, receipt(3, 3, Some(at(1))), "a connection that was opened just before");
        tokio::time::advance(AGAIN_WITHIN).await;
        let again = receipt(4, 0, None);
        assert_eq!(
            receipts.merge(&revocation, 2, false, again),
            again,
            "revoked again, after it had expired"
        );
        let stored = receipts.merge(&revocation, 3, false, receipt(5, 1, None));
        assert_eq!(stored, receipt(5, 1, None), "revoked again, after it was lifted");
        for number in 0..=RECEIPTS {
            receipts.merge(&of(&number.to_string()), 1, false, again);
        }
        assert_eq!((receipts.by_id.len(), receipts.order.len()), (RECEIPTS, RECEIPTS));
    }
}
