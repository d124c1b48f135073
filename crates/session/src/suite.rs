//! Tests what every [`Log`] must do: after any generated sequence of operations, and however often
//! it is reopened, it must answer like a model that keeps lists and scans them.
//!
//! The model has no clock. A validity is a number of whole minutes plus the number of its step in
//! seconds, so which of two revocations expires later does not depend on how fast the test runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use crate::log::{Appended, Entry, Log, Operation, Position};
use crate::node_name::NodeName;
use crate::revocation::{Mode, Receipt, Record, Revocation, RevocationId, Seq};

/// A place that holds a log while it is closed.
pub trait Place {
    /// The log.
    type Log: Log;

    /// Returns a place without a log.
    fn new() -> Self;

    /// Opens the log of this place. The one opened before has been dropped.
    fn open(&self) -> Self::Log;
}

/// Holds a log to the model in `cases` generated cases.
///
/// # Panics
/// Panics with the shortest sequence of steps at which the log and the model disagree.
pub fn run<P: Place>(cases: u32) {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases) });
    let steps = prop::collection::vec(step(), 1..30);
    match runner.run(&steps, |steps| check(&P::new(), &steps)) {
        Ok(()) => {}
        Err(TestError::Fail(reason, steps)) => panic!("{reason}\nsteps: {steps:#?}"),
        Err(error) => panic!("{error}"),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(Ask),
    Lift(u8),
    /// Another node has revoked.
    RecordRevoke(Ask, u64),
    /// Another node has lifted.
    RecordLift(u8, u64),
    Receipt(u8, u8),
    Find(u8),
    Page(usize),
    Reopen,
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
    prop_oneof![
        5 => asked.clone().prop_map(Step::Append),
        2 => id.clone().prop_map(Step::Lift),
        3 => (asked, 0u64..20).prop_map(|(asked, position)| Step::RecordRevoke(asked, position)),
        2 => (id.clone(), 0u64..20).prop_map(|(id, position)| Step::RecordLift(id, position)),
        2 => (id.clone(), 0u8..3).prop_map(|(id, node)| Step::Receipt(id, node)),
        2 => id.prop_map(Step::Find),
        1 => (0usize..5).prop_map(Step::Page),
        2 => Just(Step::Reopen),
    ]
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
    stored: Vec<(Seq, Revocation, BTreeMap<NodeName, Receipt>)>,
    last: Seq,
    position: u64,
}

impl Model {
    fn known(&self, id: &RevocationId) -> Option<(Seq, &Revocation)> {
        self.stored.iter().find(|(_, known, _)| known.id == *id).map(|(seq, known, _)| (*seq, known))
    }

    fn insert(&mut self, revocation: Revocation) -> (Seq, Option<Seq>) {
        let replaces = self.remove(&revocation.id);
        self.last += 1;
        self.stored.push((self.last, revocation, BTreeMap::new()));
        (self.last, replaces)
    }

    fn remove(&mut self, id: &RevocationId) -> Option<Seq> {
        let (seq, _) = self.known(id)?;
        self.stored.retain(|(stored, ..)| *stored != seq);
        Some(seq)
    }

    /// Returns `true` if the known revocation of this id is the same and lasts as long.
    fn covers(&self, revocation: &Revocation) -> bool {
        self.known(&revocation.id)
            .is_some_and(|(_, known)| known.is_same(revocation) && known.kept_for() >= revocation.kept_for())
    }

    fn append(&mut self, revocation: Revocation) -> String {
        match self.known(&revocation.id) {
            Some((_, known)) if !known.is_same(&revocation) => "conflict".into(),
            Some((seq, _)) if !revocation.extends || self.covers(&revocation) => format!("known {seq}"),
            _ => format!("new {:?}", self.insert(revocation)),
        }
    }

    fn record(&mut self, operation: &Operation, position: u64) -> String {
        self.position = self.position.max(position);
        match operation {
            Operation::Revoke(revocation) if self.covers(revocation) => "nothing".into(),
            Operation::Revoke(revocation) => format!("revoked {:?}", self.insert(revocation.clone())),
            Operation::Lift { id, .. } => match self.remove(id) {
                Some(of) => format!("lifted {of}"),
                None => "nothing".into(),
            },
        }
    }

    /// The youngest first.
    fn page(&self, before: Seq, limit: usize) -> Vec<Essence> {
        let youngest = self.stored.iter().rev().filter(|(seq, ..)| *seq < before).take(limit);
        youngest.map(|(seq, revocation, receipts)| (*seq, revocation.clone(), receipts.clone())).collect()
    }

    fn in_force(&self) -> BTreeSet<(Seq, String)> {
        let revokes = self.stored.iter().filter(|(_, revocation, _)| revocation.mode == Mode::Revoke);
        revokes.map(|(seq, revocation, _)| (*seq, revocation.id.to_string())).collect()
    }
}

type Essence = (Seq, Revocation, BTreeMap<NodeName, Receipt>);

fn essence(record: Record) -> Essence {
    assert!(record.left <= record.revocation.kept_for(), "{:?} is left", record.left);
    (record.seq, record.revocation, record.receipts)
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
        Some(Entry::Revoked { seq, replaces, .. }) => format!("revoked {:?}", (seq, replaces)),
        Some(Entry::Lifted { of, .. }) => format!("lifted {of}"),
        None => "nothing".into(),
    }
}

fn check<P: Place>(place: &P, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let mut log = Some(place.open());
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
                prop_assert_eq!(lifted.map(|record| record.seq), model.remove(&id(*n)));
            }
            Step::RecordRevoke(asked, position) => {
                let operation = Operation::Revoke(asked.revocation(number));
                let answer = open.record(&operation, Position(*position)).expect("it is stored");
                prop_assert_eq!(recorded(answer), model.record(&operation, *position));
            }
            Step::RecordLift(n, position) => {
                let operation = Operation::Lift { id: id(*n), by: None };
                let answer = open.record(&operation, Position(*position)).expect("it is stored");
                prop_assert_eq!(recorded(answer), model.record(&operation, *position));
            }
            Step::Receipt(n, node) => {
                let node = NodeName::from(&*format!("node {node}"));
                let receipt = receipt(number);
                if let Some(known) = model.stored.iter_mut().find(|(_, known, _)| known.id == id(*n)) {
                    open.receipt(known.0, &node, receipt);
                    known.2.insert(node, receipt);
                }
            }
            Step::Find(n) => {
                let found = open.find(&id(*n)).expect("it can be read").map(essence);
                let known =
                    model.page(Seq::MAX, usize::MAX).into_iter().find(|(_, known, _)| known.id == id(*n));
                prop_assert_eq!(found, known);
            }
            Step::Page(limit) => {
                let page = open.page(Some(9), *limit).expect("it can be read");
                prop_assert_eq!(page.into_iter().map(essence).collect::<Vec<_>>(), model.page(9, *limit));
            }
            Step::Reopen => {
                drop(log.take());
                let reopened = place.open();
                prop_assert_eq!(loaded(&reopened), (model.in_force(), Position(model.position)));
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
    use crate::log::MemoryLog;

    impl Place for Arc<MemoryLog> {
        type Log = Self;

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
