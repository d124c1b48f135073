//! Request bodies of the gateway's own endpoints: content codings, byte order marks, and bodies
//! that never end.

use rig_tests::*;

const BATCH: &str = "application/cloudevents-batch+json";
const ONE: &str = r#"{"specversion":"0.2","type":"greeting","source":"/o","id":"1"}"#;

fn json(method: &str, path: &str, body: &[u8]) -> Request {
    Request::new(method, path).header("Content-Type", "application/json").body(body)
}

/// Every endpoint with a body: whether it is on the internal port, a request that is accepted, and
/// its status.
fn endpoints(gateway: &Gateway, stream: &mut Sse) -> Vec<(bool, Request, u16)> {
    let put = format!("/_rig/v1/connection/sse/{}/subscriptions", stream.welcome());
    let session = br#"{"sessionId":"a","validityInSeconds":60}"#;
    let revocation = br#"{"session":"b","validityInSeconds":60}"#;
    let api = definition("one", "One");
    let binary = Request::new("POST", "/_rig/v1/events")
        .header("ce-specversion", "1.0")
        .header("ce-type", "greeting")
        .header("ce-source", "/o")
        .header("ce-id", "1");
    assert!(gateway.ask(&Request::get("/_rig/health")).status == 200);
    let as_batch =
        |path: &str| Request::new("POST", path).header("Content-Type", BATCH).body(format!("[{ONE}]"));
    vec![
        (false, json("POST", "/_rig/v1/events", ONE.as_bytes()), 202),
        (false, binary.header("Content-Type", "application/json").body("{}"), 202),
        (false, as_batch("/_rig/v1/events"), 202),
        (false, json("PUT", &put, br#"{"subscriptions":[]}"#), 204),
        (true, json("POST", "/v2/messages", ONE.as_bytes()), 202),
        (true, json("POST", "/v3/messages", ONE.as_bytes()), 202),
        (true, as_batch("/v3/messages"), 202),
        (true, json("POST", "/v2/session-blacklist", session), 201),
        (true, json("POST", "/v3/session-blacklist", session), 201),
        (true, json("POST", "/v3/apis", api.to_string().as_bytes()), 201),
        (true, json("PUT", "/v3/apis/one", api.to_string().as_bytes()), 200),
        (true, json("POST", "/v4/revocations", revocation), 201),
        (true, json("PUT", "/v4/apis?dry_run=true", b"[]"), 200),
    ]
}

fn ask(gateway: &Gateway, internal: bool, request: &Request) -> Response {
    if internal { gateway.ask_internal(request) } else { gateway.ask(request) }
}

#[test]
fn f50_a_coded_body_is_refused_everywhere() {
    let gateway = Gateway::start(&[]);
    let mut stream = Sse::connect(gateway.inbound(), "");
    for (internal, request, status) in endpoints(&gateway, &mut stream) {
        for coding in ["gzip", "GZIP", "deflate", "br", "identity, gzip", "gzip, gzip", "x-unknown", "\u{e9}"]
        {
            let answer = ask(&gateway, internal, &request.clone().header("Content-Encoding", coding));
            assert_eq!(answer.status, 415, "{coding}: {}", answer.text());
            assert_eq!(answer.header("accept-encoding"), Some("identity"), "{coding}");
        }
        let twice = request.clone().header("Content-Encoding", "identity").header("Content-Encoding", "gzip");
        assert_eq!(ask(&gateway, internal, &twice).status, 415);
        let plain = request.header("Content-Encoding", "Identity");
        let answer = ask(&gateway, internal, &plain);
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    let coded = json("POST", "/v2/responses", ONE.as_bytes()).header("Content-Encoding", "gzip");
    assert_eq!(gateway.ask_internal(&coded).status, 415);
    let answer = json("POST", "/v3/responses", b"x").header("Content-Encoding", "gzip");
    assert_eq!(
        gateway.ask_internal(&answer).status,
        400,
        "it is passed on to the client: only its headers are missing"
    );
}

#[test]
fn f58_a_byte_order_mark_is_no_part_of_json() {
    let gateway = Gateway::start(&[]);
    let marked = |text: &str| format!("\u{feff}{text}");
    let query = format!("subscriptions={}", encoded(&marked(r#"[{"eventType":"greeting"}]"#)));
    let mut stream = Sse::connect(gateway.inbound(), &query);
    let put = format!("/_rig/v1/connection/sse/{}/subscriptions", stream.welcome());
    let list = marked(r#"{"subscriptions":[{"eventType":"greeting"}]}"#);
    assert_eq!(gateway.ask(&json("PUT", &put, list.as_bytes())).status, 204);
    stream.next_data();
    let events = "/_rig/v1/events";
    let binary = Request::new("POST", events)
        .header("ce-specversion", "1.0")
        .header("ce-type", "greeting")
        .header("ce-source", "/o")
        .header("ce-id", "1")
        .header("Content-Type", "application/json");
    let batch = |path: &str| {
        Request::new("POST", path).header("Content-Type", BATCH).body(marked(&format!("[{ONE}]")))
    };
    for (internal, request, status) in [
        (false, json("POST", events, marked(ONE).as_bytes()), 202),
        (false, batch(events), 202),
        (false, binary.body(marked(r#"{"a":1}"#)), 202),
        (true, json("POST", "/v3/messages", marked(ONE).as_bytes()), 202),
        (true, batch("/v3/messages"), 202),
    ] {
        assert_eq!(ask(&gateway, internal, &request).status, status);
        let shown = stream.next_data();
        assert!(shown.starts_with('{'), "without the mark: {shown}");
    }
    let session = marked(r#"{"sessionId":"a","validityInSeconds":60}"#);
    assert_eq!(gateway.ask_internal(&json("POST", "/v3/session-blacklist", session.as_bytes())).status, 201);
    let revocation = marked(r#"{"session":"b","validityInSeconds":60}"#);
    assert_eq!(gateway.ask_internal(&json("POST", "/v4/revocations", revocation.as_bytes())).status, 201);
    let api = marked(&definition("one", "One").to_string());
    assert_eq!(gateway.ask_internal(&json("POST", "/v3/apis", api.as_bytes())).status, 201);
    let twice = marked(&marked(ONE));
    assert_eq!(gateway.ask(&json("POST", events, twice.as_bytes())).status, 400, "one mark, not two");
}

#[test]
fn f59_a_batch_is_answered_with_a_list_on_both_ports() {
    let gateway = Gateway::start(&[]);
    for body in [format!("[{ONE}]"), "[]".to_owned(), format!("[{ONE},{ONE}]")] {
        for (internal, path) in [(false, "/_rig/v1/events"), (true, "/v2/messages"), (true, "/v3/messages")] {
            for media in [BATCH, "Application/CloudEvents-Batch+JSON; charset=utf-8"] {
                let request = Request::new("POST", path).header("Content-Type", media).body(&body);
                let answer = ask(&gateway, internal, &request);
                assert_eq!((answer.status, answer.text()), (202, body.clone()), "{path}");
            }
        }
    }
    for (internal, path) in [(false, "/_rig/v1/events"), (true, "/v3/messages")] {
        assert_eq!(ask(&gateway, internal, &json("POST", path, ONE.as_bytes())).text(), ONE, "{path}");
    }
}

#[test]
fn f60_a_body_that_never_ends_is_not_waited_for() {
    let gateway = Gateway::start(&[("BODY_TIMEOUT", "1s")]);
    let mut stream = Sse::connect(gateway.inbound(), "");
    for (internal, request, _) in endpoints(&gateway, &mut stream) {
        let address = if internal { gateway.internal() } else { gateway.inbound() };
        let whole = request.bytes(address);
        let mut wire = Wire::connect(address);
        wire.send(&whole[..whole.len() - 1]);
        let answer = Response::read(&mut wire, false);
        assert_eq!(answer.status, 408, "{}: {}", String::from_utf8_lossy(&whole), answer.text());
    }
}
