//! The OpenAPI document that results from the routes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

#[test]
fn the_document_is_openapi_3_1_and_names_every_route() {
    let json: serde_json::Value = serde_json::from_str(&document().to_json().unwrap()).unwrap();
    assert_eq!(json["openapi"], "3.1.0");
    let paths: Vec<_> = json["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        paths,
        [
            "/health",
            "/metrics",
            "/readyz",
            "/v2/responses",
            "/v3/apis",
            "/v3/apis/{id}",
            "/v3/messages",
            "/v3/responses",
            "/v3/session-blacklist",
            "/v3/session-blacklist/{sessionId}",
            "/v4/apis",
            "/v4/issuers",
            "/v4/revocations",
            "/v4/revocations/{id}",
            "/v4/sessions",
            "/v4/sessions/{name}"
        ]
    );
}

/// Collects all references in a document.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = serde_json::to_value(document()).unwrap();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for name in ["Receipt", "RevocationRequest", "RevocationPage", "SessionPage", "SessionDetail", "Problem"]
    {
        assert!(found.contains(&format!("#/components/schemas/{name}")), "{name}: {found:?}");
    }
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}
