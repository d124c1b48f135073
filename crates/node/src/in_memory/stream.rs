//! The stream of operations that the nodes of a network follow.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use session::{Epoch, LostLease, NodeName, Operation, Place, Position, Receipt, Revocation, RevocationId};
use tokio::time::Instant;

use super::{Inbox, Message, Traffic};
use crate::bus::IdTaken;
use crate::spread::{NodeReach, Reach, Spread};

/// All operations, and what the nodes have said about them.
#[derive(Default)]
pub(super) struct MemoryStream {
    /// The sequence of the last operation.
    last: u64,
    /// The last operation on each id.
    states: HashMap<RevocationId, Stored>,
    /// The operations that nodes have announced, by number.
    announced: BTreeMap<u64, Announced>,
    latest: HashMap<(NodeName, RevocationId), u64>,
}

/// The last operation on an id.
struct Stored {
    /// `None` for a lift.
    revocation: Option<Revocation>,
    place: Place,
    at: Instant,
}

/// An operation that a node has announced.
struct Announced {
    by: NodeName,
    operation: Operation,
    /// Where the node had applied the stream when it accepted the operation.
    accepted_at: u64,
    /// The sequence; `None` while it is queued.
    sequence: Option<u64>,
    /// Another revocation of its id was first.
    id_taken: bool,
    /// The nodes that have confirmed it.
    confirmed: BTreeMap<NodeName, NodeReach>,
}

impl Traffic {
    /// Adds a node, which has all of the stream still to apply.
    pub(super) fn join(&mut self, name: &NodeName, mut inbox: Inbox) {
        let stored = self.stream.announced.iter().filter_map(|(number, announced)| {
            let place = self.stream.states.get(announced.operation.id())?.place;
            let (from, operation) = (announced.by.clone(), announced.operation.clone());
            let message = Message::Operation { number: *number, place, from, operation };
            let sequence = place.position.sequence;
            (announced.sequence == Some(sequence)).then_some((sequence, message))
        });
        let stored: BTreeMap<u64, Message> = stored.collect();
        inbox.queue.extend(stored.into_values());
        self.inboxes.insert(name.clone(), inbox);
    }

    /// Takes an operation of a node, and stores it unless the node is cut off. Returns its number.
    pub(super) fn announce(&mut self, by: &NodeName, operation: Operation) -> u64 {
        let number = self.stream.announced.len() as u64;
        let accepted_at = self.inboxes.get(by).map(|inbox| inbox.applied).unwrap_or_default();
        self.stream.latest.insert((by.clone(), operation.id().clone()), number);
        let (sequence, id_taken, confirmed) = (None, false, BTreeMap::new());
        let announced = Announced { by: by.clone(), operation, accepted_at, sequence, id_taken, confirmed };
        self.stream.announced.insert(number, announced);
        if !self.is_cut(by) {
            self.store(number);
        }
        number
    }

    /// Stores the operations that a node has announced while it was cut off.
    pub(super) fn store_queued(&mut self, by: &NodeName) {
        let queued = self.stream.announced.iter().filter(|(_, announced)| {
            announced.by == *by && announced.sequence.is_none() && !announced.id_taken
        });
        let queued: Vec<u64> = queued.map(|(number, _)| *number).collect();
        queued.into_iter().for_each(|number| self.store(number));
    }

    pub(super) fn is_cut(&self, name: &NodeName) -> bool {
        self.inboxes.get(name).is_none_or(|inbox| inbox.cut)
    }

    /// Returns whether the stream has a revocation of this id.
    pub(super) fn is_revoked(&self, id: &RevocationId) -> bool {
        self.stream.states.get(id).is_some_and(|stored| stored.revocation.is_some())
    }

    /// Returns how many operations were announced.
    pub(super) fn announced(&self) -> usize {
        self.stream.announced.len()
    }

    fn store(&mut self, number: u64) {
        let stream = &mut self.stream;
        let Some(announced) = stream.announced.get_mut(&number) else { return };
        let id = announced.operation.id().clone();
        let known = stream.states.get(&id);
        let revision = known.map_or(1, |known| known.place.revision + 1);
        if let Operation::Revoke(ours) = &mut announced.operation
            && let Some(Stored { revocation: Some(theirs), at, .. }) = known
            && ours.extends
            && ours.is_same(theirs)
        {
            // Nodes that have not heard of theirs learn of both with this one.
            ours.validity = ours.validity.max(theirs.validity.saturating_sub(at.elapsed()));
            ours.extend_bound(theirs);
        }
        let revocation = match &announced.operation {
            Operation::Revoke(revocation) => Some(revocation.clone()),
            Operation::Lift { .. } => None,
        };
        if let (Some(ours), Some(known)) = (&revocation, known)
            && let Some(theirs) = &known.revocation
            && !ours.extends
            && !ours.is_same(theirs)
            // The node had accepted its own before it applied theirs, unless theirs had expired.
            && (known.place.position.sequence > announced.accepted_at || known.at.elapsed() < theirs.validity)
        {
            announced.id_taken = true;
            return;
        }
        stream.last += 1;
        announced.sequence = Some(stream.last);
        let position = Position { epoch: Epoch(1), sequence: stream.last };
        let place = Place { position, revision };
        stream.states.insert(id, Stored { revocation, place, at: Instant::now() });
        for inbox in self.inboxes.values_mut() {
            let (from, operation) = (announced.by.clone(), announced.operation.clone());
            inbox.queue.push_back(Message::Operation { number, place, from, operation });
        }
    }

    /// Records that a node has applied an operation.
    pub(super) fn confirm(&mut self, number: u64, name: NodeName, receipt: Option<Receipt>) {
        if let Some(announced) = self.stream.announced.get_mut(&number) {
            announced.confirmed.insert(name, NodeReach::Applied(receipt));
        }
    }

    /// Returns how far an operation has got.
    pub(super) fn spread(&mut self, number: u64) -> Result<Spread, IdTaken> {
        let Some(announced) = self.stream.announced.get_mut(&number) else { return Ok(Spread::queued()) };
        if announced.id_taken {
            return Err(IdTaken);
        }
        if announced.sequence.is_none() {
            return Ok(Spread::queued());
        }
        let (mut nodes, mut complete) = (BTreeMap::new(), true);
        for (name, inbox) in &self.inboxes {
            let confirmed = announced.confirmed.get(name).copied();
            // Its lease is not renewed before it has applied the operation.
            let expired = || (!inbox.fence.is_open()).then(|| NodeReach::Expired(SystemTime::now()));
            if *name == announced.by {
                let is_lift = matches!(announced.operation, Operation::Lift { .. });
                complete &= confirmed.is_some() || !is_lift;
            } else if let Some(reach) = confirmed.or_else(expired) {
                announced.confirmed.insert(name.clone(), reach);
                nodes.insert(name.clone(), reach);
            } else {
                complete = false;
                nodes.insert(name.clone(), NodeReach::Unconfirmed(LostLease::Closed));
            }
        }
        Ok(Spread { reach: if complete { Reach::Complete } else { Reach::Pending }, nodes })
    }

    /// Returns the number of the latest operation on this id that a node has announced.
    pub(super) fn latest(&self, by: &NodeName, id: &RevocationId) -> Option<u64> {
        self.stream.latest.get(&(by.clone(), id.clone())).copied()
    }
}
