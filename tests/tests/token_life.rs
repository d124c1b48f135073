//! A connection is terminated when its token expires (d05), unless a newer token of the same user
//! renews it.

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;
use serde_json::json;

const GREETING: &str = r#"{"subscriptions": [{"eventType": "greeting"}]}"#;
const GREETING_QUERY: &str = "subscriptions=%5B%7B%22eventType%22%3A%22greeting%22%7D%5D";
const EXPIRED: &str =
    r#"{"id":"UUID","source":"rig","specversion":"0.2","time":"TIME","type":"rig.session_expired"}"#;

/// The lifetime of tokens in seconds: long enough to connect, and short.
const SOON: i64 = 3;

fn token(session: &str, user: &str, exp: i64) -> String {
    let claims = json!({ "jti": session, "sub": user, "exp": exp });
    signed(&claims, Algorithm::HS256, &EncodingKey::from_secret(KEY.as_bytes()).expect("a key"))
}

fn is_expiring(event: &str, seconds: std::ops::RangeInclusive<u64>) -> bool {
    let event: serde_json::Value = serde_json::from_str(event).expect("JSON");
    let left = event["data"]["expires_in_seconds"].as_u64();
    event["type"] == "rig.session_expiring" && left.is_some_and(|left| seconds.contains(&left))
}

fn renew(gateway: &Gateway, connection: &str, token: &str) -> Response {
    let path = format!("/_rig/v1/connection/sse/{connection}/subscriptions");
    gateway.ask(&Request::put_json(path, GREETING).bearer(token))
}

#[test]
fn d05_a_stream_is_warned_and_ends_with_its_token() {
    let gateway = Gateway::start(&[("TOKEN_EXPIRY_WARNING", "1s")]);
    let exp = in_seconds(SOON);
    let query = format!("jwt={}", token("s", "alice", exp));
    let mut sse = Sse::connect(gateway.inbound(), &query);
    sse.welcome();
    let mut websocket = WebSocket::connect(gateway.inbound(), &query);
    websocket.welcome();

    let warning = sse.next_data();
    assert!(is_expiring(&warning, 0..=1), "{warning}");
    assert!(in_seconds(0) >= exp - 1, "warned too early");
    let warning = websocket.next_text();
    assert!(is_expiring(&warning, 0..=1), "{warning}");

    assert_eq!(sse.next_event(), format!("event: rig.session_expired\ndata: {EXPIRED}"));
    assert_eq!(sse.raw(), None, "nothing follows the farewell");
    websocket.expect_close(1000, "Session expired.");
    assert!((exp..=exp + 1).contains(&in_seconds(0)), "the stream was not closed when its token expired");
    let ended = |transport: &str| {
        gateway.await_metric(
            &format!(r#"rig_connections_closed_total{{transport="{transport}",reason="token_expired"}}"#),
            1.0,
        );
    };
    ended("sse");
    ended("websocket");
}

#[test]
fn d05_long_polling_is_warned_and_ends_with_its_token() {
    let gateway = Gateway::start(&[("TOKEN_EXPIRY_WARNING", "1s")]);
    let query = format!("jwt={}", token("s", "alice", in_seconds(SOON)));
    let mut longpolling = LongPolling::connect(gateway.inbound(), &query);
    longpolling.welcome();
    let warning = longpolling.poll().json();
    assert!(is_expiring(&warning["events"][0].to_string(), 0..=1), "{warning}");
    let later = longpolling.clone();
    let last = longpolling.poll();
    assert_eq!(redacted(&last.json()["events"].to_string()), format!("[{EXPIRED}]"));
    let mut all = Scenarios::default();
    all.check("later poll", &later.start().answer(), "403 | … | Session expired.");
}

#[test]
fn d05_a_newer_token_of_the_same_user_renews_it_and_the_older_session_still_ends_it() {
    let gateway = Gateway::start(&[("TOKEN_EXPIRY_WARNING", "0s")]);
    let exp = in_seconds(SOON);
    let first = token("first", "alice", exp);
    let mut witness = Sse::connect(gateway.inbound(), &format!("jwt={first}"));
    witness.welcome();
    let mut sse = Sse::connect(gateway.inbound(), &format!("jwt={first}&{GREETING_QUERY}"));
    let mut websocket = WebSocket::connect(gateway.inbound(), &format!("jwt={first}&{GREETING_QUERY}"));
    let mut longpolling = LongPolling::connect(gateway.inbound(), &format!("jwt={first}&{GREETING_QUERY}"));
    let connections = [sse.welcome(), websocket.welcome(), longpolling.welcome()];
    let second = token("second", "alice", in_seconds(3600));
    for connection in &connections {
        assert_eq!(renew(&gateway, connection, &second).status, 204);
    }
    assert!(sse.next_data().contains("rig.subscriptions_set"));
    assert!(websocket.next_text().contains("rig.subscriptions_set"));
    assert!(longpolling.poll().text().contains("rig.subscriptions_set"));

    // The first token has expired: a client without another one is disconnected.
    assert_eq!(witness.next_event(), format!("event: rig.session_expired\ndata: {EXPIRED}"));
    assert!(in_seconds(0) >= exp);
    gateway.publish(&greeting("1", "bob"));
    assert_eq!(sse.next_data(), greeting("1", "bob"));
    assert_eq!(websocket.next_text(), greeting("1", "bob"));
    assert_eq!(longpolling.poll().json()["events"][0]["id"], "1");

    let parked = longpolling.start();
    gateway.blacklist("first");
    gateway.publish(&greeting("2", "bob"));
    sse.expect_kill();
    websocket.expect_close(1000, "Session killed.");
    let last = parked.answer().json();
    assert_eq!(last["events"].as_array().map(Vec::len), Some(1));
    assert_eq!(last["events"][0]["type"], "rig.session_killed");
}

#[test]
fn d05_a_token_of_another_user_renews_nothing() {
    let gateway = Gateway::start(&[("TOKEN_EXPIRY_WARNING", "0s")]);
    let mut sse = Sse::connect(gateway.inbound(), &format!("jwt={}", token("s", "alice", in_seconds(SOON))));
    let connection = sse.welcome();
    let refused = renew(&gateway, &connection, &token("t", "bob", in_seconds(3600)));
    let mut all = Scenarios::default();
    all.check("another user", &refused, format!("403 | {CORS_TEXT} | …(sub)…"));
    gateway.publish(&greeting("1", "bob"));
    gateway.blacklist("t");
    assert_eq!(sse.next_event(), format!("event: rig.session_expired\ndata: {EXPIRED}"), "nothing else came");
}

#[test]
fn a_connection_can_outlive_its_token_as_rigs_do() {
    let gateway = Gateway::start(&[("TOKEN_EXPIRY", "ignore"), ("MAX_CONNECTIONS_PER_MINUTE", "1000000")]);
    let query = format!("jwt={}&{GREETING_QUERY}", token("s", "alice", in_seconds(SOON)));
    let mut sse = Sse::connect(gateway.inbound(), &query);
    sse.welcome();
    let connect = || Sse::open(gateway.inbound(), &Request::get(format!("/_rig/v1/connection/sse?{query}")));
    let refusal = eventually("the end of the token", || connect().err());
    assert!(refusal.text().contains("token expired"), "{}", refusal.text());
    gateway.publish(&greeting("1", "bob"));
    assert_eq!(sse.next_data(), greeting("1", "bob"));
}
