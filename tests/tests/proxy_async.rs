//! Answers that come in a request of their own, to the internal port (`response_from: http_async`).

use rig_tests::*;
use serde_json::json;

const CORS_OF_PROXY: &str = "access-control-allow-headers: content-type | access-control-allow-methods: * | access-control-allow-origin: *";

fn start(settings: &[(&str, &str)]) -> (RawUpstream, Gateway) {
    let upstream = RawUpstream::by_hand();
    let endpoints = json!([
        { "id": "async", "method": "POST", "path_regex": "/async", "response_from": "http_async" },
        { "id": "mine", "method": "POST", "path_regex": "/mine", "response_from": "http_async", "secured": true },
    ]);
    let apis = json!([api_of("svc", upstream.address(), endpoints)]).to_string();
    let gateway = Gateway::start(&[&[("PROXY_CONFIG_FILE", apis.as_str())], settings].concat());
    (upstream, gateway)
}

/// Asks; the service answers with this status and an empty body. The client, and the correlation token.
fn ask(upstream: &RawUpstream, gateway: &Gateway, request: &Request, status: u16) -> (Wire, String) {
    let client = request.start(gateway.inbound());
    let mut service = upstream.accept();
    let asked = Received::read(&mut service).expect("a request");
    let token = asked.target.rsplit_once("correlation=").expect("a token").1.to_owned();
    service.send(format!("HTTP/1.1 {status} Whatever\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno"));
    (client, token)
}

/// An answer to whoever waits with this token.
fn respond(version: &str, token: &str) -> Request {
    let body = r#"{"answer":42}"#;
    let token = token.replace("%3D", "=");
    if version == "v3" {
        return Request::post_json("/v3/responses", body)
            .header("rig-correlation", token)
            .header("rig-response-code", "201")
            .header("X-Custom", "1");
    }
    let event = json!({
        "specversion": "0.2", "id": "1", "type": "t", "source": "s",
        "rig": { "correlation": token }, "data": { "answer": 42 },
    });
    Request::post_json("/v2/responses", event.to_string())
}

#[test]
fn an_answer_arrives_once() {
    let (upstream, gateway) = start(&[]);
    let mut all = Scenarios::default();
    let (mut client, token) = ask(&upstream, &gateway, &Request::post_json("/async?a=b", r#"{"q":1}"#), 202);
    let sent = gateway.ask_internal(&respond("v3", &token));
    all.check("the service is told", &sent, "202 | …message sent to correlated reverse proxy request");
    let answer = Response::read(&mut client, false);
    all.check(
        "the client gets it",
        &answer,
        format!(r#"201 | {CORS_OF_PROXY} | content-type: application/json | {{"answer":42}}"#),
    );
    for name in ["rig-correlation", "rig-response-code", "host", "user-agent"] {
        assert_eq!(answer.header(name), None, "{name} is not for the client");
    }
    assert_ne!(answer.header("content-length"), None);
    let again = gateway.ask_internal(&respond("v3", &token));
    all.check("a second answer", &again, "410 | …Nobody waits for this answer…");
}

#[test]
fn a_client_cannot_say_who_gets_the_answer() {
    let (upstream, gateway) = start(&[]);
    let request = Request::post_json("/async?correlation=x&a=1&%63orrelation=y", "{}");
    let client = request.start(gateway.inbound());
    let mut service = upstream.accept();
    let asked = Received::read(&mut service).expect("a request");
    let (path, query) = asked.target.split_once('?').expect("a query");
    assert_eq!(path, "/async");
    assert!(query.starts_with("a=1&correlation="), "{query}");
    assert_eq!(query.matches("orrelation=").count(), 1, "{query}");
    drop(client);
}

#[test]
fn other_statuses_go_straight_back() {
    let (upstream, gateway) = start(&[]);
    for status in [200, 400, 503] {
        let (mut client, token) = ask(&upstream, &gateway, &Request::post_json("/async", "{}"), status);
        let answer = Response::read(&mut client, false);
        assert_eq!((answer.status, answer.text().as_str()), (status, "no"));
        let late = gateway.ask_internal(&respond("v3", &token));
        assert_eq!(late.status, 410, "{}", late.shown());
    }
}

#[test]
fn nobody_waits_for_ever() {
    let (upstream, gateway) = start(&[("PROXY_HTTP_ASYNC_RESPONSE_TIMEOUT", "300")]);
    let mut all = Scenarios::default();
    let (mut client, token) = ask(&upstream, &gateway, &Request::post_json("/async", "{}"), 202);
    let answer = Response::read(&mut client, false);
    all.check("no answer", &answer, format!("504 | {CORS_OF_PROXY}"));
    let late = gateway.ask_internal(&respond("v3", &token));
    all.check("a late answer", &late, "410 | …");
    all.check("a late answer, v2", &gateway.ask_internal(&respond("v2", &token)), "410 | …");
}

#[test]
fn who_has_left_or_was_killed_waits_no_more() {
    let (upstream, gateway) = start(&[("PROXY_HTTP_ASYNC_RESPONSE_TIMEOUT", "60000")]);
    let (client, token) = ask(&upstream, &gateway, &Request::post_json("/async", "{}"), 202);
    drop(client);
    eventually("the end of the request", || {
        (gateway.ask_internal(&respond("v3", &token)).status == 410).then_some(())
    });

    let request = Request::post_json("/mine", "{}").bearer(&token_of("s"));
    let (mut client, token) = ask(&upstream, &gateway, &request, 202);
    gateway.blacklist("s");
    let answer = Response::read(&mut client, false);
    assert_eq!((answer.status, answer.text().as_str()), (401, "Authentication failed."));
    assert_eq!(gateway.ask_internal(&respond("v3", &token)).status, 410);
}

#[test]
fn answers_that_are_none() {
    let (upstream, gateway) = start(&[]);
    let (mut client, token) = ask(&upstream, &gateway, &Request::post_json("/async", "{}"), 202);
    let mut all = Scenarios::default();
    let post = || Request::post_json("/v3/responses", "{}");
    let valid = token.replace("%3D", "=");
    let mut forged = valid.clone();
    let last = if forged.ends_with('A') { "B" } else { "A" };
    forged.replace_range(..1, last);
    for (name, request) in [
        ("v3 without headers", post()),
        ("v3 without a code", post().header("rig-correlation", &valid)),
        (
            "v3 with a code that is none",
            post().header("rig-correlation", &valid).header("rig-response-code", "abc"),
        ),
        (
            "v3 with a code of no answer",
            post().header("rig-correlation", &valid).header("rig-response-code", "101"),
        ),
        (
            "v3 with a code out of range",
            post().header("rig-correlation", &valid).header("rig-response-code", "1000"),
        ),
        ("v3 with a short token", post().header("rig-correlation", "abc").header("rig-response-code", "200")),
        (
            "v3 with a forged token",
            post().header("rig-correlation", &forged).header("rig-response-code", "200"),
        ),
        ("v2 without an event", Request::post_json("/v2/responses", "{}")),
        (
            "v2 without rig",
            Request::post_json("/v2/responses", r#"{"specversion":"0.2","id":"1","type":"t","source":"s"}"#),
        ),
    ] {
        all.check(name, &gateway.ask_internal(&request), "400 | …Failed to parse request body: …");
    }
    // None of these was an answer.
    assert_eq!(gateway.ask_internal(&respond("v3", &token)).status, 202);
    assert_eq!(Response::read(&mut client, false).status, 201);
}
