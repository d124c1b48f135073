//! A type on the first line, claims on the second, JSON after it: as a security event, and as an
//! assertion and a request of Global Token Revocation. Each is refused in a short text, or asks for
//! a bounded number of revocations.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use identity::{Effect, EventsConfig, FeedConfig, SubjectIssuer, global_revocation, security_event};
use libfuzzer_sys::fuzz_target;
use rig_fuzz::{NOW, check_order, in_proportion};
use serde_json::Value;

/// Length limit of a refusal: the name of a claim, and what is wrong with it.
const LONGEST_ERROR: usize = 200;

/// Limit of the identifiers of one subject.
const ALIASES: usize = 16;

static CONFIG: LazyLock<FeedConfig> = LazyLock::new(|| {
    let claim = |text: &str| Some(text.to_owned());
    FeedConfig {
        client_ids: vec!["gateway".to_owned()],
        public_url: Some("https://rig.example".to_owned()),
        events: Some(EventsConfig {
            audience: vec!["rig".to_owned()],
            subject_issuers: vec![SubjectIssuer {
                id: "second".into(),
                issuer: "https://second.example".into(),
                aliases: vec!["second".into()],
                max_token_life: Duration::from_secs(366 * 86_400),
                leeway: Duration::from_secs(300),
            }],
            email: claim("/email"),
            opaque: claim("/oid"),
            session: claim("/sid"),
            user: None,
            tenant: claim("/tid"),
            critical: vec!["group".to_owned()],
            ..EventsConfig::default()
        }),
        ..FeedConfig::new("idp", "https://idp.example")
    }
});

fuzz_target!(|input: &str| {
    let mut lines = input.splitn(3, '\n');
    let header_type = lines.next().filter(|text| !text.is_empty());
    let Some(Ok(Value::Object(claims))) = lines.next().map(serde_json::from_str) else { return };
    let body = lines.next().and_then(|body| serde_json::from_str::<Value>(body).ok());
    let now: SystemTime = UNIX_EPOCH + Duration::from_secs(NOW);
    let orders = match in_proportion(input.as_bytes(), || security_event(&claims, header_type, &CONFIG, now)) {
        Ok(Effect::Revoke(orders)) => orders,
        Ok(_) => Vec::new(),
        Err(refused) => {
            assert!(refused.to_string().len() < LONGEST_ERROR, "{refused}");
            Vec::new()
        }
    };
    let request = || global_revocation(&claims, header_type, body.as_ref(), &CONFIG, now);
    let more = match in_proportion(input.as_bytes(), request) {
        Ok(orders) => orders,
        Err(refused) => {
            assert!(refused.to_string().len() < LONGEST_ERROR, "{refused}");
            Vec::new()
        }
    };
    assert!(orders.is_empty() || more.is_empty(), "no statement is of two kinds");
    for order in orders.iter().chain(&more) {
        assert!(orders.len() <= ALIASES && more.len() <= ALIASES);
        check_order(order);
    }
});
