//! Any request in binary mode, as `name: value` lines, an empty line, and the body: an accepted
//! event is valid in structured mode too; every refusal is a 4xx.
#![no_main]

use bytes::Bytes;
use event::{Event, ExtensionNames};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use rig_fuzz::in_proportion;

fuzz_target!(|request: &[u8]| {
    let split = request.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match split {
        Some(at) => (&request[..at], &request[at + 2..]),
        None => (request, &b""[..]),
    };
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let decode = || event::http::decode(&headers, Bytes::copy_from_slice(body), ExtensionNames::default());
    match in_proportion(request, decode) {
        Ok(submission) => {
            for event in submission.events {
                Event::from_json(event.json().clone()).expect("what binary mode makes is a structured event");
            }
        }
        Err(error) => assert!(error.status().is_client_error()),
    }
});
