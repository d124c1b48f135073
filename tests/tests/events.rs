//! `POST /_rig/v1/events`, as in RIG 3.0.0, and CloudEvents 1.0, which RIG does not support.

use rig_tests::*;

const CE: &str =
    r#"{"specversion": "0.2", "type": "greeting", "source": "/o", "id": "1", "data": {"name": "bob"}}"#;

fn post(body: impl AsRef<[u8]>) -> Request {
    Request::post_json("/_rig/v1/events", body)
}

fn post_as(content_type: &str, body: impl AsRef<[u8]>) -> Request {
    Request::new("POST", "/_rig/v1/events").header("Content-Type", content_type).body(body)
}

/// Returns an event in binary mode; `headers` follow the content type.
fn binary(content_type: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Request {
    headers.iter().fold(post_as(content_type, body), |request, (name, value)| request.header(name, *value))
}

#[test]
fn valid_structured_events() {
    let gateway = Gateway::start(&[]);
    let mut all = Scenarios::default();
    for (name, body) in [
        ("complete", CE),
        ("without source", r#"{"specversion":"0.2","type":"t","id":"1"}"#),
        ("0.1", r#"{"cloudEventsVersion":"0.1","eventType":"t","eventID":"1","source":"s"}"#),
        ("0.3", r#"{"specversion":"0.3","type":"t","source":"s","id":"1"}"#),
        ("1.0", r#"{"specversion":"1.0","type":"t","source":"s","id":"1"}"#),
        ("spaces", " { \"specversion\" : \"0.2\", \"type\":\"t\" ,\"id\":\"1\"}\n"),
        ("not ASCII", r#"{"specversion":"0.2","type":"grüße","id":"1"}"#),
        ("a type in the data", r#"{"specversion":"0.2","data":{"type":"x"},"type":"t","id":"1"}"#),
    ] {
        all.check(name, &gateway.ask(&post(body)), format!("202 | {CORS_JSON} | {body}"));
    }
    for content_type in [
        "application/cloudevents+json",
        "application/cloudevents+json; charset=UTF-8",
        "application/json;charset=utf-8",
        "application/JSON",
    ] {
        let response = gateway.ask(&post_as(content_type, CE));
        all.check(content_type, &response, format!("202 | {CORS_JSON} | {CE}"));
    }
    let headers_too =
        post_as("application/cloudevents+json", CE).header("ce-specversion", "0.2").header("ce-type", "q");
    all.check(
        "headers beside a structured event",
        &gateway.ask(&headers_too),
        format!("202 | {CORS_JSON} | {CE}"),
    );
}

#[test]
fn invalid_structured_events() {
    let gateway = Gateway::start(&[]);
    let mut all = Scenarios::default();
    for (name, body, text) in [
        ("no version", r#"{"type":"t","id":"1"}"#, "…specversion…"),
        ("version 9.9", r#"{"specversion":"9.9","type":"t","source":"s","id":"1"}"#, "…specversion…"),
        ("no type", r#"{"specversion":"0.2","id":"1"}"#, "…type…"),
        ("no id", r#"{"specversion":"0.2","type":"t"}"#, "…id…"),
        ("1.0 without source", r#"{"specversion":"1.0","type":"t","id":"1"}"#, "…source…"),
        ("type empty", r#"{"specversion":"0.2","type":"","id":"1"}"#, "…type…"),
        ("type a number", r#"{"specversion":"0.2","type":7,"id":"1"}"#, "…type…"),
        ("type an object", r#"{"specversion":"0.2","type":{},"id":"1"}"#, "…type…"),
        ("type null", r#"{"specversion":"0.2","type":null,"id":"1"}"#, "…type…"),
        ("id null", r#"{"specversion":"0.2","type":"t","id":null}"#, "…id…"),
        ("id a number", r#"{"specversion":"0.2","type":"t","id":5}"#, "…id…"),
        ("empty", "", "…"),
        ("not JSON", "nojson", "…"),
        ("cut off", r#"{"specversion":"0.2","type":"t","id":"1","data":{"#, "…"),
        ("more after it", r#"{"specversion":"0.2","type":"t","id":"1"} xyz"#, "…"),
        ("a list", r#"[{"specversion":"0.2","type":"t","id":"1"}]"#, "…"),
        ("empty object", "{}", "…specversion…"),
        ("a string", r#""x""#, "…"),
        ("a number", "5", "…"),
        ("null", "null", "…"),
        ("a member twice", r#"{"specversion":"0.2","type":"t","type":"u","id":"1"}"#, "…type…"),
    ] {
        all.check(name, &gateway.ask(&post(body)), format!("400 | {CORS_TEXT} | {text}"));
    }
    let not_utf8 = [br#"{"specversion":"0.2","type":"t","id":""#.as_slice(), &[0xff], br#""}"#].concat();
    all.check("not UTF-8", &gateway.ask(&post(not_utf8)), format!("400 | {CORS_TEXT} | …"));
}

#[test]
fn invalid_content_types() {
    let gateway = Gateway::start(&[]);
    let mut all = Scenarios::default();
    for (content_type, status) in [
        ("application/cloudevents+xml", 415),
        ("application/cloudevents-batch", 415),
        ("text/plain", 400),
        ("application/xml", 400),
        ("bad", 400),
    ] {
        let response = gateway.ask(&post_as(content_type, CE));
        all.check(content_type, &response, format!("{status} | {CORS_TEXT} | …"));
    }
    let none = Request::new("POST", "/_rig/v1/events").body(CE);
    all.check("no content type", &gateway.ask(&none), format!("400 | {CORS_TEXT} | …ontent-…ype…"));
    let cut_off = Request::new("POST", "/_rig/v1/events")
        .header("Content-Type", "application/json")
        .header("Transfer-Encoding", "chunked")
        .bytes(gateway.inbound());
    let mut wire = Wire::connect(gateway.inbound());
    wire.send([&cut_off[..], b"3\r\n{\"s\r\n0\r\n\r\n"].concat());
    all.check("chunked, cut off", &Response::read(&mut wire, false), format!("400 | {CORS_TEXT} | …"));
}

#[test]
fn valid_binary_events() {
    let gateway = Gateway::start(&[]);
    let plain = [("ce-specversion", "0.2"), ("ce-type", "greeting"), ("ce-source", "/s"), ("ce-id", "9")];
    let extended = [
        ("ce-time", "2020-01-01T00:00:00Z"),
        ("ce-myext", r#"{"a":1}"#),
        ("ce-num", "5"),
        ("ce-str", "plain"),
        ("ce-subject", "sub"),
    ];
    let all_extended = [&plain[..], &extended[..]].concat();
    let mut all = Scenarios::default();
    let mut check = |name: &str, request: &Request, event: &str| {
        all.check(name, &gateway.ask(request), format!("202 | {CORS_JSON} | {event}"));
    };
    check(
        "plain",
        &binary("application/json", &plain, r#"{"name":"bob"}"#),
        r#"{"data":{"name":"bob"},"id":"9","source":"/s","specversion":"0.2","type":"greeting"}"#,
    );
    check(
        "with extensions",
        &binary("application/json", &all_extended, r#"{"name":"bob"}"#),
        r#"{"data":{"name":"bob"},"id":"9","myext":{"a":1},"num":5,"source":"/s","specversion":"0.2","str":"plain","subject":"sub","time":"2020-01-01T00:00:00Z","type":"greeting"}"#,
    );
    check(
        "text",
        &binary("text/plain", &plain, "plain text"),
        r#"{"contenttype":"text/plain","data":"plain text","id":"9","source":"/s","specversion":"0.2","type":"greeting"}"#,
    );
    check(
        "a type of digits",
        &binary(
            "application/json",
            &[("ce-specversion", "0.2"), ("ce-type", "1"), ("ce-source", "/s"), ("ce-id", "9")],
            "{}",
        ),
        r#"{"data":{},"id":"9","source":"/s","specversion":"0.2","type":"1"}"#,
    );
    check(
        "bytes that are no text",
        &binary("application/octet-stream", &plain, [0xff, 0xfe, 0]),
        r#"{"contenttype":"application/octet-stream","data":"//4A","datacontentencoding":"base64","id":"9","source":"/s","specversion":"0.2","type":"greeting"}"#,
    );
    check(
        "without body",
        &binary("application/json", &plain, ""),
        r#"{"id":"9","source":"/s","specversion":"0.2","type":"greeting"}"#,
    );
    check(
        "without content type",
        &plain.iter().fold(Request::new("POST", "/_rig/v1/events").body("{}"), |request, (name, value)| {
            request.header(name, *value)
        }),
        r#"{"data":{},"id":"9","source":"/s","specversion":"0.2","type":"greeting"}"#,
    );
    check(
        "without source",
        &binary(
            "application/json",
            &[("ce-specversion", "0.2"), ("ce-type", "greeting"), ("ce-id", "9")],
            "{}",
        ),
        r#"{"data":{},"id":"9","specversion":"0.2","type":"greeting"}"#,
    );
}

#[test]
fn binary_events_of_version_1_0_are_accepted() {
    let gateway = Gateway::start(&[]);
    let headers = [("ce-specversion", "1.0"), ("ce-type", "greeting"), ("ce-source", "/s"), ("ce-id", "9")];
    let response = gateway.ask(&binary("application/json", &headers, r#"{"name":"bob"}"#));
    assert_eq!(response.status, 202, "{}", response.text());
    let event = response.json();
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["data"]["name"], "bob");
    let response = gateway.ask(&binary("application/octet-stream", &headers, [0xfe, 0xff, 0]));
    assert_eq!(response.status, 202, "{}", response.text());
    assert_eq!(response.json()["data_base64"], "/v8A");
}

#[test]
fn invalid_binary_events() {
    let gateway = Gateway::start(&[]);
    let (version, kind, source, id) =
        (("ce-specversion", "0.2"), ("ce-type", "greeting"), ("ce-source", "/s"), ("ce-id", "9"));
    let plain = [version, kind, source, id];
    let json = "application/json";
    let mut all = Scenarios::default();
    for (name, request, text) in [
        ("data not JSON", binary(json, &plain, "nojson"), "…"),
        ("version 9.9", binary(json, &[("ce-specversion", "9.9"), kind, source, id], "{}"), "…specversion…"),
        (
            "version 0.1",
            binary(json, &[("ce-specversion", "0.1"), kind, source, id], "{}"),
            "…specversion…0.1…",
        ),
        ("JSON without version", binary(json, &[kind, source, id], "{}"), "…specversion…"),
        ("text without version", binary("text/plain", &[kind, id], "x"), "…specversion…"),
        ("without type", binary(json, &[version, source, id], "{}"), "…type…"),
        ("without id", binary(json, &[version, kind, source], "{}"), "…id…"),
    ] {
        all.check(name, &gateway.ask(&request), format!("400 | {CORS_TEXT} | {text}"));
    }
}

#[test]
fn batches() {
    let gateway = Gateway::start(&[]);
    let query = format!("subscriptions={}", encoded(r#"[{"eventType":"greeting"}]"#));
    let mut sse = Sse::connect(gateway.inbound(), &query);
    sse.welcome();
    let batch = format!("[{},{}]", greeting("1", "bob"), greeting("2", "al"));
    let batched = "application/cloudevents-batch+json";
    let mut all = Scenarios::default();
    all.check("two", &gateway.ask(&post_as(batched, &batch)), format!("202 | {CORS_JSON} | {batch}"));
    all.check_text("first", &sse.next_data(), greeting("1", "bob"));
    all.check_text("second", &sse.next_data(), greeting("2", "al"));
    all.check("none", &gateway.ask(&post_as(batched, "[]")), format!("202 | {CORS_JSON} | []"));
    all.check("an object", &gateway.ask(&post_as(batched, CE)), format!("400 | {CORS_TEXT} | …"));
    // All or nothing: the valid event before the invalid one is not published.
    let spoilt = format!(r#"[{},{{"specversion":"0.2"}}]"#, greeting("3", "bob"));
    all.check("one of them bad", &gateway.ask(&post_as(batched, spoilt)), format!("400 | {CORS_TEXT} | …"));
    gateway.publish(&greeting("4", "bob"));
    all.check_text("next", &sse.next_data(), greeting("4", "bob"));
}

#[test]
fn methods_and_paths() {
    let gateway = Gateway::start(&[]);
    let mut all = Scenarios::default();
    let not_found = r#"404 | content-type: application/json; charset=utf-8 | {"message":"Not Found"}"#;
    all.check(
        "OPTIONS",
        &gateway.ask(&Request::new("OPTIONS", "/_rig/v1/events")),
        "204 | access-control-allow-headers: content-type,authorization | access-control-allow-methods: POST | access-control-allow-origin: *",
    );
    for method in ["GET", "PUT", "DELETE"] {
        all.check(method, &gateway.ask(&Request::new(method, "/_rig/v1/events")), not_found);
    }
    let head = "404 | content-type: application/json; charset=utf-8";
    all.check("HEAD", &gateway.ask(&Request::new("HEAD", "/_rig/v1/events")), head);
    let slash = Request::post_json("/_rig/v1/events/", CE);
    all.check("trailing slash", &gateway.ask(&slash), format!("202 | {CORS_JSON} | {CE}"));
}

#[test]
fn a_large_event_arrives_whole() {
    let gateway = Gateway::start(&[("OUTBOX_BYTES", "16MiB")]);
    let query = format!("subscriptions={}", encoded(r#"[{"eventType":"greeting"}]"#));
    let mut sse = Sse::connect(gateway.inbound(), &query);
    sse.welcome();
    let event = greeting("1", &"x".repeat(9_000_000));
    let response = gateway.ask(&post(&event));
    assert_eq!(response.status, 202);
    assert!(response.text() == event);
    assert!(sse.next_data() == event);
}
