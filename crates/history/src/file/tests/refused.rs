//! Files that are not what was written.

use event::MAX_TYPE;

use super::*;
use crate::ring::tests::event;

/// Writes the digest anew after a change.
fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    let end = file.len() - SHA256_OUTPUT_LEN;
    let digest = aws_lc_rs::digest::digest(&SHA256, &file[..end]);
    file[end..].copy_from_slice(digest.as_ref());
    file
}

/// A file with three events, a type that is not kept, and a revocation.
fn small_file() -> Vec<u8> {
    let mut world = World::new(bounds());
    for number in 0..3 {
        world.push_event(&event("order", &json!({"shop": number})));
    }
    world.push("noise", &json!(1));
    world.ring.revoke(7, world.now);
    written(&mut world)
}

#[test]
fn any_changed_or_missing_byte_is_refused() {
    let file = small_file();
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
    file[11] += 1;
    assert!(matches!(read(&sealed(file), wall()), Err(NotLoaded::Format)));
    assert!(matches!(read(&[0; 100], wall()), Err(NotLoaded::Format)));
    assert!(matches!(read(b"", wall()), Err(NotLoaded::Damaged)));
}

/// With a right digest, nonsense is refused all the same, or does no harm.
#[test]
fn nonsense_with_a_right_digest_does_no_harm() {
    let file = small_file();
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

/// Where the number of earlier series is.
const EARLIER_AT: usize = 8 + 4 + 8 + 8;

/// A file with these earlier series, and their last positions.
fn file_with_earlier(earlier: &[(u64, u64)]) -> Vec<u8> {
    let mut file = small_file();
    let count = (earlier.len() as u64).to_be_bytes();
    let series = earlier.iter().flat_map(|(series, last)| [series.to_be_bytes(), last.to_be_bytes()]);
    let inserted: Vec<u8> = series.flatten().collect();
    file.splice(EARLIER_AT..EARLIER_AT + 8, [&count[..], &inserted].concat());
    sealed(file)
}

#[test]
fn earlier_series_are_few_and_their_positions_rise() {
    let many = |count: u64| (0..count).map(|number| (number, 1)).collect::<Vec<_>>();
    let largest = Lineage::EARLIER as u64;
    for (earlier, is_read) in [
        (many(0), true),
        (many(largest), true),
        (many(largest + 1), false),
        (vec![(1, 1), (2, 5)], true),
        (vec![(1, 3), (2, 2)], false),
        // The last position of the file itself.
        (vec![(1, 5)], true),
        (vec![(1, 6)], false),
        (vec![(1, u64::MAX)], false),
    ] {
        let read = read(&file_with_earlier(&earlier), wall());
        assert_eq!(read.is_ok(), is_read, "{earlier:?}");
    }
}

/// A file with one event at the first position.
fn file_of_one(event_type: usize, json: usize) -> Vec<u8> {
    let mut file = written(&mut World::new(bounds()));
    file.truncate(file.len() - SHA256_OUTPUT_LEN - 8);
    let last = EARLIER_AT + 8;
    file[last..last + 8].copy_from_slice(&1u64.to_be_bytes());
    let age = 0;
    for number in [1, 1, age, event_type as u64] {
        file.extend(u64::to_be_bytes(number));
    }
    file.resize(file.len() + event_type, b't');
    file.extend(u64::to_be_bytes(json as u64));
    file.resize(file.len() + json + SHA256_OUTPUT_LEN, b'x');
    sealed(file)
}

/// No event has a longer type.
#[test]
fn a_type_that_is_too_long_is_refused() {
    assert_eq!(read(&file_of_one(MAX_TYPE, 10), wall()).map(|ring| ring.len()).ok(), Some(1));
    assert!(matches!(read(&file_of_one(MAX_TYPE + 1, 10), wall()), Err(NotLoaded::Damaged)));
}

#[test]
fn an_event_that_is_too_long_is_skipped() {
    for (json, kept) in [(1000, 1), (bounds().bytes, 0), (10 * bounds().bytes + 1, 0)] {
        let mut file = file_of_one(3, json);
        let ring = read(&file, wall()).unwrap();
        let mut world = World { ring, extractors: extractors(), now: Instant::now() };
        assert_eq!((world.ring.len(), world.ring.last()), (kept, EventPosition(1)));
        let missed = world.since(EventPosition(0), &all("ttt"));
        assert_eq!(missed, if kept == 1 { Ok(vec![1]) } else { Err(Gap::Expired) });
        file.truncate(file.len() - SHA256_OUTPUT_LEN - 1);
        assert!(matches!(read(&file, wall()), Err(NotLoaded::Damaged)));
    }
}

#[test]
fn a_text_that_is_too_long_takes_no_memory() {
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file);
    let text = vec![b'x'; 50_000];
    writer.text(&text).unwrap();
    writer.text(&text).unwrap();
    writer.finish().unwrap();
    let mut input = &file[..];
    let mut reader = Reader::new(&mut input);
    assert_eq!(reader.text_up_to(text.len() as u64 - 1).unwrap(), None);
    assert_eq!(reader.text_up_to(text.len() as u64).unwrap(), Some(text));
    reader.finish().unwrap();
}
