//! Standing revocations and revocations by marks on the disk, and in the audit log.

use std::fs;
use std::time::Instant;

use redb::{Database, ReadableDatabase};
use session::{Epoch, Operation, Place, Position, StatePage};

use super::*;
use crate::codec::NUMBERS;
use crate::{committed_audit_head, verify};

/// How a journal takes a revocation, with the bound and the seconds that are left then.
fn taken(journal: &Journal, revocation: &Revocation) -> (&'static str, Option<u64>, u64) {
    let seconds = |time: Duration| (time + Duration::from_millis(500)).as_secs();
    match journal.append(revocation).expect("it is stored") {
        Appended::New { .. } => ("new", revocation.issued_up_to, seconds(revocation.validity)),
        Appended::Extended { revocation, .. } => {
            ("extended", revocation.issued_up_to, seconds(revocation.validity))
        }
        Appended::Known(record) => ("known", record.revocation.issued_up_to, seconds(record.left)),
        Appended::Conflict => panic!("it has an id of its own"),
    }
}

/// Returns the lines of the audit log that say that something was revoked.
fn revoked(folder: &Temporary) -> Vec<serde_json::Value> {
    let log = fs::read_to_string(folder.file("audit.log")).expect("it is a file");
    verify(log.as_bytes(), None, false).expect("the chain holds");
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    lines.filter(|line| line["action"] == "revoke").collect()
}

#[test]
fn i23_a_statement_a_thousand_times_is_one_line_and_one_commit() {
    for clustered in [false, true] {
        let folder = Temporary::new();
        let journal = if clustered { folder.open_clustered() } else { folder.open() };
        assert_eq!(taken(&journal, &standing(900, 10 * MINUTE)), ("new", Some(900), 602));
        if clustered {
            let position = Position { epoch: Epoch(1), sequence: 1 };
            let operation = Operation::Revoke(standing(900, 11 * MINUTE));
            journal.record(&[(operation, Place { position, revision: 1 })]).unwrap();
        }
        let written = || {
            let files =
                ["audit.log", "revocations.redb"].map(|file| fs::metadata(folder.file(file)).unwrap());
            files.map(|file| (file.len(), file.modified().unwrap()))
        };
        let before = written();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..125 {
                        assert_eq!(taken(&journal, &standing(900, 10 * MINUTE)).0, "known");
                    }
                });
            }
        });
        assert_eq!(written(), before, "nothing is committed");
        let record = journal.find(&standing(900, MINUTE).id).unwrap().unwrap();
        assert_eq!((record.seq, journal.page(None, 9).unwrap().len()), (1, 1));
        assert_eq!(journal.unshared_count(), 0, "the stream has it");
        drop(journal);
        assert_eq!(revoked(&folder).len(), if clustered { 2 } else { 1 });
    }
}

#[test]
fn i23_each_change_is_one_line_with_the_issuer() {
    let folder = Temporary::new();
    let journal = folder.open();
    assert_eq!(taken(&journal, &standing(900, 10 * MINUTE)), ("new", Some(900), 602));
    assert_eq!(taken(&journal, &standing(950, 5 * MINUTE)), ("extended", Some(950), 602));
    assert_eq!(taken(&journal, &standing(920, 20 * MINUTE)), ("extended", Some(950), 1202));
    assert_eq!(taken(&journal, &standing(920, 10 * MINUTE)), ("known", Some(950), 1202));
    assert_eq!(loaded(&journal), ["alice"]);
    drop(journal);
    let lines = revoked(&folder);
    let told: Vec<_> = lines.iter().map(|line| (line["issuedUpTo"].as_u64(), line["by"].as_str())).collect();
    let by = Some("issuer:kc");
    assert_eq!(told, [(Some(900), by), (Some(950), by), (Some(950), by)]);
    let last = &lines[2];
    assert_eq!((&last["issuer"], &last["claim"]), (&"https://id.example".into(), &"/sub".into()));
    assert_eq!((&last["id"], &last["value"]), (&"issuer/kc/sub/alice".into(), &"alice".into()));
    assert_eq!(last["validityInSeconds"], 1202);
    // What the log holds is what was in force.
    let record = folder.open().find(&standing(1, MINUTE).id).unwrap().unwrap();
    assert_eq!((record.revocation.issued_up_to, record.left.as_secs()), (Some(950), 1201));
}

#[test]
fn an_end_and_a_bound_of_the_stream_move_and_are_told() {
    let folder = Temporary::new();
    let journal = folder.open_clustered();
    let longest = standing(900, 10 * MINUTE);
    let begun = Instant::now();
    assert_eq!(taken(&journal, &longest).0, "new");
    let record = |revocation: Revocation, revision: u32| {
        let position = Position { epoch: Epoch(1), sequence: revision.into() };
        journal.record(&[(Operation::Revoke(revocation), Place { position, revision })]).unwrap().remove(0)
    };
    let Some(Entry::Revoked { revocation, .. }) = record(standing(950, 5 * MINUTE), 1) else { panic!() };
    assert_eq!(revocation.issued_up_to, Some(950));
    // The later end is that of the journal, less the time since. The log counts milliseconds.
    let least = longest.validity.saturating_sub(begun.elapsed() + Duration::from_millis(1));
    assert!((least..=longest.validity).contains(&revocation.validity), "{:?}", revocation.validity);
    assert_eq!(journal.unshared_count(), 1, "the stream has an earlier end");
    assert_eq!(record(standing(920, 2 * MINUTE), 2), None);
    let merged = Revocation { issued_up_to: Some(950), ..standing(1, 10 * MINUTE) };
    assert_eq!(record(Revocation { validity: merged.validity - MINUTE, ..merged.clone() }, 3), None);
    assert_eq!(journal.unshared_count(), 1);
    record(merged, 4);
    assert_eq!(journal.unshared_count(), 0);
    drop(journal);
    assert_eq!(revoked(&folder).len(), 2, "what changes nothing is not told");
}

#[test]
fn with_a_key_the_id_of_a_standing_revocation_names_nobody() {
    let folder = Temporary::new();
    let config = Config { audit_key: Some("a-test-key-and-nothing-else".to_owned()), ..folder.config() };
    append(&Journal::open(&config).unwrap(), &standing(900, MINUTE));
    let lines = revoked(&folder);
    assert!(!lines[0].to_string().contains("alice"), "{}", lines[0]);
    assert_eq!(lines[0]["issuer"], "https://id.example");
}

#[test]
fn what_selects_by_a_mark_is_kept_and_told_and_not_shared() {
    let folder = Temporary::new();
    let journal = folder.open_clustered();
    let selector = Selector::mark("key", "thumbprint".parse().unwrap());
    let withdrawn = Revocation {
        selector: selector.issued_by(Some("https://id.example".into())),
        mode: Mode::Disconnect,
        ..revocation("withdrawn", Duration::ZERO)
    };
    append(&journal, &withdrawn);
    assert_eq!((journal.unshared_count(), journal.states(None, 9).unwrap()), (0, StatePage::default()));
    drop(journal);
    let journal = folder.open_clustered();
    assert_eq!(journal.find(&withdrawn.id).unwrap().unwrap().revocation, withdrawn);
    assert_eq!((journal.unshared_count(), journal.states(None, 9).unwrap()), (0, StatePage::default()));
    assert!(loaded(&journal).is_empty(), "the tokens are legal");
    drop(journal);
    let line = revoked(&folder).remove(0);
    assert_eq!((&line["mark"], &line["value"]), (&"key".into(), &"thumbprint".into()));
    assert_eq!((&line["issuer"], line.get("claim")), (&"https://id.example".into(), None));
}

#[test]
fn the_last_line_is_found_behind_the_longest_one() {
    let folder = Temporary::new();
    let journal = folder.open();
    let worst = "\u{1b}".repeat(1024);
    let selector = Selector::of_claim(format!("/{}", "\u{1b}".repeat(255)), worst.parse().unwrap());
    let selector = selector.issued_by(Some(worst.as_str().into()));
    let (by, reason) = (worst.clone(), worst);
    let longest =
        Revocation::standing("kc", &format!("/{}", "\u{1b}".repeat(255)), selector, 1, MINUTE, by, reason);
    append(&journal, &longest);
    drop(journal);
    drop(folder.open());
    let config = folder.config();
    let head = committed_audit_head(&config.folder).unwrap();
    let log = fs::read(folder.file("audit.log")).unwrap();
    assert!(verify(&*log, Some(&head), false).is_ok());
    let store = Database::open(folder.file("revocations.redb")).unwrap();
    let read = store.begin_read().unwrap();
    assert_eq!(read.open_table(NUMBERS).unwrap().get("format").unwrap().unwrap().value(), 4);
}
