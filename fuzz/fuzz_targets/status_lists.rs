//! Any claims as a status list token: what is unpacked is within its bounds, each index has a
//! status of as many bits as the list says, and the list counts for no longer than it may.
#![no_main]

use std::time::Duration;

use auth::{StatusList, StatusListToken};
use libfuzzer_sys::fuzz_target;
use rig_fuzz::{NOW, in_proportion};
use serde_json::Value;

const URI: &str = "https://id.example/lists/1";

/// The largest list, in bytes.
const LARGEST: u64 = 16 << 20;

fuzz_target!(|input: &[u8]| {
    // The payload of a token, as it is read after the signature was verified.
    let Ok(Value::Object(claims)) = serde_json::from_slice(input) else { return };
    let list = in_proportion(input, || StatusList::parse(&claims));
    let token =
        in_proportion(input, || StatusListToken::parse(&claims, URI, Duration::from_secs(5), NOW as f64));
    match &list {
        Ok(list) => check(list, &claims["status_list"]["bits"]),
        Err(flaw) => assert!(flaw.to_string().len() <= 100, "{flaw}"),
    }
    if let Ok(token) = token {
        assert!(list == Ok(token.list) && claims["sub"] == URI);
        assert!(token.issued_at <= (NOW + 5) as f64);
        assert!((10..=3600).contains(&token.ttl.as_secs()) && token.expires_in != Some(Duration::ZERO));
    }
});

fn check(list: &StatusList, bits: &Value) {
    let bits = bits.as_u64().expect("bits are checked");
    let entries = list.entries();
    assert!(matches!(bits, 1 | 2 | 4 | 8) && entries * bits % 8 == 0 && entries * bits / 8 <= LARGEST);
    for index in (0..entries.min(1000)).chain(entries.saturating_sub(1000)..entries) {
        let status = list.get(index).expect("an index of the list");
        assert!(u64::from(status) < 1 << bits);
    }
    for beyond in [entries, entries + 1, entries * 8, u64::MAX] {
        assert!(list.get(beyond).is_none() || beyond < entries);
    }
}
