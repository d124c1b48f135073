//! HTTP/2 requests that become different requests when they are written as HTTP/1.1 (H2.CL, H2.TE,
//! fields with line ends). None may reach the service as another request.

use rig_tests::*;

/// The header fields of the case, which follow those of every request; its body; the outcome; the
/// requests that the service receives.
type Case =
    (&'static [(&'static str, &'static str)], Option<&'static str>, &'static str, &'static [&'static str]);

const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/a"), (":authority", "x")];

const FIELDS: &[Case] = &[
    (&[], Some("hello"), "200", &["POST /a hello"]),
    (&[("content-length", "5")], Some("hello"), "200", &["POST /a hello"]),
    (&[("host", "x")], None, "200", &["POST /a "]),
    (&[("te", "trailers")], None, "200", &["POST /a "]),
    // H2.CL
    (&[("content-length", "4")], Some("hello"), "RESET", &[]),
    (&[("content-length", "6")], Some("hello"), "RESET", &[]),
    (&[("content-length", "5"), ("content-length", "5")], Some("hello"), "400", &[]),
    (&[("content-length", "+5")], Some("hello"), "RESET", &[]),
    (&[("content-length", "5, 5")], Some("hello"), "RESET", &[]),
    // H2.TE
    (&[("transfer-encoding", "chunked")], Some("0\r\n\r\n"), "RESET", &[]),
    (&[("transfer_encoding", "chunked")], Some("0\r\n\r\n"), "400", &[]),
    (&[("content_length", "0")], Some("hello"), "400", &[]),
    (&[("connection", "close")], None, "RESET", &[]),
    (&[("keep-alive", "x")], None, "RESET", &[]),
    (&[("proxy-connection", "x")], None, "RESET", &[]),
    (&[("upgrade", "websocket")], None, "RESET", &[]),
    (&[("te", "chunked")], None, "RESET", &[]),
    (&[("te", "trailers, chunked")], None, "RESET", &[]),
    // Another request within a name or a value.
    (&[("x", "y\r\ntransfer-encoding: chunked")], None, "GOAWAY", &[]),
    (&[("x", "y\nhost: z")], None, "GOAWAY", &[]),
    (&[("x", "y\rz")], None, "GOAWAY", &[]),
    (&[("x", "y\0z")], None, "GOAWAY", &[]),
    (&[("x: y\r\nz", "1")], None, "GOAWAY", &[]),
    (&[("x y", "1")], None, "GOAWAY", &[]),
    (&[("Content-Length", "5")], Some("hello"), "GOAWAY", &[]),
    (&[("transfer-encoding: chunked", "x")], None, "GOAWAY", &[]),
    // Ambiguous hosts.
    (&[("host", "y")], None, "400", &[]),
    (&[("host", "x"), ("host", "x")], None, "400", &[]),
    (&[(":authority", "y")], None, "RESET", &[]),
    (&[("expect", "x")], Some("hello"), "417", &[]),
];

/// Invalid pseudo-headers, each beside valid other ones.
const PSEUDO: &[(&[(&str, &str)], &str)] = &[
    (
        &[(":method", "GET /b HTTP/1.1\r\nx:"), (":scheme", "http"), (":path", "/a"), (":authority", "x")],
        "GOAWAY",
    ),
    (
        &[(":method", "GET"), (":scheme", "http"), (":path", "/a HTTP/1.1\r\nx: y"), (":authority", "x")],
        "RESET",
    ),
    (&[(":method", "GET"), (":scheme", "http"), (":path", "/a b"), (":authority", "x")], "RESET"),
    (&[(":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", "x")], "RESET"),
    (&[(":method", "GET"), (":scheme", "http"), (":path", "a"), (":authority", "x")], "RESET"),
    (&[(":method", "GET"), (":scheme", "http"), (":path", "*"), (":authority", "x")], "400"),
    (&[(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":authority", "x\r\ny: z")], "RESET"),
    (&[(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":authority", "u@x")], "400"),
    (&[(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":authority", "")], "RESET"),
    (&[(":method", "GET"), (":scheme", "http"), (":path", "/a")], "400"),
    (&[(":method", "GET"), (":scheme", "gopher"), (":path", "/a"), (":authority", "x")], "400"),
    (
        &[(":method", "GET"), (":scheme", "http"), (":scheme", "http"), (":path", "/a"), (":authority", "x")],
        "RESET",
    ),
    (
        &[(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":path", "/b"), (":authority", "x")],
        "RESET",
    ),
    (&[(":method", "GET"), (":scheme", "http"), ("x", "y"), (":path", "/a"), (":authority", "x")], "RESET"),
    (&[(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":authority", "x"), (":x", "y")], "GOAWAY"),
    (&[(":method", "TRACE"), (":scheme", "http"), (":path", "/a"), (":authority", "x")], "501"),
    (&[(":method", "CONNECT"), (":authority", "x:80")], "405"),
    (
        &[
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/a"),
            (":authority", "x"),
        ],
        "RESET",
    ),
];

#[test]
fn fields_and_bodies() {
    let (upstream, gateway) = start();
    let mut all = Scenarios::default();
    for (fields, body, expected, requests) in FIELDS {
        let fields = [&POST[..], fields].concat();
        let answer = Http2::connect(gateway.inbound()).ask(&fields, *body);
        let seen = seen(&upstream);
        all.check_text(
            &format!("{fields:?} {body:?}"),
            &format!("{answer} {seen:?}"),
            format!("{expected} {requests:?}"),
        );
    }
}

#[test]
fn a_body_of_a_request_that_announces_none() {
    let (upstream, gateway) = start();
    let fields = [&POST[..], &[("content-length", "0")]].concat();
    let answer = Http2::connect(gateway.inbound()).ask(&fields, Some("GET /b HTTP/1.1\r\n\r\n"));
    assert_eq!(answer, "RESET");
    // The request may have been forwarded before the surplus body arrived, but the body must go
    // nowhere.
    gateway.ask(&Request::get("/next"));
    let mut seen = seen(&upstream);
    seen.retain(|request| request != "POST /a ");
    assert_eq!(seen, ["GET /next "]);
}

#[test]
fn pseudo_headers() {
    let (upstream, gateway) = start();
    let mut all = Scenarios::default();
    for (fields, expected) in PSEUDO {
        let answer = Http2::connect(gateway.inbound()).ask(fields, None);
        let seen = seen(&upstream);
        all.check_text(&format!("{fields:?}"), &format!("{answer} {seen:?}"), format!("{expected} []"));
    }
}

fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &pass_all(upstream.address()))]);
    (upstream, gateway)
}

fn seen(upstream: &Upstream) -> Vec<String> {
    let shown = |received: &Received| {
        format!("{} {} {}", received.method, received.target, String::from_utf8_lossy(&received.body))
    };
    upstream.waiting().iter().map(shown).collect()
}
