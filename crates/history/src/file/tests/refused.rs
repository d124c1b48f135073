//! Files that are not what was written.

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
    file[11] = 2;
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
