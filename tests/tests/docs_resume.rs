//! Runs the tour of docs/resume.md literally, except for the ports and the folder, and its page in
//! Chromium.

use std::path::Path;
use std::process::Command;

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;
use serde_json::{Value, json};

/// Returns the block in this language that follows a heading.
fn block(heading: &str, language: &str) -> String {
    let text = std::fs::read_to_string(root().join("docs/resume.md")).expect("the document");
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).expect("a heading");
    let (_, block) = section.split_once(&format!("```{language}\n")).expect("a block");
    block.split_once("```").expect("an end").0.to_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder of the sources")
}

#[test]
fn the_tour_of_coming_back_shows_what_it_says() {
    let gateway = Gateway::start(&[]);
    let folder = Folder::new();
    let commands = block("Tour", "sh")
        .replace("localhost:4000", &gateway.inbound().to_string())
        .replace("/tmp/first", &folder.join("first"));
    let output = Command::new("timeout").args(["30", "bash", "-uc", &commands]).output();
    let output = output.expect("bash and curl are installed");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let of = |prefix| said.lines().filter_map(move |line| line.strip_prefix(prefix));
    let (created, set) = ("rig.connection.create", "rig.subscriptions_set");
    let (first, resumed) = ([created, set], [created, set, "greeting", "greeting", "rig.resumed"]);
    let expected = [&first[..], &resumed, &[created, set, "rig.gap"]].concat();
    assert_eq!(of("event: ").collect::<Vec<_>>(), expected, "{said}");
    let data: Vec<Value> = of("data: ").map(|data| serde_json::from_str(data).expect("JSON")).collect();
    let shown = [4, 5, 6, 9].map(|n| &data[n]["data"]);
    let gap = json!({ "reason": "unknown", "since": null });
    assert_eq!(shown, [&json!("alice"), &json!("bob"), &json!({ "events": 2 }), &gap], "{said}");
}

#[test]
fn the_page_continues_after_its_token_has_expired_and_loads_its_state_after_a_gap() {
    let gateway = Gateway::start(&[]);
    let tap = Tap::to(gateway.inbound());
    let folder = Folder::new();
    let script = folder.join("page.js");
    std::fs::write(&script, block("In a page", "js")).expect("a file");
    let key = EncodingKey::from_secret(KEY.as_bytes()).expect("a key");
    let token = |session: &str, lifetime| {
        let claims = json!({ "jti": session, "sub": "alice", "exp": in_seconds(lifetime) });
        signed(&claims, Algorithm::HS256, &key)
    };
    let url = format!("http://{}", tap.address());
    let tokens = [token("first", 6), token("second", 3_600), token("third", 3_600)];
    let page = Story::start(node_script("browser", "docs.js").arg(&script).arg(url).args(tokens));
    assert_eq!(page.line(), "token");
    gateway.await_metric(r#"rig_connections{transport="sse"}"#, 1.0);
    // Before it has had any event, its token expires. What comes until it is back is not lost.
    gateway.await_metric(r#"rig_connections{transport="sse"}"#, 0.0);
    gateway.publish(&event_of("greeting", 1));
    assert_eq!([page.line(), page.line()], ["token", "apply 1"]);
    gateway.publish(&event_of("greeting", 2));
    assert_eq!(page.line(), "apply 2");

    // Another gateway, which does not know its ids: the browser comes back by itself.
    tap.close();
    let other = Gateway::start(&[]);
    tap.open(other.inbound());
    assert_eq!(page.line(), "load unknown");
    other.publish(&event_of("greeting", 3));
    assert_eq!(page.line(), "apply 3");

    other.blacklist("second");
    assert_eq!(page.line(), "closed", "logged out: it does not come back");
}
