//! `response_from: http_async`: a request is answered by another request, to the internal port.

use rig_tests::*;
use serde_json::json;

fn behind(more: &[(&str, &str)]) -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let api = upstream.api(
        "svc",
        &json!([
            {"id": "a", "path_regex": "/.*", "method": "GET", "response_from": "http_async"},
            {"id": "p", "path_regex": "/.*", "method": "POST", "response_from": "http_async"},
            {"id": "s", "path_regex": "/.*", "method": "PUT", "response_from": "http_async", "secured": true},
        ]),
    );
    let apis = json!([api]).to_string();
    let settings = [&[("PROXY_CONFIG_FILE", &*apis)], more].concat();
    (upstream, Gateway::start(&settings))
}

/// Returns the token with which the service can answer.
fn correlation(received: &Received) -> String {
    let (_, query) = received.target.split_once('?').expect("a query");
    let tokens: Vec<_> = query.split('&').filter_map(|pair| pair.strip_prefix("correlation=")).collect();
    assert_eq!(tokens.len(), 1, "{query}");
    tokens[0].to_owned()
}

fn answer(token: &str, status: &str, body: &str) -> Request {
    Request::new("POST", "/v3/responses")
        .header("rig-correlation", token)
        .header("rig-response-code", status)
        .header("Content-Type", "text/x-test")
        .header("X-Mine", "1")
        .header("Server", "not for the client")
        .body(body)
}

#[test]
fn d28_an_answer_comes_with_its_status_headers_and_bytes() {
    let (upstream, gateway) = behind(&[]);
    let mut client = Request::post_json("/x/async", "{}").start(gateway.inbound());
    let token = correlation(&upstream.next());
    let told = gateway.ask_internal(&answer(&token, "207", "\u{0}ü { not json"));
    assert_eq!(told.status, 202, "{}", told.shown());
    let response = Response::read(&mut client, false);
    assert_eq!((response.status, &*response.text()), (207, "\u{0}ü { not json"));
    assert_eq!(response.header("content-type"), Some("text/x-test"));
    assert_eq!(response.header("x-mine"), Some("1"));
    assert_eq!(response.header("server"), None);
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    let again = gateway.ask_internal(&answer(&token, "200", "again"));
    assert_eq!(again.status, 410, "{}", again.shown());
}

#[test]
fn an_answer_may_be_a_cloudevent() {
    let (upstream, gateway) = behind(&[]);
    let mut client = Request::get("/x/async").start(gateway.inbound());
    let token = correlation(&upstream.next());
    let event = json!({
        "specversion": "0.2", "type": "t", "source": "/s", "id": "1", "data": {"n": 1},
        "rig": {"correlation": token, "response_code": 201},
    });
    let told = gateway.ask_internal(&Request::post_json("/v2/responses", event.to_string()));
    assert_eq!(told.status, 202, "{}", told.shown());
    let response = Response::read(&mut client, false);
    assert_eq!((response.status, response.json()["data"].clone()), (201, json!({"n": 1})));
}

#[test]
fn any_other_status_goes_straight_through() {
    let (upstream, gateway) = behind(&[]);
    for status in [200, 204, 302, 404, 503] {
        let response = gateway.ask(&Request::get(format!("/status/{status}")));
        assert_eq!(response.status, status);
        upstream.next();
    }
    gateway.await_metric("rig_proxy_responses_waiting", 0.0);
}

#[test]
fn the_query_stays_but_for_a_correlation_of_the_clients_own() {
    let (upstream, gateway) = behind(&[]);
    gateway.ask(&Request::get("/status/200?a=%20&correlation=x&b&%63orrelation=y"));
    let received = upstream.next();
    let token = correlation(&received);
    assert_eq!(received.target, format!("/status/200?a=%20&b&correlation={token}"));
}

#[test]
fn without_an_answer_it_is_504() {
    let (upstream, gateway) = behind(&[("PROXY_HTTP_ASYNC_RESPONSE_TIMEOUT", "200")]);
    let response = gateway.ask(&Request::get("/async"));
    assert_eq!((response.status, &*response.text()), (504, ""));
    assert_eq!(response.header("access-control-allow-methods"), Some("*"));
    let late = gateway.ask_internal(&answer(&correlation(&upstream.next()), "200", "late"));
    assert_eq!(late.status, 410);
}

#[test]
fn invalid_tokens_reach_no_client() {
    let (upstream, gateway) = behind(&[("PROXY_HTTP_ASYNC_RESPONSE_TIMEOUT", "60000")]);
    let mut client = Request::get("/async").start(gateway.inbound());
    let token = correlation(&upstream.next());
    let mut forged = token.clone().into_bytes();
    forged[8] = if forged[8] == b'A' { b'B' } else { b'A' };
    for wrong in [&*String::from_utf8(forged).unwrap(), &token[..token.len() / 2], "x", "%", ""] {
        let told = gateway.ask_internal(&answer(wrong, "200", "mine"));
        assert_eq!(told.status, 400, "{wrong}: {}", told.shown());
    }
    for wrong in ["", "x", "99", "600", "1e2", "-200"] {
        assert_eq!(gateway.ask_internal(&answer(&token, wrong, "mine")).status, 400, "{wrong}");
    }
    let elsewhere = Gateway::start(&[]);
    assert_eq!(elsewhere.ask_internal(&answer(&token, "200", "mine")).status, 400, "it has another key");
    assert_eq!(gateway.ask_internal(&answer(&token, "200", "good")).status, 202);
    assert_eq!(Response::read(&mut client, false).text(), "good");
}

#[test]
fn for_a_client_that_has_left_there_is_no_answer() {
    let (upstream, gateway) = behind(&[("PROXY_HTTP_ASYNC_RESPONSE_TIMEOUT", "60000")]);
    let client = Request::get("/async").start(gateway.inbound());
    let token = correlation(&upstream.next());
    gateway.await_metric("rig_proxy_responses_waiting", 1.0);
    // Reset, since an orderly close looks like a half-close, after which the answer could still be
    // read.
    client.reset();
    drop(client);
    gateway.await_metric("rig_proxy_responses_waiting", 0.0);
    assert_eq!(gateway.ask_internal(&answer(&token, "200", "x")).status, 410);
}

#[test]
fn d10_a_wait_ends_with_its_session() {
    let (upstream, gateway) = behind(&[("PROXY_HTTP_ASYNC_RESPONSE_TIMEOUT", "60000")]);
    let request = Request::new("PUT", "/async").bearer(&token_of("a"));
    let mut client = request.start(gateway.inbound());
    let token = correlation(&upstream.next());
    gateway.blacklist("a");
    assert_eq!(Response::read(&mut client, false).status, 401);
    assert_eq!(gateway.ask_internal(&answer(&token, "200", "x")).status, 410);
}
