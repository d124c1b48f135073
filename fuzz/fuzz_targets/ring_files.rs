//! Any file in place of a stored ring, as it is and with a right digest: it is refused, or the ring
//! that it gives can be used, bounded and stored again, also after a type was absent.
#![no_main]

use std::time::{Duration, Instant, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use history::{Bounds, EventPosition, IdKey, Ids, ResumeLimits, Ring};
use libfuzzer_sys::fuzz_target;
use rig_fuzz::in_proportion;
use serde_json::json;
use subscription::{Extractors, Subscription};

const EXTRACTORS: &str = r#"{"order":{"shop":{"stable_field_index":0,"event":{"json_pointer":"/data/shop"}}}}"#;

/// When the seeds were written.
const WRITTEN: Duration = Duration::from_secs(1_800_000_000);

fuzz_target!(|input: &[u8]| {
    let sealed = [input, digest(&SHA256, input).as_ref()].concat();
    for file in [input, &sealed] {
        in_proportion(file, || check(file));
    }
});

fn check(file: &[u8]) {
    let extractors = Extractors::from_json(EXTRACTORS).expect("these are extractors");
    let bounds =
        Bounds { age: Duration::from_secs(60), bytes: 64 << 10, events: 1000, excluded: vec!["noise".to_owned()] };
    let (now, wall) = (Instant::now(), UNIX_EPOCH + WRITTEN);
    let Ok(mut ring) = Ring::read_from(&mut &file[..], bounds.clone(), &extractors, now, wall) else { return };
    assert!(ring.bytes() <= bounds.bytes && ring.len() <= bounds.events);
    let mut stored = Vec::new();
    ring.write_to(&mut stored, now, wall).expect("a Vec takes everything");
    let again = Ring::read_from(&mut &stored[..], bounds.clone(), &extractors, now, wall).expect("it was just written");
    assert_eq!((again.last(), again.len()), (ring.last(), ring.len()));
    let key = IdKey::of_cookie("cookie");
    let id = Ids::new(&key, ring.lineage().clone()).text(ring.last());
    assert_eq!(Ids::new(&key, again.lineage().clone()).read(id.as_str()), Ok(ring.last()));
    let list = json!([{"eventType": "order", "oneOf": [{"shop": 1}]}, {"eventType": "greeting"}]);
    let list = Subscription::parse_list(&list, &extractors).expect("these are subscriptions");
    let keys = [ring.keys().of_revocation(Some("issuer"), "/sub", "al"), 7];
    let limits = ResumeLimits::default();
    let until = EventPosition(ring.last().0 / 4 * 3);
    for cursor in [0, 1, ring.last().0 / 2, ring.last().0].map(EventPosition) {
        let selection = ring.keys().select(&list, &extractors);
        let missed = ring.since(cursor, selection.clone(), &keys, limits, now);
        if let Ok(missed) = &missed {
            assert!(missed.iter().all(|kept| kept.position > cursor));
            assert!(missed.is_sorted_by(|left, right| left.position < right.position));
        }
        // Subscriptions that were added to none get the same, and those that were there nothing.
        let none = ring.keys().select(&[], &extractors);
        for (old, wanted) in [(&none, until), (&selection, EventPosition(0))] {
            let added = ring.added(cursor, until, selection.clone(), old, &keys, limits, now);
            let added = added.and_then(|mut reader| ring.next(&mut reader, usize::MAX, usize::MAX, now));
            let up_to = |missed: Vec<_>| -> Vec<_> {
                missed.into_iter().filter(|kept: &history::Kept| kept.position <= wanted).collect()
            };
            assert_eq!(added, missed.clone().map(up_to));
        }
    }
    let last = ring.last();
    ring.absent(ring.keys().of_type("order"));
    let selection = ring.keys().select(&list, &extractors);
    assert!(ring.since(last, selection, &[], limits, now).is_err());
    let mut stored = Vec::new();
    ring.write_to(&mut stored, now, wall).expect("a Vec takes everything");
    assert!(Ring::read_from(&mut &stored[..], bounds, &extractors, now, wall).is_ok());
}
