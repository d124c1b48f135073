//! The contract of every store.

use std::thread;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};

use super::disk::Folder;
use super::*;

/// Checks that a store fulfils the contract of [`Store`]. `reopened` opens another store over the
/// same bytes.
fn suite<S: Store>(store: &S, reopened: impl Fn() -> S) {
    let conflict = |result: Result<Revision, StoreError>| matches!(result, Err(StoreError::Conflict { .. }));
    assert_eq!(store.load().unwrap(), None);
    assert!(conflict(store.save(b"early", Revision(1))), "nothing was saved that it could replace");
    assert_eq!(store.load().unwrap(), None);

    let first = store.save(b"one", Revision::default()).unwrap();
    assert!(first > Revision::default());
    assert!(conflict(store.save(b"again", Revision::default())), "something was saved meanwhile");
    assert_eq!(store.load().unwrap(), Some(Saved { bytes: "one".into(), revision: first }));

    let second = store.save(b"two", first).unwrap();
    assert!(second > first);
    assert!(conflict(store.save(b"late", first)));
    assert_eq!(store.load().unwrap(), Some(Saved { bytes: "two".into(), revision: second }));

    let later = reopened();
    let saved = later.load().unwrap().unwrap();
    assert_eq!(&saved.bytes[..], b"two");
    let third = later.save(b"", saved.revision).unwrap();
    assert_eq!(later.load().unwrap(), Some(Saved { bytes: Bytes::new(), revision: third }));

    nothing_is_lost(&later);
}

/// Each thread appends to what it has read, and starts again after a conflict.
fn nothing_is_lost<S: Store>(store: &S) {
    const THREADS: usize = 4;
    const TIMES: usize = 10;
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..TIMES {
                    loop {
                        let Saved { bytes, revision } = store.load().unwrap().unwrap();
                        match store.save(&[&bytes[..], b"x"].concat(), revision) {
                            Ok(_) => break,
                            Err(StoreError::Conflict { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
        }
    });
    assert_eq!(store.load().unwrap().unwrap().bytes.len(), THREADS * TIMES);
}

#[test]
fn a_file_is_a_store() {
    let folder = Folder::new("store");
    suite(&FileStore::new(&folder.0), || FileStore::new(&folder.0));
}

#[test]
fn memory_is_a_store() {
    let store = MemoryStore::default();
    suite(&store, || store.clone());
}

#[test]
fn a_file_that_was_not_read_is_not_replaced() {
    let folder = Folder::new("unread");
    FileStore::new(&folder.0).save(b"one", Revision::default()).unwrap();
    let result = FileStore::new(&folder.0).save(b"two", Revision::default());
    assert!(matches!(result, Err(StoreError::Conflict { .. })));
}

#[tokio::test]
async fn changes_are_what_others_save() {
    let (here, there) = (MemoryStore::default(), MemoryStore::default());
    let (other, mut changes) = (here.clone(), here.changes());
    let first = other.save(b"one", Revision::default()).unwrap();
    assert_eq!(changes.next().await, Some(Saved { bytes: "one".into(), revision: first }));
    let second = other.save(b"two", first).unwrap();
    let third = other.save(b"three", second).unwrap();
    assert_eq!(changes.next().await, Some(Saved { bytes: "three".into(), revision: third }));
    there.save(b"else", Revision::default()).unwrap();
    assert_eq!(changes.next().now_or_never(), None);
}
