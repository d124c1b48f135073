//! The store in a folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

/// A folder of its own, removed at the end of the test.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rig-apis-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn a_file_is_replaced_as_a_whole_and_nobody_else_reads_it() {
    let folder = Folder::new("replaced");
    let store = FileStore::new(&folder.0);
    assert_eq!(store.load().unwrap(), None);
    // Left behind by a process that crashed while it wrote.
    fs::write(folder.0.join("apis.new"), "longer than what comes").unwrap();
    let first = store.save(b"one", Revision::default()).unwrap();
    assert_eq!(&store.load().unwrap().unwrap().bytes[..], b"one");
    store.save(b"two", first).unwrap();
    assert_eq!(&FileStore::new(&folder.0).load().unwrap().unwrap().bytes[..], b"two");
    assert!(!folder.0.join("apis.new").exists());
    let mode = fs::metadata(folder.0.join("apis.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_that_cannot_be_written_stays_as_it_was() {
    let folder = Folder::new("unwritable");
    let store = FileStore::new(&folder.0);
    let first = store.save(b"one", Revision::default()).unwrap();
    fs::create_dir(folder.0.join("apis.new")).unwrap();
    let told = store.save(b"two", first).unwrap_err().to_string();
    assert!(told.starts_with(&format!("{}: ", folder.0.join("apis.json").display())), "{told}");
    assert_eq!(&store.load().unwrap().unwrap().bytes[..], b"one");
}

#[test]
fn what_cannot_be_read_is_not_taken_for_nothing() {
    let folder = Folder::new("unreadable");
    fs::create_dir(folder.0.join("apis.json")).unwrap();
    let store = FileStore::new(&folder.0);
    let error = Apis::load(Definitions::default(), Box::new(store), |_| None).unwrap_err();
    assert!(error.to_string().starts_with(&format!("{}/apis.json: ", folder.0.display())), "{error}");
}
