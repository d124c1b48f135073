//! Stored definitions take precedence over those of the file.

use super::*;

#[test]
fn what_was_changed_stays_changed_over_a_restart() {
    let shelf = Shelf::default();
    let file = json!([document("changed", "file"), document("deleted", "file"), document("same", "file")]);
    let apis = load(&file, &shelf);
    apis.merge("changed", &map(document("changed", "port"))).unwrap();
    apis.delete("deleted").unwrap();
    apis.create(&document("new", "port")).unwrap();
    let before: Vec<_> = apis.standing().into_iter().map(|it| it.timestamp).collect();
    drop(apis);

    let (apis, warnings) = try_load(&file, &shelf).unwrap();
    let told = ["changed=port (1)", "new=port (0)", "same=file (0)"];
    assert_eq!(standing(&apis), told);
    assert_eq!(
        warnings,
        [
            "API changed: its stored definition is served, not the other one of PROXY_CONFIG_FILE",
            "API deleted: was deleted, though PROXY_CONFIG_FILE has it"
        ]
    );
    let after: Vec<_> = apis.standing().into_iter().map(|it| it.timestamp).collect();
    assert_eq!(before[..2], after[..2]);
}

#[test]
fn what_was_not_changed_is_the_files() {
    let shelf = Shelf::default();
    let apis = load(&json!([document("a", "file"), document("b", "file")]), &shelf);
    apis.create(&document("c", "port")).unwrap();
    drop(apis);
    let (apis, warnings) = try_load(&json!([document("a", "newer")]), &shelf).unwrap();
    assert_eq!(standing(&apis), ["a=newer (0)", "c=port (0)"]);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn a_deleted_one_comes_back_by_the_port_and_not_by_the_file() {
    let shelf = Shelf::default();
    let file = json!([document("a", "file")]);
    load(&file, &shelf).delete("a").unwrap();
    let apis = load(&json!([document("a", "newer")]), &shelf);
    assert_eq!(standing(&apis), [""; 0]);
    apis.create(&document("a", "port")).unwrap();
    assert_eq!(standing(&load(&file, &shelf)), ["a=port (0)"]);
    // A definition that equals that of the file again counts as the file's.
    apis.replace_all(&json!([document("a", "newer")]), None, false).unwrap();
    apis.delete("a").unwrap();
    apis.create(&document("a", "newer")).unwrap();
    assert_eq!(standing(&load(&file, &shelf)), ["a=file (0)"]);
}

#[test]
fn what_is_stored_is_checked_at_the_start() {
    let stored = |document: Value| {
        let entry =
            json!({"document": document, "ref_number": 0, "timestamp": "2026-11-23T15:12:18.133569Z"});
        Shelf::holding(json!({"format": 1, "apis": {"a": entry}}).to_string().as_bytes())
    };
    let told = |shelf: &Shelf| try_load(&json!([]), shelf).unwrap_err().to_string();
    let mut wrong = document("a", "n");
    wrong["proxy"] = json!({"target_url": "http://a/b", "port": "80"});
    assert_eq!(
        told(&stored(wrong)),
        "shelf: API a: /proxy/port: must be integer\n\
         shelf: API a: /proxy/target_url: must not have a path"
    );
    assert_eq!(
        told(&stored(document("b", "n"))),
        "shelf is damaged: the definition under a has another id; restore it from a copy, or move it away to begin \
         with PROXY_CONFIG_FILE only"
    );
}

#[test]
fn what_nobody_wrote_is_damaged() {
    for bytes in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"format": 0, "apis": {}}"#,
        r#"{"format": 1}"#,
        r#"{"format": 1, "apis": {}, "more": 1}"#,
        r#"{"format": 1, "apis": {"a": {}}}"#,
        r#"{"format": 1, "apis": {"a": {"document": 5, "ref_number": 0, "timestamp": ""}}}"#,
        r#"{"format": 1, "apis": {"a": {"document": null, "ref_number": -1, "timestamp": ""}}}"#,
    ] {
        let error = try_load(&json!([]), &Shelf::holding(bytes.as_bytes())).unwrap_err();
        assert!(matches!(error, LoadError::Store(StoreError::Damaged { .. })), "{bytes}: {error}");
        assert!(error.to_string().starts_with("shelf is damaged: "), "{error}");
    }
    let newer = Shelf::holding(br#"{"format": 2, "what": "ever"}"#);
    let told = try_load(&json!([]), &newer).unwrap_err().to_string();
    assert_eq!(told, "shelf has format 2, which is newer than this gateway reads (1)");
}
