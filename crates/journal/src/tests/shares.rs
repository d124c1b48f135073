//! What the log of a node in a cluster stores beside its records.

use redb::{Database, ReadableDatabase, ReadableTableMetadata};
use session::{Epoch, LIFT_KEPT, Operation, Place, Position, StateCursor};

use super::*;
use crate::codec::{LIFTS, NUMBERS, PLACES, UNSHARED};

fn at(sequence: u64, revision: u32) -> Place {
    Place { position: Position { epoch: Epoch(u128::MAX - 1), sequence }, revision }
}

fn lift(name: &str) -> Operation {
    Operation::Lift { id: id(name), by: Some("ops".into()) }
}

fn unshared(journal: &Journal) -> Vec<String> {
    let records = journal.unshared(0, 9).expect("it can be read");
    records.into_iter().map(|record| record.revocation.id.to_string()).collect()
}

#[test]
fn a_node_without_peers_writes_nothing_for_a_cluster() {
    let folder = Temporary::new();
    let journal = folder.open();
    append(&journal, &revocation("a", MINUTE));
    journal.lift(&id("a"), None).unwrap();
    append(&journal, &revocation("b", MINUTE));
    assert!(journal.record(&[(lift("b"), at(1, 1))]).is_err());
    assert!(unshared(&journal).is_empty() && journal.unshared_count() == 0);
    drop(journal);
    let store = Database::open(folder.file("revocations.redb")).unwrap();
    let read = store.begin_read().unwrap();
    assert!(read.open_table(PLACES).unwrap().is_empty().unwrap());
    assert!(read.open_table(UNSHARED).unwrap().is_empty().unwrap());
    assert!(read.open_table(LIFTS).unwrap().is_empty().unwrap());
}

#[test]
fn a_node_that_joins_a_cluster_shares_what_it_has_revoked_alone() {
    let folder = Temporary::new();
    let alone = folder.open();
    append(&alone, &revocation("a", MINUTE));
    append(&alone, &Revocation { mode: Mode::Disconnect, ..revocation("gone", MINUTE) });
    drop(alone);

    let journal = folder.open_clustered();
    assert_eq!((unshared(&journal), journal.unshared_count()), (vec!["a".into()], 1));
    let operations = [(Operation::Revoke(revocation("a", MINUTE)), at(7, 1))];
    journal.record(&operations).unwrap();
    append(&journal, &revocation("b", MINUTE));
    drop(journal);
    let journal = folder.open_clustered();
    assert_eq!(unshared(&journal), ["b"], "what is in the stream is shared once");
    assert_eq!(journal.load(&mut |_| ()).unwrap(), at(7, 1).position);
    drop(journal);

    let alone = folder.open();
    alone.lift(&id("a"), None).unwrap();
    append(&alone, &revocation("c", MINUTE));
    drop(alone);
    let journal = folder.open_clustered();
    assert_eq!(unshared(&journal), ["b", "c"]);
    let position = journal.load(&mut |_| ()).unwrap();
    assert_eq!(position, at(0, 0).position, "it reads the stream again, which still has the first");
}

#[test]
fn a_log_of_the_second_format_is_upgraded() {
    let folder = Temporary::new();
    let journal = folder.open();
    append(&journal, &revocation("a", MINUTE));
    drop(journal);
    let store = Database::open(folder.file("revocations.redb")).unwrap();
    let write = store.begin_write().unwrap();
    write.delete_table(PLACES).unwrap();
    write.delete_table(UNSHARED).unwrap();
    write.delete_table(LIFTS).unwrap();
    write.delete_table(crate::codec::LIFT_EXPIRIES).unwrap();
    {
        let mut numbers = write.open_table(NUMBERS).unwrap();
        numbers.insert("position", 5).unwrap();
        numbers.insert("format", 2).unwrap();
        numbers.remove("clustered").unwrap();
    }
    write.commit().unwrap();
    drop(store);

    for opened in ["upgraded", "opened again"] {
        let journal = folder.open_clustered();
        assert_eq!((loaded(&journal), unshared(&journal)), (vec!["a".into()], vec!["a".into()]), "{opened}");
        assert_eq!(journal.load(&mut |_| ()).unwrap(), Position::default(), "{opened}");
    }
}

#[test]
fn a_lift_is_known_for_what_was_left_and_a_day() {
    let folder = Temporary::new();
    let journal = folder.open_clustered();
    let operations = [
        (Operation::Revoke(revocation("a", MINUTE)), at(1, 1)),
        (lift("a"), at(2, 2)),
        (lift("unknown"), at(3, 4)),
    ];
    journal.record(&operations).unwrap();
    let first = journal.states(None, 1).unwrap();
    assert_eq!(first.next, Some(StateCursor::Lift(id("a"))));
    let more = journal.states(first.next.as_ref(), 9).unwrap();
    let states: Vec<_> = first.states.into_iter().chain(more.states).collect();
    let left: Vec<_> = states.iter().map(|state| state.left.as_secs_f64().round() as u64).collect();
    let day = LIFT_KEPT.as_secs();
    assert_eq!((left, more.next), (vec![day + 60, day], None));
    let revisions: Vec<_> = states.iter().map(|state| state.revision).collect();
    assert_eq!(revisions, [2, 4]);
    drop(journal);
    let log = std::fs::File::open(folder.file("audit.log")).unwrap();
    assert_eq!(crate::verify(log, None, false).unwrap().lines, 3, "opened, revoked, lifted");
}

#[test]
fn a_position_in_no_stream_replaces_any_other_and_is_replaced_by_the_next() {
    let folder = Temporary::new();
    let journal = folder.open_clustered();
    journal.record(&[(lift("a"), at(9, 1))]).unwrap();
    journal.advance(Position { epoch: Epoch::NONE, sequence: 0 });
    journal.record(&[]).unwrap();
    let position = journal.load(&mut |_| ()).unwrap();
    assert_eq!(position, Position { epoch: Epoch::NONE, sequence: 0 }, "it is stored at once");
    journal.record(&[(lift("b"), at(5, 1))]).unwrap();
    assert_eq!(journal.load(&mut |_| ()).unwrap(), at(5, 1).position);
}

#[test]
fn a_position_alone_is_stored_when_the_log_is_closed() {
    let folder = Temporary::new();
    let journal = folder.open_clustered();
    journal.advance(at(9, 0).position);
    drop(journal);
    assert_eq!(folder.open_clustered().load(&mut |_| ()).unwrap(), at(9, 0).position);
}
