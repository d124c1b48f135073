//! Long polling, as in RIG 3.0.0.

use std::time::Instant;

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;
use serde_json::json;

const PATH: &str = "/_rig/v1/connection/longpolling";
const CORS_COOKIES: &str = "access-control-allow-credentials: true | access-control-allow-origin: *";
const HEAD: &str = "200 | access-control-allow-credentials: true | access-control-allow-origin: * | cache-control: no-cache | content-type: application/json; charset=utf-8 | set-cookie: connection_token=TOKEN; path=/; HttpOnly";
const CREATED: &str = r#"{"data":{"connection_token":"TOKEN"},"id":"UUID","source":"rig","specversion":"0.2","time":"TIME","type":"rig.connection.create"}"#;

fn subscriptions_set(list: &str) -> String {
    format!(
        r#"{{"data":{list},"id":"UUID","source":"rig","specversion":"0.2","time":"TIME","type":"rig.subscriptions_set"}}"#
    )
}

/// Returns the expected answer to a poll, with the id of its newest event and the events. The
/// cookie holds a cursor of the gateway; in RIG, it holds the id too (f45).
fn batch(last: &str, events: &str) -> String {
    format!(
        r#"{HEAD} | set-cookie: last_event_id="CURSOR"; path=/; HttpOnly | {{"last_event_id":"{last}","events":[{events}]}}"#
    )
}

fn connected() -> String {
    format!(r#"{HEAD} | set-cookie: last_event_id="first_event"; path=/; HttpOnly | "ok""#)
}

#[test]
fn the_life_of_a_connection() {
    let gateway = Gateway::start(&[("HISTORY", "off")]);
    let mut all = Scenarios::default();
    all.check("connect", &gateway.ask(&Request::get(PATH)), connected());

    let mut client = LongPolling::connect(gateway.inbound(), "");
    let welcome = client.poll();
    all.check("first poll", &welcome, batch("UUID", &format!("{CREATED},{}", subscriptions_set("[]"))));
    let token = welcome.json()["events"][0]["data"]["connection_token"].as_str().unwrap().to_owned();

    let asked = Instant::now();
    all.check("nothing new", &client.poll(), batch("UUID", ""));
    let waited = asked.elapsed().as_secs_f64();
    assert!((4.5..7.0).contains(&waited), "waited {waited} s");

    let parked = client.start();
    let put = Request::put_json(
        format!("/_rig/v1/connection/longpolling/{token}/subscriptions"),
        r#"{"subscriptions":[{"eventType":"greeting"}]}"#,
    );
    assert_eq!(gateway.ask(&put).status, 204);
    let set = subscriptions_set(r#"[{"eventType":"greeting","oneOf":[]}]"#);
    all.check("a parked poll is answered", &parked.answer(), batch("UUID", &set));

    all.check("the same again, since it was not acknowledged", &client.poll(), batch("UUID", &set));
    for id in ["e0", "e1", "e2"] {
        gateway.publish(&greeting(id, "bob"));
    }
    let before = client.clone();
    let three = ["e0", "e1", "e2"].map(|id| greeting(id, "bob")).join(",");
    all.check("three events", &client.poll(), batch("e2", &three));
    all.check("with the cookies of before", &before.start().answer(), batch("e2", &three));
    let cookie = |name: &str, value: &str| {
        let mut other = client.clone();
        other.cookies.retain(|(known, _)| known != name);
        if !value.is_empty() {
            other.cookies.push((name.into(), value.into()));
        }
        other
    };
    let everything = batch("e2", &format!("{CREATED},{},{set},{three}", subscriptions_set("[]")));
    all.check("without last_event_id", &cookie("last_event_id", "").start().answer(), &everything);
    all.check("last_event_id unknown", &cookie("last_event_id", "\"unknown\"").start().answer(), &everything);
    all.check("last_event_id no JSON", &cookie("last_event_id", "notjson").start().answer(), &everything);

    for n in 0..205 {
        gateway.publish(&greeting(&format!("f{n}"), "bob"));
    }
    // RIG answers with an empty list (f45).
    let kept: Vec<_> = (5..205).map(|n| greeting(&format!("f{n}"), "bob")).collect();
    all.check("after more events than the buffer holds", &client.poll(), batch("f204", &kept.join(",")));
}

#[test]
fn connects() {
    let gateway = Gateway::start(&[("EXTRACTORS", EXTRACTORS)]);
    let mut all = Scenarios::default();
    let list = r#"[{"eventType":"greeting"}]"#;
    for (name, query, set) in [
        ("list", format!("subscriptions={}", encoded(list)), r#"[{"eventType":"greeting","oneOf":[]}]"#),
        (
            "the object of the PUT body",
            format!("subscriptions={}", encoded(&format!(r#"{{"subscriptions":{list}}}"#))),
            r#"[{"eventType":"greeting","oneOf":[]}]"#,
        ),
        (
            "token",
            format!("jwt={}", token_of("lp1")),
            r#"[{"eventType":"greeting","oneOf":[{"name":"bob"}]}]"#,
        ),
    ] {
        let mut client = LongPolling::connect(gateway.inbound(), &query);
        let events = format!("{CREATED},{}", subscriptions_set(set));
        all.check(name, &client.poll(), batch("UUID", &events));
    }
    let key = EncodingKey::from_secret(KEY.as_bytes()).expect("a key");
    let expired = signed(&json!({ "exp": in_seconds(-10) }), Algorithm::HS256, &key);
    for (name, query, text) in [
        ("not JSON", "subscriptions=nojson".to_owned(), "Failed to decode subscription list: …"),
        (
            "object",
            format!("subscriptions={}", encoded(r#"{"eventType":"x"}"#)),
            "could not parse subscriptions: could not decode subscriptions: subscriptions is expected to be a JSON encoded list",
        ),
        (
            "no type",
            format!("subscriptions={}", encoded(r#"[{"a":1}]"#)),
            "could not parse subscriptions: could not parse subscription from JSON: invalid subscription: event-type not found (subscriptions/0/eventType)",
        ),
        (
            "token garbage",
            "jwt=garbage".into(),
            "could not parse subscriptions: could not decode JWT: Invalid signature",
        ),
        (
            "token expired",
            format!("jwt={expired}"),
            "could not parse subscriptions: could not decode JWT: token expired",
        ),
    ] {
        let response = gateway.ask(&Request::get(format!("{PATH}?{query}")));
        let expected = format!("400 | {CORS_COOKIES} | content-type: text/plain; charset=utf-8 | {text}");
        all.check(name, &response, expected);
    }
}

#[test]
fn cookies_that_name_no_connection_begin_a_new_one() {
    let gateway = Gateway::start(&[]);
    let mut all = Scenarios::default();
    let long = "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4";
    for token in ["garbage", long] {
        let request = Request::get(PATH).header("Cookie", format!("connection_token={token}"));
        all.check(token, &gateway.ask(&request), connected());
    }
    let mut sse = Sse::connect(gateway.inbound(), "");
    let of_sse = Request::get(PATH).header("Cookie", format!("connection_token={}", sse.welcome()));
    all.check("of an SSE connection", &gateway.ask(&of_sse), format!("400 | {CORS_COOKIES} | …"));
    drop(sse);
    let answer = eventually("the end of the SSE connection", || {
        let answer = gateway.ask(&of_sse);
        (answer.status == 200).then_some(answer)
    });
    all.check("of a closed connection", &answer, connected());
}

#[test]
fn methods() {
    let gateway = Gateway::start(&[]);
    let mut all = Scenarios::default();
    all.check(
        "OPTIONS",
        &gateway.ask(&Request::new("OPTIONS", PATH)),
        "204 | access-control-allow-credentials: true | access-control-allow-headers: content-type,authorization | access-control-allow-methods: GET | access-control-allow-origin: *",
    );
    let not_found = r#"404 | content-type: application/json; charset=utf-8 | {"message":"Not Found"}"#;
    all.check("POST", &gateway.ask(&Request::new("POST", PATH)), not_found);
    all.check(
        "HEAD",
        &gateway.ask(&Request::new("HEAD", PATH)),
        "404 | content-type: application/json; charset=utf-8",
    );
}

#[test]
fn a_page_of_another_origin_may_poll_with_its_cookies() {
    let gateway = Gateway::start(&[]);
    let response = gateway.ask(&Request::get(PATH).header("Origin", "http://app"));
    assert_eq!(response.header("access-control-allow-origin"), Some("http://app"));
    assert_eq!(response.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(response.header("vary"), Some("origin"));
}

#[test]
fn the_subscription_check_is_asked() {
    let gateway = Gateway::start(&[("SUBSCRIPTION_CHECK", "jwt_validation")]);
    let list = format!("subscriptions={}", encoded(r#"[{"eventType":"greeting"}]"#));
    let mut all = Scenarios::default();
    let denied = gateway.ask(&Request::get(format!("{PATH}?{list}")));
    all.check(
        "without token",
        &denied,
        format!("400 | {CORS_COOKIES} | content-type: text/plain; charset=utf-8 | Subscription denied (not authorized)."),
    );
    let allowed = gateway.ask(&Request::get(format!("{PATH}?{list}&jwt={}", token_of("s"))));
    all.check("with token", &allowed, connected());
}

/// aiohttp returns values of cookies in quotes that hold more than letters and digits.
#[test]
fn a_client_may_return_its_cookies_in_quotes() {
    let gateway = Gateway::start(&[]);
    let mut client = LongPolling::connect(gateway.inbound(), "");
    for (name, value) in &mut client.cookies {
        if name == "connection_token" {
            *value = format!("\"{value}\"");
        }
    }
    client.welcome();
}
