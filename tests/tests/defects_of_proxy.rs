//! The defects of RIG 3.0.0 in its reverse proxy, each under its number.

use rig_tests::*;
use serde_json::json;

#[test]
fn d10_requests_in_flight_end_with_their_session() {
    let upstream = RawUpstream::by_hand();
    let endpoints = json!([{ "id": "get", "method": "GET", "path_regex": "/.*", "secured": true }]);
    let apis = json!([api_of("svc", upstream.address(), endpoints)]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    let mut client = Request::get("/x").bearer(&token_of("s")).start(gateway.inbound());
    let mut service = upstream.accept();
    Received::read(&mut service).expect("a request");
    gateway.blacklist("s");
    assert_eq!(Response::read(&mut client, false).status, 401);
    assert!(service.rest().is_empty(), "the service is left");
}

#[test]
fn d17_a_token_in_the_query_counts() {
    let upstream = Upstream::start();
    let endpoints = json!([{ "id": "get", "method": "GET", "path_regex": "/.*", "secured": true }]);
    let apis = json!([api_of("svc", upstream.address(), endpoints)]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    let target = format!("/x?token={}", token_of("s"));
    assert_eq!(gateway.ask(&Request::get(&target)).json()["path"], target);
    gateway.blacklist("s");
    assert_eq!(gateway.ask(&Request::get(&target)).status, 401);
}

#[test]
fn d24_an_invalid_pattern_is_refused_and_breaks_nothing() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &pass_all(upstream.address()))]);
    let endpoints = json!([{ "id": "bad", "method": "GET", "path_regex": "/(" }]);
    let body = api_of("bad", upstream.address(), endpoints).to_string();
    let refused = gateway.ask_internal(&Request::post_json("/v3/apis", body));
    assert_eq!(refused.status, 400, "{}", refused.shown());
    assert!(refused.text().contains("path_regex"), "{}", refused.text());
    assert_eq!(gateway.ask(&Request::get("/x")).status, 200);
}

#[test]
fn d27_path_query_headers_and_bodies_go_through_as_they_are() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &pass_all(upstream.address()))]);
    for target in [
        "/a%2Fb/%e2%82%ac;v=1/:x@y",
        "/q?z=1&a=2&a=1&flag&b=x%20y&c=x+y&d[]=%5B&&=",
        "/q?",
        "/q?a=%zz",
        "/q??/",
    ] {
        assert_eq!(gateway.ask(&Request::get(target)).json()["path"], target);
    }
    let cookies = gateway.ask(&Request::get("/x")).headers;
    let cookies: Vec<_> =
        cookies.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value).collect();
    assert_eq!(cookies, ["a=1", "b=2"], "in the service's order");
    for method in ["GET", "DELETE"] {
        let answer = gateway.ask(&Request::new(method, "/x").body("hello"));
        assert_eq!(answer.json()["body"], "hello", "{method} with a body");
    }
    assert_eq!(gateway.ask(&Request::get("//x")).status, 200, "no 502");

    // A body is on its way before it is whole.
    let raw = RawUpstream::by_hand();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &pass_all(raw.address()))]);
    let mut client = Wire::connect(gateway.inbound());
    client.send("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc");
    let mut service = raw.accept();
    Received::read_head(&mut service).expect("a head");
    assert_eq!(service.exactly(3).expect("a part"), b"abc");
    client.send("def");
    assert_eq!(service.exactly(3).expect("the rest"), b"def");
    service.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc");
    Response::read_head(&mut client).expect("a head");
    assert_eq!(client.exactly(3).expect("a part"), b"abc");
}

#[test]
fn d28_an_answer_arrives_by_v2_too_and_brings_no_headers_of_its_request() {
    let upstream = RawUpstream::by_hand();
    let endpoints =
        json!([{ "id": "a", "method": "POST", "path_regex": "/async", "response_from": "http_async" }]);
    let apis = json!([api_of("svc", upstream.address(), endpoints)]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    for version in ["v2", "v3"] {
        let mut client = Request::post_json("/async", "{}").start(gateway.inbound());
        let mut service = upstream.accept();
        let asked = Received::read(&mut service).expect("a request");
        let token = asked.target.rsplit_once("correlation=").expect("a token").1.replace("%3D", "=");
        service.send("HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        let answer = if version == "v2" {
            let event = json!({
                "specversion": "0.2", "id": "1", "type": "t", "source": "s",
                "rig": { "correlation": token }, "data": { "answer": 42 },
            });
            Request::post_json("/v2/responses", event.to_string())
        } else {
            Request::post_json("/v3/responses", r#"{"answer":42}"#)
                .header("rig-correlation", token)
                .header("rig-response-code", "200")
        };
        let sent = gateway.ask_internal(&answer.header("X-Secret", "1").header("Cookie", "a=b"));
        assert_eq!(sent.status, 202, "{}", sent.shown());
        let answer = Response::read(&mut client, false);
        assert_eq!(
            (answer.status, answer.text().contains("42")),
            (200, true),
            "{version}: {}",
            answer.text()
        );
        for name in ["rig-correlation", "rig-response-code", "host", "cookie"] {
            assert_eq!(answer.header(name), None, "{name}");
        }
    }
}
