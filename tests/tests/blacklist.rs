//! The effects of blacklisting a session, as in RIG 3.0.0, and on long polling too.

use rig_tests::*;

const GREETING: &str = r#"{"subscriptions": [{"eventType": "greeting"}]}"#;
const ONE_GREETING: &str = "subscriptions=%5B%7B%22eventType%22%3A%22greeting%22%7D%5D";
const REFUSED: &str =
    r#"could not parse subscriptions: could not decode JWT: Ignoring blacklisted JWT with ID "s1"."#;

fn associate(gateway: &Gateway, token: &str, session: &str) {
    let path = format!("/_rig/v1/connection/sse/{token}/subscriptions");
    let request = Request::put_json(path, GREETING).bearer(&token_of(session));
    assert_eq!(gateway.ask(&request).status, 204);
}

#[test]
fn every_connection_of_the_session_ends_and_no_other() {
    let gateway = Gateway::start(&[]);
    let address = gateway.inbound();
    let by_query = format!("jwt={}", token_of("s1"));

    let mut sse = Sse::connect(address, &by_query);
    sse.welcome();
    let mut websocket = WebSocket::connect(address, &by_query);
    websocket.welcome();
    let mut sse_by_put = Sse::connect(address, "");
    associate(&gateway, &sse_by_put.welcome(), "s1");
    sse_by_put.next_event();
    let mut websocket_by_put = WebSocket::connect(address, "");
    associate(&gateway, &websocket_by_put.welcome(), "s1");
    websocket_by_put.next_text();
    let mut longpolling = LongPolling::connect(address, &by_query);
    longpolling.welcome();
    let mut longpolling_by_put = LongPolling::connect(address, "");
    associate(&gateway, &longpolling_by_put.welcome(), "s1");
    longpolling_by_put.poll();
    let mut other = Sse::connect(address, &format!("jwt={}&{ONE_GREETING}", token_of("s2")));
    other.welcome();
    let parked = [longpolling.start(), longpolling_by_put.start()];

    gateway.blacklist("s1");
    gateway.publish(&greeting("1", "bob"));

    sse.expect_kill();
    sse_by_put.expect_kill();
    websocket.expect_close(1000, "Session killed.");
    websocket_by_put.expect_close(1000, "Session killed.");
    let mut all = Scenarios::default();
    for poll in parked {
        let killed =
            r#"{"id":"UUID","source":"rig","specversion":"0.2","time":"TIME","type":"rig.session_killed"}"#;
        all.check(
            "parked poll",
            &poll.answer(),
            format!(
                r#"200 | access-control-allow-credentials: true | access-control-allow-origin: * | cache-control: no-cache | content-type: application/json; charset=utf-8 | set-cookie: connection_token=; path=/; HttpOnly; Max-Age=0 | set-cookie: last_event_id=; path=/; HttpOnly; Max-Age=0 | {{"last_event_id":"UUID","events":[{killed}]}}"#
            ),
        );
    }
    for client in [&longpolling, &longpolling_by_put] {
        all.check(
            "later poll",
            &client.start().answer(),
            "403 | access-control-allow-credentials: true | access-control-allow-origin: * | cache-control: no-cache | content-type: text/plain; charset=utf-8 | set-cookie: connection_token=; path=/; HttpOnly; Max-Age=0 | set-cookie: last_event_id=; path=/; HttpOnly; Max-Age=0 | Session killed.",
        );
    }
    assert_eq!(other.next_data(), greeting("1", "bob"), "the other session is not affected");
}

#[test]
fn a_connection_of_several_sessions_ends_with_any_of_them() {
    let gateway = Gateway::start(&[]);
    let mut sse = Sse::connect(gateway.inbound(), &format!("jwt={}", token_of("first")));
    let token = sse.welcome();
    associate(&gateway, &token, "second");
    sse.next_event();
    gateway.blacklist("second");
    sse.expect_kill();
}

#[test]
fn the_token_opens_nothing_any_more() {
    let gateway =
        Gateway::start(&[("SUBSCRIPTION_CHECK", "jwt_validation"), ("SUBMISSION_CHECK", "jwt_validation")]);
    let address = gateway.inbound();
    let token = token_of("s1");
    gateway.blacklist("s1");
    let mut all = Scenarios::default();
    for (name, query) in
        [("token", format!("jwt={token}")), ("token and list", format!("{ONE_GREETING}&jwt={token}"))]
    {
        let connect =
            |transport: &str| gateway.ask(&Request::get(format!("/_rig/v1/connection/{transport}?{query}")));
        all.check(name, &connect("sse"), format!("400 | {CORS_TEXT} | {REFUSED}"));
        all.check(
            name,
            &connect("longpolling"),
            format!("400 | access-control-allow-credentials: true | {CORS_TEXT} | {REFUSED}"),
        );
        all.check_text(name, &WebSocket::connect(address, &query).receive(), "CLOSE 1000 Bad request.");
    }
    let mut other = Sse::connect(address, "");
    let path = format!("/_rig/v1/connection/sse/{}/subscriptions", other.welcome());
    let put = gateway.ask(&Request::put_json(path, GREETING).bearer(&token));
    all.check("subscribe", &put, format!("403 | {CORS_TEXT} | Subscription denied."));
    let post = gateway.ask(&Request::post_json("/_rig/v1/events", greeting("1", "bob")).bearer(&token));
    all.check("publish", &post, format!("403 | {CORS_TEXT} | Submission denied."));
}

#[test]
fn without_checks_the_texts_name_the_session() {
    let gateway = Gateway::start(&[]);
    let mut sse = Sse::connect(gateway.inbound(), "");
    let path = format!("/_rig/v1/connection/sse/{}/subscriptions", sse.welcome());
    assert_eq!(gateway.ask(&Request::put_json(&path, GREETING)).status, 204);
    sse.next_event();
    gateway.blacklist("s1");
    let other = r#"{"subscriptions": []}"#;
    let response = gateway.ask(&Request::put_json(&path, other).bearer(&token_of("s1")));
    let refused = REFUSED.replace(
        "could not parse subscriptions",
        "cannot accept subscription request: invalid authorization header",
    );
    assert_eq!(response.shown(), format!("400 | {CORS_TEXT} | {refused}"));
    gateway.publish(&greeting("1", "bob"));
    assert_eq!(sse.next_data(), greeting("1", "bob"), "the earlier subscriptions are still in place");
}

#[test]
fn the_token_is_good_again_after_the_validity() {
    let gateway = Gateway::start(&[]);
    let body = r#"{"sessionId": "s9", "validityInSeconds": 1}"#;
    assert_eq!(gateway.ask_internal(&Request::post_json("/v2/session-blacklist", body)).status, 201);
    let connect = || {
        let request = Request::get(format!("/_rig/v1/connection/sse?jwt={}", token_of("s9")));
        Sse::open(gateway.inbound(), &request)
    };
    let refusal = connect().err().expect("a refusal right away");
    assert_eq!(refusal.shown(), format!("400 | {CORS_TEXT} | {}", REFUSED.replace("s1", "s9")));
    eventually("a connection", || connect().ok()).welcome();
}

#[test]
fn twice_is_as_good_as_once() {
    let gateway = Gateway::start(&[]);
    gateway.blacklist("nobody");
    gateway.blacklist("nobody");
    let request = Request::get(format!("/_rig/v1/connection/sse?jwt={}", token_of("nobody")));
    assert_eq!(gateway.ask(&request).status, 400);
}

/// Bytes in the kernel's buffer are on their way; the part of the answer that is still in the
/// gateway must not be sent.
#[test]
fn a_slow_reader_of_a_poll_gets_no_more_of_it_after_the_kill() {
    let gateway = Gateway::start(&[("OUTBOX_BYTES", "64MiB")]);
    let mut client =
        LongPolling::connect(gateway.inbound(), &format!("jwt={}&{ONE_GREETING}", token_of("s1")));
    client.welcome();
    let large = "x".repeat(100_000);
    (0..190).for_each(|n| gateway.publish(&greeting(&n.to_string(), &large)));
    let mut slow = Wire::connect_narrow(gateway.inbound());
    slow.send(client.request().bytes(gateway.inbound()));
    assert!(slow.until(b"\r\n\r\n").is_some(), "the answer has begun");
    // A fast reader beside it receives the complete answer, and its socket is not cut.
    let mut fast = client.request().start(gateway.inbound());
    assert!(Response::read(&mut fast, false).text().len() > 19_000_000);

    let body = r#"{"session": "s1", "validityInSeconds": 7200}"#;
    let receipt = gateway.ask_internal(&Request::post_json("/v4/revocations", body));
    assert_eq!(receipt.json()["requestsCut"], 1, "{}", receipt.text());
    // The default limits of the send buffer and of the receive buffer are far below.
    let got = slow.rest().len();
    assert!(got < 12_000_000, "{got} bytes");
    fast.send(client.request().bytes(gateway.inbound()));
    assert_eq!(Response::read(&mut fast, false).status, 403);
}
