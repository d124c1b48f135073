//! Tests what every [`Log`] must do: after any generated sequence of operations, and however often
//! it is reopened, it must answer like a model that keeps lists and scans them.
//!
//! The model has no clock. A validity is a number of whole minutes plus the number of its step in
//! seconds, so which of two revocations expires later does not depend on how fast the test runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use crate::log::{Appended, Entry, LIFT_KEPT, Log, Operation};
use crate::node_name::NodeName;
use crate::place::{Epoch, Place, Position};
use crate::revocation::{Mode, Receipt, Record, Revocation, RevocationId, Seq};

/// What holds a log while it is closed.
pub trait Storage {
    /// The log.
    type Log: Log;

    /// Whether the node of the log is in a cluster. If not, nothing is recorded and nothing shared.
    const CLUSTERED: bool;

    /// Returns a storage without a log.
    fn new() -> Self;

    /// Opens the log of this storage. The one opened before has been dropped.
    fn open(&self) -> Self::Log;
}

/// Holds a log to the model in `cases` generated cases.
///
/// # Panics
/// Panics with the shortest sequence of steps at which the log and the model disagree.
pub fn run<S: Storage>(cases: u32) {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases) });
    let steps = prop::collection::vec(step(), 1..30);
    match runner.run(&steps, |steps| check(&S::new(), &steps)) {
        Ok(()) => {}
        Err(TestError::Fail(reason, steps)) => panic!("{reason}\nsteps: {steps:#?}"),
        Err(error) => panic!("{error}"),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(Ask),
    Lift(u8),
    /// The stream holds these, each with its place.
    Record(Vec<(Change, Place)>),
    Advance(Position),
    Receipt(u8, u8),
    Find(u8),
    Page(usize),
    Unshared(usize),
    States(usize),
    Reopen,
}

#[derive(Clone, Debug)]
enum Change {
    Revoke(Ask),
    Lift(u8),
}

#[derive(Clone, Debug)]
struct Ask {
    id: u8,
    issued_up_to: Option<u64>,
    minutes: u32,
    extends: bool,
    disconnects: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0u8..4;
    let asked = (id.clone(), prop::option::of(0u64..2), 1u32..4, any::<bool>(), prop::bool::weighted(0.2));
    let asked = asked.prop_map(|(id, issued_up_to, minutes, extends, disconnects)| Ask {
        id,
        issued_up_to,
        minutes,
        extends,
        disconnects,
    });
    let change = prop_oneof![
        3 => asked.clone().prop_map(Change::Revoke),
        2 => id.clone().prop_map(Change::Lift),
    ];
    let position =
        (1u128..3, 0u64..20).prop_map(|(epoch, sequence)| Position { epoch: Epoch(epoch), sequence });
    let place = (position.clone(), 1u32..5).prop_map(|(position, revision)| Place { position, revision });
    prop_oneof![
        5 => asked.prop_map(Step::Append),
        1 => id.clone().prop_map(Step::Lift),
        6 => prop::collection::vec((change, place), 0..4).prop_map(Step::Record),
        1 => position.prop_map(Step::Advance),
        2 => (id.clone(), 0u8..3).prop_map(|(id, node)| Step::Receipt(id, node)),
        2 => id.prop_map(Step::Find),
        1 => (0usize..5).prop_map(Step::Page),
        2 => (1usize..4).prop_map(Step::Unshared),
        2 => (1usize..4).prop_map(Step::States),
        2 => Just(Step::Reopen),
    ]
}

impl Change {
    fn operation(&self, number: usize) -> Operation {
        match self {
            Self::Revoke(asked) => Operation::Revoke(asked.revocation(number)),
            Self::Lift(n) => Operation::Lift { id: id(*n), by: None },
        }
    }
}

impl Ask {
    /// `number` makes the validity differ from that of every other step.
    fn revocation(&self, number: usize) -> Revocation {
        let name = format!("session {}", self.id);
        let seconds = self.minutes * 60 + number as u32;
        Revocation {
            id: id(self.id),
            issued_up_to: self.issued_up_to,
            mode: if self.disconnects { Mode::Disconnect } else { Mode::Revoke },
            by: Some(format!("operator {number}")),
            reason: Some("a test".into()),
            extends: self.extends && !self.disconnects,
            ..Revocation::blacklist(
                &name.parse().expect("a test name is a name"),
                Duration::from_secs(seconds.into()),
            )
        }
    }
}

fn id(n: u8) -> RevocationId {
    RevocationId::new(&format!("id {n}")).expect("a test id is an id")
}

/// What a log should hold.
#[derive(Default)]
struct Model {
    stored: Vec<Essence>,
    /// By their ids: the places, and how long they are kept at least.
    lifts: BTreeMap<String, (Place, Duration)>,
    last: Seq,
    position: Position,
}

/// A record without what the clock changes.
#[derive(Clone, Debug, PartialEq)]
struct Essence {
    seq: Seq,
    revocation: Revocation,
    receipts: BTreeMap<NodeName, Receipt>,
    revision: u32,
    in_stream: bool,
    /// Where the stream had it last. Not visible in a record.
    position: Position,
}

impl Model {
    fn index(&self, id: &RevocationId) -> Option<usize> {
        self.stored.iter().position(|known| known.revocation.id == *id)
    }

    fn known(&self, id: &RevocationId) -> Option<&Essence> {
        self.index(id).map(|index| &self.stored[index])
    }

    /// Adds a record in place of whatever is known of its id.
    fn insert(&mut self, revocation: Revocation, place: Place, in_stream: bool) -> (Seq, Option<Seq>) {
        let replaces = self.remove(&revocation.id).map(|known| known.seq);
        self.lifts.remove(revocation.id.as_str());
        self.last += 1;
        self.stored.push(Essence {
            seq: self.last,
            revocation,
            receipts: BTreeMap::new(),
            revision: place.revision,
            in_stream,
            position: place.position,
        });
        (self.last, replaces)
    }

    fn remove(&mut self, id: &RevocationId) -> Option<Essence> {
        self.index(id).map(|index| self.stored.remove(index))
    }

    /// Returns the place that the stream has given to this id.
    fn place(&self, id: &RevocationId) -> Place {
        let known = self.known(id).map(|known| Place { position: known.position, revision: known.revision });
        known.or(self.lifts.get(id.as_str()).map(|lift| lift.0)).unwrap_or_default()
    }

    /// Returns `true` if the known revocation of this id is the same and lasts as long.
    fn covers(&self, revocation: &Revocation) -> bool {
        self.known(&revocation.id).is_some_and(|known| {
            known.revocation.is_same(revocation) && known.revocation.kept_for() >= revocation.kept_for()
        })
    }

    fn append(&mut self, revocation: Revocation) -> String {
        match self.known(&revocation.id) {
            Some(known) if !known.revocation.is_same(&revocation) => "conflict".into(),
            Some(known) if !revocation.extends || self.covers(&revocation) => {
                let (seq, index) = (known.seq, self.index(&revocation.id));
                if let Some(index) = index.filter(|_| revocation.extends) {
                    // It is wanted again, and other nodes may have lifted it.
                    self.stored[index].in_stream = false;
                }
                format!("known {seq}")
            }
            _ => {
                let place = self.place(&revocation.id);
                format!("new {:?}", self.insert(revocation, place, false))
            }
        }
    }

    fn advance(&mut self, position: Position) {
        if position.epoch != self.position.epoch || position.sequence > self.position.sequence {
            self.position = position;
        }
    }

    fn record(&mut self, operation: &Operation, place: Place) -> String {
        let id = operation.id();
        let before = self.place(id);
        let (newer, equal) = (place.revision > before.revision, place.revision == before.revision);
        let later = place.position.epoch != before.position.epoch
            || place.position.sequence > before.position.sequence;
        let is_known = self.known(id).is_some() || self.lifts.contains_key(id.as_str());
        if is_known && !newer && !equal {
            return "nothing".into();
        }
        let unseen = self.known(id).is_some_and(|known| !known.in_stream);
        let noted = if newer || later { place } else { before };
        match operation {
            Operation::Revoke(revocation) => {
                let known = self.index(id).map(|index| &mut self.stored[index]);
                if let Some(known) = known.filter(|known| known.revocation.is_same(revocation)) {
                    (known.revision, known.position) = (noted.revision, noted.position);
                    let extends = revocation.kept_for() > known.revocation.kept_for();
                    // As long as it is known, or longer: another one is not in the stream.
                    known.in_stream |= revocation.kept_for() >= known.revocation.kept_for();
                    if extends {
                        known.revocation.validity = revocation.validity;
                        return format!("revoked {:?}", (known.seq, None::<Seq>));
                    }
                    return "nothing".into();
                }
                if is_known && !newer && (unseen || !later) {
                    return "nothing".into();
                }
                format!("revoked {:?}", self.insert(revocation.clone(), place, true))
            }
            Operation::Lift { .. } if unseen => {
                if newer && let Some(index) = self.index(id) {
                    let known = &mut self.stored[index];
                    (known.revision, known.position) = (place.revision, place.position);
                }
                "nothing".into()
            }
            Operation::Lift { .. } if is_known && !newer && self.known(id).is_none() => {
                let lift = self.lifts.get_mut(id.as_str()).expect("it is known");
                lift.0 = noted;
                "nothing".into()
            }
            Operation::Lift { .. } if is_known && !newer && !later => "nothing".into(),
            Operation::Lift { .. } => {
                let lifted = self.remove(id);
                let left = lifted.as_ref().map_or(Duration::ZERO, |known| known.revocation.kept_for());
                let kept = self.lifts.get(id.as_str()).map_or(Duration::ZERO, |lift| lift.1);
                self.lifts.insert(id.to_string(), (place, kept.max(left + LIFT_KEPT)));
                lifted.map_or_else(|| "nothing".into(), |known| format!("lifted {}", known.seq))
            }
        }
    }

    /// The youngest first.
    fn page(&self, before: Seq, limit: usize) -> Vec<Essence> {
        let youngest = self.stored.iter().rev().filter(|known| known.seq < before).take(limit);
        youngest.cloned().map(Essence::visible).collect()
    }

    /// The oldest first.
    fn unshared(&self) -> Vec<Essence> {
        let unshared = self.stored.iter().filter(|known| !known.in_stream).cloned();
        unshared.map(|known| Essence { receipts: BTreeMap::new(), ..known.visible() }).collect()
    }

    /// Each id with its revision, and the number of minutes for which it is kept.
    fn states(&self) -> Vec<(String, u32, u64)> {
        let state = |known: &Essence| {
            let revision = known.revision + u32::from(!known.in_stream);
            (format!("revoked {}", known.revocation.id), revision, minutes(known.revocation.kept_for()))
        };
        let lift = |(id, (place, kept)): (&String, &(Place, Duration))| {
            (format!("lifted {id}"), place.revision, minutes(*kept))
        };
        self.stored.iter().map(state).chain(self.lifts.iter().map(lift)).collect()
    }

    fn in_force(&self) -> BTreeSet<(Seq, String)> {
        let revokes = self.stored.iter().filter(|known| known.revocation.mode == Mode::Revoke);
        revokes.map(|known| (known.seq, known.revocation.id.to_string())).collect()
    }
}

/// Rounded to the nearest, since seconds differ between steps.
fn minutes(time: Duration) -> u64 {
    (time.as_secs() + 30) / 60
}

impl Essence {
    fn of(record: Record) -> Self {
        assert!(record.left <= record.revocation.kept_for(), "{:?} is left", record.left);
        let Record { seq, revocation, receipts, revision, in_stream, .. } = record;
        Self { seq, revocation, receipts, revision, in_stream, position: Position::default() }
    }

    fn visible(self) -> Self {
        Self { position: Position::default(), ..self }
    }
}

fn appended(appended: Appended) -> String {
    match appended {
        Appended::New { seq, replaces } => format!("new {:?}", (seq, replaces)),
        Appended::Known(record) => format!("known {}", record.seq),
        Appended::Conflict => "conflict".into(),
    }
}

fn recorded(entry: Option<Entry>) -> String {
    match entry {
        Some(Entry::Revoked { seq, replaces, .. }) => {
            format!("revoked {:?}", (seq, replaces.map(|replaced| replaced.seq)))
        }
        Some(Entry::Lifted { of, .. }) => format!("lifted {of}"),
        None => "nothing".into(),
    }
}

fn check<S: Storage>(storage: &S, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let mut log = Some(storage.open());
    for (number, step) in steps.iter().enumerate() {
        let open = log.as_ref().expect("it is reopened at once");
        match step {
            Step::Append(asked) => {
                let revocation = asked.revocation(number);
                let answer = appended(open.append(&revocation).expect("it is stored"));
                prop_assert_eq!(answer, model.append(revocation));
            }
            Step::Lift(n) => {
                let lifted = open.lift(&id(*n), None).expect("it is certain");
                prop_assert_eq!(
                    lifted.map(|record| record.seq),
                    model.remove(&id(*n)).map(|known| known.seq)
                );
            }
            Step::Record(_) | Step::Advance(_) if !S::CLUSTERED => {}
            Step::Record(changes) => {
                let operations: Vec<_> =
                    changes.iter().map(|(change, place)| (change.operation(number), *place)).collect();
                let answers = open.record(&operations).expect("they are stored");
                let expected: Vec<_> =
                    operations.iter().map(|(operation, place)| model.record(operation, *place)).collect();
                prop_assert_eq!(answers.into_iter().map(recorded).collect::<Vec<_>>(), expected);
                operations.last().into_iter().for_each(|(_, place)| model.advance(place.position));
            }
            Step::Advance(position) => {
                open.advance(*position);
                model.advance(*position);
            }
            Step::Receipt(n, node) => {
                let node = NodeName::from(&*format!("node {node}"));
                let receipt = receipt(number);
                if let Some(index) = model.index(&id(*n)) {
                    open.receipt(model.stored[index].seq, &node, receipt);
                    model.stored[index].receipts.insert(node, receipt);
                }
            }
            Step::Find(n) => {
                let found = open.find(&id(*n)).expect("it can be read").map(Essence::of);
                prop_assert_eq!(found, model.known(&id(*n)).cloned().map(Essence::visible));
            }
            Step::Page(limit) => {
                let page = open.page(Some(9), *limit).expect("it can be read");
                let page: Vec<_> = page.into_iter().map(Essence::of).collect();
                prop_assert_eq!(page, model.page(9, *limit));
            }
            Step::Unshared(limit) => {
                let expected = if S::CLUSTERED { model.unshared() } else { Vec::new() };
                prop_assert_eq!(open.unshared_count(), expected.len() as u64);
                prop_assert_eq!(unshared(open, *limit), expected);
            }
            Step::States(limit) => prop_assert_eq!(states(open, *limit), model.states()),
            Step::Reopen => {
                drop(log.take());
                let reopened = storage.open();
                prop_assert_eq!(loaded(&reopened), (model.in_force(), model.position));
                log = Some(reopened);
            }
        }
    }
    Ok(())
}

fn receipt(number: usize) -> Receipt {
    Receipt {
        applied_at: UNIX_EPOCH + Duration::from_secs(number as u64),
        connections: number as u64,
        requests: 1,
        last_payload_at: None,
    }
}

/// Reads all pages.
fn unshared(log: &impl Log, limit: usize) -> Vec<Essence> {
    let mut records: Vec<Essence> = Vec::new();
    loop {
        let after = records.last().map_or(0, |last| last.seq);
        let page = log.unshared(after, limit).expect("it can be read");
        if page.is_empty() {
            return records;
        }
        let without_receipts = |record| Record { receipts: BTreeMap::new(), ..record };
        records.extend(page.into_iter().map(without_receipts).map(Essence::of));
    }
}

/// Reads all pages.
fn states(log: &impl Log, limit: usize) -> Vec<(String, u32, u64)> {
    let (mut states, mut after) = (Vec::new(), None);
    loop {
        let page = log.states(after.as_ref(), limit).expect("it can be read");
        assert!(page.states.len() <= limit);
        states.extend(page.states.into_iter().map(|state| {
            let name = match &state.operation {
                Operation::Revoke(revocation) => format!("revoked {}", revocation.id),
                Operation::Lift { id, .. } => {
                    assert_eq!(log.lifted(id).expect("it can be read"), Some(state.revision));
                    format!("lifted {id}")
                }
            };
            (name, state.revision, minutes(state.left))
        }));
        match page.next {
            Some(next) => after = Some(next),
            None => return states,
        }
    }
}

fn loaded(log: &impl Log) -> (BTreeSet<(Seq, String)>, Position) {
    let mut entries = BTreeSet::new();
    let position = log.load(&mut |entry| {
        if let Entry::Revoked { seq, revocation, .. } = entry {
            entries.insert((seq, revocation.id.to_string()));
        }
    });
    (entries, position.expect("it can be read"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::memory_log::MemoryLog;

    impl Storage for Arc<MemoryLog> {
        type Log = Self;

        const CLUSTERED: bool = true;

        fn new() -> Self {
            Self::default()
        }

        fn open(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn the_log_in_memory_agrees_with_the_model() {
        run::<Arc<MemoryLog>>(256);
    }
}
