use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN};
use serde_json::{Value, json};
use subscription::Subscription;

use super::*;
use crate::gap::Gap;
use crate::id::InvalidId;
use crate::ring::ResumeLimits;
use crate::ring::tests::{AGE, World, all, bounds, extractors};
use crate::{IdKey, Ids, Lineage};

mod refused;

fn filled() -> World {
    let mut world = World::new(bounds());
    for number in 0..20 {
        world.push("order", &json!({"shop": number % 3, "user": "al"}));
        world.push("plain", &json!(number));
        world.wait(Duration::from_millis(10));
    }
    world.push("noise", &json!(1));
    world.ring.revoke(7, world.now);
    world.push("plain", &json!("x".repeat(5000)));
    let key = world.ring.keys().of_type("greeting");
    world.ring.lose(Some(key));
    let key = world.ring.keys().of_type("absent");
    world.ring.absent(key);
    world
}

fn written(world: &mut World) -> Vec<u8> {
    let mut file = Vec::new();
    world.ring.write_to(&mut file, world.now, wall()).unwrap();
    file
}

fn wall() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn read(file: &[u8], wall: SystemTime) -> Result<Ring, NotLoaded> {
    Ring::read_from(&mut &file[..], bounds(), &extractors(), Instant::now(), wall)
}

/// What each of some readers gets.
fn answers(world: &mut World) -> Vec<Result<Vec<u64>, Gap>> {
    let lists = [
        all("plain"),
        json!([{"eventType": "order", "oneOf": [{"shop": 1}, {"shop": 2, "user": "al"}]}]),
        all("noise"),
        all("greeting"),
        all("absent"),
        json!([]),
    ];
    let cursors = (0..=world.ring.last().0 + 1).map(EventPosition);
    cursors.flat_map(|cursor| lists.each_ref().map(|list: &Value| world.since(cursor, list))).collect()
}

#[test]
fn r13_a_loaded_ring_answers_as_the_one_that_was_written() {
    let mut world = filled();
    let before = answers(&mut world);
    let file = written(&mut world);
    let series = world.ring.series();
    let ring = read(&file, wall()).unwrap();
    let mut loaded = World { ring, extractors: extractors(), now: Instant::now() };
    assert!(loaded.ring.lineage().has(series) && loaded.ring.series() != series);
    assert_eq!(answers(&mut loaded), before);
    assert!(loaded.ring.is_revoked_since(EventPosition(41), &[7]));
    let next = loaded.push("plain", &json!("new"));
    assert_eq!(next, EventPosition(world.ring.last().0 + 1));
    assert_eq!(loaded.since(EventPosition(next.0 - 1), &all("plain")), Ok(vec![next.0]));
    // The next file names one series more.
    let again = written(&mut World { ring: read(&file, wall()).unwrap(), ..loaded });
    assert_eq!(again.len(), file.len() + 16);
}

#[test]
fn ids_from_before_a_restart_are_read_up_to_the_last_one() {
    let key = IdKey::random();
    let mut world = World::new(bounds());
    let mut runs = Vec::new();
    for _ in 0..Lineage::EARLIER + 3 {
        world.push("plain", &json!(1));
        runs.push((world.ring.series(), world.ring.last()));
        let ring = read(&written(&mut world), wall()).unwrap();
        world = World { ring, ..world };
    }
    let ids = Ids::new(&key, world.ring.lineage().clone());
    let forgotten = runs.len() - Lineage::EARLIER;
    for (at, (series, last)) in runs.into_iter().enumerate() {
        let of_series = Ids::new(&key, series);
        let read = |position| ids.read(of_series.text(position).as_str());
        let is_read = at >= forgotten;
        assert_eq!(read(last), if is_read { Ok(last) } else { Err(InvalidId::Elsewhere(series)) }, "{at}");
        assert_eq!(read(last.next()), Err(InvalidId::Elsewhere(series)), "{at}");
    }
}

/// The file was put back after a run that had loaded it: what that run has given out is not at the
/// same places any more.
#[test]
fn r12_a_file_that_is_put_back_gives_no_id_twice() {
    let key = IdKey::random();
    let ids = |world: &World| Ids::new(&key, world.ring.lineage().clone());
    let mut world = World::new(bounds());
    let before = world.push("plain", &json!("before"));
    let file = written(&mut world);
    let of_first = ids(&world).text(before);
    let [mut second, mut third] = [0; 2].map(|_| World {
        ring: read(&file, wall()).unwrap(),
        extractors: extractors(),
        now: Instant::now(),
    });
    let lost = second.push("plain", &json!("lost"));
    let other = third.push("plain", &json!("other"));
    assert_eq!(lost, other);
    let of_second = ids(&second).text(lost);
    assert_ne!(ids(&third).text(other), of_second);
    let read = ids(&third).read(of_second.as_str());
    assert_eq!(read, Err(InvalidId::Elsewhere(second.ring.series())));
    assert_eq!(ids(&third).read(of_first.as_str()), Ok(before));
    assert_eq!(third.since(before, &all("plain")), Ok(vec![other.0]));
}

/// The bound is smaller than that of the run before: the newest events that fit are kept, and one
/// that exceeds it alone is a gap of its type only.
#[test]
fn a_file_of_a_larger_ring_is_cut_to_its_newest_events() {
    let mut world = World::new(bounds());
    for number in 0..40 {
        world.push("plain", &json!(format!("{number:500}")));
    }
    // One whose JSON exceeds the bound, and one that does with what is stored beside it.
    world.push("greeting", &json!({"name": "x".repeat(20_000)}));
    world.push("order", &json!({"user": "x".repeat(9_900)}));
    world.push("plain", &json!(1));
    let file = written(&mut world);
    let bounds = Bounds { bytes: 10_000, ..bounds() };
    let ring = Ring::read_from(&mut &file[..], bounds, &extractors(), Instant::now(), wall()).unwrap();
    let kept = ring.len() as u64;
    assert!((10..20).contains(&kept) && ring.bytes() <= 10_000, "{kept} events, {} bytes", ring.bytes());
    let mut loaded = World { ring, extractors: extractors(), now: Instant::now() };
    let oldest = 42 - kept;
    let newest: Vec<u64> = (oldest..=43).filter(|position| ![41, 42].contains(position)).collect();
    assert_eq!(loaded.since(EventPosition(oldest - 1), &all("plain")), Ok(newest));
    assert_eq!(loaded.since(EventPosition(oldest - 2), &all("plain")), Err(Gap::Expired));
    assert_eq!(loaded.since(EventPosition(40), &all("greeting")), Err(Gap::Expired));
    assert_eq!(loaded.since(EventPosition(41), &all("greeting")), Ok(vec![]));
    assert_eq!(loaded.since(EventPosition(41), &all("order")), Err(Gap::Expired));
    assert_eq!(loaded.since(EventPosition(42), &all("order")), Ok(vec![]));
}

#[test]
fn r18_a_revocation_is_not_bridged_over_a_restart() {
    let mut world = World::new(bounds());
    world.push("plain", &json!(1));
    let key = world.ring.keys().of_revocation(Some("issuer"), "/sub", "al");
    world.ring.revoke(key, world.now);
    world.push("plain", &json!(2));
    let file = written(&mut world);
    let mut ring = read(&file, wall() + Duration::from_secs(1)).unwrap();
    let keys = [ring.keys().of_revocation(Some("issuer"), "/sub", "al")];
    let list = Subscription::parse_list(&all("plain"), &extractors()).unwrap();
    let selection = ring.keys().select(&list, &extractors());
    let now = Instant::now();
    let missed = ring.since(EventPosition(1), selection.clone(), &keys, ResumeLimits::default(), now);
    assert_eq!(missed, Err(Gap::Revoked));
    let later = now + AGE;
    assert_eq!(
        ring.since(EventPosition(1), selection, &keys, ResumeLimits::default(), later),
        Err(Gap::Expired)
    );
}

/// Longer ago than anything is kept, so that it cannot be checked any more.
#[test]
fn r18_a_revocation_that_was_forgotten_over_a_restart_is_not_bridged() {
    let mut world = World::new(bounds());
    let before = world.push("plain", &json!(1));
    world.ring.revoke(7, world.now);
    world.wait(AGE - Duration::from_millis(500));
    let after = world.push("plain", &json!(2));
    let file = written(&mut world);
    let ring = read(&file, wall() + Duration::from_secs(1)).unwrap();
    assert_eq!((ring.len(), ring.revocations().len()), (1, 0));
    let mut loaded = World { ring, extractors: extractors(), now: Instant::now() };
    assert_eq!(loaded.since(before, &all("plain")), Err(Gap::Expired));
    assert_eq!(loaded.since(EventPosition(after.0 - 1), &all("plain")), Ok(vec![after.0]));
}

#[test]
fn r12_the_next_series_after_a_loss_reads_no_older_id() {
    let key = IdKey::random();
    let world = filled();
    let id = Ids::new(&key, world.ring.series()).text(EventPosition(3));
    // After `kill -9`, there is no file.
    let next = World::new(bounds());
    let read = Ids::new(&key, next.ring.series()).read(id.as_str());
    assert_eq!(read, Err(InvalidId::Elsewhere(world.ring.series())));
}

#[test]
fn the_time_away_counts() {
    let mut world = World::new(bounds());
    world.push("plain", &json!(1));
    world.wait(Duration::from_millis(1000));
    world.push("plain", &json!(2));
    let file = written(&mut world);
    let after = |away| read(&file, wall() + Duration::from_millis(away)).map(|ring| ring.len()).ok();
    assert_eq!([0, 900, 1000, 1100, 2000].map(after), [Some(2), Some(2), Some(2), Some(1), Some(1)]);
    let refused = read(&file, wall() + AGE + Duration::from_millis(1));
    assert!(matches!(refused, Err(NotLoaded::TooOld(away)) if away == AGE + Duration::from_millis(1)));
    let mut loaded = read(&file, wall() + Duration::from_millis(1100)).unwrap();
    let list = Subscription::parse_list(&all("plain"), &extractors()).unwrap();
    let selection = loaded.keys().select(&list, &extractors());
    let now = Instant::now();
    let expired = loaded.since(EventPosition(0), selection.clone(), &[], ResumeLimits::default(), now);
    assert_eq!(expired, Err(Gap::Expired));
    let exact = loaded.since(EventPosition(1), selection, &[], ResumeLimits::default(), now);
    assert_eq!(exact.map(|missed| missed.len()), Ok(1));
}

#[test]
fn r29_a_clock_that_was_set_back_does_no_harm() {
    let file = written(&mut filled());
    for wall in [UNIX_EPOCH, wall() - Duration::from_secs(3600)] {
        assert_eq!(read(&file, wall).unwrap().len(), filled().ring.len());
    }
    let before_1970 = UNIX_EPOCH - Duration::from_secs(5);
    let mut file = Vec::new();
    filled().ring.write_to(&mut file, Instant::now(), before_1970).unwrap();
    assert!(read(&file, before_1970).is_ok());
}

#[test]
fn other_bounds_and_extractors_of_the_next_run_apply() {
    let mut world = filled();
    let file = written(&mut world);
    let last = world.ring.last().0;
    let load = |bounds, extractors: &Extractors| {
        Ring::read_from(&mut &file[..], bounds, extractors, Instant::now(), wall()).unwrap()
    };
    let small = load(Bounds { events: 5, ..bounds() }, &extractors());
    assert_eq!((small.len(), small.last().0), (5, last));
    let none = load(Bounds { bytes: 0, ..bounds() }, &extractors());
    assert_eq!((none.len(), none.last().0), (0, last));
    let excluded = Bounds { excluded: vec!["plain".to_owned()], ..bounds() };
    let mut world =
        World { ring: load(excluded, &extractors()), extractors: extractors(), now: Instant::now() };
    assert_eq!(world.since(EventPosition(30), &all("plain")), Err(Gap::Expired));
    assert_eq!(world.since(EventPosition(38), &all("order")), Ok(vec![39]));
    // The next run finds users elsewhere, and with them no event of a user.
    let moved = r#"{"order":{"user":{"stable_field_index":0,"event":{"json_pointer":"/data/owner"}}}}"#;
    let moved = Extractors::from_json(moved).unwrap();
    let mut ring = load(bounds(), &moved);
    let list = json!([{"eventType": "order", "oneOf": [{"user": "al"}]}]);
    let list = Subscription::parse_list(&list, &moved).unwrap();
    let selection = ring.keys().select(&list, &moved);
    assert_eq!(
        ring.since(EventPosition(0), selection, &[], ResumeLimits::default(), Instant::now()),
        Ok(vec![])
    );
}

/// An event of a type that is excluded from now on is older than one that was not kept before.
#[test]
fn the_latest_event_that_is_not_kept_counts_over_a_restart() {
    let mut world = World::new(bounds());
    let event = world.push("plain", &json!(1));
    let key = world.ring.keys().of_type("plain");
    world.ring.count(key).unwrap();
    let file = written(&mut world);
    let bounds = Bounds { excluded: vec!["plain".to_owned()], ..bounds() };
    let ring = Ring::read_from(&mut &file[..], bounds, &extractors(), Instant::now(), wall()).unwrap();
    let mut loaded = World { ring, extractors: extractors(), now: Instant::now() };
    assert_eq!(loaded.since(event, &all("plain")), Err(Gap::Expired));
}

/// A table of revocations that overflows expires cursors, but leaves the events.
#[test]
fn a_ring_whose_events_are_out_of_reach_is_loaded() {
    let mut world = World::new(Bounds { bytes: 10_000, ..bounds() });
    world.push("plain", &json!(1));
    for key in 0..100 {
        world.ring.revoke(key, world.now);
    }
    let last = world.push("plain", &json!(2));
    assert_eq!(world.ring.len(), 2);
    let file = written(&mut world);
    let ring = read(&file, wall()).unwrap();
    let mut loaded = World { ring, extractors: extractors(), now: Instant::now() };
    assert_eq!(loaded.since(EventPosition(1), &all("plain")), Err(Gap::Expired));
    assert_eq!(loaded.since(EventPosition(last.0 - 1), &all("plain")), Ok(vec![last.0]));
}

/// After a change of the format, they are to be written anew: [`written`] without the digest.
#[test]
fn the_seeds_of_the_fuzz_target_are_of_this_format() {
    for name in ["empty", "filled", "continued"] {
        let seed = format!("{}/../../fuzz/seeds/ring_files/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut file = std::fs::read(seed).unwrap();
        let digest = aws_lc_rs::digest::digest(&SHA256, &file);
        file.extend_from_slice(digest.as_ref());
        let read = Ring::read_from(&mut &file[..], bounds(), &extractors(), Instant::now(), wall());
        assert!(read.is_ok(), "{name}: {:?}", read.err());
    }
}
