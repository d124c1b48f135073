//! Services and clients that fail: each has its status, or its client is cut.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rig_tests::*;
use serde_json::{Value, json};

/// `PROXY_RECV_TIMEOUT`, `PROXY_IDLE_TIMEOUT`.
const PATIENCE: [(&str, &str); 2] = [("PROXY_RECV_TIMEOUT", "300"), ("PROXY_IDLE_TIMEOUT", "700ms")];

const BAD_GATEWAY: &str = "502 | Bad gateway.";

fn start(apis: &Value) -> Gateway {
    let apis = json!([apis]).to_string();
    Gateway::start(&[PATIENCE[0], PATIENCE[1], ("PROXY_CONFIG_FILE", &apis)])
}

fn endpoints() -> Value {
    ["GET", "POST"]
        .iter()
        .map(|method| json!({"id": method, "path_regex": "/.*", "method": method}))
        .collect()
}

/// A gateway before a service with this script.
fn before(script: &Script) -> (RawUpstream, Gateway) {
    let service = RawUpstream::start(script);
    let gateway = start(&service.api("raw", &endpoints()));
    (service, gateway)
}

/// What the client of a request gets, byte by byte, until its connection is closed.
fn cut(gateway: &Gateway) -> String {
    String::from_utf8(Request::get("/x").start(gateway.inbound()).rest()).expect("text")
}

#[test]
fn a_service_that_is_down() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gateway = start(&api("down", port, &endpoints()));
    assert_eq!(gateway.ask(&Request::get("/x")).shown(), BAD_GATEWAY);
    assert_eq!(gateway.ask(&Request::new("POST", "/x").body("hello")).shown(), BAD_GATEWAY);
    let name = json!({"id": "x", "name": "x", "version_data": {"default": {"endpoints": endpoints()}},
        "proxy": {"target_url": "no-such-host.invalid", "port": 80}});
    assert_eq!(start(&name).ask(&Request::get("/x")).shown(), BAD_GATEWAY);
}

#[test]
fn a_service_that_closes_early() {
    for script in [Script::AnswersAndCloses(Vec::new()), Script::AnswersAndResets(Vec::new())] {
        let (service, gateway) = before(&script);
        assert_eq!(gateway.ask(&Request::get("/x")).shown(), BAD_GATEWAY, "{script:?}");
        assert_eq!(gateway.ask(&Request::new("POST", "/x").body("hello")).shown(), BAD_GATEWAY);
        assert_eq!(service.connections(), 2, "no connection was kept, so nothing is sent again");
    }
    let (_, gateway) = before(&Script::AnswersAndCloses(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()));
    assert_eq!(gateway.ask(&Request::get("/x")).shown(), BAD_GATEWAY, "in the middle of a head");
}

#[test]
fn a_service_that_speaks_something_else() {
    for garbage in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"\0\x01\x02\x03",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/3.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        let (_, gateway) = before(&Script::AnswersAndCloses(garbage.to_vec()));
        let answer = gateway.ask(&Request::get("/x"));
        assert_eq!(answer.shown(), BAD_GATEWAY, "{}", String::from_utf8_lossy(garbage));
    }
    let huge = [b"HTTP/1.1 200 OK\r\nX: ", &vec![b'x'; 1 << 20][..], b"\r\n\r\n"].concat();
    let (_, gateway) = before(&Script::AnswersAndCloses(huge));
    assert_eq!(gateway.ask(&Request::get("/x")).shown(), BAD_GATEWAY, "a head of a mebibyte");
}

#[test]
fn a_service_that_never_answers() {
    let (service, gateway) = before(&Script::NeverAnswers);
    let asked = Instant::now();
    assert_eq!(gateway.ask(&Request::get("/x")).shown(), BAD_GATEWAY);
    assert!((Duration::from_millis(300)..Duration::from_secs(3)).contains(&asked.elapsed()));
    assert_eq!(gateway.ask(&Request::new("POST", "/x").body("hello")).shown(), BAD_GATEWAY);
    eventually("its connections are closed", || (service.ended() == 2).then_some(()));
    // It takes the connection and nothing more: the body fills all buffers, and then stands still.
    let (_, gateway) = before(&Script::NeverReads);
    let mut client = Wire::connect(gateway.inbound());
    client.send(format!("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", 1 << 30));
    assert!(client.flood(64 << 20) < 64 << 20);
    let answer = Response::read_head(&mut client);
    assert!(answer.is_none_or(|answer| answer.status == 502), "or the connection is reset under the upload");
}

#[test]
fn a_service_that_dies_in_the_middle_of_a_body() {
    let head = "HTTP/1.1 200 OK\r\nX-Up: a\r\n";
    for (framing, rest) in [
        ("Content-Length: 10\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked\r\n", "a\r\nhello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\nzz\r\n"),
    ] {
        let bytes = format!("{head}{framing}\r\n{rest}").into_bytes();
        for script in [Script::AnswersAndCloses(bytes.clone()), Script::AnswersAndResets(bytes.clone())] {
            let (_, gateway) = before(&script);
            let got = cut(&gateway);
            assert!(
                got.is_empty() || got.starts_with("HTTP/1.1 200 OK\r\n") || got.starts_with("HTTP/1.1 502")
            );
            let is_whole = got.ends_with("0\r\n\r\n") || got.ends_with("\r\n\r\nhellohello");
            assert!(!is_whole, "{script:?} passes for a whole answer: {got}");
        }
    }
    // Without a length, the end of the connection is the end of the body (RFC 9112, section 6.3, 8).
    let (_, gateway) = before(&Script::AnswersAndCloses(format!("{head}\r\nhello").into_bytes()));
    let answer = gateway.ask(&Request::get("/x"));
    assert_eq!((answer.text().as_str(), answer.whole), ("hello", true));
}

#[test]
fn a_service_that_falls_silent_in_the_middle_of_a_body() {
    let service = RawUpstream::by_hand();
    let gateway = start(&service.api("hand", &endpoints()));
    let mut client = Request::get("/x").start(gateway.inbound());
    let mut wire = service.accept();
    assert!(Received::read(&mut wire).is_some());
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    let got = String::from_utf8(client.rest()).expect("text");
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && got.ends_with("\r\n\r\nhello"), "{got}");
    assert!(!wire.more(), "the service is cut too");
}

#[test]
fn a_service_that_trickles_is_waited_for() {
    // Slower than both timeouts in sum, faster than either between two bytes of a body.
    let service = RawUpstream::by_hand();
    let gateway = start(&service.api("hand", &endpoints()));
    let mut client = Request::get("/x").start(gateway.inbound());
    let mut wire = service.accept();
    assert!(Received::read(&mut wire).is_some());
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    for byte in b"hellohello" {
        std::thread::sleep(Duration::from_millis(150));
        wire.send([*byte]);
    }
    assert_eq!(Response::read(&mut client, false).text(), "hellohello");
}

#[test]
fn a_client_that_stops_in_the_middle_of_its_body() {
    let service = RawUpstream::by_hand();
    let gateway = start(&service.api("hand", &endpoints()));
    for head in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        let mut client = Wire::connect(gateway.inbound());
        client.send(format!("POST /x HTTP/1.1\r\nHost: h\r\n{head}"));
        let mut wire = service.accept();
        assert!(wire.until(b"hello").is_some());
        let answer = Response::read(&mut client, false);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (408, "The request body did not arrive in time.")
        );
        assert!(!wire.more(), "the service sees the end of the connection, not of a body");
        assert_eq!(client.rest(), b"");
    }
    let mut client = Wire::connect(gateway.inbound());
    client.send("POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n");
    let answer = Response::read(&mut client, false);
    assert_eq!((answer.status, answer.text().as_str()), (400, "The request body is broken off."));
}
