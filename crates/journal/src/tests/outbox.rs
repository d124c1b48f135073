//! What is reported: queued with the change, whatever happens then.

mod full;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use redb::{Database, TableDefinition};
use serde_json::{Value, json};
use session::{Epoch, MemoryLog, Operation, Place, Position, Receipt};

use super::crash::{journal_on, new_disk, use_until_the_end};
use super::disk::Random;
use super::*;
use crate::{Change, ChangeKind, Outbox, OutboxCounts, Outlet, ReportingLog};

const ALL: usize = 1_000_000;

fn config(folder: &Temporary, outlets: &[Outlet]) -> Config {
    Config { outlets: outlets.to_vec(), ..folder.config() }
}

fn open(folder: &Temporary, outlets: &[Outlet]) -> Journal {
    let journal = Journal::open(&config(folder, outlets)).unwrap();
    journal.set_node(NodeName::default());
    journal
}

fn receipt(connections: u64) -> Receipt {
    let applied_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
    Receipt { applied_at, connections, requests: 1, last_payload_at: None }
}

fn queued(journal: &Journal, outlet: Outlet) -> Vec<Change> {
    journal.outbox(outlet).expect("it is configured").oldest(ALL).unwrap()
}

/// Waits until this number of changes is queued; receipts are stored a little later.
fn await_queued(journal: &Journal, count: usize) -> Vec<Change> {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let changes = queued(journal, Outlet::Hook);
        if changes.len() >= count {
            return changes;
        }
        assert!(std::time::Instant::now() < deadline, "{changes:?}");
        std::thread::yield_now();
    }
}

/// Waits until this number is shown, which happens after the commit.
fn await_counted(outbox: &dyn Outbox, queued: u64) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while outbox.counts().queued != queued {
        assert!(std::time::Instant::now() < deadline, "{:?}", outbox.counts());
        std::thread::yield_now();
    }
}

fn data(change: &Change) -> Value {
    serde_json::from_str(&change.data).unwrap()
}

fn told(changes: &[Change]) -> Vec<(String, ChangeKind)> {
    let told = |change: &Change| (data(change)["id"].as_str().unwrap().to_owned(), change.kind);
    changes.iter().map(told).collect()
}

fn kinds(changes: &[Change]) -> Vec<ChangeKind> {
    changes.iter().map(|change| change.kind).collect()
}

#[test]
fn each_change_is_queued_once_with_what_the_audit_log_says() {
    let folder = Temporary::new();
    let journal = open(&folder, &[Outlet::Hook]);
    let rich = Revocation {
        selector: Selector::of_claim("/sub", "alice".parse().unwrap()).issued_by(Some("https://i".into())),
        issued_up_to: Some(7),
        by: Some("ops".into()),
        reason: Some("lost phone".into()),
        ..revocation("rich", MINUTE)
    };
    let seq = append(&journal, &rich);
    assert!(matches!(journal.append(&rich), Ok(Appended::Known(_))), "again");
    journal.receipt(seq, &NodeName::default(), receipt(3));
    let changes = await_queued(&journal, 2);
    assert!(journal.lift(&id("rich"), Some("bob")).unwrap().is_some());
    assert!(journal.lift(&id("rich"), Some("bob")).unwrap().is_none(), "again");
    let lifted = queued(&journal, Outlet::Hook);
    assert_eq!(kinds(&lifted), [ChangeKind::Accepted, ChangeKind::Applied, ChangeKind::Lifted]);
    assert_eq!(
        lifted[..2].iter().map(|change| change.id).collect::<Vec<_>>(),
        [changes[0].id, changes[1].id]
    );
    let mut accepted = data(&lifted[0]);
    assert!(accepted["endsAt"].take().is_string());
    let mut expected = json!({
        "id": "rich", "selector": { "issuer": "https://i", "claim": "/sub", "value": "alice" },
        "issuedUpTo": 7, "mode": "revoke", "validityInSeconds": 60, "endsAt": null,
        "by": "ops", "reason": "lost phone",
    });
    assert_eq!(accepted, expected);
    let mut applied = data(&lifted[1]);
    assert!(applied["endsAt"].take().is_string());
    for (name, value) in [
        ("appliedAt", json!("1970-01-01T00:00:01.500Z")),
        ("connectionsTerminated", json!(3)),
        ("requestsCut", json!(1)),
        ("lastPayloadAt", Value::Null),
    ] {
        assert_eq!(applied.as_object_mut().unwrap().remove(name), Some(value), "{name}");
    }
    assert_eq!(applied, expected);
    expected["by"] = json!("bob");
    expected.as_object_mut().unwrap().remove("endsAt");
    assert_eq!(data(&lifted[2]), expected);
}

#[test]
fn what_only_disconnects_or_never_expires_has_no_end() {
    let folder = Temporary::new();
    let journal = open(&folder, &[Outlet::Hook]);
    append(&journal, &Revocation { mode: Mode::Disconnect, ..revocation("gone", MINUTE) });
    append(&journal, &revocation("for ever", Duration::MAX));
    append(&journal, &revocation("ten thousand years", Duration::from_secs(10_000 * 366 * 86_400)));
    append(&journal, &revocation("half a second", Duration::from_millis(500)));
    let changes = queued(&journal, Outlet::Hook);
    let told = |change: &Change| {
        let data = data(change);
        (data.get("validityInSeconds").and_then(Value::as_u64), data.get("endsAt").is_some())
    };
    assert_eq!(
        changes.iter().map(told).collect::<Vec<_>>(),
        [(None, false), (None, false), (Some(10_000 * 366 * 86_400), false), (Some(1), true)]
    );
}

#[test]
fn a_standing_revocation_is_reported_with_each_move_and_by_its_latest_bound() {
    let folder = Temporary::new();
    let journal = open(&folder, &[Outlet::Hook]);
    append(&journal, &standing(900, 10 * MINUTE));
    assert!(matches!(journal.append(&standing(950, 5 * MINUTE)), Ok(Appended::Extended { .. })));
    assert!(matches!(journal.append(&standing(950, 5 * MINUTE)), Ok(Appended::Known(_))));
    let bounds: Vec<_> =
        queued(&journal, Outlet::Hook).iter().map(|change| data(change)["issuedUpTo"].clone()).collect();
    assert_eq!(bounds, [json!(900), json!(950)]);
}

#[test]
fn receipts_of_other_nodes_are_not_reported() {
    let folder = Temporary::new();
    let journal = open(&folder, &[Outlet::Hook]);
    let seq = append(&journal, &revocation("a", MINUTE));
    journal.receipt(seq, &NodeName::from("another"), receipt(9));
    // Stored with the same commit, or with the one before.
    append(&journal, &revocation("b", MINUTE));
    journal.receipt(seq, &NodeName::default(), receipt(1));
    let changes = await_queued(&journal, 3);
    assert_eq!(kinds(&changes), [ChangeKind::Accepted, ChangeKind::Accepted, ChangeKind::Applied]);
    assert_eq!(data(&changes[2])["connectionsTerminated"], 1);
}

#[test]
fn after_a_lift_nothing_follows() {
    let folder = Temporary::new();
    let journal = open(&folder, &[Outlet::Hook]);
    let seq = append(&journal, &revocation("a", MINUTE));
    journal.lift(&id("a"), None).unwrap();
    journal.receipt(seq, &NodeName::default(), receipt(1));
    append(&journal, &revocation("b", MINUTE));
    drop(journal);
    let journal = open(&folder, &[Outlet::Hook]);
    let told = told(&queued(&journal, Outlet::Hook));
    let told: Vec<_> = told.iter().map(|(id, kind)| (id.as_str(), *kind)).collect();
    assert_eq!(
        told,
        [
            ("a", ChangeKind::Accepted),
            ("a", ChangeKind::Lifted),
            ("b", ChangeKind::Accepted),
            ("b", ChangeKind::Applied),
        ]
    );
}

#[test]
fn what_has_no_receipt_when_the_process_exits_is_applied_by_then() {
    let folder = Temporary::new();
    let journal = open(&folder, &[Outlet::Hook]);
    append(&journal, &revocation("a", MINUTE));
    append(&journal, &revocation("b", MINUTE));
    drop(journal);
    for _ in 0..2 {
        let changes = queued(&open(&folder, &[Outlet::Hook]), Outlet::Hook);
        assert_eq!(
            told(&changes)[2..],
            [("a".to_owned(), ChangeKind::Applied), ("b".to_owned(), ChangeKind::Applied)]
        );
        assert_eq!((changes.len(), &data(&changes[2])["connectionsTerminated"]), (4, &Value::Null));
        assert!(data(&changes[2])["appliedAt"].is_string());
    }
}

#[test]
fn numbers_grow_over_restarts_and_what_was_sent_is_gone() {
    let folder = Temporary::new();
    let mut last = 0;
    for round in 0..3 {
        let journal = open(&folder, &[Outlet::Hook]);
        let outbox = journal.outbox(Outlet::Hook).unwrap();
        assert_eq!(outbox.counts(), OutboxCounts::default(), "{round}");
        let seq = append(&journal, &revocation(&format!("r{round}"), MINUTE));
        journal.receipt(seq, &NodeName::default(), receipt(1));
        let changes = await_queued(&journal, 2);
        assert!(changes[0].sequence > last && changes[1].sequence == changes[0].sequence + 1);
        await_counted(&*outbox, 2);
        last = changes[1].sequence;
        outbox.sent(&changes[0]);
        assert_eq!(
            outbox.oldest(ALL).unwrap(),
            [Change { age: outbox.oldest(1).unwrap()[0].age, ..changes[1].clone() }]
        );
        outbox.sent(&changes[1]);
        assert_eq!((outbox.oldest(ALL).unwrap(), outbox.counts().queued), (Vec::new(), 0));
    }
}

/// As after the time of day was set back.
#[test]
fn numbers_continue_above_the_last_one_of_the_folder() {
    const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("outbox_numbers");
    let folder = Temporary::new();
    drop(open(&folder, &[Outlet::Hook]));
    let last = 1 << 62;
    let store = Database::open(folder.file("revocations.redb")).unwrap();
    let write = store.begin_write().unwrap();
    write.open_table(NUMBERS).unwrap().insert("sequence", last).unwrap();
    write.commit().unwrap();
    drop(store);
    let journal = open(&folder, &[Outlet::Hook]);
    append(&journal, &revocation("a", MINUTE));
    assert_eq!(queued(&journal, Outlet::Hook)[0].sequence, last + 1);
}

#[test]
fn what_is_lost_is_told_by_the_next_one_also_after_a_restart() {
    let folder = Temporary::new();
    let journal = open(&folder, &[Outlet::Hook]);
    for name in ["a", "b", "c"] {
        let seq = append(&journal, &revocation(name, MINUTE));
        journal.receipt(seq, &NodeName::default(), receipt(1));
    }
    await_queued(&journal, 6);
    let outbox = journal.outbox(Outlet::Hook).unwrap();
    let changes = outbox.oldest(2).unwrap();
    outbox.give_up(&changes);
    assert_eq!(outbox.oldest(1).unwrap()[0].dropped, 2);
    outbox.give_up(&outbox.oldest(1).unwrap());
    assert_eq!(
        outbox.oldest(ALL).unwrap().iter().map(|change| change.dropped).collect::<Vec<_>>(),
        [3, 0, 0]
    );
    drop((outbox, journal));
    let journal = open(&folder, &[Outlet::Hook]);
    let outbox = journal.outbox(Outlet::Hook).unwrap();
    let changes = outbox.oldest(ALL).unwrap();
    assert_eq!(changes.iter().map(|change| change.dropped).collect::<Vec<_>>(), [3, 0, 0]);
    outbox.sent(&changes[0]);
    assert_eq!(outbox.oldest(1).unwrap()[0].dropped, 0);
    // It has the store open.
    drop(outbox);
    drop(journal);
    assert_eq!(queued(&open(&folder, &[Outlet::Hook]), Outlet::Hook)[0].dropped, 0);
}

#[test]
fn each_outlet_has_a_queue_of_its_own_with_the_same_changes() {
    let folder = Temporary::new();
    let both = [Outlet::Hook, Outlet::Topic];
    let journal = open(&folder, &both);
    append(&journal, &revocation("a", MINUTE));
    let (hook, topic) = (queued(&journal, Outlet::Hook), queued(&journal, Outlet::Topic));
    assert_eq!(
        (hook[0].sequence, hook[0].id, &hook[0].data),
        (topic[0].sequence, topic[0].id, &topic[0].data)
    );
    journal.outbox(Outlet::Hook).unwrap().sent(&hook[0]);
    assert_eq!((queued(&journal, Outlet::Hook).len(), queued(&journal, Outlet::Topic).len()), (0, 1));
    drop(journal);
    // What is configured no more is dropped, and does not come back.
    let journal = open(&folder, &[Outlet::Hook]);
    assert!(journal.outbox(Outlet::Topic).is_none());
    assert_eq!(kinds(&queued(&journal, Outlet::Hook)), [ChangeKind::Applied]);
    drop(journal);
    drop(open(&folder, &[]));
    let journal = open(&folder, &both);
    assert_eq!((queued(&journal, Outlet::Hook).len(), queued(&journal, Outlet::Topic).len()), (0, 0));
    assert_eq!(journal.outbox(Outlet::Hook).unwrap().counts(), OutboxCounts::default());
}

#[test]
fn with_a_key_names_are_replaced() {
    let folder = Temporary::new();
    let key = Some("a-test-key-and-nothing-else".to_owned());
    let journal = Journal::open(&Config { audit_key: key, ..config(&folder, &[Outlet::Hook]) }).unwrap();
    append(&journal, &standing(900, MINUTE));
    append(&journal, &Revocation::blacklist(&"alice".parse().unwrap(), MINUTE));
    append(&journal, &Revocation { id: id("chosen"), ..revocation("alice", MINUTE) });
    journal.lift(&id("chosen"), None).unwrap();
    for change in queued(&journal, Outlet::Hook) {
        assert!(!change.data.contains("alice") && change.data.contains("hmac-sha256:"), "{}", change.data);
    }
    assert_eq!(data(&queued(&journal, Outlet::Hook)[2])["id"], "chosen");
}

/// A node of a cluster reports what it has accepted, and its lift, whoever has asked for that.
#[test]
fn in_a_cluster_only_what_was_accepted_here_is_reported() {
    let folder = Temporary::new();
    let clustered = || {
        let config = Config { clustered: true, ..config(&folder, &[Outlet::Hook]) };
        let journal = Journal::open(&config).unwrap();
        journal.set_node(NodeName::default());
        journal
    };
    let journal = clustered();
    let place =
        |sequence: u64, revision: u32| Place { position: Position { epoch: Epoch(1), sequence }, revision };
    append(&journal, &revocation("own", MINUTE));
    append(&journal, &revocation("taken", MINUTE));
    let lift = |name: &str| Operation::Lift { id: id(name), by: Some("bob".into()) };
    let other = Revocation { issued_up_to: Some(1), ..revocation("taken", MINUTE) };
    journal
        .record(&[
            (Operation::Revoke(revocation("own", MINUTE)), place(1, 1)),
            (Operation::Revoke(revocation("foreign", MINUTE)), place(2, 1)),
            // Another node was first.
            (Operation::Revoke(other), place(3, 2)),
        ])
        .unwrap();
    drop(journal);
    // Also by the next process.
    let journal = clustered();
    journal
        .record(&[(lift("own"), place(4, 2)), (lift("foreign"), place(5, 2)), (lift("taken"), place(6, 3))])
        .unwrap();
    let told = told(&queued(&journal, Outlet::Hook));
    let told: Vec<_> = told.iter().map(|(id, kind)| (id.as_str(), *kind)).collect();
    assert_eq!(
        told,
        [
            ("own", ChangeKind::Accepted),
            ("taken", ChangeKind::Accepted),
            ("own", ChangeKind::Applied),
            ("taken", ChangeKind::Applied),
            ("own", ChangeKind::Lifted),
        ]
    );
    assert_eq!(data(&queued(&journal, Outlet::Hook)[4])["by"], "bob");
}

#[test]
fn no_power_cut_separates_a_revocation_from_its_report() {
    let folder = Temporary::new();
    let mut random = Random(23);
    let mut disk = new_disk();
    let (mut acknowledged, mut lifted) = (BTreeSet::<String>::new(), BTreeSet::<String>::new());
    let (mut known, mut sent) = (BTreeMap::<u128, Change>::new(), BTreeSet::<u128>::new());
    let (mut unsynced, mut repeated) = (0, 0);
    for round in 0..200 {
        if round % 10 == 0 {
            (disk, acknowledged, lifted) = (new_disk(), BTreeSet::new(), BTreeSet::new());
            (known, sent) = (BTreeMap::new(), BTreeSet::new());
        }
        let journal = journal_on(&disk, &folder);
        journal.set_node(NodeName::default());
        let outbox = journal.outbox(Outlet::Hook).unwrap();
        let changes = outbox.oldest(ALL).unwrap();
        assert_eq!(outbox.counts().queued, changes.len() as u64, "round {round}");
        assert!(changes.is_sorted_by(|one, next| one.sequence < next.sequence), "round {round}");
        for change in changes {
            assert_eq!(change.dropped, 0, "round {round}");
            repeated += usize::from(sent.remove(&change.id));
            let change = Change { age: Duration::ZERO, ..change };
            let before = known.insert(change.id, change.clone());
            assert!(before.is_none_or(|before| before == change), "round {round}");
        }
        let of = |kind: ChangeKind| -> BTreeSet<String> {
            let all: Vec<_> = known.values().filter(|change| change.kind == kind).cloned().collect();
            let names: BTreeSet<_> = told(&all).into_iter().map(|(name, _)| name).collect();
            assert_eq!(names.len(), all.len(), "round {round}: each once");
            names
        };
        let (told_accepted, told_lifted) = (of(ChangeKind::Accepted), of(ChangeKind::Lifted));
        let found: BTreeSet<_> = loaded(&journal).into_iter().collect();
        let expected: BTreeSet<_> = found.union(&told_lifted).cloned().collect();
        assert_eq!(told_accepted, expected, "round {round}: what is in the log, or was");
        assert!(acknowledged.is_subset(&told_accepted) && lifted.is_subset(&told_lifted), "round {round}");
        unsynced += told_accepted.difference(&acknowledged).count();
        acknowledged = told_accepted;

        disk.fail_after(random.below(120));
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let changes = outbox.oldest(20).unwrap_or_default();
                changes.iter().for_each(|change| outbox.sent(change));
                changes
            });
            let (some_kept, some_lifted) = use_until_the_end(&journal, round);
            acknowledged.extend(some_kept);
            acknowledged.extend(some_lifted.iter().cloned());
            lifted.extend(some_lifted);
            for change in sending.join().expect("it does not panic") {
                // It may have been queued, and sent, since the round has begun.
                sent.insert(change.id);
                known.entry(change.id).or_insert(Change { age: Duration::ZERO, ..change });
            }
        });
        let cut = disk.after_power_cut(&mut random);
        drop(journal);
        disk = cut;
    }
    assert!(unsynced > 0, "no power cut came between a write and its acknowledgement");
    assert!(repeated > 0, "no power cut came between a report and its removal");
}

#[test]
fn without_a_folder_the_same_is_reported() {
    let log = ReportingLog::new(MemoryLog::new(), &[Outlet::Hook, Outlet::Topic], None);
    let outbox = log.outbox(Outlet::Hook).unwrap();
    let Ok(Appended::New { seq }) = log.append(&revocation("a", MINUTE)) else { panic!() };
    assert!(matches!(log.append(&revocation("a", MINUTE)), Ok(Appended::Known(_))));
    log.receipt(seq, &NodeName::default(), receipt(3));
    log.receipt(seq, &NodeName::default(), receipt(3));
    assert!(matches!(log.append(&standing(900, MINUTE)), Ok(Appended::New { .. })));
    assert!(matches!(log.append(&standing(950, MINUTE)), Ok(Appended::Extended { .. })));
    assert!(log.lift(&id("a"), Some("bob")).unwrap().is_some());
    assert!(log.lift(&id("a"), Some("bob")).unwrap().is_none());
    // A later end alone leaves the later bound. After a lift, no receipt is reported.
    let Ok(Appended::Extended { seq, .. }) = log.append(&standing(920, 9 * MINUTE)) else { panic!() };
    log.lift(&standing(0, MINUTE).id, None).unwrap();
    log.receipt(seq, &NodeName::default(), receipt(1));
    let changes = outbox.oldest(ALL).unwrap();
    use ChangeKind::{Accepted, Applied, Lifted};
    assert_eq!(kinds(&changes), [Accepted, Applied, Accepted, Accepted, Lifted, Accepted, Lifted]);
    assert!(changes.is_sorted_by(|one, next| one.sequence + 1 == next.sequence));
    assert_eq!(
        (&data(&changes[1])["connectionsTerminated"], &data(&changes[4])["by"]),
        (&json!(3), &json!("bob"))
    );
    assert_eq!(data(&changes[3])["issuedUpTo"], 950);
    assert_eq!(data(&changes[5])["issuedUpTo"], 950);
    let topic = log.outbox(Outlet::Topic).unwrap().oldest(ALL).unwrap();
    assert_eq!(
        topic.iter().map(|change| change.id).collect::<Vec<_>>(),
        changes.iter().map(|change| change.id).collect::<Vec<_>>()
    );
    let none = ReportingLog::new(MemoryLog::new(), &[], None);
    assert!(none.outbox(Outlet::Hook).is_none());
}
