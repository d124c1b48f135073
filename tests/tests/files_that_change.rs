//! Files that settings name and that change while the gateway runs: extractors, and paths that are
//! no longer regular files.

use std::time::{Duration, Instant};

use rig_tests::*;
use serde_json::{Value, json};

fn write(path: &str, text: impl AsRef<[u8]>) {
    std::fs::write(path, text).expect("a file");
}

fn logged(gateway: &Gateway, text: &str) {
    eventually(text, || gateway.log().contains(text).then_some(()));
}

/// Returns a subscription for greetings with "bob" in this field.
fn bob_in(field: &str) -> Request {
    let wanted = json!([{ "eventType": "greeting", "oneOf": [{ field: "bob" }] }]);
    Request::get(format!("/_rig/v1/connection/sse?subscriptions={}", encoded(&wanted.to_string())))
}

fn subscribed(gateway: &Gateway, field: &str) -> Sse {
    let opened = Sse::open(gateway.inbound(), &bob_in(field));
    let mut stream = opened.unwrap_or_else(|refusal| panic!("refused: {}", refusal.shown()));
    stream.welcome();
    stream
}

fn refused(gateway: &Gateway, field: &str) -> bool {
    Sse::open(gateway.inbound(), &bob_in(field)).is_err_and(|refusal| refusal.status == 400)
}

fn greet(gateway: &Gateway, id: &str, data: Value) {
    let event = json!({ "specversion": "0.2", "type": "greeting", "source": "/o", "id": id, "data": data });
    gateway.publish(&event.to_string());
}

fn next_id(stream: &mut Sse) -> Value {
    let event: Value = serde_json::from_str(&stream.next_data()).expect("JSON");
    event["id"].clone()
}

/// Returns extractors with one field of greetings.
fn extracting(field: &str, pointer: &str) -> String {
    json!({ "greeting": { field: { "stable_field_index": 0, "event": { "json_pointer": pointer } } } })
        .to_string()
}

#[test]
fn f12_extractors_change_with_their_file_and_open_subscriptions_follow_their_field() {
    let folder = Folder::new();
    let file = folder.join("extractors.json");
    write(&file, extracting("name", "/data/name"));
    let gateway = Gateway::start(&[("EXTRACTORS", &file)]);
    let mut open = subscribed(&gateway, "name");
    assert!(refused(&gateway, "nick"));
    let began = Instant::now();
    write(&file, extracting("name", "/data/nick"));
    logged(&gateway, "extractors reloaded");
    assert!(began.elapsed() <= Duration::from_secs(5), "{:?}", began.elapsed());
    greet(&gateway, "old", json!({ "name": "bob" }));
    greet(&gateway, "new", json!({ "nick": "bob" }));
    assert_eq!(next_id(&mut open), "new");
    // A damaged file leaves them unchanged; a file without the field is reported.
    write(&file, "{");
    logged(&gateway, "extractors not reloaded, the old ones stay");
    greet(&gateway, "still", json!({ "nick": "bob" }));
    assert_eq!(next_id(&mut open), "still");
    write(&file, extracting("nick", "/data/nick"));
    logged(&gateway, r#""fields":"greeting: name""#);
    greet(&gateway, "nobody's", json!({ "name": "bob", "nick": "al" }));
    assert!(refused(&gateway, "name"));
    let mut other = subscribed(&gateway, "nick");
    greet(&gateway, "for the other", json!({ "nick": "bob" }));
    assert_eq!(next_id(&mut other), "for the other");
    write(&file, extracting("name", "/data/name"));
    gateway.signal("HUP");
    logged(&gateway, r#""fields":"greeting: nick""#);
    greet(&gateway, "again", json!({ "name": "bob" }));
    assert_eq!(next_id(&mut open), "again");
}

#[test]
fn f12_a_path_that_is_no_longer_a_file_delays_nothing() {
    let folder = Folder::new();
    let files = ["key", "apis.json", "extractors.json"].map(|name| folder.join(name));
    write(&files[0], KEY);
    write(&files[1], "[]");
    write(&files[2], "{}");
    let mut gateway = Gateway::start_bare(&[
        ("JWT_SECRET_KEY_FILE", &files[0]),
        ("PROXY_CONFIG_FILE", &files[1]),
        ("EXTRACTORS", &files[2]),
    ]);
    let pipe = folder.join("pipe");
    for file in &files {
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        std::fs::rename(&pipe, file).expect("a pipe in its place");
    }
    for text in ["key of tokens", "API definitions", "extractors"] {
        logged(&gateway, &format!("{text} not reloaded, the old one"));
    }
    assert_eq!(gateway.log().matches("not a regular file").count(), 3, "{}", gateway.log());
    // A huge file is not read.
    let huge = folder.join("huge");
    std::fs::File::create(&huge).and_then(|file| file.set_len(1 << 40)).expect("a file with a hole");
    std::fs::rename(&huge, &files[0]).expect("the file in its place");
    logged(&gateway, "larger than 1048576 bytes");
    let poll = Request::get("/_rig/v1/connection/longpolling").bearer(&token_of("s"));
    assert_eq!(gateway.ask(&poll).status, 200);
    gateway.signal("TERM");
    assert_eq!(gateway.exit_status().code(), Some(0));
}
