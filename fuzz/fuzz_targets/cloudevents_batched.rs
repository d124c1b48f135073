//! Any bytes as a batch: each event of an accepted batch is valid as a single event.
#![no_main]

use bytes::Bytes;
use event::{Event, ExtensionNames};
use libfuzzer_sys::fuzz_target;
use rig_fuzz::in_proportion;

fuzz_target!(|json: &[u8]| {
    if let Ok(events) = in_proportion(json, || {
        Event::batch_from_json(Bytes::copy_from_slice(json), ExtensionNames::default())
    }) {
        for event in events {
            let alone = Event::from_json(event.json().clone()).expect("an event of a batch stands alone");
            assert_eq!(alone.id(), event.id());
            assert_eq!(alone.event_type(), event.event_type());
        }
    }
});
