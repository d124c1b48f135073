//! Headers with non-ASCII bytes: an element that the gateway cannot read does not hide the elements
//! beside it.

use std::net::TcpStream;

use rig_tests::*;
use serde_json::json;

/// Non-ASCII values; the second is sent as Latin-1, so it is not UTF-8 either.
const ODD: [(&str, bool); 2] = [("Jos\u{e9}", false), ("Jos\u{e9}", true)];

/// Sends a request. With `latin`, `é` is sent as one byte of Latin-1.
fn ask(address: std::net::SocketAddr, request: &Request, latin: bool) -> Wire {
    let mut bytes = request.bytes(address);
    if latin {
        while let Some(at) = bytes.windows(2).position(|two| two == "\u{e9}".as_bytes()) {
            bytes.splice(at..at + 2, [0xe9]);
        }
    }
    let mut wire = Wire::from(TcpStream::connect(address).expect("the gateway listens"));
    wire.send(bytes);
    wire
}

#[test]
fn f46_an_odd_element_of_accept_counts_as_absent() {
    let gateway = Gateway::start(&[]);
    let mut sse = Sse::connect(gateway.inbound(), "");
    let path = format!("/_rig/v1/connection/sse/{}/subscriptions", sse.welcome());
    for (odd, latin) in ODD {
        for (accept, expected) in [
            (format!("text/html, {odd}"), 406),
            (format!("{odd}, text/html"), 406),
            (format!("{odd}, application/json"), 204),
            (format!("text/html;x={odd}, */*"), 204),
            (odd.to_owned(), 204),
        ] {
            let put = Request::put_json(&path, r#"{"subscriptions":[]}"#).header("Accept", &*accept);
            let answer = Response::read(&mut ask(gateway.inbound(), &put, latin), false);
            assert_eq!(answer.status, expected, "{accept}");
        }
        // A second field is part of the same list (RFC 9110, section 5.3).
        let put = Request::put_json(&path, r#"{"subscriptions":[]}"#).header("Accept", odd);
        let put = put.header("Accept", "text/html");
        assert_eq!(Response::read(&mut ask(gateway.inbound(), &put, latin), false).status, 406);

        let accept = format!("text/plain;q=0.1, {odd}, application/openmetrics-text; version=1.0.0");
        let scrape = Request::get("/metrics").header("Accept", accept);
        let answer = Response::read(&mut ask(gateway.internal(), &scrape, latin), false);
        let format = answer.header("content-type").unwrap_or_default();
        assert!(format.starts_with("application/openmetrics-text"), "{format}");
    }
}

#[test]
fn f46_an_odd_parameter_hides_no_media_type() {
    let gateway = Gateway::start(&[]);
    let mut sse = Sse::connect(gateway.inbound(), "");
    let path = format!("/_rig/v1/connection/sse/{}/subscriptions", sse.welcome());
    for (odd, latin) in ODD {
        let odd = format!("application/json; by=\"{odd}\"");
        let typed = |method: &str, path: &str, body: &str| {
            Request::new(method, path).header("Content-Type", &*odd).body(body)
        };
        let put = typed("PUT", &path, r#"{"subscriptions":[]}"#);
        assert_eq!(Response::read(&mut ask(gateway.inbound(), &put, latin), false).status, 204);
        let order = json!({ "session": "a", "validityInSeconds": 60 }).to_string();
        let old = json!({ "sessionId": "b", "validityInSeconds": 60 }).to_string();
        for (path, body) in [("/v4/revocations", order), ("/v3/session-blacklist", old)] {
            let answer =
                Response::read(&mut ask(gateway.internal(), &typed("POST", path, &body), latin), false);
            assert_eq!(answer.status, 201, "{path}: {}", answer.text());
        }
        // In an event, it would become an attribute, which must be ASCII: the refusal names the
        // header.
        let event = typed("POST", "/_rig/v1/events", &greeting("1", "bob"));
        let answer = Response::read(&mut ask(gateway.inbound(), &event, latin), false);
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("The content-type header is not a media type"), "{}", answer.text());
    }
}

#[test]
fn f46_an_odd_user_agent_is_shown() {
    let gateway = Gateway::start(&[]);
    for (odd, latin) in ODD {
        let target = format!("/_rig/v1/connection/sse?jwt={}", token_of("s"));
        // In UTF-8, the 200th byte is the first of a character.
        let request = Request::get(target).header("User-Agent", format!("{odd}{}", "\u{e9}".repeat(150)));
        let mut sse = Sse::over(ask(gateway.inbound(), &request, latin)).expect("a stream");
        sse.welcome();
        let shown = gateway.ask_internal(&Request::get("/v4/sessions/s")).text();
        let expected = if latin { "Jos\u{fffd}\u{fffd}" } else { "Jos\u{e9}\u{e9}" };
        assert!(shown.contains(expected), "{shown}");
    }
}

#[test]
fn f46_an_odd_option_of_connection_hides_no_upgrade() {
    let gateway = Gateway::start(&[]);
    for (odd, latin) in ODD {
        let handshake = Request::get("/_rig/v1/connection/ws")
            .header("Connection", format!("{odd}, Upgrade"))
            .header("Upgrade", format!("{odd}, websocket"))
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("Sec-WebSocket-Version", "13");
        let mut socket = WebSocket::over(ask(gateway.inbound(), &handshake, latin));
        socket.welcome();
    }
}

#[test]
fn f46_an_empty_request_id_counts_as_absent() {
    let gateway = Gateway::start(&[]);
    for path in ["/_rig/health", "/_rig/v1/connection/ws"] {
        let answer = gateway.ask(&Request::get(path).header("X-Request-Id", ""));
        assert_eq!(answer.header("x-request-id").map(str::len), Some(36), "{path}");
    }
    let answer = gateway.ask_internal(&Request::get("/health").header("X-Request-Id", ""));
    assert_eq!(answer.header("x-request-id").map(str::len), Some(36));
}
