//! Clients of others come back by themselves: Chromium, libraries of npm and PyPI.

use std::process::Command;

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;
use serde_json::{Value, json};

const LIBRARIES: [&str; 4] =
    ["eventsource-4", "eventsource-5", "fetch-event-source", "event-source-polyfill"];

/// Returns the command of a client of this URL.
fn command(client: &str, url: &str) -> Command {
    match client {
        "chromium" => {
            let mut command = node_script("browser", "resume.js");
            command.arg(url);
            command
        }
        "python" => {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
            let mut command = Command::new(folder.join("../target/venv/bin/python"));
            command.arg(folder.join("resume/client.py")).arg(url);
            command
        }
        library => {
            let mut command = node_script("resume", "client.js");
            command.args([library, url]);
            command
        }
    }
}

/// A client of others, behind a proxy.
struct Client {
    story: Story,
    /// Everything that it has dispatched.
    events: Vec<Value>,
}

impl Client {
    fn start(name: &'static str, tap: &Tap, query: &str) -> Self {
        let url = format!("http://{}/_rig/v1/connection/sse?{query}", tap.address());
        Self { story: Story::start(&mut command(name, &url)), events: Vec::new() }
    }

    /// Reads until an event of this type comes, and returns it.
    fn until(&mut self, event_type: &str) -> Value {
        loop {
            let line = self.story.line();
            // Python's client prints what goes wrong.
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            self.events.push(event.clone());
            if event["type"] == event_type {
                return event;
            }
        }
    }

    fn ids(&self, event_type: &str) -> Vec<&str> {
        let of_type = self.events.iter().filter(|event| event["type"] == event_type);
        of_type.map(|event| event["data"]["id"].as_str().expect("an id")).collect()
    }
}

fn stop(gateway: &mut Gateway) {
    gateway.terminate();
    assert_eq!(gateway.exit_status().code(), Some(0), "{}", gateway.log());
}

/// The socket is dropped, then the gateway restarted. The client gets each event once.
fn comes_back(name: &'static str) {
    let folder = Folder::new();
    let data = folder.join("data");
    let settings = [("DATA_DIR", data.as_str()), ("RECONNECT_SPREAD", "0s")];
    let mut gateway = Gateway::start(&settings);
    let tap = Tap::to(gateway.inbound());
    let mut client = Client::start(name, &tap, &subscribed_to(&["greeting"]));
    client.until("rig.subscriptions_set");
    gateway.publish(&event_of("greeting", 1));
    let first = client.until("greeting");
    assert_eq!(first["id"].as_str().map(str::len), Some(22), "{name}: {first}");

    tap.close();
    for id in [2, 3] {
        gateway.publish(&event_of("greeting", id));
    }
    tap.open(gateway.inbound());
    assert_eq!(client.until("rig.resumed")["data"]["data"], json!({ "events": 2 }), "{name}");

    // An orderly close, and a while without any server.
    stop(&mut gateway);
    tap.close();
    let gateway = Gateway::start(&settings);
    for id in [4, 5] {
        gateway.publish(&event_of("greeting", id));
    }
    tap.open(gateway.inbound());
    assert_eq!(client.until("rig.resumed")["data"]["data"], json!({ "events": 2 }), "{name}");
    gateway.publish(&event_of("greeting", 6));
    while client.until("greeting")["data"]["id"] != "6" {}
    assert_eq!(client.ids("greeting"), ["1", "2", "3", "4", "5", "6"], "{name}");
    assert_eq!(client.ids("rig.gap"), [""; 0], "{name}");
}

#[test]
fn r03_chromium_comes_back_over_a_dropped_socket_and_a_restart() {
    comes_back("chromium");
}

#[test]
fn r03_libraries_of_npm_come_back() {
    std::thread::scope(|scope| {
        for name in LIBRARIES {
            scope.spawn(move || comes_back(name));
        }
    });
}

#[test]
fn r03_a_library_of_pypi_comes_back() {
    comes_back("python");
}

/// Returns what the last request says about a cursor: the header, or the query of a polyfill.
fn cursor_of(request: &str) -> Option<String> {
    let header = request.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("last-event-id").then(|| value.trim().to_owned())
    });
    let target = request.split(' ').nth(1).unwrap_or_default();
    let query = target.split(['?', '&']).find_map(|pair| pair.strip_prefix("lastEventId="));
    header.or_else(|| query.map(str::to_owned)).filter(|cursor| !cursor.is_empty())
}

/// Waits for the requests for streams after the first `known` ones, and returns the next one.
fn next_request(tap: &Tap, known: usize) -> String {
    eventually("the client comes back", || {
        tap.requests().into_iter().filter(|head| head.starts_with("GET ")).nth(known)
    })
}

fn farewell(name: &'static str, is_kill: bool) {
    let gateway = Gateway::start(&[]);
    let tap = Tap::to(gateway.inbound());
    let key = EncodingKey::from_secret(KEY.as_bytes()).expect("a key");
    let lifetime = if is_kill { 3_600 } else { 6 };
    let claims = json!({ "jti": name, "sub": "alice", "exp": in_seconds(lifetime) });
    let query = format!("{}&jwt={}", subscribed_to(&["greeting"]), signed(&claims, Algorithm::HS256, &key));
    let mut client = Client::start(name, &tap, &query);
    client.until("rig.subscriptions_set");
    gateway.publish(&event_of("greeting", 1));
    let id = client.until("greeting")["id"].as_str().expect("an id").to_owned();
    if is_kill {
        gateway.blacklist(name);
        client.until("rig.session_killed");
        assert_eq!(cursor_of(&next_request(&tap, 1)), None, "{name} forgets its cursor");
    } else {
        client.until("rig.session_expired");
        assert_eq!(cursor_of(&next_request(&tap, 1)), Some(id), "{name} keeps its cursor");
    }
}

#[test]
fn r20_chromium_forgets_its_cursor_with_a_kill_and_keeps_it_with_an_expiry() {
    farewell("chromium", true);
    farewell("chromium", false);
}

#[test]
fn r20_libraries_forget_their_cursor_with_a_kill_and_keep_it_with_an_expiry() {
    std::thread::scope(|scope| {
        for name in LIBRARIES {
            scope.spawn(move || {
                farewell(name, true);
                farewell(name, false);
            });
        }
    });
}
