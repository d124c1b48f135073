//! The cases of statements, each as the claims that a provider sends.

mod events;
mod global;
mod logouts;
mod properties;
mod subjects;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use session::Mode;

use crate::{EventsConfig, FeedConfig, Ordered};

/// The issuer of most examples.
const ISSUER: &str = "https://idp.example.com/123456789/";

/// The present second of most tests: a little after the `iat` of CAEP's examples.
const NOW: u64 = 1_615_305_160;

fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(second)
}

fn now() -> SystemTime {
    at(NOW)
}

fn claims(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(claims) => claims,
        _ => unreachable!("it is an object"),
    }
}

fn config() -> FeedConfig {
    FeedConfig {
        client_ids: vec!["gateway".to_owned(), "other-client".to_owned()],
        public_url: Some("https://rig.example".to_owned()),
        events: Some(EventsConfig {
            audience: vec!["https://sp.example.com/caep".to_owned()],
            email: Some("/email".to_owned()),
            ..EventsConfig::default()
        }),
        ..FeedConfig::new("idp", ISSUER)
    }
}

/// Returns an order in short: mode, claim, value, and the last second of the tokens that it means.
fn short(order: &Ordered) -> (Mode, &str, &str, u64) {
    (order.mode, &order.claim, order.value.as_str(), order.issued_up_to)
}

/// Changes one member of an object. A null removes it.
fn with(base: &Value, member: &str, value: Value) -> Value {
    let mut changed = base.clone();
    let members = changed.as_object_mut().expect("it is an object");
    match value {
        Value::Null => members.remove(member),
        value => members.insert(member.to_owned(), value),
    };
    changed
}

/// Returns the claims of a statement that is valid now.
fn basic() -> Value {
    json!({ "iss": ISSUER, "iat": NOW - 1, "jti": "an-id" })
}
