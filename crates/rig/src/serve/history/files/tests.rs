//! The files of the history: loaded once or not at all.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use event::Event;
use history::{EventPosition, Gap, ResumeLimits};
use serde_json::{Value, json};
use subscription::Subscription;
use tempfile::TempDir;

use super::*;

const AGE: Duration = Duration::from_secs(120);
const WITHIN: Duration = Duration::from_secs(60);

struct World {
    folder: TempDir,
    files: HistoryFiles,
    extractors: Arc<Extractors>,
}

fn bounds() -> Bounds {
    Bounds { age: AGE, bytes: 1 << 20, events: usize::MAX, excluded: Vec::new() }
}

fn push(ring: &mut Ring, count: usize) {
    let keys = ring.keys().clone();
    for number in 0..count {
        let json =
            json!({"specversion": "0.2", "type": "greeting", "id": number.to_string(), "data": number});
        let event = Event::from_json(json.to_string().into()).unwrap();
        ring.push(keys.of_event::<Value>(&event, &[]), Instant::now());
    }
}

fn filled() -> Ring {
    let mut ring = Ring::new(bounds(), Instant::now());
    push(&mut ring, 20);
    ring
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = HistoryFiles::new(folder.path().to_owned());
        Self { folder, files, extractors: Arc::new(Extractors::default()) }
    }

    fn store(&self, ring: &mut Ring, wall: SystemTime) {
        self.files.store(WITHIN, |output| ring.write_to(output, Instant::now(), wall)).unwrap();
    }

    fn take(&self) -> Option<Ring> {
        self.files.take(&bounds(), &self.extractors, WITHIN).unwrap()
    }

    /// Returns why no ring was taken.
    fn refusal(&self) -> anyhow::Error {
        self.refusal_within(WITHIN)
    }

    fn refusal_within(&self, within: Duration) -> anyhow::Error {
        self.files.take(&bounds(), &self.extractors, within).map(drop).expect_err("a ring was taken")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    /// Returns the number of events that a reader of this ring has missed.
    fn since(&self, ring: &mut Ring, cursor: u64) -> Result<usize, Gap> {
        let list = Subscription::parse_list(&json!([{"eventType": "greeting"}]), &self.extractors).unwrap();
        let selection = ring.keys().select(&list, &self.extractors);
        let missed =
            ring.since(EventPosition(cursor), selection, &[], ResumeLimits::default(), Instant::now());
        missed.map(|missed| missed.len())
    }
}

#[test]
fn what_a_clean_stop_has_written_is_loaded_once() {
    let world = World::new();
    assert!(world.take().is_none());
    let mut ring = filled();
    world.store(&mut ring, SystemTime::now());
    assert_eq!(world.names(), [RING]);
    let mut loaded = world.take().expect("it was stored");
    assert!(loaded.lineage().has(ring.series()) && loaded.series() != ring.series());
    assert_eq!(loaded.last(), EventPosition(20));
    assert_eq!((world.since(&mut loaded, 0), world.since(&mut loaded, 15)), (Ok(20), Ok(5)));
    assert_eq!(world.names(), [""; 0]);
    assert!(world.take().is_none(), "loaded twice");
    // And so on, from run to run.
    push(&mut loaded, 3);
    world.store(&mut loaded, SystemTime::now());
    let mut loaded = world.take().expect("it was stored");
    assert_eq!((loaded.last(), world.since(&mut loaded, 15)), (EventPosition(23), Ok(8)));
}

#[test]
fn a_start_that_was_interrupted_changes_nothing_or_leaves_nothing() {
    let world = World::new();
    let mut ring = filled();
    world.store(&mut ring, SystemTime::now());
    // Killed after the file was read: nothing has taken a position, so it is loaded again.
    assert!(world.files.read(&bounds(), &world.extractors, WITHIN).unwrap().is_some());
    assert_eq!(world.take().map(|ring| ring.len()), Some(20));
    // Killed while the file was deleted.
    fs::write(world.files.path(), b"").unwrap();
    assert_eq!(world.refusal().to_string(), "damaged");
    assert_eq!(world.names(), [""; 0]);
}

#[test]
fn no_other_file_is_loaded_and_all_are_deleted() {
    let world = World::new();
    let mut ring = filled();
    let mut written = Vec::new();
    ring.write_to(&mut written, Instant::now(), SystemTime::now()).unwrap();
    let mut other_format = written.clone();
    other_format[11] += 1;
    let mut changed = written.clone();
    *changed.last_mut().unwrap() ^= 1;
    for (content, reason) in [
        (&b"{}"[..], "damaged"),
        (&[b'x'; 100], "unknown format"),
        (&other_format, "unknown format"),
        (&written[..written.len() - 1], "damaged"),
        (&written[..written.len() / 2], "damaged"),
        (&changed, "damaged"),
    ] {
        fs::write(world.files.path(), content).unwrap();
        assert_eq!(world.refusal().to_string(), reason);
        assert_eq!(world.names(), [""; 0], "{reason}");
    }
    world.store(&mut ring, SystemTime::now() - AGE - Duration::from_secs(1));
    let error = world.refusal();
    assert!(matches!(error.downcast_ref(), Some(NotLoaded::TooOld(_))), "{error:#}");
    assert_eq!(world.names(), [""; 0]);
    world.store(&mut ring, SystemTime::now() - AGE + Duration::from_secs(30));
    assert!(world.take().is_some());
}

#[test]
fn a_ring_that_may_be_loaded_again_is_not_used() {
    let world = World::new();
    world.store(&mut filled(), SystemTime::now());
    // A folder that is not empty cannot be deleted.
    fs::create_dir_all(world.folder.path().join(NEW_RING).join("x")).unwrap();
    let reason = world.refusal().to_string();
    assert!(reason == "cannot be deleted: delete it", "{reason}");
    fs::remove_dir_all(world.folder.path().join(NEW_RING)).unwrap();
    fs::remove_file(world.files.path()).unwrap();
    fs::create_dir(world.files.path()).unwrap();
    let reason = world.refusal().to_string();
    assert!(reason == "cannot be deleted: delete it", "{reason}");
}

#[test]
fn what_is_deleted_has_no_content_either() {
    let world = World::new();
    world.store(&mut filled(), SystemTime::now());
    let other = world.folder.path().join("other");
    fs::hard_link(world.files.path(), &other).unwrap();
    assert!(world.take().is_some());
    assert_eq!((world.names(), fs::metadata(&other).unwrap().len()), (vec!["other".to_owned()], 0));
}

#[test]
fn a_ring_that_is_not_wanted_is_deleted() {
    let world = World::new();
    world.files.remove().unwrap();
    world.store(&mut filled(), SystemTime::now());
    fs::write(world.folder.path().join(NEW_RING), "x").unwrap();
    world.files.remove().unwrap();
    assert_eq!(world.names(), [""; 0]);
}

#[test]
fn only_this_user_can_read_a_ring() {
    let world = World::new();
    let mode = |name: &str| {
        let metadata = fs::metadata(world.folder.path().join(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    // What a stop has left that was interrupted, open to others.
    let new = world.folder.path().join(NEW_RING);
    fs::write(&new, "x").unwrap();
    fs::set_permissions(&new, PermissionsExt::from_mode(0o666)).unwrap();
    world.store(&mut filled(), SystemTime::now());
    world.files.key().unwrap();
    assert_eq!((mode(RING), mode(KEY)), (0o600, 0o600));
    assert_eq!(world.names(), [RING, KEY]);
}

#[test]
fn a_ring_that_cannot_be_written_leaves_nothing() {
    let world = World::new();
    let full = |output: &mut Output| {
        output.write_all(b"RIG-HIST")?;
        Err(ErrorKind::StorageFull.into())
    };
    assert_eq!(world.files.store(WITHIN, full).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(world.names(), [""; 0]);
    drop(fs::remove_dir(world.folder.path()));
    let gone = world.files.store(WITHIN, |output| output.write_all(b"RIG-HIST"));
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn reading_and_writing_take_a_limited_time() {
    let world = World::new();
    let mut ring = filled();
    let late =
        world.files.store(Duration::ZERO, |output| ring.write_to(output, Instant::now(), SystemTime::now()));
    assert_eq!(late.unwrap_err().to_string(), "it took longer than 0ns");
    assert_eq!(world.names(), [""; 0]);
    world.store(&mut ring, SystemTime::now());
    let late = world.refusal_within(Duration::ZERO);
    assert_eq!(late.to_string(), "cannot be read: it took longer than 0ns");
    assert_eq!(world.names(), [""; 0]);
}

#[test]
fn the_key_of_ids_is_kept() {
    let world = World::new();
    let key = || world.files.key().map(|key| key.to_bytes());
    let first = key().unwrap();
    assert_eq!((key().unwrap(), world.names()), (first, vec![KEY.to_owned()]));
    let path = world.folder.path().join(KEY);
    for damaged in [&b""[..], &first[1..], &[7; 17]] {
        fs::write(&path, damaged).unwrap();
        let new = key().unwrap();
        assert_eq!((new == first, key().unwrap()), (false, new));
    }
    // What cannot be read is not replaced.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(key().unwrap_err().to_string(), format!("{}: not a regular file", path.display()));
    assert_eq!(world.names(), [KEY]);
}

#[test]
fn links_are_neither_followed_nor_changed_behind() {
    let world = World::new();
    let other = tempfile::tempdir().unwrap();
    let link = |name: &str, content: &[u8]| {
        let target = other.path().join(name);
        fs::write(&target, content).unwrap();
        symlink(&target, world.folder.path().join(name)).unwrap();
    };
    let mut written = Vec::new();
    filled().write_to(&mut written, Instant::now(), SystemTime::now()).unwrap();
    for name in [RING, NEW_RING] {
        link(name, &written);
    }
    for name in [KEY, NEW_KEY] {
        link(name, &[7; KEY_BYTES as usize]);
    }
    let named = |name: &str| format!("{}: a symbolic link", world.folder.path().join(name).display());
    assert_eq!(world.files.key().unwrap_err().to_string(), named(KEY));
    assert_eq!(world.refusal().to_string(), format!("cannot be read: {}", named(RING)));
    assert_eq!(world.names(), [KEY, NEW_KEY], "the links to rings are deleted");
    let is_there = |name: &str| fs::read(other.path().join(name)).unwrap() == written;
    assert!(is_there(RING) && is_there(NEW_RING));
    fs::remove_file(world.folder.path().join(KEY)).unwrap();
    assert_ne!(world.files.key().unwrap().to_bytes(), [7; KEY_BYTES as usize]);
    link(RING, &written);
    link(NEW_RING, &written);
    world.store(&mut filled(), SystemTime::now());
    assert!(fs::symlink_metadata(world.files.path()).unwrap().is_file());
    assert!(is_there(RING) && is_there(NEW_RING));
    for name in [KEY, NEW_KEY] {
        assert_eq!(fs::read(other.path().join(name)).unwrap(), [7; KEY_BYTES as usize], "{name}");
    }
}
