use serde_json::{Value, json};
use subscription::Subscription;

use super::*;
use crate::gap::Gap;
use crate::id::InvalidId;
use crate::ring::ResumeLimits;
use crate::ring::tests::{AGE, World, all, bounds, event, extractors};
use crate::{IdKey, Ids};

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

/// Writes the digest anew after a change.
fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    let end = file.len() - SHA256_OUTPUT_LEN;
    let digest = aws_lc_rs::digest::digest(&SHA256, &file[..end]);
    file[end..].copy_from_slice(digest.as_ref());
    file
}

/// What each of some readers gets.
fn answers(world: &mut World) -> Vec<Result<Vec<u64>, Gap>> {
    let lists = [
        all("plain"),
        json!([{"eventType": "order", "oneOf": [{"shop": 1}, {"shop": 2, "user": "al"}]}]),
        all("noise"),
        all("greeting"),
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
    assert_eq!(loaded.ring.series(), series);
    assert_eq!(answers(&mut loaded), before);
    assert!(loaded.ring.is_revoked_since(EventPosition(41), &[7]));
    let next = loaded.push("plain", &json!("new"));
    assert_eq!(next, EventPosition(world.ring.last().0 + 1));
    assert_eq!(loaded.since(EventPosition(next.0 - 1), &all("plain")), Ok(vec![next.0]));
    assert_eq!(written(&mut World { ring: read(&file, wall()).unwrap(), ..loaded }).len(), file.len());
}

#[test]
fn r18_a_revocation_is_not_bridged_over_a_restart() {
    let mut world = World::new(bounds());
    world.push("plain", &json!(1));
    world.ring.revoke(7, world.now);
    world.push("plain", &json!(2));
    let file = written(&mut world);
    let mut ring = read(&file, wall() + Duration::from_secs(1)).unwrap();
    let list = Subscription::parse_list(&all("plain"), &extractors()).unwrap();
    let selection = ring.keys().select(&list, &extractors());
    let now = Instant::now();
    let missed = ring.since(EventPosition(1), selection.clone(), &[7], ResumeLimits::default(), now);
    assert_eq!(missed, Err(Gap::Revoked));
    let later = now + AGE;
    assert_eq!(
        ring.since(EventPosition(1), selection, &[7], ResumeLimits::default(), later),
        Err(Gap::Expired)
    );
}

#[test]
fn r12_the_next_life_after_a_loss_reads_no_older_id() {
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

#[test]
fn any_changed_or_missing_byte_is_refused() {
    let mut world = World::new(bounds());
    for number in 0..3 {
        world.push_event(&event("order", &json!({"shop": number})));
    }
    world.push("noise", &json!(1));
    world.ring.revoke(7, world.now);
    let file = written(&mut world);
    assert!(read(&file, wall()).is_ok());
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut changed = file.clone();
            changed[at] ^= 1 << bit;
            assert!(read(&changed, wall()).is_err(), "byte {at}, bit {bit}");
        }
        assert!(matches!(read(&file[..at], wall()), Err(NotLoaded::Damaged)), "cut at {at}");
        let mut longer = file.clone();
        longer.insert(at, 0);
        assert!(read(&longer, wall()).is_err(), "byte before {at}");
    }
    assert!(matches!(read(&[&file[..], b"x"].concat(), wall()), Err(NotLoaded::Damaged)));
}

#[test]
fn another_format_is_refused_as_such() {
    let mut file = written(&mut filled());
    file[11] = 2;
    assert!(matches!(read(&sealed(file), wall()), Err(NotLoaded::Format)));
    assert!(matches!(read(&[0; 100], wall()), Err(NotLoaded::Format)));
    assert!(matches!(read(b"", wall()), Err(NotLoaded::Damaged)));
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

/// With a right digest, nonsense is refused all the same, or does no harm.
#[test]
fn nonsense_with_a_right_digest_does_no_harm() {
    let mut world = World::new(bounds());
    for number in 0..3 {
        world.push_event(&event("order", &json!({"shop": number})));
    }
    world.push("noise", &json!(1));
    world.ring.revoke(7, world.now);
    let file = written(&mut world);
    for at in 12..file.len() - SHA256_OUTPUT_LEN {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = file.clone();
            changed[at] = value;
            if let Ok(mut ring) = read(&sealed(changed), wall()) {
                let mut again = Vec::new();
                ring.write_to(&mut again, Instant::now(), wall()).unwrap();
                assert!(read(&again, wall()).is_ok(), "byte {at}: {value}");
                let mut world = World { ring, extractors: extractors(), now: Instant::now() };
                world.push("order", &json!({"shop": 1}));
                let missed = world.since(EventPosition(0), &all("order"));
                assert!(missed.is_err() || missed.is_ok_and(|missed| missed.is_sorted()));
            }
        }
    }
}

#[test]
fn an_input_that_cannot_be_read_is_an_error_of_its_own() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
    let read = Ring::read_from(&mut Broken, bounds(), &extractors(), Instant::now(), wall());
    assert!(matches!(read, Err(NotLoaded::Unreadable(_))));
}

/// After a change of the format, they are to be written anew: [`written`] without the digest.
#[test]
fn the_seeds_of_the_fuzz_target_are_of_this_format() {
    for name in ["empty", "filled"] {
        let seed = format!("{}/../../fuzz/seeds/ring_files/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut file = std::fs::read(seed).unwrap();
        let digest = aws_lc_rs::digest::digest(&SHA256, &file);
        file.extend_from_slice(digest.as_ref());
        let read = Ring::read_from(&mut &file[..], bounds(), &extractors(), Instant::now(), wall());
        assert!(read.is_ok(), "{name}: {:?}", read.err());
    }
}
