//! What the core asks of the log.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use node::Node;
use parking_lot::Mutex;
use seal::Incarnation;
use session::{LogError, Operation, Record, Revocation, RevocationId, SharedState, StateCursor};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::sleep;

use super::{AGAIN, Driver};
use crate::applier::Job;
use crate::codec::Codec;
use crate::core::{Input, Old};
use crate::message::{Direct, Shared, Tag};
use crate::wire::Names;

/// Number of states of the log that are read at once.
const STATES: usize = 256;

/// A revocation that was accepted less than this ago is announced by whoever has accepted it.
const NEW: Duration = Duration::from_secs(2);

impl Driver {
    /// Reads what the log has of these ids.
    pub(super) fn read_old(&self, old: Vec<Old>) {
        let (node, inputs) = (self.parts.node.clone(), self.parts.inputs.clone());
        tokio::spawn(async move {
            let mut states = Vec::with_capacity(old.len());
            for old in old {
                match node.state(old.id.clone()).await {
                    Ok(state) => states.extend(state.map(|state| (old, state))),
                    Err(error) => {
                        tracing::error!(%error, "old revocations are not stored in the stream again");
                        return;
                    }
                }
            }
            let _ = inputs.send(Input::Refresh(states));
        });
    }

    /// Sends the present states of ids to a node that misses operations on them, and has this node
    /// store again what the stream lacks of them.
    pub(super) fn supply(&self, to: Incarnation, after: u64, upto: u64, ids: Option<Vec<RevocationId>>) {
        let (node, wire, codec) =
            (self.parts.node.clone(), self.parts.wire.clone(), self.parts.codec.clone());
        let inputs = self.parts.inputs.clone();
        let (life, epoch) = (self.parts.identity.life, self.epoch());
        tokio::spawn(async move {
            let states = match states(&node, ids).await {
                Ok(states) => states,
                Err(error) => {
                    tracing::error!(%error, "operations that another node misses cannot be read");
                    return;
                }
            };
            // In parts, so that each fits into a message; only the last one completes the number.
            let mut rest = states.as_slice();
            loop {
                let (part, behind) = rest.split_at(SUPPLIED.min(rest.len()));
                rest = behind;
                let upto = if rest.is_empty() { upto } else { after };
                let tag = Tag { life, number: 0 };
                let operations = part.iter().map(|SharedState { operation, revision, .. }| Shared {
                    tag,
                    revision: *revision,
                    operation: operation.clone(),
                });
                let message = Direct::Supplied { life, after, upto, operations: operations.collect() };
                let payload = codec.direct(Some(to), epoch, &message);
                let _ = wire.send(to, payload.into()).await;
                if rest.is_empty() {
                    break;
                }
            }
            let _ = inputs.send(Input::Repair(states));
        });
    }

    /// Announces up to `room` revocations that the log marks as not stored in the stream.
    pub(super) fn share_queued(&self, room: usize) {
        if self.parts.node.unshared_count() == 0 {
            return;
        }
        let (node, inputs) = (self.parts.node.clone(), self.parts.inputs.clone());
        let publishing: HashSet<RevocationId> = self.core.publishing().cloned().collect();
        tokio::spawn(async move {
            let unshared = match node.unshared(0, room + publishing.len()).await {
                Ok(unshared) => unshared,
                Err(error) => {
                    tracing::error!(%error, "queued operations cannot be read");
                    return;
                }
            };
            for Record { revocation, left, accepted_at, .. } in unshared {
                // Those are about to be announced.
                let is_new = accepted_at.elapsed().is_ok_and(|age| age < NEW);
                if !is_new && !publishing.contains(&revocation.id) {
                    let known = revision(&node, &revocation.id).await;
                    let operation = Operation::Revoke(Revocation { validity: left, ..revocation });
                    let _ = inputs.send(Input::Announce { operation, known, queued: true });
                }
            }
        });
    }

    /// Forgets the position of the log, behind everything that was applied before.
    pub(super) fn forget_position(&self, recovery: u64) {
        let (inputs, (forget, forgotten)) = (self.parts.inputs.clone(), oneshot::channel());
        // The applier stops with the process.
        let _ = self.jobs.send(Job::ForgetPosition(forget));
        tokio::spawn(async move {
            if forgotten.await.is_ok() {
                let _ = inputs.send(Input::PositionForgotten { recovery });
            }
        });
    }

    /// Reads some states of the log.
    pub(super) fn read_states(&self, recovery: u64, after: Option<StateCursor>) {
        let (node, inputs) = (self.parts.node.clone(), self.parts.inputs.clone());
        tokio::spawn(async move {
            let page = loop {
                match node.states(after.clone(), STATES).await {
                    Ok(page) => break page,
                    Err(error) => tracing::error!(%error, "the log cannot be compared with the stream"),
                }
                sleep(AGAIN).await;
            };
            let _ = inputs.send(Input::States { recovery, states: page.states, next: page.next });
        });
    }
}

/// Limit of subjects that wait to be looked for in the log.
const OVERWRITTEN: usize = 1 << 18;

/// Subjects of operations whose message in the stream is not authentic.
#[derive(Default)]
pub(super) struct Overwritten {
    subjects: Mutex<HashSet<String>>,
    added: Notify,
}

impl Overwritten {
    pub(super) fn add(&self, subject: &str) {
        let mut subjects = self.subjects.lock();
        if subjects.len() < OVERWRITTEN {
            subjects.insert(subject.to_owned());
            self.added.notify_one();
        }
    }

    /// Has the states stored again that belong there, for as long as the process runs. A subject
    /// does not tell its id, so the whole log is looked through for all of them.
    pub(super) async fn put_back(
        self: Arc<Self>,
        node: Node,
        (codec, names): (Arc<Codec>, Names),
        inputs: mpsc::UnboundedSender<Input>,
    ) {
        loop {
            self.added.notified().await;
            // What was stored just before may not be recorded here yet.
            sleep(AGAIN).await;
            let subjects = std::mem::take(&mut *self.subjects.lock());
            let is_wanted = |state: &SharedState| {
                subjects.contains(&names.operation(&codec.subject_of(state.operation.id())))
            };
            let put_back = |states: Vec<SharedState>| {
                let wanted: Vec<SharedState> = states.into_iter().filter(is_wanted).collect();
                if !wanted.is_empty() {
                    tracing::warn!(
                        operations = wanted.len(),
                        "operations were overwritten in the stream: stored again"
                    );
                    let _ = inputs.send(Input::Repair(wanted));
                }
            };
            if let Err(error) = each_page(&node, put_back).await {
                tracing::error!(%error, "operations that were overwritten in the stream cannot be read");
                self.subjects.lock().extend(subjects);
                self.added.notify_one();
            }
        }
    }
}

/// Limit of operations in one answer to a node that misses some.
const SUPPLIED: usize = 500;

/// Announces operations, in their order, with what the log knows of each.
pub(super) async fn announce(
    node: Node,
    inputs: mpsc::UnboundedSender<Input>,
    mut operations: mpsc::UnboundedReceiver<Operation>,
) {
    while let Some(operation) = operations.recv().await {
        let known = revision_before(&node, &operation).await;
        if let Operation::Lift { id, .. } = &operation
            && let Ok(Some(SharedState { operation, revision, .. })) = node.state(id.clone()).await
            && matches!(operation, Operation::Revoke(_))
            && revision > known
        {
            // The revocation is queued. Stored behind its lift, it would undo it.
            let _ = inputs.send(Input::Announce { operation, known, queued: true });
        }
        let _ = inputs.send(Input::Announce { operation, known, queued: false });
    }
}

/// Returns the revision that this node knew when it accepted an operation: 0 if another revocation
/// has taken its place in the log meanwhile.
async fn revision_before(node: &Node, operation: &Operation) -> u32 {
    let known = revision(node, operation.id()).await;
    let present = node.state(operation.id().clone()).await;
    match (operation, present.map(|state| state.map(|state| state.operation))) {
        (Operation::Revoke(ours), Ok(Some(Operation::Revoke(other))))
            if !ours.is_same(&other) && !ours.extends =>
        {
            0
        }
        _ => known,
    }
}

/// Returns how many changes of an id the stream has had, as far as this node knows.
async fn revision(node: &Node, id: &RevocationId) -> u32 {
    node.revision(id.clone()).await.unwrap_or_else(|error| {
        // The stream tells if it has one: it refuses a first change of the id then.
        tracing::warn!(%error, "the revision of an id cannot be read");
        0
    })
}

/// Returns the present states of these ids; of all, without ids.
async fn states(node: &Node, ids: Option<Vec<RevocationId>>) -> Result<Vec<SharedState>, LogError> {
    let mut states = Vec::new();
    let Some(ids) = ids else {
        each_page(node, |page| states.extend(page)).await?;
        return Ok(states);
    };
    for id in ids {
        states.extend(node.state(id).await?);
    }
    Ok(states)
}

/// Passes on all states of the log, in parts.
async fn each_page(node: &Node, mut pass: impl FnMut(Vec<SharedState>)) -> Result<(), LogError> {
    let mut after = None;
    loop {
        let page = node.states(after, STATES).await?;
        pass(page.states);
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}
