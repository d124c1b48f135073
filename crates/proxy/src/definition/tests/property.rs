//! Parsing never panics, whatever the document.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::{Definitions, Fault};

/// Names of members, so that arbitrary JSON reaches deep into the parser.
const NAMES: &[&str] = &[
    "id",
    "name",
    "active",
    "auth",
    "auth_type",
    "proxy",
    "version_data",
    "versioned",
    "default",
    "endpoints",
    "transform_request_headers",
    "add_headers",
    "path_regex",
    "path_replacement",
    "method",
    "secured",
    "target",
    "topic",
    "schema",
    "response_from",
    "claims",
    "forward_claims",
    "timeout_ms",
    "max_body_bytes",
    "rate_limit",
    "requests",
    "within_ms",
    "by",
    "response_headers",
    "use_env",
    "target_url",
    "port",
    "targets",
    "url",
    "weight",
    "http2",
    "tls",
    "ca_file",
    "cert_file",
    "key_file",
    "health_check",
    "path",
    "interval_ms",
    "eject",
    "encoded_slashes",
    "empty_segments",
    "path_parameters",
    "after_failures",
    "for_ms",
    "use_header",
    "header_name",
    "use_query",
    "query_name",
    "use_cookie",
    "cookie_name",
];

const TEXTS: &[&str] = &[
    "jwt",
    "none",
    "http",
    "http_async",
    "same_endpoint",
    "kafka",
    "GET",
    "/x",
    "/x/(.+)",
    "\\1",
    "(",
    "https://a:1",
    "[::1]",
    "/a~",
    "session",
    "x-a",
    "::",
    "http://[",
    "http://a:99999",
    "é",
];

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        proptest::sample::select(TEXTS).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        let name = prop_oneof![
            9 => proptest::sample::select(NAMES).prop_map(str::to_owned),
            1 => any::<String>(),
        ];
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(name, inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A minimal API with an arbitrary value somewhere in it.
fn nearly_right() -> impl Strategy<Value = Value> {
    let place = proptest::sample::select(NAMES);
    let inside = proptest::sample::select(
        &["", "/auth", "/proxy", "/version_data/default", "/version_data/default/endpoints/0"][..],
    );
    vec((inside, place, json()), 1..6).prop_map(|changes| {
        let mut document = least();
        for (inside, name, value) in changes {
            let place = if inside.is_empty() { Some(&mut document) } else { document.pointer_mut(inside) };
            if let Some(Value::Object(members)) = place {
                members.insert(name.to_owned(), value);
            }
        }
        document
    })
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(document in prop_oneof![json(), nearly_right()]) {
        match Api::parse(&document, &nothing) {
            Err(faults) => {
                prop_assert!((1..=1000).contains(&faults.len()));
                let whole = |fault: &Fault| {
                    ![&fault.group, &fault.field, &fault.reason].into_iter().any(String::is_empty)
                };
                prop_assert!(faults.iter().all(whole), "{:?}", faults);
            }
            Ok((api, _)) => {
                // An accepted definition is accepted again in the form in which it is shown.
                let shown = Value::Object(api.document.clone());
                let again = Api::parse(&shown, &nothing);
                prop_assert_eq!(again.map(|(again, _)| again.document), Ok(api.document));
            }
        }
        let _ = Definitions::parse(&json!([document.clone(), document]), &nothing);
    }
}
