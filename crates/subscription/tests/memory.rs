//! Measures the memory in the index of a connection with a value of its own. The only test in this
//! file, since it measures the whole process.

#![cfg(target_os = "linux")]

use std::sync::{Arc, Weak};

use rig_subscription::{Extractors, Index, Interest, Subscription};
use serde_json::json;

/// Returns the resident memory in bytes.
fn resident() -> usize {
    const PAGE: usize = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("the second number is of resident pages") * PAGE
}

/// A hash map doubles at 114,688 entries. Just beyond that, it is half empty, which is the worst
/// case.
#[test]
fn a_subscriber_with_a_value_of_its_own_costs_less_than_300_bytes() {
    const SUBSCRIBERS: usize = 115_000;
    let extractors = Extractors::from_json(
        r#"{"greeting":{"name":{"stable_field_index":0,"event":{"json_pointer":"/data/name"}}}}"#,
    );
    let extractors = Arc::new(extractors.unwrap());
    let index = Index::new(extractors.clone());
    let subscribe = |n: usize| {
        let list = json!([{"eventType": "greeting", "oneOf": [{"name": format!("user-{n:08}")}]}]);
        index.subscribe(Weak::new(), &Subscription::parse_list(&list, &extractors).unwrap())
    };
    let mut interests: Vec<Interest<Weak<()>>> = (0..1000).map(subscribe).collect();
    interests.reserve_exact(SUBSCRIBERS);
    let before = resident();
    interests.extend((1000..SUBSCRIBERS).map(subscribe));
    let each = (resident() - before) / (SUBSCRIBERS - 1000);
    println!("{each} bytes");
    assert_eq!(index.subscriptions(), SUBSCRIBERS);
    assert!(each < 300, "{each} bytes");
}
