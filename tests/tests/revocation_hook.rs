//! Revocations, reported to a web hook and to topics: which reports come, how often and in which
//! order, whatever the receiver does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rig_tests::*;
use serde_json::{Value, json};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The files of a gateway.
struct Files {
    folder: Folder,
    data: String,
    secret: String,
}

impl Files {
    fn new() -> Self {
        let folder = Folder::new();
        let (data, secret) = (folder.join("data"), folder.join("hook.secret"));
        let files = Self { folder, data, secret };
        files.write_secrets(&[SECRET]);
        files
    }

    /// Replaces the file at once, as an operator should.
    fn write_secrets(&self, secrets: &[&str]) {
        let new = self.folder.join("new.secret");
        std::fs::write(&new, secrets.join("\n") + "\n").expect("a file");
        std::fs::rename(new, &self.secret).expect("the same folder");
    }

    fn settings<'s>(&'s self, url: &'s str) -> Vec<(&'s str, &'s str)> {
        vec![
            ("DATA_DIR", &self.data),
            ("HOST", "node-1"),
            ("REVOCATION_HOOK_URL", url),
            ("REVOCATION_HOOK_SECRET_FILE", &self.secret),
        ]
    }

    fn start(&self, url: &str) -> Gateway {
        Gateway::start(&self.settings(url))
    }
}

fn post(gateway: &Gateway, order: &Value) -> Response {
    gateway.ask_internal(&Request::post_json("/v4/revocations", order.to_string()))
}

/// Revokes a session under an id that is its name.
fn revoke(gateway: &Gateway, session: &str) {
    let order = json!({ "session": session, "id": session, "validityInSeconds": 600, "force": true });
    let answer = post(gateway, &order);
    assert_eq!(answer.status, 201, "{}", answer.text());
}

fn lift(gateway: &Gateway, id: &str) {
    let answer = gateway.ask_internal(&Request::new("DELETE", format!("/v4/revocations/{id}?by=bob")));
    assert_eq!(answer.status, 204, "{}", answer.text());
}

fn id_of(post: &HookPost) -> String {
    post.event()["data"]["id"].as_str().expect("a text").to_owned()
}

fn sent(gateway: &Gateway, result: &str) -> f64 {
    gateway.metric(&format!(r#"rig_hook_events_total{{to="hook",result="{result}"}}"#))
}

/// Returns the first of the reports with each `webhook-id`, and checks that the others are the
/// same, byte for byte.
fn unique(posts: &[HookPost]) -> Vec<HookPost> {
    let mut first: BTreeMap<String, &HookPost> = BTreeMap::new();
    let mut unique = Vec::new();
    for post in posts {
        let id = post.request.header("webhook-id").expect("an id").to_owned();
        assert_eq!(post.event()["id"], json!(id));
        match first.get(&id) {
            Some(known) => assert_eq!(known.request.body, post.request.body),
            None => {
                first.insert(id, post);
                unique.push(post.clone());
            }
        }
    }
    unique
}

fn assert_order(unique: &[HookPost]) {
    let sequences: Vec<_> = unique.iter().map(HookPost::sequence).collect();
    assert!(sequences.is_sorted_by(|one, next| one < next), "{sequences:?}");
    assert!(sequences.iter().all(|sequence| sequence.len() == 20), "compared as texts");
}

#[test]
fn each_revocation_is_reported_with_what_it_did() {
    let (receiver, files) = (HookReceiver::start(), Files::new());
    let gateway = files.start(&receiver.url());
    let mut stream = Sse::connect(gateway.inbound(), &format!("jwt={}", token_of("s1")));
    stream.welcome();
    let order = json!({
        "session": "s1", "id": "r1", "validityInSeconds": 600, "by": "alice", "reason": "lost phone",
        "issuedUpTo": 4_000_000_000_u64, "force": true,
    });
    assert_eq!(post(&gateway, &order).status, 201);
    lift(&gateway, "r1");
    let claim = json!({ "claim": "/sub", "value": "carol", "id": "r2", "mode": "disconnect" });
    assert_eq!(post(&gateway, &claim).status, 201);
    let posts = receiver.await_posts(5);
    let kinds: Vec<_> = posts.iter().map(|post| (id_of(post), post.kind())).collect();
    let of = |id: &str| -> Vec<_> {
        kinds.iter().filter(|(of, _)| of == id).map(|(_, kind)| kind.as_str()).collect()
    };
    assert_eq!(of("r1"), ["accepted", "applied", "lifted"]);
    assert_eq!(of("r2"), ["accepted", "applied"]);
    assert_order(&posts);

    let find = |id: &str, kind: &str| {
        posts.iter().find(|post| id_of(post) == id && post.kind() == kind).expect("it was reported")
    };
    for post in &posts {
        assert_eq!((post.request.method.as_str(), post.request.target.as_str()), ("POST", "/hooks/rig"));
        assert_eq!(post.request.header("content-type"), Some("application/cloudevents+json"));
        assert!(post.is_signed_by(SECRET) && !post.is_signed_by(OTHER_SECRET));
        let event = post.event();
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["source"], "/rig/node-1");
        assert_eq!(event["data"]["node"], "node-1");
        assert!(event["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{event}");
        assert!(event.get("dropped").is_none());
    }
    let mut data = find("r1", "accepted").event()["data"].clone();
    assert!(data["endsAt"].take().as_str().is_some_and(|time| time.ends_with('Z')));
    let expected = json!({
        "node": "node-1", "id": "r1", "selector": { "session": "s1" }, "issuedUpTo": 4_000_000_000_u64,
        "mode": "revoke", "validityInSeconds": 600, "endsAt": null, "by": "alice", "reason": "lost phone",
    });
    assert_eq!(data, expected);
    let data = find("r1", "lifted").event()["data"].clone();
    assert_eq!((&data["by"], &data["id"]), (&json!("bob"), &json!("r1")));
    let data = find("r2", "applied").event()["data"].clone();
    assert_eq!(data["selector"], json!({ "claim": "/sub", "value": "carol" }));
    assert_eq!((&data["mode"], data.get("validityInSeconds")), (&json!("disconnect"), None));
    assert_eq!((&data["connectionsTerminated"], &data["requestsCut"]), (&json!(0), &json!(0)));
    assert!(data["appliedAt"].is_string() && data["lastPayloadAt"].is_null());
    eventually("all are counted", || (sent(&gateway, "sent") == posts.len() as f64).then_some(()));
    gateway.await_metric(r#"rig_hook_queue{to="hook"}"#, 0.0);
}

#[test]
fn the_report_says_how_many_connections_were_terminated() {
    let (receiver, files) = (HookReceiver::start(), Files::new());
    let gateway = files.start(&receiver.url());
    let mut streams: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = Sse::connect(gateway.inbound(), &format!("jwt={}", token_of("s1")));
            stream.welcome();
            stream
        })
        .collect();
    revoke(&gateway, "s1");
    streams.iter_mut().for_each(Sse::expect_kill);
    let posts = receiver.await_posts(2);
    assert_eq!(posts[1].kind(), "applied");
    let data = posts[1].event()["data"].clone();
    assert_eq!((&data["id"], &data["connectionsTerminated"]), (&json!("s1"), &json!(3)));
}

/// What was answered with 201 is reported, whenever the process is killed.
#[test]
fn kill_9_between_a_revocation_and_its_report_loses_none() {
    let files = Files::new();
    let address = unused_address();
    let url = format!("http://{address}/hooks/rig");
    let mut acknowledged = Vec::new();
    for round in 0..20 {
        let mut gateway = files.start(&url);
        let enough = AtomicBool::new(false);
        let revoke_some = |thread: u32| {
            let mut ids = Vec::new();
            for number in 0.. {
                let id = format!("{round}-{thread}-{number}");
                let order = json!({ "session": id, "id": id, "validityInSeconds": 600 }).to_string();
                let request = Request::post_json("/v4/revocations", order);
                if request.status_if_any(gateway.internal()) != Some(201) {
                    return ids;
                }
                ids.push(id);
                if ids.len() > round as usize % 5 && !enough.swap(true, Ordering::SeqCst) {
                    gateway.signal("KILL");
                }
            }
            ids
        };
        std::thread::scope(|scope| {
            let revoke_some = &revoke_some;
            let threads = [0, 1].map(|thread| scope.spawn(move || revoke_some(thread)));
            let ids = threads.into_iter().flat_map(|thread| thread.join().expect("no thread panics"));
            acknowledged.extend(ids);
        });
        gateway.exit_status();
    }
    assert!(acknowledged.len() >= 40, "{}", acknowledged.len());
    let gateway = files.start(&url);
    let receiver = HookReceiver::start_at(address);
    let posts = eventually("all are reported", || {
        let posts = unique(&receiver.posts());
        let has =
            |id: &String, kind: &str| posts.iter().any(|post| id_of(post) == *id && post.kind() == kind);
        acknowledged.iter().all(|id| has(id, "accepted") && has(id, "applied")).then_some(posts)
    });
    assert_order(&posts);
    for id in &acknowledged {
        let kinds: Vec<_> = posts.iter().filter(|post| id_of(post) == *id).map(HookPost::kind).collect();
        assert_eq!(kinds, ["accepted", "applied"], "{id}");
    }
    assert_eq!(sent(&gateway, "dropped"), 0.0);
    // The receipts of most were not stored before the kill; nothing was open any more.
    let unknown = posts.iter().filter(|post| post.kind() == "applied");
    assert!(unknown.filter(|post| post.event()["data"]["connectionsTerminated"].is_null()).count() > 0);
}

/// The receiver is there, and the process is killed at any instant: what was sent may come again,
/// and nothing is missing.
#[test]
fn kill_9_while_reports_are_sent_repeats_some_and_loses_none() {
    let (receiver, files) = (HookReceiver::start(), Files::new());
    let mut count = 0;
    for round in 0..10 {
        let mut gateway = files.start(&receiver.url());
        for _ in 0..=round {
            revoke(&gateway, &format!("r{count}"));
            count += 1;
        }
        gateway.signal("KILL");
        gateway.exit_status();
    }
    let gateway = files.start(&receiver.url());
    gateway.await_metric(r#"rig_hook_queue{to="hook"}"#, 0.0);
    let posts = unique(&receiver.posts());
    assert_order(&posts);
    for number in 0..count {
        let id = format!("r{number}");
        let kinds: Vec<_> = posts.iter().filter(|post| id_of(post) == id).map(HookPost::kind).collect();
        assert_eq!(kinds, ["accepted", "applied"], "{id}");
    }
}

#[test]
fn a_receiver_that_is_away_gets_everything_in_order_when_it_is_back() {
    let files = Files::new();
    let address = unused_address();
    let gateway = files.start(&format!("http://{address}/"));
    for number in 0..50 {
        revoke(&gateway, &format!("s{number}"));
        if number % 10 == 9 {
            lift(&gateway, &format!("s{number}"));
        }
    }
    eventually("an attempt fails", || (sent(&gateway, "failed") >= 2.0).then_some(()));
    eventually("its age is shown", || {
        (gateway.metric(r#"rig_hook_oldest_seconds{to="hook"}"#) > 0.0).then_some(())
    });
    assert_eq!(sent(&gateway, "sent"), 0.0);
    let receiver = HookReceiver::start_at(address);
    let is_complete =
        |posts: &Vec<HookPost>| posts.iter().filter(|post| post.kind() == "lifted").count() == 5;
    let posts = eventually("all are reported", || Some(receiver.posts()).filter(is_complete));
    assert_order(&posts);
    gateway.await_metric(r#"rig_hook_queue{to="hook"}"#, 0.0);
    gateway.await_metric(r#"rig_hook_oldest_seconds{to="hook"}"#, 0.0);
    let accepted: Vec<_> =
        receiver.posts().iter().filter(|post| post.kind() == "accepted").map(id_of).collect();
    assert_eq!(accepted, (0..50).map(|number| format!("s{number}")).collect::<Vec<_>>());
    let log = gateway.end();
    assert_eq!(log.matches("revocations are not reported").count(), 1, "the first failure: {log}");
    assert_eq!(log.matches("revocations are reported again").count(), 1, "{log}");
}

#[test]
fn what_is_queued_is_reported_after_an_orderly_restart() {
    let files = Files::new();
    let address = unused_address();
    let url = format!("http://{address}/");
    let mut gateway = files.start(&url);
    revoke(&gateway, "s1");
    gateway.terminate();
    assert_eq!(gateway.exit_status().code(), Some(0), "{}", gateway.log());
    let receiver = HookReceiver::start_at(address);
    let gateway = files.start(&url);
    let posts = receiver.await_posts(2);
    assert_eq!(
        posts.iter().map(|post| (id_of(post), post.kind())).collect::<Vec<_>>(),
        [("s1".to_owned(), "accepted".to_owned()), ("s1".to_owned(), "applied".to_owned()),]
    );
    gateway.await_metric(r#"rig_hook_queue{to="hook"}"#, 0.0);
    // What was sent is not sent by the next process.
    gateway.end();
    let gateway = files.start(&url);
    revoke(&gateway, "s2");
    assert_eq!(id_of(&receiver.await_posts(3)[2]), "s2");
}

#[test]
fn while_secrets_are_exchanged_each_report_is_signed_with_both() {
    let (receiver, files) = (HookReceiver::start(), Files::new());
    let gateway = files.start(&receiver.url());
    let mut count = 0;
    let mut signed = |expected: [bool; 2]| {
        eventually("the secrets of the file", || {
            count += 1;
            revoke(&gateway, &format!("s{count}"));
            let posts = receiver.await_posts(1);
            let last = posts.last().expect("one");
            let found = [last.is_signed_by(SECRET), last.is_signed_by(OTHER_SECRET)];
            assert_eq!(last.signatures(), found.iter().filter(|is_signed| **is_signed).count());
            (found == expected).then_some(())
        });
    };
    signed([true, false]);
    files.write_secrets(&[OTHER_SECRET, SECRET]);
    signed([true, true]);
    // What is no secret changes nothing.
    files.write_secrets(&["whsec_short"]);
    eventually("the mistake is logged", || {
        gateway.log().contains("secrets of the web hook not reloaded").then_some(())
    });
    signed([true, true]);
    files.write_secrets(&[OTHER_SECRET]);
    signed([false, true]);
    let log = gateway.end();
    assert!(!log.contains("AAECAwQ") && !log.contains("MfKQ9") && !log.contains("/hooks/rig"), "{log}");
}

/// Returns how long the slower half of revocations takes at least.
fn median(gateway: &Gateway) -> Duration {
    let mut times: Vec<_> = (0..60)
        .map(|number| {
            let began = Instant::now();
            revoke(gateway, &format!("s{number}"));
            began.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

#[test]
fn a_receiver_that_hangs_delays_no_revocation() {
    let (receiver, files) = (HookReceiver::start(), Files::new());
    receiver.hang();
    let gateway = files.start(&receiver.url());
    revoke(&gateway, "first");
    receiver.await_posts(1);
    let hooked = median(&gateway);
    assert_eq!(receiver.posts().len(), 1, "it still hangs");
    let folder = Folder::new();
    let plain = median(&Gateway::start(&[("DATA_DIR", &folder.join("data"))]));
    // An attempt may take ten seconds.
    let bound = plain * 3 + Duration::from_millis(50);
    assert!(hooked <= bound, "{hooked:?} with a web hook, {plain:?} without");
}

#[test]
fn what_is_not_taken_is_sent_again_and_no_redirect_is_followed() {
    let (receiver, other, files) = (HookReceiver::start(), HookReceiver::start(), Files::new());
    receiver.answer("429 Too Many Requests", "retry-after: 3\r\n");
    let gateway = files.start(&receiver.url());
    revoke(&gateway, "s1");
    receiver.await_posts(1);
    receiver.answer("302 Found", &format!("location: {}\r\n", other.url()));
    receiver.await_posts(2);
    receiver.answer("410 Gone", "");
    receiver.await_posts(3);
    receiver.answer("200 OK", "");
    let posts = receiver.await_posts(5);
    let pauses: Vec<_> = posts.windows(2).map(|pair| (pair[1].at - pair[0].at).as_millis()).collect();
    // The first one would be a second.
    for (pause, expected) in pauses.iter().zip([3000, 2000, 4000]) {
        assert!((expected - 100..expected + 1500).contains(pause), "{pauses:?}");
    }
    let timestamp = |post: &HookPost| {
        post.request.header("webhook-timestamp").and_then(|text| text.parse::<u64>().ok()).expect("a number")
    };
    assert!(timestamp(&posts[3]) >= timestamp(&posts[0]) + 8, "each attempt has its own time");
    assert!(posts.iter().all(|post| post.is_signed_by(SECRET)));
    assert_eq!(unique(&posts).len(), 2);
    assert_eq!(other.posts().len(), 0, "no redirect is followed");
    assert_eq!((sent(&gateway, "failed"), sent(&gateway, "dropped")), (3.0, 0.0));
    let log = gateway.end();
    for cause in ["status 429", "status 302, and redirects are not followed", "status 410"] {
        assert_eq!(log.matches(cause).count(), 1, "{cause}: {log}");
    }
}

/// Only a receiver whose certificate is trusted gets anything.
#[test]
fn over_tls_the_authorities_of_the_system_count() {
    let (receiver, files) = (HookReceiver::start(), Files::new());
    let authority = Authority::new("of the test");
    let (certificate, key) = authority.files("localhost");
    let read = |file| std::fs::read_to_string(file).expect("a file");
    let both = files.folder.join("server.pem");
    std::fs::write(&both, read(certificate) + &read(key)).expect("a file");
    let tls = Haproxy::start(&format!(
        "frontend tls\n    bind ADDRESS ssl crt {both}\n    default_backend hook\nbackend hook\n    server hook {}\n",
        receiver.address()
    ));
    let url = format!("https://localhost:{}/hooks/rig", tls.address().port());
    let gateway = files.start(&url);
    revoke(&gateway, "s1");
    eventually("an attempt fails", || (sent(&gateway, "failed") >= 1.0).then_some(()));
    assert!(gateway.log().contains("UnknownIssuer"), "{}", gateway.log());
    gateway.end();
    assert_eq!(receiver.posts().len(), 0);
    let file = authority.file();
    let mut settings = files.settings(&url);
    settings.push(("SSL_CERT_FILE", &file));
    let gateway = Gateway::start(&settings);
    assert!(receiver.await_posts(2).iter().all(|post| post.is_signed_by(SECRET)));
    drop(gateway);
}

#[test]
fn names_are_replaced_as_in_the_audit_log() {
    let files = Files::new();
    for data in [files.data.as_str(), "memory"] {
        let receiver = HookReceiver::start();
        let url = receiver.url();
        let mut settings = files.settings(&url);
        settings.extend([("AUDIT_KEY", "a key for the audit log"), ("DATA_DIR", data)]);
        let gateway = Gateway::start(&settings);
        let claim = json!({ "claim": "/sub", "value": "carol", "id": "r1", "validityInSeconds": 60 });
        assert_eq!(post(&gateway, &claim).status, 201);
        gateway.blacklist("secret-session");
        let posts = receiver.await_posts(4);
        gateway.end();
        let hidden = "hmac-sha256:";
        for post in &posts {
            let body = String::from_utf8_lossy(&post.request.body).into_owned();
            assert!(!body.contains("carol") && !body.contains("secret-session"), "{data}: {body}");
        }
        let found = |posts: &[HookPost], id: bool| {
            let of = |post: &&HookPost| (id_of(post) == "r1") == id;
            posts.iter().find(of).expect("reported").event()["data"].clone()
        };
        let (of_claim, of_session) = (found(&posts, true), found(&posts, false));
        let value = of_claim["selector"]["value"].as_str().expect("a text");
        assert!(value.starts_with(hidden), "{of_claim}");
        assert!(of_session["id"].as_str().is_some_and(|id| id.starts_with(hidden)), "{of_session}");
        if data != "memory" {
            let audit = std::fs::read_to_string(files.folder.join("data/audit.log")).expect("an audit log");
            assert!(audit.contains(value), "{audit}");
            assert!(audit.contains(of_session["id"].as_str().expect("a text")), "{audit}");
        }
    }
}

#[test]
fn without_a_folder_reports_are_sent_until_the_process_exits() {
    let (receiver, files) = (HookReceiver::start(), Files::new());
    let url = receiver.url();
    let mut settings = files.settings(&url);
    settings.push(("DATA_DIR", "memory"));
    let mut last = String::new();
    for _ in 0..2 {
        let count = receiver.posts().len();
        let mut gateway = Gateway::start(&settings);
        revoke(&gateway, "s1");
        lift(&gateway, "s1");
        // The process waits for its reports before it exits.
        gateway.terminate();
        assert_eq!(gateway.exit_status().code(), Some(0));
        let posts = receiver.posts();
        let kinds: Vec<_> = posts[count..].iter().map(HookPost::kind).collect();
        assert_eq!(kinds, ["accepted", "applied", "lifted"]);
        assert_order(&posts);
        assert!(posts[count].sequence() > last, "numbers go on, also without a folder");
        last = posts.last().expect("one").sequence();
    }
}

/// In Node and Python, with the libraries of Standard Webhooks.
#[test]
fn other_libraries_verify_the_signatures() {
    let packages = concat!(env!("CARGO_MANIFEST_DIR"), "/hook/node_modules/standardwebhooks");
    let node = r#"
        const { createServer } = require('node:http');
        const { Webhook } = require('PACKAGES');
        const hook = new Webhook('SECRET');
        const seen = [];
        createServer((request, response) => {
          if (request.method === 'GET') return response.end(JSON.stringify(seen));
          const parts = [];
          request.on('data', (part) => parts.push(part)).on('end', () => {
            try {
              seen.push(hook.verify(Buffer.concat(parts), request.headers));
              response.writeHead(204).end();
            } catch (error) {
              seen.push(String(error));
              response.writeHead(401).end();
            }
          });
        }).listen(0, '127.0.0.1', function () { console.log(this.address().port); });
    "#;
    let python = r#"
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from standardwebhooks.webhooks import Webhook

hook, seen = Webhook("SECRET"), []

class Receiver(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            seen.append(hook.verify(body.decode(), dict(self.headers)))
            self.send_response(204)
        except Exception as error:
            seen.append(repr(error))
            self.send_response(401)
        self.end_headers()

server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()
"#;
    let venv = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/venv/bin/python");
    for (program, option, script) in [("node", "-e", node), (venv, "-c", python)] {
        let files = Files::new();
        // The second of two secrets is the one that the receiver has.
        files.write_secrets(&[OTHER_SECRET, SECRET]);
        let script = script.replace("PACKAGES", packages).replace("SECRET", SECRET);
        let receiver = ScriptServer::start(program, option, &script);
        let gateway = files.start(&format!("http://{}/hook", receiver.address()));
        let order = json!({ "session": "Zoë \u{1f600} \"s1\"", "id": "r1", "validityInSeconds": 60 });
        assert_eq!(post(&gateway, &order).status, 201);
        eventually("both reports", || (sent(&gateway, "sent") >= 2.0).then_some(()));
        let seen = Request::get("/").send(receiver.address()).json();
        let seen: Vec<_> = seen.as_array().expect("a list").iter().map(|event| &event["type"]).collect();
        assert_eq!(seen, ["rig.revocation.accepted", "rig.revocation.applied"], "{program}");
        assert_eq!(sent(&gateway, "failed"), 0.0, "{program}");
    }
}

/// The node that has accepted a revocation reports everything about it, and no other node does.
#[test]
fn in_a_cluster_the_node_that_was_asked_reports() {
    let (receiver, files) = (HookReceiver::start(), Files::new());
    let url = receiver.url();
    let settings = [("REVOCATION_HOOK_URL", url.as_str()), ("REVOCATION_HOOK_SECRET_FILE", &files.secret)];
    let mut cluster = Cluster::start(ClusterOptions { settings: &settings, ..ClusterOptions::default() });
    revoke(cluster.gateway(0), "s1");
    cluster.gateway(1).blacklist("s2");
    // Another node lifts it, while the one that has accepted it is down.
    receiver.await_posts(4);
    cluster.kill(0);
    let lifted =
        cluster.gateway(2).ask_internal(&Request::new("DELETE", "/v4/revocations/s1?by=bob&wait=0s"));
    assert!(matches!(lifted.status, 202 | 204), "{}", lifted.text());
    cluster.launch(0);
    let posts = eventually("the lift is reported", || {
        let posts = unique(&receiver.posts());
        posts.iter().any(|post| post.kind() == "lifted").then_some(posts)
    });
    let told: Vec<_> = posts
        .iter()
        .map(|post| (post.event()["source"].as_str().expect("a text").to_owned(), id_of(post), post.kind()))
        .collect();
    let of = |source: &str| -> Vec<_> {
        told.iter()
            .filter(|(of, ..)| of == source)
            .map(|(_, id, kind)| (id.as_str(), kind.as_str()))
            .collect()
    };
    assert_eq!(of("/rig/a"), [("s1", "accepted"), ("s1", "applied"), ("s1", "lifted")]);
    assert_eq!(of("/rig/b"), [("session-blacklist/s2", "accepted"), ("session-blacklist/s2", "applied")]);
    assert_eq!(of("/rig/c"), []);
    let lifted = posts.iter().find(|post| post.kind() == "lifted").expect("reported");
    assert_eq!(lifted.event()["data"]["by"], "bob");
}

/// Another gateway receives the reports as events.
#[test]
fn revocations_are_reported_to_a_subject_of_nats() {
    let nats = NatsServer::start(NatsOptions::default());
    let files = Files::new();
    let consumer = Gateway::start(&[("NATS_SERVERS", &nats.url()), ("NATS_SOURCE_TOPICS", "revocations")]);
    nats.await_subscribers("revocations", 1);
    let query = format!("subscriptions={}", encoded(r#"[{"eventType":"rig.revocation.applied"}]"#));
    let mut stream = Sse::connect(consumer.inbound(), &query);
    stream.welcome();
    let settings = [
        ("DATA_DIR", files.data.as_str()),
        ("HOST", "node-1"),
        ("NATS_SERVERS", &nats.url()),
        ("NATS_SOURCE_TOPICS", "nothing"),
        ("REVOCATION_TOPIC", "nats:revocations"),
    ];
    let gateway = Gateway::start(&settings);
    revoke(&gateway, "s1");
    let event: Value = serde_json::from_str(&stream.next_data()).expect("an event");
    assert_eq!((&event["source"], &event["data"]["id"]), (&json!("/rig/node-1"), &json!("s1")));
    gateway.await_metric(r#"rig_hook_events_total{to="topic",result="sent"}"#, 2.0);
    gateway.await_metric(r#"rig_hook_queue{to="topic"}"#, 0.0);
}

/// The queue of the topic is apart from that of the web hook, and outlives the process as well.
#[test]
fn revocations_are_reported_to_a_topic_of_kafka_whatever_the_web_hook_does() {
    let mut kafka = KafkaServer::start();
    let client = kafka.client();
    client.create_topic("revocations", 3);
    let (receiver, files) = (HookReceiver::start(), Files::new());
    receiver.answer("500 Internal Server Error", "");
    let (url, brokers) = (receiver.url(), kafka.address().to_string());
    let mut settings = files.settings(&url);
    settings.extend([("KAFKA_BROKERS", brokers.as_str()), ("REVOCATION_TOPIC", "kafka:revocations")]);
    let mut gateway = Gateway::start(&settings);
    revoke(&gateway, "s1");
    client.await_messages("revocations", 2);
    kafka.stop();
    revoke(&gateway, "s2");
    gateway.signal("KILL");
    gateway.exit_status();
    kafka.restart();
    let gateway = Gateway::start(&settings);
    let client = kafka.client();
    let events = eventually("all are in the topic", || {
        let events: Vec<Value> = client
            .read("revocations")
            .iter()
            .map(|message| serde_json::from_str(&message.text()).expect("an event"))
            .collect();
        let has = |event: &Value| event["data"]["id"] == "s2" && event["type"] == "rig.revocation.applied";
        events.iter().any(has).then_some(events)
    });
    let mut sequences: Vec<_> = events.iter().map(|event| event["sequence"].to_string()).collect();
    sequences.dedup();
    assert!(sequences.is_sorted(), "{sequences:?}");
    assert!(events.iter().all(|event| event["source"] == "/rig/node-1"));
    assert_eq!(sent(&gateway, "sent"), 0.0, "the web hook has taken nothing");
}
