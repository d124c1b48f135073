//! A pointer on the first line, JSON after it: the one-pass extraction finds the same value as
//! resolving the pointer in a parsed document.
#![no_main]

use event::{Pointer, PointerTree};
use libfuzzer_sys::fuzz_target;
use rig_fuzz::in_proportion;
use serde_json::Value;

fuzz_target!(|input: &str| {
    let Some((pointer, json)) = input.split_once('\n') else { return };
    let Ok(pointer) = Pointer::parse(pointer) else { return };
    let Ok(document) = serde_json::from_str::<Value>(json) else { return };
    let found = in_proportion(input.as_bytes(), || PointerTree::new([&pointer]).extract(json.as_bytes()));
    let found = found[0].map(|value| serde_json::from_str(value).expect("a part of JSON is JSON"));
    assert_eq!(found, pointer.resolve(&document).cloned());
});
