//! What reports say, and how they are signed.

use rig_tests::*;
use serde_json::json;

use crate::world::*;

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
