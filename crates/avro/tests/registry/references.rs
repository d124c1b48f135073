//! Schemas that refer to others.

use serde_json::{Value, json};

use crate::stub::Stub;
use crate::{NOTE, X, message, registry};

/// An answer with references, each with its name, its subject, and its version.
fn refers(schema: &str, to: &[(&str, &str, u32)]) -> Value {
    let to = to
        .iter()
        .map(|(name, subject, version)| json!({"name": name, "subject": subject, "version": version}));
    json!({"schema": schema, "references": to.collect::<Vec<_>>()})
}

#[tokio::test]
async fn references_are_loaded_first() {
    let (stub, url) = Stub::start(None).await;
    let pair =
        r#"{"type":"record","name":"Pair","fields":[{"name":"a","type":"Note"},{"name":"b","type":"Note"}]}"#;
    stub.put_version("note", 3, refers(NOTE, &[]));
    stub.put_version("pair", 1, refers(pair, &[("Note", "note", 3)]));
    let both = [("Pair", "pair", 1), ("Note", "note", 3)];
    stub.put("/schemas/ids/7", 200, refers(r#"["Note","Pair"]"#, &both));
    let registry = registry(&url);
    let pair = registry.decode(&message(7, &[2, 2, b'x', 2, b'y'])).await;
    assert_eq!(pair, Ok(json!({"a": {"text": "x"}, "b": {"text": "y"}})));
    assert_eq!(stub.count(), 3);

    // Schemas that refer to each other without an end.
    for version in 0..100 {
        stub.put_version(
            "deep",
            version,
            refers("\"int\"", &[(&format!("D{version}"), "deep", version + 1)]),
        );
        stub.put_version("wide", version, refers("\"int\"", &[]));
    }
    stub.put("/schemas/ids/8", 200, refers("\"int\"", &[("D", "deep", 0)]));
    let names: Vec<_> = (0..100).map(|version| (format!("W{version}"), version)).collect();
    let wide: Vec<_> = names.iter().map(|(name, version)| (&**name, "wide", *version)).collect();
    stub.put("/schemas/ids/9", 200, refers("\"int\"", &wide));
    for id in [8, 9] {
        let error = registry.decode(&message(id, &[0])).await.unwrap_err().to_string();
        assert!(error.ends_with("too many references to other schemas"), "{error}");
    }
    assert!(stub.count() < 100);
}

#[tokio::test]
async fn the_first_reference_of_a_name_counts() {
    let (stub, url) = Stub::start(None).await;
    let newer = NOTE.replace("]", r#",{"name":"more","type":"int","default":0}]"#);
    let list = r#"{"type":"record","name":"List","fields":[
        {"name":"notes","type":{"type":"array","items":"Note"}}]}"#;
    stub.put_version("note", 1, refers(NOTE, &[]));
    stub.put_version("note", 2, refers(&newer, &[]));
    stub.put_version("list", 1, refers(list, &[("Note", "note", 2)]));
    let both = [("Note", "note", 1), ("List", "list", 1)];
    stub.put("/schemas/ids/7", 200, refers(r#"["Note","List"]"#, &both));
    let decoded = registry(&url).decode(&message(7, &[2, 2, 2, b'x', 0])).await;
    assert_eq!(decoded, Ok(json!({"notes": [{"text": "x"}]})));

    // Two names of one version.
    let both = [("Note", "note", 1), ("Other", "note", 1)];
    stub.put("/schemas/ids/8", 200, refers("\"Note\"", &both));
    assert_eq!(registry(&url).decode(&message(8, X)).await, Ok(json!({"text": "x"})));
}
