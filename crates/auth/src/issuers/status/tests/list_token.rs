//! The claims of status list tokens.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::StatusListToken;
use super::super::list::ListFlaw;
use super::{URI, claims_of};
use crate::issuers::testing::with;

const NOW: f64 = 1_700_000_000.5;

fn claims(further: Value) -> Value {
    let mut all = Value::Object(claims_of(1, &[0xb9, 0xa3]));
    all["sub"] = json!(URI);
    all["iat"] = json!(1_700_000_000);
    with(all, further)
}

fn parse(further: Value) -> Result<StatusListToken, ListFlaw> {
    let claims = claims(further);
    StatusListToken::parse(claims.as_object().unwrap(), URI, Duration::from_secs(5), NOW)
}

#[test]
fn only_the_list_of_this_place_is_taken() {
    assert!(parse(json!({})).is_ok());
    let list = format!("{URI}/");
    for sub in [json!(null), json!("https://id.example/lists/2"), json!(list), json!([URI]), json!("")] {
        assert_eq!(parse(json!({ "sub": sub })).unwrap_err(), ListFlaw::Subject, "{sub}");
    }
    // Not even if a server would answer the same.
    assert_eq!(parse(json!({"sub": "HTTPS://id.example/lists/1"})).unwrap_err(), ListFlaw::Subject);
}

#[test]
fn the_times_of_a_list_are_checked() {
    for (further, expected) in [
        (json!({"iat": null}), Err(ListFlaw::Time("iat"))),
        (json!({"iat": "1700000000"}), Err(ListFlaw::Time("iat"))),
        (json!({"iat": 1_700_000_006}), Err(ListFlaw::Future("iat"))),
        (json!({"iat": 1_700_000_005.5}), Ok(())),
        (json!({"iat": 0}), Ok(())),
        (json!({"nbf": 1_700_000_006}), Err(ListFlaw::Future("nbf"))),
        (json!({"nbf": 1_700_000_005}), Ok(())),
        (json!({"exp": 1_700_000_000}), Err(ListFlaw::Expired)),
        (json!({"exp": 1_700_000_000.5}), Err(ListFlaw::Expired)),
        (json!({"exp": 1_700_000_001}), Ok(())),
        (json!({"exp": "never"}), Err(ListFlaw::Time("exp"))),
        (json!({"exp": 1e30}), Err(ListFlaw::Time("exp"))),
        (json!({"ttl": 0}), Err(ListFlaw::Time("ttl"))),
        (json!({"ttl": -5}), Err(ListFlaw::Time("ttl"))),
        (json!({"ttl": "60"}), Err(ListFlaw::Time("ttl"))),
        (json!({"status_list": null}), Err(ListFlaw::NoList)),
    ] {
        assert_eq!(parse(further.clone()).map(drop), expected, "{further}");
    }
}

#[test]
fn the_ttl_is_held_between_its_limits() {
    for (ttl, expected) in [
        (json!(0.001), 10),
        (json!(10), 10),
        (json!(60), 60),
        (json!(3600), 3600),
        (json!(43200), 3600),
        (json!(1e18), 3600),
    ] {
        let token = parse(json!({ "ttl": ttl })).unwrap();
        assert_eq!(token.ttl, Duration::from_secs(expected), "{ttl}");
    }
    assert_eq!(parse(json!({})).unwrap().ttl, Duration::from_secs(300));
}

#[test]
fn a_list_says_how_long_it_is_valid() {
    assert_eq!(parse(json!({})).unwrap().expires_in, None);
    let left = |exp: f64| parse(json!({ "exp": exp })).unwrap().expires_in.unwrap();
    assert_eq!(left(1_700_000_060.5), Duration::from_secs(60));
    assert_eq!(left(1e15), Duration::from_secs(366 * 86400), "a time that is longer than clocks reach");
}
