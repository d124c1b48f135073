//! Any message of Kafka, as `name: value` lines, an empty line, and the value: an accepted event is
//! valid in structured mode too, whatever its Avro stands for. A line without a colon is a header
//! with the value null, and a message without an empty line has no value.
#![no_main]

use bytes::Bytes;
use event::kafka::{self, Message};
use event::{Event, ExtensionNames};
use libfuzzer_sys::fuzz_target;
use rig_fuzz::in_proportion;

fuzz_target!(|message: &[u8]| {
    let split = message.windows(2).position(|pair| pair == b"\n\n");
    let (head, value) = match split {
        Some(at) => (&message[..at], Some(&message[at + 2..])),
        None => (message, None),
    };
    let head: Vec<_> = head.split(|byte| *byte == b'\n').map(header).collect();
    let headers = || head.iter().map(|(name, value)| (name.as_str(), *value));
    let value = value.map(Bytes::copy_from_slice);
    let event =
        in_proportion(message, || match kafka::read(headers(), value.clone(), ExtensionNames::default()) {
            Ok(Message::Event(event)) => Some(event),
            Ok(Message::Avro(avro)) => {
                let json = serde_json::from_slice(&avro.bytes()[5..]).unwrap_or_default();
                avro.with(json).ok()
            }
            Ok(Message::Tombstone) => {
                assert!(value.as_ref().is_none_or(Bytes::is_empty), "a tombstone has no value");
                None
            }
            Ok(Message::Answer) | Err(_) => None,
        });
    if let Some(event) = event {
        assert!(event.source().is_some(), "an accepted event has a source");
        Event::from_json(event.json().clone()).expect("an accepted event is a structured one");
    }
});

fn header(line: &[u8]) -> (String, Option<&[u8]>) {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = colon.map_or((line, None), |at| (&line[..at], Some(line[at + 1..].trim_ascii())));
    (String::from_utf8_lossy(name).into_owned(), value)
}
