//! The journal in a folder of its own, and over a disk that loses power.

mod chain;
mod crash;
mod disk;
mod folder;
mod model;
mod outbox;
mod shares;
mod standing;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use session::{Appended, Entry, Log, Mode, NodeName, Revocation, RevocationId, Selector};

use crate::{Config, Journal};

const MINUTE: Duration = Duration::from_secs(60);

/// A folder that is removed when the variable is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("rig-journal-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        Self(folder)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn config(&self) -> Config {
        let folder = self.0.join("data");
        Config { folder, audit_key: None, node: NodeName::default(), clustered: false, outlets: Vec::new() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join("data").join(name)
    }

    fn open(&self) -> Journal {
        Journal::open(&self.config()).expect("the folder can be opened")
    }

    /// Opens the log of a node in a cluster.
    fn open_clustered(&self) -> Journal {
        let config = Config { clustered: true, ..self.config() };
        Journal::open(&config).expect("the folder can be opened")
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn id(text: &str) -> RevocationId {
    RevocationId::new(text).expect("a test id is an id")
}

fn revocation(name: &str, validity: Duration) -> Revocation {
    Revocation {
        id: id(name),
        extends: false,
        ..Revocation::blacklist(&name.parse().expect("a test name is a name"), validity)
    }
}

fn append(journal: &Journal, revocation: &Revocation) -> u64 {
    match journal.append(revocation) {
        Ok(Appended::New { seq, .. }) => seq,
        other => panic!("{other:?}"),
    }
}

/// Returns the standing revocation of a user of an issuer.
fn standing(issued_up_to: u64, validity: Duration) -> Revocation {
    let selector = Selector::of_claim("/sub", "alice".parse().expect("a test name is a name"));
    let selector = selector.issued_by(Some("https://id.example".into()));
    let (by, reason) = ("issuer:kc".to_owned(), format!("back-channel logout, jti {issued_up_to}"));
    Revocation::standing("kc", "/sub", selector, issued_up_to, validity, by, reason)
}

/// Returns the names in force, in the order of the log.
fn loaded(journal: &Journal) -> Vec<String> {
    let mut names = Vec::new();
    let mut each = |entry| match entry {
        Entry::Revoked { revocation, .. } => names.push(revocation.selector.value().to_string()),
        Entry::Lifted { of, .. } => panic!("{of} was lifted: it is not in the log"),
    };
    journal.load(&mut each).expect("the log can be read");
    names
}

#[test]
fn d07_what_was_appended_is_there_after_a_restart() {
    let folder = Temporary::new();
    let journal = folder.open();
    append(&journal, &revocation("a", MINUTE));
    append(&journal, &revocation("for ever", Duration::MAX));
    append(&journal, &Revocation { mode: Mode::Disconnect, ..revocation("gone", Duration::ZERO) });
    let rich = Revocation {
        issued_up_to: Some(7),
        by: Some("ops".into()),
        reason: Some("lost phone".into()),
        ..revocation("rich", MINUTE)
    };
    append(&journal, &rich);
    assert!(journal.lift(&id("a"), Some("ops")).unwrap().is_some());
    drop(journal);

    let journal = folder.open();
    assert_eq!(loaded(&journal), ["for ever", "rich"]);
    let kept = journal.find(&id("rich")).unwrap().unwrap();
    assert_eq!(kept.revocation, rich);
    assert!(kept.left <= MINUTE && kept.left > MINUTE / 2, "{:?}", kept.left);
    assert_eq!(journal.find(&id("for ever")).unwrap().unwrap().left, Duration::MAX);
    let ids: Vec<_> =
        journal.page(None, 2).unwrap().into_iter().map(|r| r.revocation.id.to_string()).collect();
    assert_eq!(ids, ["rich", "gone"], "the youngest first");
    let older = journal.page(Some(journal.find(&id("gone")).unwrap().unwrap().seq), 9).unwrap();
    assert_eq!(older.len(), 1);
    assert!(journal.find(&id("a")).unwrap().is_none());
}

#[test]
fn a_receipt_is_kept() {
    let folder = Temporary::new();
    let journal = folder.open();
    let seq = append(&journal, &revocation("a", MINUTE));
    let receipt = session::Receipt {
        applied_at: std::time::UNIX_EPOCH + MINUTE,
        connections: 3,
        requests: 2,
        last_payload_at: Some(std::time::UNIX_EPOCH),
    };
    let here = NodeName::default();
    journal.receipt(seq, &here, receipt);
    assert_eq!(journal.find(&id("a")).unwrap().unwrap().receipt(&here), Some(receipt), "at once");
    drop(journal);
    assert_eq!(folder.open().find(&id("a")).unwrap().unwrap().receipt(&here), Some(receipt));
}

#[test]
fn many_threads_are_answered_each_for_its_own() {
    let folder = Temporary::new();
    let journal = folder.open();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let journal = &journal;
            scope.spawn(move || {
                for n in 0..20 {
                    let name = format!("{thread}-{n}");
                    let seq = append(journal, &revocation(&name, MINUTE));
                    assert_eq!(journal.find(&id(&name)).unwrap().unwrap().seq, seq);
                }
            });
        }
    });
    assert_eq!(loaded(&journal).len(), 160);
}

#[test]
fn what_is_over_is_forgotten() {
    let folder = Temporary::new();
    let journal = folder.open();
    append(&journal, &revocation("short", Duration::from_nanos(1)));
    // Waits until its millisecond has passed.
    while journal.find(&id("short")).unwrap().is_some() {
        std::thread::yield_now();
    }
    let again = append(&journal, &revocation("short", MINUTE));
    drop(journal);
    let journal = folder.open();
    assert_eq!(journal.find(&id("short")).unwrap().unwrap().seq, again, "the id is of the younger one");
    assert_eq!(loaded(&journal), ["short"]);
    assert_eq!(journal.page(None, 10).unwrap().len(), 1);
}
