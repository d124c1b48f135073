//! A document of extractors on the first line, a list of subscriptions after it. Each is accepted,
//! or refused in a short text. An accepted list is written as an equivalent one, can be added to
//! the index, and is removed from it completely.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use rig_fuzz::in_proportion;
use serde_json::Value;
use subscription::{Extractors, Index, MAX_SUBSCRIPTIONS, Subscription};

/// Length limit of an error for a client: places, and names cut to a readable length.
const LONGEST_ERROR: usize = 1024;

fuzz_target!(|input: &str| {
    let (document, list) = input.split_once('\n').unwrap_or(("", input));
    let extractors = in_proportion(input.as_bytes(), || Extractors::from_json(document)).unwrap_or_default();
    let Ok(list) = serde_json::from_str::<Value>(list) else { return };
    let subscriptions = match in_proportion(input.as_bytes(), || Subscription::parse_list(&list, &extractors))
    {
        Ok(subscriptions) => subscriptions,
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && text.len() < LONGEST_ERROR, "{} bytes", text.len());
            return;
        }
    };
    assert!(subscriptions.len() <= MAX_SUBSCRIPTIONS);
    let written = serde_json::to_value(&subscriptions).expect("subscriptions are JSON");
    let again = Subscription::parse_list(&written, &extractors).expect("the written list is valid");
    assert_eq!(again, subscriptions);

    let index = Index::new(Arc::new(extractors));
    let interest = in_proportion(input.as_bytes(), || index.subscribe((), &subscriptions));
    assert_eq!(index.subscriptions(), subscriptions.len());
    drop(interest);
    assert_eq!(index.subscriptions(), 0);
});
