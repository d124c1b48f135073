//! The recent events over clean stops and others.

use std::io::Cursor;
use std::time::SystemTime;

use ::history::{EventPosition, Gap, Selection};
use serde_json::json;
use session::{Config, MemoryLog};
use subscription::Subscription;
use tempfile::TempDir;

use super::*;

struct World {
    folder: TempDir,
    sessions: Sessions,
    extractors: Extractors,
}

fn bounds(age: Duration) -> Bounds {
    Bounds { age, bytes: 1 << 20, events: usize::MAX, excluded: Vec::new() }
}

impl World {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            sessions: Sessions::new(Config::default(), MemoryLog::new()).unwrap(),
            extractors: Extractors::default(),
        }
    }

    /// Starts a node of a cluster if it `has_peers`, with a folder and without a cookie.
    fn start(&self, has_peers: bool) -> History {
        let folder = Some(self.folder.path().to_owned());
        self.load(Some(bounds(Duration::from_secs(120))), folder, None, has_peers).expect("it is on")
    }

    fn load(
        &self,
        bounds: Option<Bounds>,
        folder: Option<PathBuf>,
        cookie: Option<&str>,
        has_peers: bool,
    ) -> Option<History> {
        let (sessions, extractors) = (&self.sessions, &self.extractors);
        History::load_given(bounds, Given { folder, sessions, cookie, extractors, has_peers })
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    /// Returns the ring of a history, as the next run would load it.
    fn ring(&self, history: &History) -> Ring {
        let mut written = Vec::new();
        history.sequencer.store(&mut written).unwrap();
        let (now, wall) = (Instant::now(), SystemTime::now());
        let bounds = bounds(Duration::from_secs(120));
        Ring::read_from(&mut Cursor::new(written), bounds, &self.extractors, now, wall).unwrap()
    }

    /// Returns what a client from before all events gets that is subscribed to greetings.
    fn since_the_beginning(&self, history: &History) -> Result<usize, Gap> {
        let mut ring = self.ring(history);
        let list = Subscription::parse_list(&json!([{"eventType": "greeting"}]), &self.extractors).unwrap();
        let selection: Selection = ring.keys().select(&list, &self.extractors);
        let (limits, now) = (ResumeLimits::default(), Instant::now());
        ring.since(EventPosition::default(), selection, &[], limits, now).map(|missed| missed.len())
    }
}

#[test]
fn a_clean_stop_continues_the_series_and_a_kill_does_not() {
    let world = World::new();
    let first = world.start(false);
    let series = first.sequencer.series();
    let cursor = world.ring(&first);
    first.store();
    assert_eq!(world.names(), ["history", "history.key"]);
    let second = world.start(false);
    assert!(second.sequencer.is_own(series));
    assert_eq!(world.ring(&second).last(), cursor.last());
    assert_eq!(world.since_the_beginning(&second), Ok(0));
    assert_eq!(world.names(), ["history.key"]);
    // Killed: nothing is stored.
    drop(second);
    let third = world.start(false);
    assert!(!third.sequencer.is_own(series));
    third.store();
    // A series that was given up does not come back.
    assert!(!world.start(false).sequencer.is_own(series));
}

/// The folder was put back as it was before a run, or is a copy of that of another node.
#[test]
fn two_runs_from_the_same_file_do_not_read_each_others_ids() {
    let world = World::new();
    let first = world.start(false);
    let of_first = first.sequencer.series();
    first.store();
    let copy = std::fs::read(world.folder.path().join("history")).unwrap();
    let second = world.start(false);
    let of_second = second.sequencer.series();
    let id = ::history::Ids::new(&key(&world, None), of_second).text(EventPosition(1));
    assert!(second.sequencer.is_own(of_first));
    second.store();
    std::fs::write(world.folder.path().join("history"), copy).unwrap();
    let third = world.start(false);
    assert!(third.sequencer.is_own(of_first), "what was before the copy is continued");
    assert!(!third.sequencer.is_own(of_second));
    assert_eq!(third.sequencer.series_of(id.as_str()), Some(of_second), "its ids are of another run");
}

#[test]
fn a_node_with_peers_has_missed_their_events() {
    let world = World::new();
    let first = world.start(true);
    let series = first.sequencer.series();
    assert_eq!(world.since_the_beginning(&first), Ok(0));
    first.store();
    let second = world.start(true);
    assert!(second.sequencer.is_own(series));
    assert_eq!(world.since_the_beginning(&second), Err(Gap::Lost));
}

#[test]
fn without_a_history_no_file_stays_that_could_be_loaded_later() {
    let world = World::new();
    let first = world.start(false);
    let series = first.sequencer.series();
    first.store();
    let folder = || Some(world.folder.path().to_owned());
    assert!(world.load(None, folder(), None, false).is_none());
    assert_eq!(world.names(), ["history.key"]);
    assert!(!world.start(false).sequencer.is_own(series));
}

#[test]
fn in_memory_nothing_is_stored() {
    let world = World::new();
    let bounds = Some(bounds(Duration::from_secs(120)));
    let history = world.load(bounds, None, None, false).expect("it is on");
    history.store();
    assert_eq!(world.names(), [""; 0]);
}

#[test]
fn ids_depend_on_the_cookie_or_on_a_key_that_is_kept() {
    let world = World::new();
    let series_of = |cookie: Option<&str>, read_with: Option<&str>| {
        let folder = Some(world.folder.path().to_owned());
        let bounds = Some(bounds(Duration::from_secs(120)));
        let written = world.load(bounds.clone(), folder.clone(), cookie, false).expect("it is on");
        // Killed: the next run knows the id as one of an earlier series.
        let id = ::history::Ids::new(&key(&world, cookie), written.sequencer.series());
        let read = world.load(bounds, folder, read_with, false).expect("it is on");
        let series = read.sequencer.series_of(id.text(EventPosition(1)).as_str());
        (series == Some(written.sequencer.series()), series.is_some())
    };
    assert_eq!(series_of(None, None), (true, true));
    assert_eq!(series_of(Some("a cookie"), Some("a cookie")), (true, true));
    assert!(!series_of(Some("a cookie"), Some("another")).0);
    assert!(!series_of(None, Some("a cookie")).0);
}

fn key(world: &World, cookie: Option<&str>) -> IdKey {
    let files = HistoryFiles::new(world.folder.path().to_owned());
    cookie.map_or_else(|| files.key().unwrap(), IdKey::of_cookie)
}

#[test]
fn a_folder_that_cannot_be_written_is_no_reason_to_fail() {
    let world = World::new();
    let gone = Some(world.folder.path().join("none"));
    let bounds = Some(bounds(Duration::from_secs(120)));
    let history = world.load(bounds, gone.clone(), None, false).expect("it is on");
    history.store();
    assert!(world.load(None, gone, None, false).is_none());
    assert_eq!(world.names(), [""; 0]);
}
