//! `PUT …/subscriptions`, as in RIG 3.0.0.

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;
use serde_json::json;

const GREETING: &str = r#"{"subscriptions": [{"eventType": "greeting"}]}"#;
const DONE: &str = "204 | access-control-allow-origin: *";

struct Story {
    gateway: Gateway,
    sse: Sse,
    token: String,
}

impl Story {
    fn begin(settings: &[(&str, &str)]) -> Self {
        let gateway = Gateway::start(&[&[("EXTRACTORS", EXTRACTORS)], settings].concat());
        let mut sse = Sse::connect(gateway.inbound(), "");
        let token = sse.welcome();
        Self { gateway, sse, token }
    }

    fn path(&self) -> String {
        format!("/_rig/v1/connection/sse/{}/subscriptions", self.token)
    }

    fn put(&self, body: &str) -> Request {
        Request::put_json(self.path(), body)
    }

    fn ask(&self, request: &Request) -> Response {
        self.gateway.ask(request)
    }

    /// Returns the list of subscriptions that the client receives.
    fn set(&mut self) -> String {
        let event: serde_json::Value = serde_json::from_str(&self.sse.next_data()).expect("JSON");
        assert_eq!(event["type"], "rig.subscriptions_set");
        event["data"].to_string()
    }
}

#[test]
fn valid_lists() {
    let mut story = Story::begin(&[]);
    let mut all = Scenarios::default();
    let greeting = r#"[{"eventType":"greeting","oneOf":[]}]"#;
    for (name, body, list) in [
        ("one", GREETING, greeting),
        (
            "two, with constraints",
            r#"{"subscriptions": [{"eventType": "greeting", "oneOf": [{"name": "bob"}, {"name": "al"}]}, {"eventType": "foo"}]}"#,
            r#"[{"eventType":"greeting","oneOf":[{"name":"bob"},{"name":"al"}]},{"eventType":"foo","oneOf":[]}]"#,
        ),
        ("none", r#"{"subscriptions": []}"#, "[]"),
        (
            "twice the same",
            r#"{"subscriptions": [{"eventType": "greeting"}, {"eventType": "greeting"}]}"#,
            r#"[{"eventType":"greeting","oneOf":[]},{"eventType":"greeting","oneOf":[]}]"#,
        ),
        (
            "a number to equal",
            r#"{"subscriptions":[{"eventType":"greeting","oneOf":[{"name":5}]}]}"#,
            r#"[{"eventType":"greeting","oneOf":[{"name":5}]}]"#,
        ),
    ] {
        all.check(name, &story.ask(&story.put(body)), DONE);
        all.check_text(name, &story.set(), list);
    }
    let request = || Request::new("PUT", story.path()).body(GREETING);
    let json = || story.put(GREETING);
    let charset = request().header("Content-Type", "application/json; charset=utf-8");
    let accepted = [
        ("charset", charset),
        ("accepts JSON", json().header("Accept", "application/json")),
        ("accepts anything in the end", json().header("Accept", "text/html, */*;q=0.1")),
        ("on the WebSocket path", Request::put_json(story.path().replace("/sse/", "/ws/"), GREETING)),
        (
            "on the long-polling path",
            Request::put_json(story.path().replace("/sse/", "/longpolling/"), GREETING),
        ),
    ];
    let refused = json().header("Accept", "text/html");
    for (name, request) in accepted {
        all.check(name, &story.ask(&request), DONE);
        all.check_text(name, &story.set(), greeting);
    }
    all.check(
        "accepts HTML only",
        &story.ask(&refused),
        format!("406 | {CORS_TEXT} | …accept…\"text/html\"…"),
    );
}

#[test]
fn what_is_subscribed_is_what_comes() {
    let mut story = Story::begin(&[]);
    assert_eq!(
        story
            .ask(&story.put(r#"{"subscriptions":[{"eventType":"greeting","oneOf":[{"name":"al"}]}]}"#))
            .status,
        204
    );
    story.set();
    story.gateway.publish(&greeting("1", "bob"));
    story.gateway.publish(&greeting("2", "al"));
    assert_eq!(story.sse.next_data(), greeting("2", "al"));
    // The list is replaced, not extended.
    assert_eq!(
        story
            .ask(&story.put(r#"{"subscriptions":[{"eventType":"greeting","oneOf":[{"name":"bob"}]}]}"#))
            .status,
        204
    );
    story.set();
    story.gateway.publish(&greeting("3", "al"));
    story.gateway.publish(&greeting("4", "bob"));
    assert_eq!(story.sse.next_data(), greeting("4", "bob"));
}

#[test]
fn invalid_bodies() {
    let story = Story::begin(&[]);
    let mut all = Scenarios::default();
    let rejected =
        "cannot accept subscription request: could not parse given subscriptions: invalid subscription:";
    let no_list = "constraints expected to be a list of disjunctive clauses (subscriptions/0/oneOf)";
    for (name, body, text) in [
        ("not JSON", "nojson", "Expected JSON encoded body.…".to_owned()),
        ("empty", "", "Expected JSON encoded body.…".into()),
        ("a list", "[]", "Expected field \"subscriptions\" is not present.".into()),
        ("other fields", r#"{"foo":1}"#, "Expected field \"subscriptions\" is not present.".into()),
        ("null", r#"{"subscriptions":null}"#, "Expected field \"subscriptions\" to be a list.".into()),
        ("an object", r#"{"subscriptions":{}}"#, "Expected field \"subscriptions\" to be a list.".into()),
        ("a string", r#"{"subscriptions":"x"}"#, "Expected field \"subscriptions\" to be a list.".into()),
        (
            "no type",
            r#"{"subscriptions":[{"foo":1}]}"#,
            format!("{rejected} event-type not found (subscriptions/0/eventType)"),
        ),
        (
            "type empty",
            r#"{"subscriptions":[{"eventType":""}]}"#,
            format!("{rejected} event-type empty (subscriptions/0/eventType)"),
        ),
        (
            "type a number",
            r#"{"subscriptions":[{"eventType":5}]}"#,
            format!("{rejected} event-type empty (subscriptions/0/eventType)"),
        ),
        ("list of strings", r#"{"subscriptions":["x"]}"#, format!("{rejected} not a map (subscriptions/0)")),
        (
            "oneOf an object",
            r#"{"subscriptions":[{"eventType":"x","oneOf":{}}]}"#,
            format!("{rejected} {no_list}"),
        ),
        (
            "oneOf of strings",
            r#"{"subscriptions":[{"eventType":"x","oneOf":["a"]}]}"#,
            format!(
                "{rejected} a disjunctive clause expected to be a conjunction represented by a map (subscriptions/0/oneOf/0)"
            ),
        ),
        (
            "oneOf null",
            r#"{"subscriptions":[{"eventType":"x","oneOf":null}]}"#,
            format!("{rejected} {no_list}"),
        ),
        (
            "unknown field",
            r#"{"subscriptions":[{"eventType":"greeting","oneOf":[{"size":1}]}]}"#,
            format!(
                r#"{rejected} no extractor of this event-type defines the field "size" (subscriptions/0/oneOf/0)"#
            ),
        ),
    ] {
        all.check(name, &story.ask(&story.put(body)), format!("400 | {CORS_TEXT} | {text}"));
    }
    let request = || Request::new("PUT", story.path()).body(GREETING);
    let expected = format!("400 | {CORS_TEXT} | Expected JSON encoded body.…");
    all.check("text/plain", &story.ask(&request().header("Content-Type", "text/plain")), &expected);
    all.check("no content type", &story.ask(&request()), &expected);
}

#[test]
fn connection_tokens() {
    let story = Story::begin(&[]);
    let mut all = Scenarios::default();
    for (name, token) in [
        ("short", "abc"),
        ("signs", "%25%25"),
        ("base64 of 6 bytes", "eHh4eHh4"),
        (
            "base64 of 60 bytes",
            "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4",
        ),
        (
            "base64 without end",
            "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh",
        ),
    ] {
        let request = Request::put_json(format!("/_rig/v1/connection/sse/{token}/subscriptions"), GREETING);
        all.check(name, &story.ask(&request), format!("400 | {CORS_TEXT} | Invalid connection token."));
    }
    let Story { gateway, sse, token } = story;
    drop(sse);
    let request = Request::put_json(
        format!("/_rig/v1/connection/sse/{token}/subscriptions"),
        r#"{"subscriptions": []}"#,
    );
    let gone = eventually("the end of the connection", || {
        let response = gateway.ask(&request);
        (response.status != 204).then_some(response)
    });
    all.check(
        "of a connection that is gone",
        &gone,
        format!("410 | {CORS_TEXT} | Connection no longer exists."),
    );
}

#[test]
fn tokens_bring_subscriptions() {
    let mut story = Story::begin(&[]);
    let key = EncodingKey::from_secret(KEY.as_bytes()).expect("a key");
    let valid = token_of("zz");
    let no_session = signed(&json!({ "username": "bob", "exp": in_seconds(60) }), Algorithm::HS256, &key);
    let expired = signed(&json!({ "exp": in_seconds(-10) }), Algorithm::HS256, &key);
    let mut all = Scenarios::default();
    let greeting = r#"[{"eventType":"greeting","oneOf":[]}]"#;
    let merged = r#"[{"eventType":"greeting","oneOf":[{"name":"bob"}]},{"eventType":"greeting","oneOf":[]}]"#;
    for (name, authorization, list) in [
        ("valid", format!("Bearer {valid}"), merged),
        ("lower case", format!("bearer {valid}"), merged),
        ("Basic", "Basic Zm9vOmJhcg==".into(), greeting),
        ("without scheme", no_session.clone(), merged),
        ("without session", format!("Bearer {no_session}"), merged),
    ] {
        all.check(name, &story.ask(&story.put(GREETING).header("Authorization", authorization)), DONE);
        all.check_text(name, &story.set(), list);
    }
    let refused = "cannot accept subscription request: invalid authorization header: could not decode JWT: ";
    for (name, authorization, text) in [
        ("garbage", "Bearer garbage".to_owned(), "Invalid signature"),
        ("expired", format!("Bearer {expired}"), "token expired"),
        ("one bad, one good", format!("Bearer bad, Bearer {valid}"), "Invalid signature"),
    ] {
        let response = story.ask(&story.put(GREETING).header("Authorization", authorization));
        all.check(name, &response, format!("400 | {CORS_TEXT} | {refused}{text}"));
    }
}

#[test]
fn methods() {
    let story = Story::begin(&[]);
    let mut all = Scenarios::default();
    all.check(
        "OPTIONS",
        &story.ask(&Request::new("OPTIONS", story.path())),
        "204 | access-control-allow-headers: content-type,authorization | access-control-allow-methods: PUT | access-control-allow-origin: *",
    );
    let not_found = r#"404 | content-type: application/json; charset=utf-8 | {"message":"Not Found"}"#;
    for method in ["GET", "POST", "DELETE", "PATCH"] {
        all.check(method, &story.ask(&Request::new(method, story.path())), not_found);
    }
    let overridden = Request::post_json(story.path(), GREETING).header("X-HTTP-Method-Override", "PUT");
    all.check("override", &story.ask(&overridden), not_found);
    let overridden = Request::post_json(format!("{}?_method=PUT", story.path()), GREETING);
    all.check("override in the query", &story.ask(&overridden), not_found);
}

#[test]
fn the_socket_stays_open_for_the_next_request() {
    let story = Story::begin(&[]);
    let mut wire = story.put(GREETING).start(story.gateway.inbound());
    for _ in 0..3 {
        assert_eq!(Response::read(&mut wire, false).shown(), DONE);
        wire.send(story.put(GREETING).bytes(story.gateway.inbound()));
    }
}
