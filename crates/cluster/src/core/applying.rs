//! Applies what was read, in its order.

use std::time::Duration;

use seal::Incarnation;
use session::{Operation, Place, Position, Receipt};

use super::{Action, Core, Lost};
use crate::flaw::Flaw;
use crate::message::{Content, Forgery, Shared, Tag};

/// Limit of operations that are applied together.
const BATCH: usize = 4096;

/// What is being applied.
pub(super) struct Batch {
    /// Each operation, and which change of its id it is.
    pub(super) tags: Vec<(Tag, u32)>,
    /// The sequence of each operation; empty if they did not come through the stream.
    pub(super) sequences: Vec<u64>,
    /// With these operations, everything of the life up to the number is known.
    pub(super) completes: Option<(Incarnation, u64)>,
}

/// Operations that another node has sent since the stream lacked them.
pub(super) struct Supply {
    pub(super) life: Incarnation,
    pub(super) upto: u64,
    pub(super) operations: Vec<Shared>,
}

impl Core {
    /// Applies what is read, in order, and goes on with whatever has become possible.
    pub(super) fn advance(&mut self) {
        while self.apply_next() {}
        self.advance_recovery();
        self.advance_lease();
        self.advance_publishing();
    }

    /// Applies the next messages. Returns `false` if there are none, or if a batch is in progress.
    fn apply_next(&mut self) -> bool {
        let busy = self.reading.batch.is_some();
        if busy && !self.has(Flaw::ApplyInParallel) {
            return false;
        }
        if !busy && let Some(Supply { life, upto, operations }) = self.reading.supplied.pop_front() {
            self.apply_supplied(life, upto, operations);
            return true;
        }
        let Some(next) = self.reading.unapplied.front() else {
            if !busy {
                // Messages behind the last one may have been skipped over.
                self.reading.applied = self.reading.taken;
            }
            return false;
        };
        match &next.content {
            Content::Operation(_) if busy => return false,
            Content::Operation(_) => {
                self.apply_operations();
                return false;
            }
            Content::Newer if !self.has(Flaw::SkipNewer) => {
                // Everything after it may depend on it, so the node stays here.
                self.close_fence(Lost::Newer);
                return false;
            }
            Content::Beat(_) | Content::Definitions | Content::Newer | Content::Forged(_) => {}
        }
        let Some(message) = self.reading.unapplied.pop_front() else { return false };
        if !busy {
            self.reading.applied = message.position.sequence;
        }
        match message.content {
            Content::Beat(beat) => self.beat_applied(&beat, message.position, message.stored_at),
            Content::Forged(Forgery::Beat) => self.forged_beat(message.stored_at),
            _ => {}
        }
        true
    }

    fn apply_operations(&mut self) {
        let catches_up = self.recovery.is_catching_up();
        let mut operations = Vec::new();
        let mut batch = Batch { tags: Vec::new(), sequences: Vec::new(), completes: None };
        while operations.len() < BATCH {
            let message = match self.reading.unapplied.pop_front() {
                Some(message) if matches!(message.content, Content::Operation(_)) => message,
                Some(other) => {
                    self.reading.unapplied.push_front(other);
                    break;
                }
                None => break,
            };
            let Content::Operation(shared) = message.content else { unreachable!("checked above") };
            let age = if catches_up { self.reading.age(message.stored_at) } else { Duration::ZERO };
            let shared = shared.aged(age);
            let position = Position { epoch: self.reading.epoch(), ..message.position };
            if matches!(shared.operation, Operation::Lift { .. }) {
                // The log would take an own revocation that was lifted before it was read for one
                // that the stream lacks, and bring it back.
                for (sequence, own) in self.stored_before(shared.id(), position.sequence) {
                    batch.tags.push((own.tag, own.revision));
                    batch.sequences.push(sequence);
                    let position = Position { sequence, ..position };
                    operations.push((own.clone(), Place { position, revision: own.revision }));
                }
            }
            batch.tags.push((shared.tag, shared.revision));
            batch.sequences.push(position.sequence);
            if self.has(Flaw::EarlyAcknowledgement) {
                self.acknowledge(shared.tag, shared.revision, None);
            }
            if !message.outdated {
                self.recovery.has_read(&shared, self.now);
                self.restate(&shared, position.sequence);
            }
            // Between the two, the revocation would not be in force.
            let shared = self.revoked_after(&shared).unwrap_or(shared);
            let place = Place { position, revision: shared.revision };
            operations.push((shared, place));
        }
        self.reading.batch = Some(batch);
        self.act(Action::Apply(operations));
    }

    fn apply_supplied(&mut self, life: Incarnation, upto: u64, operations: Vec<Shared>) {
        // They do not come through the stream, so their place is before every message of it.
        let position = Position { sequence: 0, ..self.reading.position() };
        let tags = operations.iter().map(|shared| (shared.tag, shared.revision)).collect();
        self.reading.batch = Some(Batch { tags, sequences: Vec::new(), completes: Some((life, upto)) });
        let with_place = |shared: Shared| {
            let place = Place { position, revision: shared.revision };
            (shared, place)
        };
        self.act(Action::Apply(operations.into_iter().map(with_place).collect()));
    }

    /// Takes the operations that a life has sent since the stream lacked them.
    pub(super) fn supplied(&mut self, life: Incarnation, after: u64, upto: u64, operations: Vec<Shared>) {
        // Before the node follows the stream, its log must not take any position for its own.
        if self.recovery.is_following() && self.members.has_asked(life, after) {
            self.reading.supplied.push_back(Supply { life, upto, operations });
        }
    }

    /// A batch is in force.
    pub(super) fn applied(&mut self, receipts: Vec<Option<Receipt>>) {
        let Some(batch) = self.reading.batch.take() else { return };
        for (index, (tag, revision)) in batch.tags.iter().enumerate() {
            self.members.has_applied(*tag);
            let sequence = batch.sequences.get(index).copied();
            if let Some(sequence) = sequence {
                self.reading.applied = self.reading.applied.max(sequence);
            }
            if tag.life == self.me.life {
                if let Some(sequence) = sequence {
                    self.own_seen(tag.number, sequence);
                }
            } else if tag.number < Tag::REPAIRS {
                self.acknowledge(*tag, *revision, receipts.get(index).copied().flatten());
            }
        }
        if let Some((life, upto)) = batch.completes {
            self.members.complete(life, upto, self.now);
        }
    }
}
