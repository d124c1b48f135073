//! What holds for any claims.

use proptest::prelude::*;

use super::*;
use crate::{Effect, SubjectIssuer, global_revocation, logout, security_event};

/// Length limit of the text of a refusal.
const LONGEST_TEXT: usize = 200;

/// Words that make claims likely which get far.
const WORDS: [&str; 22] = [
    "iss",
    "aud",
    "iat",
    "exp",
    "jti",
    "sub",
    "sid",
    "events",
    "nonce",
    "sub_id",
    "format",
    "complex",
    "user",
    "session",
    "iss_sub",
    "email",
    "identifiers",
    "aliases",
    "event_timestamp",
    "toe",
    "subject",
    "gateway",
];

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter_map("JSON has no NaN", |it| serde_json::Number::from_f64(it).map(Value::Number)),
        (NOW - 100..NOW + 100).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        word().prop_map(Value::from),
        Just(json!(ISSUER)),
        Just(json!("https://sp.example.com/caep")),
        Just(serde_json::from_str("1e400").expect("a number of any size")),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((word(), inner), 0..8).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

fn word() -> impl Strategy<Value = String> {
    let caep = |name| format!("https://schemas.openid.net/secevent/caep/event-type/{name}");
    let events = crate::EventName::all().map(caep).collect::<Vec<_>>();
    prop_oneof![
        prop::sample::select(&WORDS[..]).prop_map(str::to_owned),
        prop::sample::select(events),
        Just("http://schemas.openid.net/event/backchannel-logout".to_owned()),
        "[a-z]{0,6}",
    ]
}

/// Returns claims that are near to a valid statement: some of its members are changed.
fn near(valid: Value) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec((word(), json_value()), 0..4).prop_map(move |changes| {
        let mut all = claims(valid.clone());
        all.extend(changes);
        all
    })
}

fn valid() -> Value {
    json!({
        "iss": ISSUER, "aud": ["gateway", "https://sp.example.com/caep"], "iat": NOW - 1, "jti": "j", "sub": "alice",
        "sid": "s", "sub_id": { "format": "iss_sub", "iss": ISSUER, "sub": "alice" },
        "events": {
            "http://schemas.openid.net/event/backchannel-logout": {},
            "https://schemas.openid.net/secevent/caep/event-type/session-revoked": {},
        },
    })
}

fn configs() -> [FeedConfig; 2] {
    let mut other = config();
    let events = other.events.as_mut().unwrap();
    events.subject_issuers.push(SubjectIssuer {
        id: "gateway".into(),
        issuer: "gateway".into(),
        aliases: Vec::new(),
        max_token_life: Duration::from_secs(366 * 86_400),
        leeway: Duration::from_secs(300),
    });
    (events.opaque, events.session) = (Some("/sid".to_owned()), Some("/sid".to_owned()));
    [config(), other]
}

/// Checks what holds for every order.
fn check(orders: &[Ordered], issued_at: f64) -> Result<(), TestCaseError> {
    for order in orders {
        prop_assert!(order.issued_up_to as f64 <= issued_at.max(0.0) + 62.0);
        prop_assert!(order.issued_up_to >= 2 && order.ends_at > now());
        prop_assert!(order.ends_at > order.happened_at && order.happened_at <= at(NOW + 120));
        prop_assert!(order.reason.len() <= Ordered::REASON && !order.reason.contains(char::is_control));
        prop_assert!(order.claim.starts_with('/') && !order.value.as_str().is_empty());
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_statement_panics_and_no_text_is_long(
        claims in prop_oneof![near(valid()), near(json!({}))],
        body in json_value(),
        header_type in prop::option::of(prop_oneof![
            Just("logout+jwt"), Just("secevent+jwt"), Just("global-token-revocation+jwt"), Just("é"), Just(""),
        ]),
    ) {
        let issued_at = claims.get("iat").and_then(Value::as_f64).unwrap_or_default();
        for config in configs() {
            match logout(&claims, header_type, &config, now()) {
                Ok(orders) => check(&orders, issued_at)?,
                Err(refused) => prop_assert!(refused.to_string().len() < LONGEST_TEXT),
            }
            match security_event(&claims, header_type, &config, now()) {
                Ok(Effect::Revoke(orders)) => check(&orders, issued_at)?,
                Ok(_) => {}
                Err(refused) => prop_assert!(refused.to_string().len() < LONGEST_TEXT),
            }
            match global_revocation(&claims, header_type, Some(&body), &config, now()) {
                Ok(orders) => check(&orders, issued_at)?,
                Err(refused) => prop_assert!(refused.to_string().len() < LONGEST_TEXT),
            }
        }
    }

    /// A later event has no earlier bound, and no earlier end.
    #[test]
    fn a_later_event_moves_nothing_earlier(ages in prop::collection::vec(0_u32..100_000, 2..8)) {
        let mut ages = ages;
        ages.sort_unstable_by(|one, other| other.cmp(one));
        let mut last = (0, now());
        for age in ages {
            let token = with(&with(&valid(), "iat", json!(NOW - u64::from(age))), "exp", json!(NOW + 60));
            for order in logout(&claims(token), None, &config(), now()).unwrap() {
                prop_assert!((order.issued_up_to, order.ends_at) >= last);
                last = (order.issued_up_to, order.ends_at);
            }
        }
    }
}
