//! A definition of an API, or a list of them. Each is accepted, or refused with faults that name
//! their places in short texts. An accepted definition is shown as an equivalent one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy::{Api, Definitions, difference};
use serde_json::Value;

/// Limit of faults that are reported for a document.
const MOST_FAULTS: usize = 1000;

/// Limit of the length of a reason, which may repeat an invalid pattern several times.
const LONGEST_REASON: usize = 64 << 10;

fuzz_target!(|input: &str| {
    let Ok(document) = serde_json::from_str::<Value>(input) else { return };
    // Every environment variable contains its own name.
    let environment = |name: &str| Some(name.to_owned());
    let list = match &document {
        Value::Array(_) => document.clone(),
        one => Value::Array(vec![one.clone()]),
    };
    if let Err(faults) = Definitions::parse(&list, &environment) {
        assert!((1..=MOST_FAULTS).contains(&faults.len()), "{}", faults.len());
        for fault in faults {
            assert!(
                !fault.reason.is_empty() && fault.reason.len() < LONGEST_REASON,
                "{}",
                fault.reason.len()
            );
            assert!(!fault.field.is_empty() && !fault.group.is_empty());
            assert!(fault.pointer.is_empty() || fault.pointer.starts_with('/'), "{}", fault.pointer);
        }
    }
    if let Ok((api, _)) = Api::parse(&document, &environment) {
        let shown = Value::Object(api.document.clone());
        let (again, _) = Api::parse(&shown, &environment).expect("what is shown is a definition");
        assert!(difference(&[again.document], &[api.document]).is_empty());
        assert_eq!((again.id, again.active, again.token_sources), (api.id, api.active, api.token_sources));
        assert_eq!(again.upstream, api.upstream);
        assert_eq!(again.endpoints.len(), api.endpoints.len());
    }
});
