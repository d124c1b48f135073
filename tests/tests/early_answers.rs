//! An answer that is sent before the body is read reaches the client: the gateway closes in stages
//! (RFC 9112, section 9.6).

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use raw::{RawHttp2, flag, kind};
use rig_tests::*;
use serde_json::json;

/// More than any socket's buffers hold, and more than `MAX_BODY_BYTES`.
const BIG: usize = 20_000_000;

/// The payload of one frame.
const FRAME: &[u8] = &[b'x'; 16 << 10];

const NO_ERROR: [u8; 4] = [0; 4];

const API_TOKEN: &str = "0123456789abcdef";

/// Sends a body of [`BIG`] bytes with Node's fetch and prints the status.
const NODE: &str = r#"
const [url, method, type] = process.argv.slice(1);
const body = Buffer.alloc(20_000_000, "x");
process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
fetch(url, { method, body, headers: { "content-type": type, authorization: "Bearer wrong" } })
  .then(async (answer) => { await answer.arrayBuffer(); console.log(answer.status); })
  .catch((error) => console.log(String(error.cause ?? error)));
"#;

/// The same over HTTP/2. Node itself resets a stream if more than `maxSessionMemory` is queued.
const NODE_HTTP2: &str = r#"
const [url, type] = process.argv.slice(1);
const { origin, pathname } = new URL(url);
const client = require("http2").connect(origin, { rejectUnauthorized: false, maxSessionMemory: 100 });
client.on("error", (error) => { console.log(String(error)); process.exit(); });
const headers = { ":method": "POST", ":path": pathname, "content-type": type, authorization: "Bearer wrong" };
const stream = client.request(headers);
const say = (what) => { console.log(what); process.exit(); };
stream.on("response", (answer) => say(answer[":status"]));
stream.on("error", (error) => say(String(error)));
setTimeout(() => say("no answer"), 15_000);
stream.end(Buffer.alloc(20_000_000, "x"));
"#;

/// The same with Python's urllib.
const PYTHON: &str = r#"
import ssl, sys, urllib.error, urllib.request
url, method, kind = sys.argv[1:]
headers = {"content-type": kind, "authorization": "Bearer wrong"}
request = urllib.request.Request(url, data=b"x" * 20_000_000, method=method, headers=headers)
try:
    print(urllib.request.urlopen(request, timeout=20, context=ssl._create_unverified_context()).status)
except urllib.error.HTTPError as error:
    error.read()
    print(error.code)
except Exception as error:
    print(repr(error))
"#;

fn said(mut command: Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn node(url: &str, method: &str, kind: &str) -> String {
    let mut command = Command::new("node");
    command.args(["-e", NODE, "--", url, method, kind]);
    said(command)
}

fn python(url: &str, method: &str, kind: &str) -> String {
    let mut command = Command::new("python3");
    command.args(["-c", PYTHON, url, method, kind]);
    said(command)
}

fn curl(url: &str, method: &str, kind: &str, file: &str, options: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["-sk", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20", "-X", method]);
    command.args(["-H", &format!("content-type: {kind}"), "-H", "authorization: Bearer wrong"]);
    command.args(["--data-binary", &format!("@{file}"), url]).args(options);
    said(command)
}

/// Starts a service that answers as soon as it has read the head of a request, and reads the rest
/// afterwards.
fn early() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut wire = Wire::patient(stream);
                if Received::read_head(&mut wire).is_some() {
                    wire.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
                    wire.skip(BIG as u64);
                }
            });
        }
    });
    address
}

/// Starts a service that answers as soon as it has read the head of a request, and closes with the
/// rest unread, so that the system resets the connection.
fn impatient() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let mut wire = Wire::patient(stream);
            if let Some(head) = Received::read_head(&mut wire) {
                if head.header("upgrade").is_some() {
                    wire.send(
                        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: talk\r\n\r\n",
                    );
                    wire.exactly(5);
                    wire.send("enough");
                } else {
                    wire.send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
                }
            }
        }
    });
    address
}

struct Place {
    gateway: Gateway,
    folder: Folder,
}

impl Place {
    /// Starts a gateway with endpoints that refuse requests, over clear and TLS ports.
    fn new() -> Self {
        let folder = Folder::new();
        let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let [certificate, key] = ["chain.pem", "key.pem"].map(|name| folder.join(name));
        std::fs::write(&certificate, identity.cert.pem()).expect("a file");
        std::fs::write(&key, identity.signing_key.serialize_pem()).expect("a file");
        std::fs::write(folder.join("big"), vec![b'x'; BIG]).expect("a file");
        let endpoints = json!([
            { "id": "secured", "method": "POST", "path_regex": "/secured", "secured": true },
            { "id": "small", "method": "POST", "path_regex": "/small", "max_body_bytes": 1000 },
            { "id": "early", "method": "POST", "path_regex": "/early" },
        ]);
        let apis = json!([api_of("all", early(), endpoints)]).to_string();
        let gateway = Gateway::start(&[
            ("HTTPS_CERTFILE", &certificate),
            ("HTTPS_KEYFILE", &key),
            ("PROXY_CONFIG_FILE", &apis),
            ("API_TOKEN", API_TOKEN),
            ("API_BIND", "127.0.0.1"),
        ]);
        Self { gateway, folder }
    }

    /// Returns requests that a port refuses, and the status of each.
    fn refusals(&self) -> Vec<(String, SocketAddr, &'static str, &'static str)> {
        const JSON: &str = "application/json";
        let mut all = Vec::new();
        for (port, paths) in [
            (
                "inbound",
                &[
                    ("/secured", "401"),
                    ("/small", "413"),
                    ("/early", "403"),
                    ("/nowhere", "404"),
                    ("/_rig/v1/events", "413"),
                    ("/_rig/v1/connection/longpolling", "404"),
                    ("/_rig/nowhere", "404"),
                ][..],
            ),
            ("internal", &[("/v3/messages", "401"), ("/v4/revocations", "401"), ("/nowhere", "401")][..]),
        ] {
            for (path, status) in paths {
                for (scheme, port) in [("http", port.to_owned()), ("https", format!("{port}_tls"))] {
                    let address = self.gateway.port(&port);
                    all.push((format!("{scheme}://{address}{path}"), address, *status, JSON));
                }
            }
        }
        all
    }
}

#[test]
fn f08_node_sees_why_its_body_is_refused() {
    let place = Place::new();
    for (url, _, status, kind) in place.refusals() {
        assert_eq!(node(&url, "POST", kind), status, "{url}");
    }
}

#[test]
fn f08_python_sees_why_its_body_is_refused() {
    let place = Place::new();
    for (url, _, status, kind) in place.refusals() {
        assert_eq!(python(&url, "POST", kind), status, "{url}");
    }
}

#[test]
fn f08_curl_sees_why_its_body_is_refused() {
    let place = Place::new();
    let big = place.folder.join("big");
    for (url, _, status, kind) in place.refusals() {
        let http2 = if url.starts_with("https") { "--http2" } else { "--http2-prior-knowledge" };
        // Without `Expect`, curl sends the body immediately.
        for options in [&["--http1.1", "-H", "expect:"][..], &["--http1.1"], &[http2]] {
            assert_eq!(curl(&url, "POST", kind, &big, options), status, "{url} {options:?}");
        }
    }
}

#[test]
fn f08_node_sees_why_its_body_is_refused_over_http2() {
    let place = Place::new();
    for (url, _, status, kind) in place.refusals() {
        let mut command = Command::new("node");
        command.args(["-e", NODE_HTTP2, "--", &url, kind]);
        assert_eq!(said(command), status, "{url}");
    }
}

/// The rest of the body is read first, because some clients discard an answer that is followed by
/// RST_STREAM.
#[test]
fn f08_over_http2_the_rest_of_a_body_is_read_and_the_stream_ends_without_a_reset() {
    let place = Place::new();
    for path in ["/secured", "/small", "/early", "/nowhere", "/_rig/nowhere"] {
        let mut client = RawHttp2::greeted(place.gateway.inbound());
        client.frame(kind::HEADERS, flag::END_HEADERS, 1, raw::post(path));
        client.until(|frame| frame.flags & flag::END_STREAM != 0 && frame.stream == 1).expect("an answer");
        for _ in 0..BIG / FRAME.len() {
            client.data(1, FRAME);
        }
        client.frame(kind::DATA, flag::END_STREAM, 1, []);
        // The stream is closed by both sides, so a reset would have come before the answer to the
        // PING.
        let outcome = client.outcome(&[1]);
        assert_eq!((outcome.alive, &outcome.resets[..], outcome.goaway), (true, &[][..], None), "{path}");
    }
}

/// A stream whose client sends nothing more is reset, and its place is freed.
#[test]
fn f08_over_http2_the_wait_for_the_rest_of_a_body_has_a_bound_in_time() {
    const STREAMS: u32 = 256;
    let gateway = Gateway::start(&[]);
    let mut client = RawHttp2::greeted(gateway.inbound());
    for number in 0..STREAMS {
        client.frame(kind::HEADERS, flag::END_HEADERS, 2 * number + 1, raw::post("/nowhere"));
    }
    let mut reset = Vec::new();
    while reset.len() < STREAMS as usize {
        let frame = client.until(|frame| frame.kind == kind::RST_STREAM).expect("a reset of each stream");
        assert_eq!(frame.payload, NO_ERROR, "the answer is complete");
        reset.push(frame.stream);
    }
    let answered = |frame: &&raw::RawFrame| frame.kind == kind::DATA && frame.flags & flag::END_STREAM != 0;
    assert_eq!(client.frames().iter().filter(answered).count(), STREAMS as usize);
    client.get(2 * STREAMS + 1, "/nowhere");
    assert_eq!(client.outcome(&[2 * STREAMS + 1]).answered.len(), STREAMS as usize + 1);
}

#[test]
fn f08_a_client_that_asks_first_gets_the_answer_and_no_100() {
    let place = Place::new();
    for path in ["/secured", "/small", "/nowhere", "/_rig/v1/events"] {
        let mut wire = Wire::connect(place.gateway.inbound());
        wire.send(format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {BIG}\r\n\r\n"
        ));
        let head = Response::read_head(&mut wire).expect("an answer");
        assert!(matches!(head.status, 401 | 404 | 413), "{path}: {}", head.status);
        assert_eq!(head.header("connection"), Some("close"), "{path}");
    }
}

/// The write to such a service usually fails before its answer has been read.
#[test]
fn f08_an_answer_before_a_reset_by_the_service_arrives() {
    let apis =
        json!([api_of("all", impatient(), json!([{ "id": "e", "path_regex": "/", "method": "POST" }]))]);
    let (apis, folder) = (apis.to_string(), Folder::new());
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis), ("MAX_BODY_BYTES", "100000000")]);
    let (url, big) = (format!("http://{}/", gateway.inbound()), folder.join("big"));
    std::fs::write(&big, vec![b'x'; BIG]).expect("a file");
    for _ in 0..5 {
        assert_eq!(node(&url, "POST", "text/plain"), "413");
        assert_eq!(python(&url, "POST", "text/plain"), "413");
        assert_eq!(curl(&url, "POST", "text/plain", &big, &["-H", "expect:"]), "413");
        assert_eq!(curl(&url, "POST", "text/plain", &big, &["--http2-prior-knowledge"]), "413");
    }
    assert!(!gateway.log().contains("service failed"), "{}", gateway.log());
}

#[test]
fn f08_the_last_words_of_a_tunnel_arrive() {
    let apis =
        json!([api_of("all", impatient(), json!([{ "id": "e", "path_regex": "/", "method": "GET" }]))]);
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis.to_string())]);
    for _ in 0..20 {
        let mut wire = Wire::connect(gateway.inbound());
        wire.send("GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: talk\r\n\r\n");
        assert_eq!(Response::read_head(&mut wire).expect("a head").status, 101);
        wire.send(vec![b'x'; 1 << 20]);
        assert_eq!(wire.exactly(6).as_deref(), Some(&b"enough"[..]));
    }
}

#[test]
fn f08_an_early_answer_of_a_service_announces_the_close() {
    let service = RawUpstream::by_hand();
    let apis =
        json!([service.api("early", &json!([{ "id": "e", "path_regex": "/early", "method": "POST" }]))]);
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis.to_string())]);
    let mut wire = Wire::connect(gateway.inbound());
    wire.send("POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n");
    let mut asked = service.accept();
    Received::read_head(&mut asked).expect("a request");
    asked.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let answer = Response::read(&mut wire, false);
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
}

#[test]
fn f08_the_body_of_the_next_request_does_not_make_an_answer_an_early_one() {
    let gateway = Gateway::start(&[]);
    let mut wire = Wire::connect(gateway.inbound());
    let second = "POST /_rig/v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhe";
    wire.send(format!("GET /_rig/health HTTP/1.1\r\nhost: x\r\n\r\n{second}"));
    let first = Response::read(&mut wire, false);
    assert_eq!((first.status, first.header("connection")), (200, None));
    wire.send("llo");
    assert_eq!(Response::read(&mut wire, false).status, 400);
}

#[test]
fn f08_discarding_is_limited_in_time() {
    let gateway = Gateway::start(&[]);
    let mut wire = Wire::connect(gateway.inbound());
    wire.send(format!("POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: {BIG}\r\n\r\nx"));
    assert_eq!(Response::read(&mut wire, false).status, 404);
    assert!(wire.rest().is_empty(), "the gateway has closed its side");
    // The gateway waits five seconds for the client.
    gateway.await_metric("rig_tcp_connections", 1.0);
}

#[test]
fn f08_a_small_body_is_read_and_the_connection_is_kept() {
    let place = Place::new();
    let mut wire = Wire::connect(place.gateway.inbound());
    for _ in 0..3 {
        wire.send("POST /secured HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello");
        assert_eq!(Response::read(&mut wire, false).status, 401);
    }
}
