//! Any message of NATS, as `name: value` lines, an empty line, and the payload: an accepted event
//! is valid in structured mode too.
#![no_main]

use bytes::Bytes;
use event::{Event, ExtensionNames};
use libfuzzer_sys::fuzz_target;
use rig_fuzz::in_proportion;

fuzz_target!(|message: &[u8]| {
    let split = message.windows(2).position(|pair| pair == b"\n\n");
    let (head, payload) = match split {
        Some(at) => (&message[..at], &message[at + 2..]),
        None => (message, &b""[..]),
    };
    let head = String::from_utf8_lossy(head);
    let headers: Vec<_> = head.lines().filter_map(|line| line.split_once(':')).collect();
    let headers = || headers.iter().map(|(name, value)| (*name, value.trim()));
    let payload = Bytes::copy_from_slice(payload);
    let decode = || event::nats::decode(headers(), payload.clone(), ExtensionNames::default());
    if let Ok(event) = in_proportion(message, decode) {
        Event::from_json(event.json().clone()).expect("an accepted event is a structured one");
    }
});
