//! Power cuts and full disks: what was acknowledged survives, whatever part of the rest the disk
//! has written.

use std::collections::BTreeSet;

use redb::{Builder, Database};
use session::{Epoch, Operation, Place, Position};

use super::disk::{Disk, Random};
use super::*;
use crate::audit::{Audit, ChainHead};
use crate::clock::{FolderClock, Here};
use crate::folder::private_file;
use crate::journal::Committing;
use crate::outbox::Reports;
use crate::{JournalError, Outlet, shares, store};

fn open_on(disk: &Disk) -> Result<Database, JournalError> {
    let mut builder = Builder::new();
    builder.set_cache_size(1 << 20).set_check_integrity_on_open(true);
    let opened = builder.create_with_backend(disk.clone());
    opened.map_err(|error| JournalError::Damaged { path: "disk".into(), reason: error.to_string() })
}

/// A journal whose store is on this disk. Its audit log is in the folder.
pub(super) fn journal_on(disk: &Disk, folder: &Temporary) -> Journal {
    let store = open_on(disk).expect("what a power cut leaves can be opened");
    let file = private_file(&folder.path().join("audit.log")).unwrap();
    let audit = Audit::open(file, ChainHead::default(), None).unwrap();
    let disk = disk.clone();
    let clock = FolderClock::resume(store::stamp(&store).unwrap(), Here);
    let config = Config { clustered: true, outlets: vec![Outlet::Hook], ..folder.config() };
    let committing = Committing {
        at_once: 8,
        clustered: true,
        unshared: shares::unshared_count(&store).unwrap(),
        reports: Reports::open(&store, &config, clock.now()).unwrap(),
    };
    Journal::start(store, Box::new(move || open_on(&disk)), audit, clock, committing).unwrap()
}

pub(super) fn new_disk() -> Disk {
    let disk = Disk::default();
    let store = open_on(&disk).unwrap();
    store::fill(&store).unwrap();
    shares::join(&store, true).unwrap();
    drop(store);
    disk
}

/// Several threads revoke and lift until the disk fails. Returns the names that must be in the log,
/// and those that must not.
pub(super) fn use_until_the_end(journal: &Journal, round: usize) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut kept, mut lifted) = (BTreeSet::new(), BTreeSet::new());
    let threads = std::thread::scope(|scope| {
        let run = |thread: usize| {
            move || {
                let (mut kept, mut lifted) = (Vec::new(), Vec::new());
                for n in 0..40 {
                    let name = format!("{round}-{thread}-{n}");
                    if journal.append(&revocation(&name, MINUTE)).is_err() {
                        break;
                    }
                    // From here on it may be in the log or not; only the answer tells.
                    match (n % 5 == 4).then(|| journal.lift(&id(&name), None)) {
                        None => kept.push(name),
                        Some(Ok(_)) => lifted.push(name),
                        Some(Err(_)) => break,
                    }
                }
                (kept, lifted)
            }
        };
        let threads = [0, 1, 2].map(|thread| scope.spawn(run(thread)));
        threads.map(|thread| thread.join().expect("no thread panics"))
    });
    for (some_kept, some_lifted) in threads {
        kept.extend(some_kept);
        lifted.extend(some_lifted);
    }
    (kept, lifted)
}

#[test]
fn d07_no_power_cut_loses_what_was_acknowledged() {
    let folder = Temporary::new();
    let mut random = Random(7);
    let mut disk = new_disk();
    let (mut kept, mut lifted) = (BTreeSet::new(), BTreeSet::new());
    let mut unsynced = 0;
    for round in 0..300 {
        if round % 10 == 0 {
            (disk, kept, lifted) = (new_disk(), BTreeSet::new(), BTreeSet::new());
        }
        let journal = journal_on(&disk, &folder);
        let found: BTreeSet<_> = loaded(&journal).into_iter().collect();
        let missing: Vec<_> = kept.difference(&found).collect();
        assert!(missing.is_empty(), "round {round}: {missing:?} were acknowledged and are lost");
        let back: Vec<_> = lifted.intersection(&found).collect();
        assert!(back.is_empty(), "round {round}: {back:?} were lifted and are back");
        unsynced += found.difference(&kept).count();
        kept = found;

        disk.fail_after(random.below(120));
        let (some_kept, some_lifted) = use_until_the_end(&journal, round);
        kept.extend(some_kept);
        kept.retain(|name| !some_lifted.contains(name));
        lifted.extend(some_lifted);
        let cut = disk.after_power_cut(&mut random);
        drop(journal);
        disk = cut;
    }
    assert!(
        unsynced > 0,
        "no power cut came between a write and its acknowledgement: the test checks nothing"
    );
}

#[test]
fn a_full_disk_is_an_error_until_there_is_room() {
    let folder = Temporary::new();
    let disk = new_disk();
    let journal = journal_on(&disk, &folder);
    append(&journal, &revocation("before", MINUTE));
    disk.fail_after(0);
    for _ in 0..3 {
        let error = journal.append(&revocation("during", MINUTE)).unwrap_err().to_string();
        assert!(error.starts_with("the revocation log failed: "), "{error}");
        assert!(journal.page(None, 1).is_err() || journal.find(&id("before")).unwrap().is_some());
    }
    disk.heal();
    append(&journal, &revocation("after", MINUTE));
    assert_eq!(loaded(&journal), ["before", "after"]);
    drop(journal);
    let log = std::fs::File::open(folder.path().join("audit.log")).unwrap();
    assert!(crate::verify(log, None, false).unwrap().lines >= 2);
}

/// The place of the `n`th change of a stream in which each id changes once.
fn place(n: u64) -> Place {
    Place { position: Position { epoch: Epoch(1), sequence: n }, revision: 1 }
}

#[test]
fn no_power_cut_separates_a_batch_from_its_position() {
    let folder = Temporary::new();
    let mut random = Random(11);
    let (mut disk, mut acknowledged) = (new_disk(), 0);
    let mut failed = 0;
    for round in 0..200 {
        let journal = journal_on(&disk, &folder);
        let mut names = BTreeSet::new();
        let mut each = |entry| match entry {
            Entry::Revoked { revocation, .. } => _ = names.insert(revocation.id.to_string()),
            Entry::Lifted { .. } => panic!("nothing was lifted"),
        };
        let position = journal.load(&mut each).unwrap().sequence;
        assert!(position >= acknowledged, "round {round}: {acknowledged} were acknowledged");
        let expected: BTreeSet<_> = (1..=position).map(|n| n.to_string()).collect();
        assert_eq!(names, expected, "round {round}");

        disk.fail_after(random.below(90));
        acknowledged = position;
        for _ in 0..6 {
            let last = acknowledged + 1 + random.below(9) as u64;
            let batch: Vec<_> = (acknowledged + 1..=last)
                .map(|n| (Operation::Revoke(revocation(&n.to_string(), 60 * MINUTE)), place(n)))
                .collect();
            if journal.record(&batch).is_err() {
                failed += 1;
                break;
            }
            acknowledged = last;
        }
        let cut = disk.after_power_cut(&mut random);
        drop(journal);
        disk = cut;
    }
    assert!(
        failed > 50 && acknowledged > 500,
        "{failed} batches failed, {acknowledged} operations are stored"
    );
}
