//! Any bytes as one CloudEvent in structured mode: refused with a text, or kept byte for byte.
#![no_main]

use bytes::Bytes;
use event::Event;
use libfuzzer_sys::fuzz_target;
use rig_fuzz::in_proportion;

fuzz_target!(|json: &[u8]| {
    match in_proportion(json, || Event::from_json(Bytes::copy_from_slice(json))) {
        Ok(event) => {
            assert_eq!(event.json(), json);
            assert!(!event.event_type().is_empty() && !event.id().is_empty());
            serde_json::from_slice::<serde_json::Value>(json).expect("an accepted event is JSON");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
