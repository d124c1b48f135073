//! Which URIs are those of lists, and what tokens refer to.

use serde_json::{Value, json};

use super::super::reference::Reference;
use crate::claims::Claims;
use crate::issuers::ListsConfig;
use crate::issuers::testing::{claims as token_claims, config};
use crate::token_error::TokenError;

fn config_of(prefixes: &[&str]) -> ListsConfig {
    ListsConfig { prefixes: prefixes.iter().map(|prefix| ListsConfig::prefix(prefix).unwrap()).collect() }
}

#[test]
fn a_prefix_is_a_place_of_its_own() {
    for good in [
        "https://id.example/",
        "https://id.example/lists/",
        "http://127.0.0.1:9/a/b/",
        "https://[::1]:8443/l/",
    ] {
        assert_eq!(ListsConfig::prefix(good).unwrap().to_string(), good);
    }
    let long = format!("https://id.example/{}/", "a".repeat(1000));
    for bad in [
        "",
        "/lists/",
        "id.example/lists/",
        "https://id.example",
        "https://id.example/lists",
        "ftp://id.example/lists/",
        "https:///lists/",
        "https://ann@id.example/lists/",
        "https://ann:pw@id.example/",
        "https://id.example/lists/?",
        "https://id.example/lists/?a=/",
        "https://id.example?/",
        "https://id.example/lists/#",
        "https://id.example/lists/#/",
        "https://id.example/../",
        "https://id.example/a/./",
        "https://id.example/%2E%2e/",
        "https://id.example/a%2Fb/",
        "https://id.example/a%5cb/",
        "https://id.example/a\\b/",
        "https://id.example/a b/",
        "https://id.example/é/",
        "https://id.example/a\n/",
        &long,
    ] {
        assert!(ListsConfig::prefix(bad).is_err(), "{bad:?}");
    }
    assert!(ListsConfig::prefix("x").unwrap_err().to_string().contains("path that ends with a slash"));
}

#[test]
fn i38_only_lists_below_a_prefix_are_fetched() {
    let config = config_of(&["https://id.example/lists/", "http://127.0.0.1:9/"]);
    for good in [
        "https://id.example/lists/1",
        "https://id.example/lists/a/b?c=%20d",
        "https://ID.example/lists/",
        "http://127.0.0.1:9/x",
        "https://id.example/lists/a..b/.c",
        "https://id.example/lists/1?next=../x",
    ] {
        assert!(config.allowed(good).is_some(), "{good}");
    }
    let long = format!("https://id.example/lists/{}", "a".repeat(1000));
    let longest = &long[..1000];
    assert!(config.allowed(longest).is_some() && config.allowed(&long[..1001]).is_none());
    for bad in [
        "",
        "https://id.example/lists",
        "https://id.example/list",
        "https://id.example/listsx/1",
        "https://id.example/Lists/1",
        "http://id.example/lists/1",
        "https://id.example:443/lists/1",
        "https://id.example:8443/lists/1",
        "https://id.example.evil/lists/1",
        "https://evil/https://id.example/lists/1",
        "https://id.example@evil/lists/1",
        "https://ann@id.example/lists/1",
        "https://id.example/lists/../admin",
        "https://id.example/lists/./1",
        "https://id.example/lists/a/../../admin",
        "https://id.example/lists/..",
        "https://id.example/lists/..;/admin",
        "https://id.example/lists/..;a=b/admin",
        "https://id.example/lists/%2e%2e/admin",
        "https://id.example/lists/.%2E/admin",
        "https://id.example/lists/..%2fadmin",
        "https://id.example/lists/..%5Cadmin",
        "https://id.example/lists/%252e%252e/a",
        "https://id.example/lists/a\\b",
        "https://id.example/lists/1#x",
        "https://id.example/lists/1\r\nx: y",
        "https://id.example/lists/1 x",
        "https://id.example/lists/\u{0}",
        "https://id.example/lists/é",
        "//id.example/lists/1",
        "/lists/1",
        "file:///lists/1",
        "http://127.0.0.1:90/x",
        "http://127.0.0.1/x",
        "http://127.1:9/x",
        &long,
    ] {
        assert!(config.allowed(bad).is_none(), "{bad:?}");
    }
}

fn token(status: Value) -> Claims {
    let all = token_claims(json!({ "status": 0 }));
    let mut map = all.as_object().unwrap().clone();
    map.insert("status".to_owned(), status);
    Claims {
        map,
        expires_at: u64::MAX,
        issuer: None,
        marks: Vec::new(),
        leeway: config().leeway,
        checked_until: None,
    }
}

#[test]
fn a_token_refers_to_one_entry_or_is_refused() {
    let uri = "https://id.example/lists/1";
    assert_eq!(Reference::of(&token(json!(null))), Ok(None));
    let entry = |index: u64| Ok(Some(Reference { uri, index }));
    assert_eq!(Reference::of(&token(json!({"status_list": {"idx": 0, "uri": uri}}))), entry(0));
    let most = json!({"status_list": {"idx": u64::MAX, "uri": uri, "more": 1}, "other": {}});
    let most = token(most);
    let reference = Reference::of(&most).unwrap().unwrap();
    assert_eq!(reference.mark(), format!("{uri}#18446744073709551615"));
    assert!(reference.mark().len() - uri.len() + 1000 <= 1024, "a mark is a short text");
    for bad in [
        json!({}),
        json!([]),
        json!("active"),
        json!(0),
        json!(true),
        json!({"status_list": null}),
        json!({"identifier_list": {"id": "1", "uri": uri}}),
        json!({"status_list": [0, uri]}),
        json!({"status_list": {}}),
        json!({"status_list": {"idx": 0}}),
        json!({"status_list": {"uri": uri}}),
        json!({"status_list": {"idx": "0", "uri": uri}}),
        json!({"status_list": {"idx": -1, "uri": uri}}),
        json!({"status_list": {"idx": 0.5, "uri": uri}}),
        json!({"status_list": {"idx": null, "uri": uri}}),
        json!({"status_list": {"idx": 1e30, "uri": uri}}),
        json!({"status_list": {"idx": 0, "uri": [uri]}}),
    ] {
        assert_eq!(Reference::of(&token(bad.clone())), Err(TokenError::Status), "{bad}");
    }
}
