//! The stream as JetStream keeps it: the last message of each subject, in one sequence.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use session::{Operation, RevocationId};

use super::plan::micros;
use super::{Micros, STEP};
use crate::core::Unpublished;
use crate::message::{Content, Stored};
use session::{Epoch, Position};

/// The clock of NATS at the start, in milliseconds.
const SINCE_1970: u64 = 1_700_000_000_000;

/// Where a message belongs. The stream keeps the last one of each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The beats of a node.
    Beat(usize),
    /// The state of an id.
    Operation(RevocationId),
    /// What does not concern sessions.
    Other,
}

/// A message, with all that the server knows of it.
pub(super) struct Entry {
    pub(super) stored: Stored,
    /// The version of the gateway that can read it.
    pub(super) version: u8,
    at: Micros,
    subject: Subject,
    /// The sequence of the message that has replaced it; `u64::MAX` for the last of its subject.
    pub(super) replaced_by: u64,
    /// The sequence of the message that it has replaced; 0 for the first of its subject.
    pub(super) replaces: u64,
    /// It does not exist any more: it was lost, or has expired.
    lost: bool,
    /// When the revocation in it expires.
    pub(super) over: Micros,
}

/// A message to store.
pub(super) struct Publication {
    pub(super) subject: Subject,
    /// The epoch that the sender believes in.
    pub(super) epoch: Epoch,
    pub(super) content: Content,
    pub(super) version: u8,
    /// The sequence that the last message of the subject must have.
    pub(super) expected: Option<u64>,
    /// How long it is kept.
    pub(super) ttl: Option<Micros>,
}

/// The stream. Replicas that lag behind see it up to a horizon, which is a sequence.
pub(super) struct Stream {
    pub(super) epoch: Epoch,
    pub(super) adopted: bool,
    entries: Vec<Entry>,
    last_of: BTreeMap<Subject, u64>,
    digests: u64,
    /// How much the clock of NATS is ahead.
    ahead: Micros,
    /// When messages expire, by the clock of NATS.
    expiring: BTreeSet<(Micros, u64)>,
}

impl Entry {
    /// Returns the message as a gateway of this version reads it.
    pub(super) fn read_by(&self, version: u8) -> Stored {
        let mut stored = self.stored.clone();
        if self.version > version {
            stored.content = Content::Newer;
        }
        stored
    }
}

impl Stream {
    pub(super) fn new() -> Self {
        Self {
            epoch: Epoch(1),
            adopted: true,
            entries: Vec::new(),
            last_of: BTreeMap::new(),
            digests: 0,
            ahead: 0,
            expiring: BTreeSet::new(),
        }
    }

    /// Stores a message. Returns its sequence.
    pub(super) fn publish(&mut self, now: Micros, publication: Publication) -> Result<u64, Unpublished> {
        let Publication { subject, epoch, content, version, expected, ttl } = publication;
        self.expire(now);
        let replaces = self.last_of.get(&subject).copied().unwrap_or_default();
        if expected.is_some_and(|expected| expected != replaces) {
            return Err(Unpublished::Conflict);
        }
        let sequence = self.last() + 1;
        if let Some(replaced) = self.entry_mut(replaces) {
            replaced.replaced_by = sequence;
        }
        self.last_of.insert(subject.clone(), sequence);
        self.digests += 1;
        let clock = now + self.ahead;
        if let Some(ttl) = ttl {
            self.expiring.insert((clock + ttl, sequence));
        }
        let over = match &content {
            Content::Operation(shared) => match &shared.operation {
                Operation::Revoke(revocation) => now + micros(revocation.kept_for()),
                Operation::Lift { .. } => Micros::MAX,
            },
            _ => Micros::MAX,
        };
        self.entries.push(Entry {
            stored: Stored {
                position: Position { epoch, sequence },
                stored_at: SINCE_1970 + clock / 1000,
                digest: self.digests,
                outdated: false,
                content,
            },
            version,
            at: now,
            subject,
            replaced_by: u64::MAX,
            replaces,
            lost: false,
            over,
        });
        Ok(sequence)
    }

    /// Returns the time by the clock of NATS, in milliseconds.
    pub(super) fn clock(&self, now: Micros) -> u64 {
        SINCE_1970 + (now + self.ahead) / 1000
    }

    /// The clock of NATS steps.
    pub(super) fn set_clock(&mut self, is_ahead: bool) {
        self.ahead = if is_ahead { STEP } else { 0 };
    }

    /// Removes what has expired by the clock of NATS.
    pub(super) fn expire(&mut self, now: Micros) {
        while let Some((at, sequence)) = self.expiring.first().copied()
            && at <= now + self.ahead
        {
            self.expiring.pop_first();
            self.lose(sequence);
        }
    }

    fn entry_mut(&mut self, sequence: u64) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(sequence.checked_sub(1)?).ok()?)
    }

    /// Returns a message, even if another one has replaced it.
    pub(super) fn entry(&self, sequence: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(sequence.checked_sub(1)?).ok()?)
    }

    pub(super) fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Returns the last sequence at a moment of the past.
    pub(super) fn last_at(&self, at: Micros) -> u64 {
        let mut last = self.entries.len();
        while last > 0 && self.entries[last - 1].at > at {
            last -= 1;
        }
        last as u64
    }

    /// Returns what a replica with this horizon returns of a range.
    pub(super) fn range(&self, from: u64, to: u64, horizon: u64) -> impl Iterator<Item = &Entry> {
        let to = to.min(horizon).min(self.last());
        let entries = (from.max(1)..=to).filter_map(|sequence| self.entry(sequence));
        entries.filter(move |entry| !entry.lost && entry.replaced_by > horizon)
    }

    /// Returns the first sequence that exists; the one after the last if none does.
    pub(super) fn first(&self) -> u64 {
        let exists = |entry: &Entry| !entry.lost && entry.replaced_by == u64::MAX;
        self.entries.iter().position(exists).unwrap_or(self.entries.len()) as u64 + 1
    }

    /// Returns some beat of a node that the stream has held.
    pub(super) fn any_beat(&self, node: usize, rng: &mut Rng) -> Option<(Subject, Epoch, Content)> {
        let beats = self.entries.iter().filter(|entry| entry.subject == Subject::Beat(node));
        let beats: Vec<_> = beats.collect();
        let beat = beats.get(rng.usize(..beats.len().max(1)))?;
        Some((beat.subject.clone(), beat.stored.position.epoch, beat.stored.content.clone()))
    }

    /// Returns what a replica with this horizon knows as the last message of a subject.
    pub(super) fn last_on(&self, subject: &Subject, horizon: u64) -> Option<&Entry> {
        let mut sequence = self.last_of.get(subject).copied()?;
        while sequence > horizon {
            sequence = self.entry(sequence)?.replaces;
        }
        self.entry(sequence).filter(|entry| !entry.lost)
    }

    /// Loses everything after a sequence: acknowledged writes that no server has on its disk, or a
    /// restored copy.
    pub(super) fn truncate(&mut self, last: u64) {
        self.entries.truncate(usize::try_from(last).unwrap_or(usize::MAX));
        self.last_of.clear();
        self.expiring.retain(|(_, sequence)| *sequence <= last);
        for (entry, sequence) in self.entries.iter_mut().zip(1..) {
            if entry.replaced_by > last {
                entry.replaced_by = u64::MAX;
                if !entry.lost {
                    self.last_of.insert(entry.subject.clone(), sequence);
                }
            }
        }
    }

    /// Loses a message: it has expired, or it was acknowledged in vain.
    pub(super) fn lose(&mut self, sequence: u64) {
        if let Some(entry) = self.entry_mut(sequence)
            && !entry.lost
        {
            entry.lost = true;
            if entry.replaced_by == u64::MAX {
                let subject = entry.subject.clone();
                self.last_of.remove(&subject);
            }
        }
    }

    /// Returns the sequence of the last operation.
    pub(super) fn last_operation(&self) -> Option<u64> {
        let is_operation = |entry: &&Entry| matches!(entry.subject, Subject::Operation(_));
        self.entries.iter().rev().find(is_operation).map(|entry| entry.stored.position.sequence)
    }

    /// An operator makes the stream anew.
    pub(super) fn make_anew(&mut self, adopted: bool) {
        let (digests, ahead) = (self.digests, self.ahead);
        *self = Self { epoch: Epoch(self.epoch.0 + 1), adopted, digests, ahead, ..Self::new() };
    }
}
