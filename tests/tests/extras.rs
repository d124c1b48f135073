//! Event filters, the session field, CORS, and other details of RIG 3.0.0.

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;
use serde_json::json;

const TWO_FIELDS: &str = r#"{"greeting":{
    "name":{"stable_field_index":1,"event":{"json_pointer":"/data/name"}},
    "lvl":{"stable_field_index":0,"event":{"json_pointer":"/data/lvl"}}}}"#;

/// The data of the events 1 to 8 that were published to RIG.
const DATA: [&str; 8] = [
    r#"{"name":"bob","lvl":1}"#,
    r#"{"name":"bob","lvl":"1"}"#,
    r#"{"name":"al"}"#,
    r#"{"other":1}"#,
    r#"{"name":null,"lvl":null}"#,
    r#"{"name":{"a":1}}"#,
    r#"{"name":true,"lvl":1.0}"#,
    r#""string data""#,
];

#[test]
fn the_filter() {
    let gateway = Gateway::start(&[("EXTRACTORS", TWO_FIELDS)]);
    let mut clients = Vec::new();
    let every = "1 2 3 4 5 6 7 8";
    for (list, ids) in [
        (r#"[{"eventType":"greeting","oneOf":[{"name":"bob","lvl":1}]}]"#, "1"),
        (r#"[{"eventType":"greeting","oneOf":[{"lvl":"1"}]}]"#, "2"),
        (r#"[{"eventType":"greeting","oneOf":[{"lvl":1.0}]}]"#, "1 7"),
        (r#"[{"eventType":"greeting","oneOf":[{"lvl":1}]}]"#, "1 7"),
        (r#"[{"eventType":"greeting","oneOf":[{}]}]"#, every),
        (r#"[{"eventType":"greeting","oneOf":[]}]"#, every),
        (r#"[{"eventType":"greeting","oneOf":[{"name":"bob"},{"name":"al"}]}]"#, "1 2 3"),
        (r#"[{"eventType":"greeting","oneOf":[{"name":{"a":1}}]}]"#, "6"),
        (r#"[{"eventType":"greeting","oneOf":[{"name":"bob"}]},{"eventType":"greeting"}]"#, every),
        (r#"[{"eventType":"*"}]"#, ""),
        (r#"[{"eventType":"Greeting"}]"#, ""),
    ] {
        // A second type marks the last event.
        let list_and_end = list.replacen('[', r#"[{"eventType":"end"},"#, 1);
        let mut sse = Sse::connect(gateway.inbound(), &format!("subscriptions={}", encoded(&list_and_end)));
        sse.welcome();
        clients.push((list, sse, ids));
    }
    for (n, data) in DATA.iter().enumerate() {
        gateway
            .publish(&format!(r#"{{"specversion":"0.2","type":"greeting","id":"{}","data":{data}}}"#, n + 1));
    }
    gateway.publish(r#"{"specversion":"0.2","type":"end","id":"end"}"#);
    let mut all = Scenarios::default();
    for (list, mut sse, expected) in clients {
        let mut ids = Vec::new();
        loop {
            let event: serde_json::Value = serde_json::from_str(&sse.next_data()).unwrap();
            match event["id"].as_str().unwrap() {
                "end" => break,
                id => ids.push(id.to_owned()),
            }
        }
        all.check_text(list, &ids.join(" "), expected);
    }
}

#[test]
fn a_field_that_nothing_can_equal_is_named() {
    let gateway = Gateway::start(&[("EXTRACTORS", TWO_FIELDS)]);
    for (clause, text) in
        [(r#"{"size":1}"#, r#""size""#), (r#"{"name":null}"#, r#"the field "name" is null"#)]
    {
        let list = format!(r#"[{{"eventType":"greeting","oneOf":[{clause}]}}]"#);
        let path = format!("/_rig/v1/connection/sse?subscriptions={}", encoded(&list));
        let response = gateway.ask(&Request::get(path));
        assert_eq!(response.status, 400);
        assert!(response.text().contains(text), "{}", response.text());
    }
}

#[test]
fn the_session_field_decides_what_a_session_is() {
    let gateway = Gateway::start(&[("JWT_SESSION_FIELD", "/username")]);
    let connect = |session: &str| {
        let request = Request::get(format!("/_rig/v1/connection/sse?jwt={}", token_of(session)));
        Sse::open(gateway.inbound(), &request)
    };
    let mut one = connect("jx").unwrap();
    let mut two = connect("jy").unwrap();
    let mut websocket = WebSocket::connect(gateway.inbound(), &format!("jwt={}", token_of("jx")));
    one.welcome();
    two.welcome();
    websocket.welcome();
    // What /jti names is not the session here.
    gateway.blacklist("jx");
    drop(connect("jx").unwrap());
    gateway.blacklist("bob");
    one.expect_kill();
    two.expect_kill();
    websocket.expect_close(1000, "Session killed.");
}

#[test]
fn cors_names_the_origin_of_the_settings() {
    let gateway = Gateway::start(&[("CORS", "http://my.origin")]);
    let mut all = Scenarios::default();
    all.check(
        "preflight",
        &gateway.ask(&Request::new("OPTIONS", "/_rig/v1/events").header("Origin", "http://evil")),
        "204 | access-control-allow-credentials: true | access-control-allow-headers: content-type,authorization | access-control-allow-methods: POST | access-control-allow-origin: http://my.origin",
    );
    let sse = Sse::connect(gateway.inbound(), "");
    all.check(
        "SSE",
        &sse.head,
        "200 | access-control-allow-credentials: true | access-control-allow-origin: http://my.origin | cache-control: no-cache | content-type: text/event-stream; charset=utf-8",
    );
    let poll = Request::get("/_rig/v1/connection/longpolling").header("Origin", "http://evil");
    all.check(
        "long polling",
        &gateway.ask(&poll),
        r#"200 | access-control-allow-credentials: true | access-control-allow-origin: http://my.origin | …"ok""#,
    );
}

#[test]
fn event_types_of_up_to_1_kib() {
    let mut gateway = Gateway::start(&[]);
    for kind in ["x".repeat(300), "Ä".repeat(512)] {
        let list = json!([{ "eventType": kind }]).to_string();
        let body = json!({ "subscriptions": [{ "eventType": kind }] }).to_string();
        let mut sse = Sse::connect(gateway.inbound(), "");
        let path = format!("/_rig/v1/connection/sse/{}/subscriptions", sse.welcome());
        assert_eq!(gateway.ask(&Request::put_json(path, body)).status, 204);
        assert!(sse.next_data().contains(&list[1..list.len() - 2]));
        let event = json!({ "specversion": "0.2", "type": kind, "id": "1" }).to_string();
        gateway.publish(&event);
        assert_eq!(sse.next_data(), event);
    }
    let too_long = json!([{ "eventType": "x".repeat(1025) }]).to_string();
    let response =
        gateway.ask(&Request::get(format!("/_rig/v1/connection/sse?subscriptions={}", encoded(&too_long))));
    assert_eq!(response.status, 400);
    assert!(response.text().contains("event-type longer than 1024 bytes"), "{}", response.text());
    assert!(gateway.is_healthy());
}

#[test]
fn a_token_may_come_by_cookie_where_that_is_allowed() {
    let gateway = Gateway::start(&[
        ("JWT_COOKIE", "session_jwt"),
        ("CORS", "http://my.origin"),
        ("EXTRACTORS", EXTRACTORS),
    ]);
    let key = EncodingKey::from_secret(KEY.as_bytes()).expect("a key");
    let token = signed(&claims("s", "al"), Algorithm::HS256, &key);
    let request =
        Request::get("/_rig/v1/connection/sse").header("Cookie", format!("a=b; session_jwt={token}"));
    let mut sse = Sse::open(gateway.inbound(), &request).unwrap();
    sse.welcome();
    gateway.publish(&greeting("1", "al"));
    assert_eq!(sse.next_data(), greeting("1", "al"));
    gateway.blacklist("s");
    sse.expect_kill();
}
