//! Server-Sent Events, as in RIG 3.0.0.

use rig_tests::*;
use serde_json::json;

const CREATED: &str = r#"event: rig.connection.create
data: {"data":{"connection_token":"TOKEN"},"id":"UUID","source":"rig","specversion":"0.2","time":"TIME","type":"rig.connection.create"}"#;
const HEAD: &str = "200 | access-control-allow-origin: * | cache-control: no-cache | content-type: text/event-stream; charset=utf-8";

fn subscriptions_set(list: &str) -> String {
    format!(
        r#"event: rig.subscriptions_set
data: {{"data":{list},"id":"UUID","source":"rig","specversion":"0.2","time":"TIME","type":"rig.subscriptions_set"}}"#
    )
}

fn query(subscriptions: &str) -> String {
    format!("subscriptions={}", encoded(subscriptions))
}

#[test]
fn a_stream_begins_with_two_events() {
    let gateway = Gateway::start(&[]);
    let mut sse = Sse::open(gateway.inbound(), &Request::get("/_rig/v1/connection/sse")).unwrap();
    assert_eq!(sse.head.shown(), HEAD);
    assert_eq!(sse.next_event(), CREATED);
    assert_eq!(sse.next_event(), subscriptions_set("[]"));
}

#[test]
fn what_a_client_may_ask_for() {
    let gateway = Gateway::start(&[("EXTRACTORS", EXTRACTORS)]);
    let greeting_bob = r#"[{"eventType":"greeting","oneOf":[{"name":"bob"}]}]"#;
    let no_session = signed_claims(&json!({ "username": "bob", "exp": in_seconds(60) }));
    let mut all = Scenarios::default();
    for (name, query, list) in [
        ("type", query(r#"[{"eventType":"greeting"}]"#), r#"[{"eventType":"greeting","oneOf":[]}]"#),
        ("constraints", query(greeting_bob), greeting_bob),
        ("parameter empty", "subscriptions=".into(), "[]"),
        ("list empty", query("[]"), "[]"),
        ("aliases", query(r#"[{"event_type":"greeting","constraints":[{"name":"bob"}]}]"#), greeting_bob),
        ("alias one_of", query(r#"[{"event_type":"greeting","one_of":[{"name":"bob"}]}]"#), greeting_bob),
        ("token empty", "jwt=".into(), "[]"),
        ("token without session", format!("jwt={no_session}"), greeting_bob),
        ("token", format!("jwt={}", token_of("s")), greeting_bob),
        ("twice", query(r#"[{"eventType":"x"},{"eventType":"x"}]"#), r#"[{"eventType":"x","oneOf":[]}]"#),
        (
            "token and list",
            format!("{}&jwt={}", query(r#"[{"eventType":"greeting"}]"#), token_of("s")),
            r#"[{"eventType":"greeting","oneOf":[{"name":"bob"}]},{"eventType":"greeting","oneOf":[]}]"#,
        ),
    ] {
        let mut sse = Sse::connect(gateway.inbound(), &query);
        all.check(name, &sse.head, HEAD);
        all.check_text(name, &sse.next_event(), CREATED);
        all.check_text(name, &sse.next_event(), subscriptions_set(list));
    }
}

fn signed_claims(claims: &serde_json::Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(KEY.as_bytes()).expect("a key");
    signed(claims, jsonwebtoken::Algorithm::HS256, &key)
}

#[test]
fn an_event_reaches_those_who_asked_for_it_as_it_came() {
    let gateway = Gateway::start(&[("EXTRACTORS", EXTRACTORS)]);
    let connect = |query: &str| {
        let mut sse = Sse::connect(gateway.inbound(), query);
        sse.welcome();
        sse
    };
    let mut none = Sse::connect(gateway.inbound(), "");
    let token_of_none = none.welcome();
    let mut every = connect(&query(r#"[{"eventType":"greeting"}]"#));
    let mut bobs = connect(&query(r#"[{"eventType":"greeting","oneOf":[{"name":"bob"}]}]"#));
    let mut by_token = connect(&format!("jwt={}", token_of("s")));

    let spaced = " { \"specversion\": \"0.2\",\n \"type\": \"greeting\", \"source\":\"/o\", \"id\":\"3\", \"extra\":[1,2],\"data\":{\"name\":\"bob\",\"u\":\"\\u00e9 é\"} } ";
    gateway.publish(&greeting("1", "bob"));
    gateway.publish(&greeting("2", "alice"));
    gateway.publish(spaced);

    let first = r#"event: greeting
data: {"specversion": "0.2", "type": "greeting", "source": "/o", "id": "1", "data": {"name": "bob"}}"#;
    let second = r#"event: greeting
data: {"specversion": "0.2", "type": "greeting", "source": "/o", "id": "2", "data": {"name": "alice"}}"#;
    let third = "event: greeting\ndata:  { \"specversion\": \"0.2\",\ndata:  \"type\": \"greeting\", \"source\":\"/o\", \"id\":\"3\", \"extra\":[1,2],\"data\":{\"name\":\"bob\",\"u\":\"\\u00e9 é\"} } ";
    for expected in [first, second, third] {
        assert_eq!(every.next_event(), expected);
    }
    for expected in [first, third] {
        assert_eq!(bobs.next_event(), expected);
        assert_eq!(by_token.next_event(), expected);
    }
    // A client without subscriptions gets no event: the next thing that it receives is its new
    // list.
    let path = format!("/_rig/v1/connection/sse/{token_of_none}/subscriptions");
    assert_eq!(gateway.ask(&Request::put_json(path, r#"{"subscriptions":[]}"#)).status, 204);
    assert_eq!(none.next_event(), subscriptions_set("[]"));
}

#[test]
fn refusals_before_the_stream() {
    let gateway = Gateway::start(&[("EXTRACTORS", EXTRACTORS)]);
    let expired = signed_claims(&json!({ "exp": in_seconds(-10) }));
    let no_expiry = signed_claims(&json!({ "jti": "noexp" }));
    let wrong_key = signed(
        &json!({ "exp": in_seconds(60) }),
        jsonwebtoken::Algorithm::HS256,
        &jsonwebtoken::EncodingKey::from_secret(b"another-test-secret-of-32-bytes!").expect("a key"),
    );
    let signature = "could not parse subscriptions: could not decode JWT: Invalid signature";
    let too_late = "could not parse subscriptions: could not decode JWT: token expired";
    let invalid = |fault: &str| {
        format!(
            "could not parse subscriptions: could not parse subscription from JSON: invalid subscription: {fault}"
        )
    };
    let no_list = "could not parse subscriptions: could not decode subscriptions: subscriptions is expected to be a JSON encoded list";
    let of_greeting = |one_of: &str| query(&format!(r#"[{{"eventType":"greeting","oneOf":{one_of}}}]"#));
    let mut all = Scenarios::default();
    for (name, query, text) in [
        ("not JSON", "subscriptions=nojson".into(), "Failed to decode subscription list: …".into()),
        ("object", query(r#"{"eventType":"x"}"#), no_list.to_owned()),
        ("list of strings", query(r#"["x"]"#), invalid("not a map (subscriptions/0)")),
        ("no type", query(r#"[{"foo":1}]"#), invalid("event-type not found (subscriptions/0/eventType)")),
        (
            "type empty",
            query(r#"[{"eventType":""}]"#),
            invalid("event-type empty (subscriptions/0/eventType)"),
        ),
        (
            "type a number",
            query(r#"[{"eventType":5}]"#),
            invalid("event-type empty (subscriptions/0/eventType)"),
        ),
        (
            "oneOf no list",
            of_greeting("{}"),
            invalid("constraints expected to be a list of disjunctive clauses (subscriptions/0/oneOf)"),
        ),
        (
            "oneOf of strings",
            of_greeting(r#"["a"]"#),
            invalid(
                "a disjunctive clause expected to be a conjunction represented by a map (subscriptions/0/oneOf/0)",
            ),
        ),
        (
            "field empty",
            of_greeting(r#"[{"":"a"}]"#),
            invalid(
                "conjunctive clauses expected to be a map with nonempty strings as keys (subscriptions/0/oneOf/0)",
            ),
        ),
        (
            "field unknown",
            of_greeting(r#"[{"size":1}]"#),
            invalid(r#"no extractor of this event-type defines the field "size" (subscriptions/0/oneOf/0)"#),
        ),
        ("token garbage", "jwt=garbage".into(), signature.into()),
        ("token of another key", format!("jwt={wrong_key}"), signature.into()),
        ("token expired", format!("jwt={expired}"), too_late.into()),
        ("token without exp", format!("jwt={no_expiry}"), too_late.into()),
        ("token unsigned", "jwt=eyJhbGciOiJub25lIn0.eyJleHAiOjk5OTk5OTk5OTk5fQ.".into(), signature.into()),
    ] {
        let response = gateway.ask(&Request::get(format!("/_rig/v1/connection/sse?{query}")));
        all.check(name, &response, format!("400 | {CORS_TEXT} | {text}"));
    }
}

#[test]
fn methods() {
    let gateway = Gateway::start(&[]);
    let path = "/_rig/v1/connection/sse";
    let mut all = Scenarios::default();
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let expected = "405 | …allow: GET, HEAD, OPTIONS…";
        all.check(method, &gateway.ask(&Request::new(method, path)), expected);
    }
    all.check("HEAD", &gateway.ask(&Request::new("HEAD", path)), HEAD);
    all.check(
        "OPTIONS",
        &gateway.ask(&Request::new("OPTIONS", path)),
        "204 | access-control-allow-headers: content-type,authorization,last-event-id,cache-control | access-control-allow-methods: GET | access-control-allow-origin: *",
    );
    let slash = Sse::open(gateway.inbound(), &Request::get(format!("{path}/"))).unwrap();
    all.check("trailing slash", &slash.head, HEAD);
    let other_headers = Request::get(path)
        .header("Accept", "application/json")
        .header("Origin", "http://x")
        .header("Last-Event-ID", "5");
    all.check("other headers", &Sse::open(gateway.inbound(), &other_headers).unwrap().head, HEAD);
}

#[test]
fn a_stream_to_http_1_0_is_not_chunked() {
    let gateway = Gateway::start(&[("HISTORY", "off")]);
    let mut wire = Wire::connect(gateway.inbound());
    wire.send("GET /_rig/v1/connection/sse HTTP/1.0\r\n\r\n");
    let head = Response::read_head(&mut wire).unwrap();
    assert_eq!(head.shown(), HEAD);
    assert_eq!(head.header("transfer-encoding"), None);
    let created = wire.until(b"\n\n").unwrap();
    assert_eq!(redacted(&String::from_utf8(created).unwrap()), format!("{CREATED}\n\n"));
}

#[test]
fn a_heartbeat_comes_every_15_seconds() {
    let gateway = Gateway::start(&[]);
    let mut sse = Sse::connect(gateway.inbound(), "");
    let mut websocket = WebSocket::connect(gateway.inbound(), "");
    sse.welcome();
    websocket.welcome();
    let connected = std::time::Instant::now();
    assert_eq!(sse.next_event(), ": heartbeat");
    assert_eq!(websocket.receive(), "PING ");
    let seconds = connected.elapsed().as_secs_f64();
    // All connections share a timer wheel that turns about once a second.
    assert!((13.0..17.5).contains(&seconds), "{seconds} s");
}
