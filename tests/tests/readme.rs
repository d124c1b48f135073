//! Runs the README's tour literally, except for the ports and the folder of the binary.

use std::path::Path;
use std::process::Command;

use rig_tests::*;

/// Returns the commands under the heading `## Tour`.
fn tour() -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(readme).expect("the README");
    let (_, tour) = readme.split_once("## Tour").expect("a heading");
    let (_, commands) = tour.split_once("```sh\n").expect("commands");
    commands.split_once("```").expect("an end").0.to_owned()
}

#[test]
fn the_tour_shows_what_it_says() {
    let gateway = Gateway::start(&[("JWT_SECRET_KEY", "a-secret-only-for-trying-it-out")]);
    let connects = "subscriptions=[{\"eventType\":\"greeting\"}]' &";
    // Waits until the stream is open and its subscription is set before anything is published.
    let and_waits = "subscriptions=[{\"eventType\":\"greeting\"}]' > \"$STREAM\" &\n\
                     until grep -q subscriptions_set \"$STREAM\"; do :; done";
    let service = "http.server 8000 --bind 127.0.0.1 & SERVICE=$!";
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().unwrap().port();
    let and_listens = format!(
        "http.server {port} --bind 127.0.0.1 & SERVICE=$!\nuntil (: < /dev/tcp/127.0.0.1/{port}) 2> /dev/null; do :; done"
    );
    let commands = tour()
        .replace("localhost:4000", &gateway.inbound().to_string())
        .replace("localhost:4010", &gateway.internal().to_string())
        .replace("target/quick/rig", &Gateway::binary().to_string_lossy())
        .replace(connects, and_waits)
        .replace(service, &and_listens)
        .replace("\"port\":8000", &format!("\"port\":{port}"));
    assert!(
        commands.contains(and_waits),
        "the tour connects in a way that this test does not expect:\n{commands}"
    );
    let stream = std::env::temp_dir().join(format!("rig-tour-{}", std::process::id()));
    std::fs::write(&stream, "").expect("a temporary file");
    let output = Command::new("timeout")
        .args(["20", "bash", "-euc", &commands])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .env("STREAM", &stream)
        .output()
        .expect("bash and curl are installed");
    let seen = std::fs::read_to_string(&stream).expect("what curl saw");
    std::fs::remove_file(&stream).expect("the file is ours");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");

    let events: Vec<_> = seen.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(events, ["rig.connection.create", "rig.subscriptions_set", "greeting", "rig.session_killed"]);
    assert!(seen.contains(r#""data":{"name":"alice"}"#), "{seen}");
    let refusal = r#"could not parse subscriptions: could not decode JWT: Ignoring blacklisted JWT with ID "alice-laptop"."#;
    let (tour, of_proxy) = said.split_once(refusal).expect("what the last connect of alice is told");
    assert!(tour.contains("HTTP/1.1 400 Bad Request"), "{said}");
    let (served, refused) = of_proxy.split_once("HTTP/1.1 401 Unauthorized").expect("what bob is told");
    assert!(served.contains("HTTP/1.1 200 OK"), "{said}");
    assert!(served.contains("Apache License"), "{said}");
    assert!(refused.ends_with("Authentication failed."), "{said}");
}
