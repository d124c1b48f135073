//! `SUBSCRIPTION_CHECK=jwt_validation` and `SUBMISSION_CHECK=jwt_validation`, as in RIG 3.0.0 or as
//! RIG intended them.

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;
use serde_json::json;

const GREETING: &str = r#"{"subscriptions": [{"eventType": "greeting"}]}"#;
const DENIED: &str = "Subscription denied (not authorized).";
const SIGNATURE: &str = "could not parse subscriptions: could not decode JWT: Invalid signature";
const EXPIRED: &str = "could not parse subscriptions: could not decode JWT: token expired";
const WANTED: &str = r#"[{"eventType": "greeting"}]"#;

fn start() -> Gateway {
    Gateway::start(&[
        ("EXTRACTORS", EXTRACTORS),
        ("SUBSCRIPTION_CHECK", "jwt_validation"),
        ("SUBMISSION_CHECK", "jwt_validation"),
    ])
}

fn foreign() -> String {
    let key = EncodingKey::from_secret(b"another-test-secret-of-32-bytes!").expect("a key");
    signed(&claims("s", "bob"), Algorithm::HS256, &key)
}

fn expired() -> String {
    let key = EncodingKey::from_secret(KEY.as_bytes()).expect("a key");
    signed(&json!({ "jti": "s", "exp": in_seconds(-10) }), Algorithm::HS256, &key)
}

#[test]
fn connects() {
    let gateway = start();
    let wanted = format!("subscriptions={}", encoded(WANTED));
    let valid = token_of("s");
    let mut all = Scenarios::default();
    for (name, query, refusal) in [
        ("no token, list", wanted.clone(), DENIED),
        ("no token, empty list", "subscriptions=%5B%5D".into(), DENIED),
        ("garbage", "jwt=garbage".into(), SIGNATURE),
        ("another key", format!("{wanted}&jwt={}", foreign()), SIGNATURE),
        ("expired", format!("{wanted}&jwt={}", expired()), EXPIRED),
        ("a scheme in the query", format!("{wanted}&jwt=Bearer%20{valid}"), SIGNATURE),
    ] {
        let response = gateway.ask(&Request::get(format!("/_rig/v1/connection/sse?{query}")));
        all.check(name, &response, format!("400 | {CORS_TEXT} | {refusal}"));
        let mut websocket = WebSocket::connect(gateway.inbound(), &query);
        all.check_text(name, &websocket.receive(), "CLOSE 1000 Bad request.");
    }
    for (name, query, list) in [
        ("no token, no list", String::new(), "[]"),
        ("token", format!("jwt={valid}"), r#"[{"eventType":"greeting","oneOf":[{"name":"bob"}]}]"#),
        (
            "token and list",
            format!("{wanted}&jwt={valid}"),
            r#"[{"eventType":"greeting","oneOf":[{"name":"bob"}]},{"eventType":"greeting","oneOf":[]}]"#,
        ),
    ] {
        let mut sse = Sse::connect(gateway.inbound(), &query);
        sse.next_event();
        all.check_text(name, &sse.next_data(), format!(r#"{{"data":{list},…"#));
        let mut websocket = WebSocket::connect(gateway.inbound(), &query);
        websocket.next_text();
        all.check_text(name, &websocket.next_text(), format!(r#"{{"data":{list},…"#));
    }
    let by_header = Request::get(format!("/_rig/v1/connection/sse?{wanted}")).bearer(&valid);
    assert!(Sse::open(gateway.inbound(), &by_header).is_ok(), "the Authorization header counts on connect");
}

#[test]
fn subscriptions_and_submissions() {
    let gateway = start();
    let mut sse = Sse::connect(gateway.inbound(), "");
    let path = format!("/_rig/v1/connection/sse/{}/subscriptions", sse.welcome());
    let valid = token_of("s");
    let event = greeting("1", "bob");
    let invalid = "cannot accept subscription request: invalid authorization header: could not decode JWT: Invalid signature";
    let denied = format!("403 | {CORS_TEXT} | Subscription denied.");
    let done = "204 | access-control-allow-origin: *".to_owned();
    let not_submitted = format!("403 | {CORS_TEXT} | Submission denied.");
    let submitted = format!("202 | {CORS_JSON} | {event}");
    let mut all = Scenarios::default();
    for (name, authorization, subscription, submission) in [
        ("no token", None, denied.clone(), &not_submitted),
        ("valid", Some(format!("Bearer {valid}")), done.clone(), &submitted),
        ("another key", Some(format!("Bearer {}", foreign())), denied.clone(), &not_submitted),
        ("expired", Some(format!("Bearer {}", expired())), denied.clone(), &not_submitted),
        ("lower case", Some(format!("bearer {valid}")), done.clone(), &submitted),
        ("no scheme", Some(valid.clone()), done, &submitted),
        // RIG's check accepts one valid token, but its decoding of the tokens then fails and
        // answers 400.
        ("bad and good", Some(format!("Bearer bad, Bearer {valid}")), denied, &not_submitted),
    ] {
        let with = |request: Request| match &authorization {
            Some(value) => request.header("Authorization", value.clone()),
            None => request,
        };
        all.check(name, &gateway.ask(&with(Request::put_json(&path, GREETING))), subscription);
        all.check(name, &gateway.ask(&with(Request::post_json("/_rig/v1/events", &event))), submission);
    }
    let unchecked = Gateway::start(&[]);
    let mut sse = Sse::connect(unchecked.inbound(), "");
    let path = format!("/_rig/v1/connection/sse/{}/subscriptions", sse.welcome());
    let mixed =
        Request::put_json(path, GREETING).header("Authorization", format!("Bearer bad, Bearer {valid}"));
    all.check("bad and good, unchecked", &unchecked.ask(&mixed), format!("400 | {CORS_TEXT} | {invalid}"));
}

#[test]
fn an_external_check_gets_the_request_and_decides() {
    let stub = Stub::start();
    let gateway = Gateway::start(&[("SUBSCRIPTION_CHECK", &stub.url()), ("SUBMISSION_CHECK", &stub.url())]);
    let list = r#"[{"eventType":"greeting"}]"#;
    let valid = token_of("s");
    let mut all = Scenarios::default();
    for (status, expected) in
        [(200, "200"), (204, "200"), (403, DENIED), (401, DENIED), (500, DENIED), (302, DENIED)]
    {
        let target = format!("/_rig/v1/connection/sse?subscriptions={}&jwt={valid}", encoded(list));
        let wire = Request::get(target).start(gateway.inbound());
        let asked = stub.next();
        all.check_text("method", &asked.head, "POST /check HTTP/1.1\n…");
        all.check_text("body", &asked.body, format!(r#"{{"subscriptions":{list}}}"#));
        all.check_text("type", asked.header("content-type").unwrap_or_default(), "application/json…");
        all.check_text("token", asked.header("authorization").unwrap_or_default(), format!("Bearer {valid}"));
        asked.answer(status);
        let answer = Sse::over(wire).map_or_else(|refusal| refusal.text(), |sse| sse.head.status.to_string());
        all.check_text("answer", &answer, expected);
    }
    for (status, expected) in [(200, 202), (403, 403), (500, 403)] {
        let event = greeting("1", "bob");
        let request = Request::new("POST", "/_rig/v1/events")
            .header("Content-Type", "application/cloudevents+json")
            .bearer(&valid)
            .body(&event);
        let mut wire = request.start(gateway.inbound());
        let asked = stub.next();
        all.check_text("body", &asked.body, &event);
        all.check_text(
            "type",
            asked.header("content-type").unwrap_or_default(),
            "application/cloudevents+json",
        );
        asked.answer(status);
        let response = Response::read(&mut wire, false);
        all.check_text("answer", &response.status.to_string(), expected.to_string());
    }
}

#[test]
fn a_check_that_does_not_answer_is_a_no() {
    let stub = Stub::start();
    let gateway = Gateway::start(&[("SUBSCRIPTION_CHECK", &stub.url()), ("CHECK_TIMEOUT", "200ms")]);
    let target = format!("/_rig/v1/connection/sse?subscriptions={}", encoded(WANTED));
    let response = gateway.ask(&Request::get(target));
    assert_eq!(response.shown(), format!("400 | {CORS_TEXT} | {DENIED}"));
}
