//! Tests what every [`Log`] must do: after any generated sequence of operations, and however often
//! it is reopened, it must answer like a model that keeps lists and scans them.
//!
//! The model has no clock. A validity is a number of [`PERIOD`]s plus a few seconds for its step,
//! so which of two revocations expires later does not depend on how fast the test runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use crate::log::{Appended, Entry, LIFT_KEPT, Log, Operation};
use crate::name::SessionName;
use crate::node_name::NodeName;
use crate::place::{Epoch, Place, Position};
use crate::revocation::{Mode, Receipt, Record, Revocation, RevocationId, Seq};
use crate::selector::Selector;

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
    Unshare(u8),
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

/// The unit of validities.
const PERIOD: Duration = Duration::from_secs(600);

/// How much longer a validity is with each step: more than what makes the end of a standing
/// revocation another one.
const PER_STEP: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
enum Change {
    Revoke(Ask),
    Lift(u8),
}

#[derive(Clone, Debug)]
struct Ask {
    id: u8,
    issued_up_to: Option<u64>,
    periods: u32,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It revokes.
    Plain,
    /// It only disconnects.
    Disconnects,
    /// It only disconnects, and selects by a mark.
    Local,
    /// It extends, as RIG's blacklist does.
    Extends,
    /// It is the standing revocation of an issuer: of one of two, as the settings may change.
    Standing(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0u8..4;
    let kind = prop_oneof![
        8 => Just(Kind::Plain),
        3 => Just(Kind::Disconnects),
        1 => Just(Kind::Local),
        6 => Just(Kind::Extends),
        5 => Just(Kind::Standing(0)),
        1 => Just(Kind::Standing(1)),
    ];
    let asked = (id.clone(), prop::option::of(0u64..3), 1u32..4, kind);
    let asked = asked.prop_map(|(id, issued_up_to, periods, kind)| Ask { id, issued_up_to, periods, kind });
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
        1 => id.clone().prop_map(Step::Unshare),
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
            // The stream never has a local one.
            Self::Revoke(asked @ Ask { kind: Kind::Local, .. }) => {
                let asked = Ask { kind: Kind::Disconnects, ..asked.clone() };
                Operation::Revoke(asked.revocation(number))
            }
            Self::Revoke(asked) => Operation::Revoke(asked.revocation(number)),
            Self::Lift(n) => Operation::Lift { id: id(*n), by: None },
        }
    }
}

impl Ask {
    /// `number` makes the validity differ from that of every other step.
    fn revocation(&self, number: usize) -> Revocation {
        let name: SessionName = format!("session {}", self.id).parse().expect("a test name is a name");
        let validity = PERIOD * self.periods + PER_STEP * number as u32;
        let disconnects = matches!(self.kind, Kind::Disconnects | Kind::Local);
        let selector = match self.kind {
            Kind::Local => Selector::mark("key", name.clone()),
            Kind::Standing(issuer) => {
                Selector::of_claim("/sub", name.clone()).issued_by(Some(format!("issuer {issuer}").into()))
            }
            Kind::Plain | Kind::Disconnects | Kind::Extends => Selector::session(name.clone()),
        };
        Revocation {
            id: id(self.id),
            selector,
            issued_up_to: self.issued_up_to,
            mode: if disconnects { Mode::Disconnect } else { Mode::Revoke },
            by: Some(format!("operator {number}")),
            reason: Some("a test".into()),
            extends: matches!(self.kind, Kind::Extends | Kind::Standing(_)),
            ..Revocation::blacklist(&name, validity)
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

    fn append(&mut self, mut revocation: Revocation) -> String {
        let place = self.place(&revocation.id);
        let Some(index) = self.index(&revocation.id) else {
            let is_local = revocation.selector.mark_kind().is_some();
            let place = if is_local { Place::default() } else { place };
            return format!("new {}", self.insert(revocation, place, is_local).0);
        };
        let known = &mut self.stored[index];
        let is_standing = |it: &Revocation| it.extends && it.selector.issuer.is_some();
        let are_standing = is_standing(&known.revocation) && is_standing(&revocation);
        let is_other = known.revocation.selector != revocation.selector;
        let may_move = known.revocation.extends && revocation.extends;
        let differs = known.revocation.mode != revocation.mode
            || is_other && !are_standing
            || known.revocation.issued_up_to != revocation.issued_up_to && !may_move;
        if differs {
            return "conflict".into();
        }
        let (bound, left) = (latest(known.revocation.issued_up_to, revocation.issued_up_to), known.left());
        let moves = is_other || bound != known.revocation.issued_up_to || revocation.kept_for() > left;
        if !revocation.extends || !moves {
            // It is wanted again, and other nodes may have lifted it. But a standing one was not
            // wanted by somebody who knows that.
            known.in_stream &= !revocation.extends || are_standing;
            return format!("known {}", known.seq);
        }
        (revocation.issued_up_to, revocation.validity) = (bound, revocation.validity.max(left));
        let shown = shown(&revocation);
        format!("extended {:?} {shown}", self.insert(revocation, place, false))
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
        let (to, from) = (place.position, before.position);
        // What the stream has now counts, even behind a lower sequence: the stream has gone back.
        let later = to.epoch != from.epoch || to.sequence > 0;
        let is_known = self.known(id).is_some() || self.lifts.contains_key(id.as_str());
        if is_known && !newer && !equal || self.known(id).is_some_and(Essence::is_local) {
            return "nothing".into();
        }
        let unseen = self.known(id).is_some_and(|known| !known.in_stream);
        let noted = if newer || later { place } else { before };
        match operation {
            Operation::Revoke(revocation) => {
                let known = self.index(id).map(|index| &mut self.stored[index]);
                if let Some(known) = known.filter(|known| known.revocation.is_same(revocation)) {
                    (known.revision, known.position) = (noted.revision, noted.position);
                    let before = known.revocation.issued_up_to;
                    let bound = latest(before, revocation.issued_up_to);
                    let ends = known.left().max(revocation.kept_for());
                    // As late in both, or later: another one is not in the stream.
                    known.in_stream |= revocation.kept_for() == ends && revocation.issued_up_to == bound;
                    if ends > known.left() || bound != before {
                        known.revocation =
                            Revocation { issued_up_to: bound, validity: ends, ..revocation.clone() };
                        let shown = shown(&known.revocation);
                        return format!("revoked {:?} {shown}", (known.seq, None::<Seq>));
                    }
                    return "nothing".into();
                }
                if is_known && !newer && (unseen || !later) {
                    return "nothing".into();
                }
                let shown = shown(revocation);
                format!("revoked {:?} {shown}", self.insert(revocation.clone(), place, true))
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

    /// Each id with its revision, and the number of periods for which it is kept. What is local is
    /// not shared.
    fn states(&self) -> Vec<(String, u32, u64)> {
        let state = |known: &Essence| {
            let revision = known.revision + u32::from(!known.in_stream);
            (format!("revoked {}", known.revocation.id), revision, periods(known.revocation.kept_for()))
        };
        let shared = self.stored.iter().filter(|known| !known.is_local());
        let lift = |(id, (place, kept)): (&String, &(Place, Duration))| {
            (format!("lifted {id}"), place.revision, periods(*kept))
        };
        shared.map(state).chain(self.lifts.iter().map(lift)).collect()
    }

    fn in_force(&self) -> BTreeSet<(Seq, String)> {
        let revokes = self.stored.iter().filter(|known| known.revocation.mode == Mode::Revoke);
        revokes.map(|known| (known.seq, known.revocation.id.to_string())).collect()
    }
}

/// Rounded to the nearest, since time passes between steps.
fn periods(time: Duration) -> u64 {
    (time + PERIOD / 2).as_secs() / PERIOD.as_secs()
}

/// Rounded to the nearest, since what is left of a revocation that was extended is less than it
/// was.
fn steps(time: Duration) -> Duration {
    let steps = (time + PER_STEP / 2).as_secs() / PER_STEP.as_secs();
    PER_STEP * u32::try_from(steps).expect("no validity is that long")
}

/// Returns the later bound; `None` is the latest.
fn latest(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    if one.is_none() || other.is_none() { None } else { one.max(other) }
}

/// Formats what is in force.
fn shown(revocation: &Revocation) -> String {
    let Revocation { selector, issued_up_to, validity, by, .. } = revocation;
    format!("{selector:?} up to {issued_up_to:?} for {:?} by {by:?}", steps(*validity))
}

impl Essence {
    fn of(record: Record) -> Self {
        // What was extended has the time that was left then.
        assert!(record.left <= record.revocation.kept_for(), "{:?} is left", record.left);
        let Record { seq, mut revocation, receipts, revision, in_stream, .. } = record;
        revocation.validity = steps(revocation.validity);
        Self { seq, revocation, receipts, revision, in_stream, position: Position::default() }
    }

    /// Returns what is left of it, in a model in which no time passes.
    fn left(&self) -> Duration {
        self.revocation.kept_for()
    }

    fn visible(self) -> Self {
        let in_stream = self.in_stream && !self.is_local();
        Self { position: Position::default(), in_stream, ..self }
    }

    /// Returns whether only its own node has it.
    fn is_local(&self) -> bool {
        self.revocation.selector.mark_kind().is_some()
    }
}

fn appended(appended: Appended) -> String {
    match appended {
        Appended::New { seq } => format!("new {seq}"),
        Appended::Extended { seq, replaces, revocation } => {
            format!("extended {:?} {}", (seq, Some(replaces.seq)), shown(&revocation))
        }
        Appended::Known(record) => format!("known {}", record.seq),
        Appended::Conflict => "conflict".into(),
    }
}

fn recorded(entry: Option<Entry>) -> String {
    match entry {
        Some(Entry::Revoked { seq, replaces, revocation }) => {
            format!("revoked {:?} {}", (seq, replaces.map(|replaced| replaced.seq)), shown(&revocation))
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
            Step::Unshare(n) => {
                open.unshare(&id(*n)).expect("it is stored");
                if let Some(index) = model.index(&id(*n)) {
                    model.stored[index].in_stream &= model.stored[index].is_local();
                }
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
            (name, state.revision, periods(state.left))
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
