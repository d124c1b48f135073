//! Damaged and unsuitable folders: each causes a clear error, and none is mistaken for an empty
//! log.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use redb::{Database, ReadableTable};
use session::{Epoch, Operation, Place, Position, Selector};

use super::*;
use crate::JournalError;
use crate::codec::{self, NUMBERS, RECEIPTS, RECEIPTS_1, REVOCATIONS, REVOCATIONS_3};
use crate::store::{FORMAT, format};

fn refused(folder: &Temporary) -> JournalError {
    match Journal::open(&folder.config()) {
        Err(error) => error,
        Ok(journal) => panic!("opened, with {:?}", loaded(&journal)),
    }
}

fn filled() -> Temporary {
    let folder = Temporary::new();
    let journal = folder.open();
    for n in 0..100 {
        append(&journal, &revocation(&n.to_string(), MINUTE));
    }
    folder
}

#[test]
fn folder_and_files_are_private() {
    let folder = filled();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder.config().folder), 0o700);
    assert_eq!(mode(folder.file("revocations.redb")), 0o600);
    assert_eq!(mode(folder.file("audit.log")), 0o600);
    assert!(!folder.file("revocations.new").exists());
}

#[test]
fn a_folder_has_one_process_at_a_time() {
    let folder = Temporary::new();
    let journal = folder.open();
    assert!(matches!(refused(&folder), JournalError::InUse(_)));
    append(&journal, &revocation("a", MINUTE));
    drop(journal);
    assert_eq!(loaded(&folder.open()), ["a"]);
}

#[test]
fn a_folder_that_cannot_be_one_is_named() {
    let folder = Temporary::new();
    fs::write(folder.config().folder, "a file").unwrap();
    let told = refused(&folder).to_string();
    assert!(told.contains(folder.config().folder.to_str().unwrap()), "{told}");
    let nowhere = Config { folder: "/proc/none/data".into(), ..folder.config() };
    assert!(matches!(Journal::open(&nowhere), Err(JournalError::Io { .. })));
}

/// Has the store hold its revocations as formats 1 to 3 do.
fn without_issuers(write: &redb::WriteTransaction) {
    {
        let revocations = write.open_table(REVOCATIONS).unwrap();
        let mut before = write.open_table(REVOCATIONS_3).unwrap();
        for row in revocations.iter().unwrap() {
            let (seq, row) = row.unwrap();
            let (of, value, issuer, bound, disconnects, expires, accepted, validity, id, by, reason, extends) =
                row.value();
            assert_eq!(issuer, None, "these formats have none");
            let row = (of, value, bound, disconnects, expires, accepted, validity, id, by, reason, extends);
            before.insert(seq.value(), row).unwrap();
        }
    }
    write.delete_table(REVOCATIONS).unwrap();
}

#[test]
fn a_log_of_the_third_format_keeps_all_and_is_of_every_issuer() {
    let folder = Temporary::new();
    let rich = Revocation {
        selector: Selector::of_claim("/sub", "alice".parse().unwrap()),
        issued_up_to: Some(7),
        by: Some("ops".into()),
        reason: Some("lost phone".into()),
        ..revocation("rich", MINUTE)
    };
    let journal = folder.open_clustered();
    let place = Place { position: Position { epoch: Epoch(3), sequence: 9 }, revision: 4 };
    journal.record(&[(Operation::Revoke(rich.clone()), place)]).unwrap();
    append(&journal, &Revocation::blacklist(&"s".parse().unwrap(), Duration::MAX));
    append(&journal, &Revocation { mode: Mode::Disconnect, ..revocation("gone", Duration::ZERO) });
    let receipt = session::Receipt {
        applied_at: std::time::UNIX_EPOCH + MINUTE,
        connections: 3,
        requests: 2,
        last_payload_at: None,
    };
    journal.receipt(1, &NodeName::default(), receipt);
    let (before, unshared) = (journal.page(None, 9).unwrap(), journal.unshared_count());
    drop(journal);
    let store = Database::open(folder.file("revocations.redb")).unwrap();
    let write = store.begin_write().unwrap();
    without_issuers(&write);
    write.open_table(NUMBERS).unwrap().insert("format", 3).unwrap();
    write.commit().unwrap();
    drop(store);

    for opened in ["upgraded", "opened again"] {
        let journal = folder.open_clustered();
        let mut after = journal.page(None, 9).unwrap();
        assert!(after.iter().zip(&before).all(|(after, before)| after.left <= before.left), "{opened}");
        after.iter_mut().zip(&before).for_each(|(after, before)| after.left = before.left);
        assert_eq!(after, before, "{opened}");
        assert_eq!(after[2].revocation, rich, "{opened}");
        assert_eq!(after[2].revocation.selector.issuer, None, "{opened}");
        assert_eq!(
            (journal.unshared_count(), journal.load(&mut |_| ()).unwrap()),
            (unshared, place.position)
        );
    }
    let store = Database::open(folder.file("revocations.redb")).unwrap();
    assert_eq!(format(&store).unwrap(), FORMAT, "an older version leaves it alone");
    drop(store);
    let standing = standing(1, MINUTE);
    append(&folder.open_clustered(), &standing);
    assert_eq!(folder.open_clustered().find(&standing.id).unwrap().unwrap().revocation, standing);
}

#[test]
fn a_log_of_the_first_format_keeps_its_receipts() {
    let folder = filled();
    let receipt = session::Receipt {
        applied_at: std::time::UNIX_EPOCH + MINUTE,
        connections: 3,
        requests: 2,
        last_payload_at: None,
    };
    let store = Database::open(folder.file("revocations.redb")).unwrap();
    let write = store.begin_write().unwrap();
    write.delete_table(RECEIPTS).unwrap();
    write.open_table(RECEIPTS_1).unwrap().insert(5, codec::receipt_row(&receipt)).unwrap();
    without_issuers(&write);
    write.open_table(NUMBERS).unwrap().insert("format", 1).unwrap();
    write.commit().unwrap();
    drop(store);

    for opened in ["upgraded", "opened again"] {
        let journal = folder.open();
        assert_eq!(loaded(&journal).len(), 100, "{opened}");
        let mut page = journal.page(None, 100).unwrap();
        page.retain(|record| !record.receipts.is_empty());
        let receipts: Vec<_> =
            page.iter().map(|record| (record.seq, record.receipt(&NodeName::default()))).collect();
        assert_eq!(receipts, [(5, Some(receipt))], "{opened}");
    }
    assert_eq!(append(&folder.open(), &revocation("new", MINUTE)), 101, "no number is used twice");
}

#[test]
fn a_log_of_a_newer_version_is_left_alone() {
    let folder = filled();
    let store = Database::create(folder.file("revocations.redb")).unwrap();
    let write = store.begin_write().unwrap();
    write.open_table(NUMBERS).unwrap().insert("format", 5).unwrap();
    write.commit().unwrap();
    drop(store);
    assert!(matches!(refused(&folder), JournalError::Newer { found: 5, known: 4, .. }));
}

#[test]
fn an_empty_or_missing_log_beside_an_audit_log_is_no_new_beginning() {
    let folder = filled();
    let path = folder.file("revocations.redb");
    fs::write(&path, "").unwrap();
    assert!(matches!(refused(&folder), JournalError::Missing(_)));
    fs::remove_file(&path).unwrap();
    assert!(matches!(refused(&folder), JournalError::Missing(_)));
    fs::remove_file(folder.file("audit.log")).unwrap();
    assert!(loaded(&folder.open()).is_empty(), "an operator has cleared the folder");
}

#[test]
fn a_log_that_is_cut_off_or_overwritten_is_refused() {
    let folder = filled();
    let path = folder.file("revocations.redb");
    let whole = fs::read(&path).unwrap();
    for length in [1, 64, 4096, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(
            matches!(refused(&folder), JournalError::Damaged { .. } | JournalError::Io { .. }),
            "{length} bytes"
        );
    }
    fs::write(&path, "this is no store at all, but a text of some length".repeat(1000)).unwrap();
    let error = refused(&folder);
    assert!(matches!(error, JournalError::Damaged { .. }), "{error:?}");
    fs::write(&path, &whole).unwrap();
    assert_eq!(
        loaded(&folder.open()).len(),
        100,
        "a refusal changes nothing that a copy could not bring back"
    );
}

#[test]
fn a_flipped_byte_is_found_or_harmless() {
    let folder = filled();
    let path = folder.file("revocations.redb");
    let whole = fs::read(&path).unwrap();
    let mut found = 0;
    for at in (0..whole.len()).step_by(whole.len() / 97) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        fs::write(&path, &flipped).unwrap();
        match Journal::open(&folder.config()) {
            // The byte is in an unused page.
            Ok(journal) => assert_eq!(loaded(&journal).len(), 100, "byte {at}"),
            Err(_) => found += 1,
        }
    }
    assert!(found > 0, "no byte mattered");
}

#[test]
fn a_start_that_broke_off_leaves_nothing_behind() {
    let folder = Temporary::new();
    fs::create_dir(folder.config().folder).unwrap();
    fs::write(folder.file("revocations.new"), "half a store").unwrap();
    assert!(loaded(&folder.open()).is_empty());
    assert!(folder.path().exists());
}
