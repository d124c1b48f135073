//! Compares the reverse proxy with recorded answers of RIG 3.0.0 to the same requests, with the
//! same definitions and the same service. Intended differences are listed in
//! `docs/compatibility.md`.

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;
use serde_json::json;

const NOT_FOUND: &str = r#"404 | content-type: application/json; charset=utf-8 | {"message":"Not Found"}"#;

const DENIED: &str = "401 | access-control-allow-headers: content-type | access-control-allow-methods: * | access-control-allow-origin: * | www-authenticate: Bearer… | Authentication failed.";

const SERVICE: &str = "content-type: application/json | set-cookie: a=1 | set-cookie: b=2";

/// Returns the service's answer to this request.
fn answer(method: &str, path: &str, body: &str) -> String {
    format!(
        "200 | {SERVICE} | {{\n \"method\": \"{method}\",\n \"path\": \"{path}\",\n \"headers\": [\n…\n ],\n \"body\": \"{body}\"\n}}"
    )
}

/// Starts a gateway with the definitions with which RIG was recorded.
fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let unused = unused_address();
    let endpoint =
        |id: &str, method: &str, path: &str| json!({ "id": id, "method": method, "path_regex": path });
    let mut endpoints = vec![
        json!({ "id": "open", "method": "GET", "path_regex": "/open/(.+)", "path_replacement": r"/up/\1", "secured": false }),
        json!({ "id": "hd", "method": "GET", "path_regex": "/hdr", "transform_request_headers": true }),
        json!({ "id": "sec", "method": "GET", "path_regex": "/secure", "secured": true }),
    ];
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "GET"] {
        endpoints.push(endpoint(&method.to_lowercase(), method, "/post"));
    }
    let mut service = api_of("svc", upstream.address(), json!(endpoints));
    service["version_data"]["default"]["transform_request_headers"] =
        json!({ "add_headers": { "x-added": "yes" } });
    let dead = api_of("dead", unused, json!([endpoint("d", "GET", "/dead")]));
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &json!([service, dead]).to_string())]);
    (upstream, gateway)
}

#[test]
fn open_endpoints() {
    let (_upstream, gateway) = start();
    let mut all = Scenarios::default();
    for (name, target, path) in [
        ("query", "/open/foo?a=1&b=x%20y&c[]=1&c[]=2&d=%2B+", "/up/foo?a=1&b=x%20y&c[]=1&c[]=2&d=%2B+"),
        ("caseless, encoded path", "/OPEN/Foo%20bar/%2B/b", "/up/Foo%20bar/%2B/b"),
        ("dot segments", "/open/x/../y", "/up/y"),
        ("query in its order", "/open/q?a=1&a=2&flag&z=1&b=2", "/up/q?a=1&a=2&flag&z=1&b=2"),
        ("query with brackets", "/open/q?x[y]=1&x[z]=2", "/up/q?x[y]=1&x[z]=2"),
        ("empty query", "/open/q?", "/up/q?"),
        ("query that is no encoding", "/open/q?a=%zz", "/up/q?a=%zz"),
        ("query with two equals signs", "/open/q?a=b=c&d", "/up/q?a=b=c&d"),
        ("fragment", "/open/q#frag", "/up/q"),
        ("not ASCII", "/open/%E2%82%AC", "/up/%E2%82%AC"),
    ] {
        all.check(name, &gateway.ask(&Request::get(target)), answer("GET", path, ""));
    }
    for (name, target, expected) in [
        (
            "404 from the service",
            "/open/status/404",
            answer("GET", "/up/status/404", "").replace("200", "404"),
        ),
        ("500", "/open/status/500", answer("GET", "/up/status/500", "").replace("200", "500")),
        ("204", "/open/empty", format!("204 | {SERVICE}")),
        ("chunked", "/open/chunked", format!("200 | {SERVICE} | hello world")),
        ("service down", "/dead", "502 | Bad gateway.".into()),
        ("no API", "/notdefined", NOT_FOUND.into()),
        ("two slashes", "//open/x", NOT_FOUND.into()),
    ] {
        all.check(name, &gateway.ask(&Request::get(target)), expected);
    }
    all.check(
        "redirect not followed",
        &gateway.ask(&Request::get("/open/redirect/status/302")),
        "302 | content-type: application/json | location: /elsewhere | …",
    );
    all.check("method not defined", &gateway.ask(&Request::new("POST", "/open/x")), NOT_FOUND);
    let blank = gateway.ask(&Request::get("/open/a b"));
    all.check("a blank in the path", &blank, format!("400 | {CORS_TEXT} | The request cannot be read: …"));
    let head = gateway.ask(&Request::new("HEAD", "/open/x"));
    all.check("HEAD where GET is defined", &head, format!("200 | {SERVICE}"));
    let added = gateway.ask(&Request::get("/hdr").header("X-Added", "client"));
    all.check("added header", &added, "200 | …\"x-added\",\n   \"yes\"\n…");
    assert!(!added.text().contains("client"), "{}", added.text());
}

#[test]
fn methods_and_bodies() {
    let (_upstream, gateway) = start();
    let mut all = Scenarios::default();
    let json = |method: &str| Request::new(method, "/post").header("Content-Type", "application/json");
    for method in ["POST", "PUT", "DELETE", "GET"] {
        let response = gateway.ask(&json(method).body(r#"{"b":1}"#));
        all.check(method, &response, answer(method, "/post", r#"{\"b\":1}"#));
    }
    for method in ["OPTIONS", "GET", "DELETE"] {
        all.check(method, &gateway.ask(&json(method)), answer(method, "/post", ""));
    }
    all.check("HEAD", &gateway.ask(&json("HEAD")), format!("200 | {SERVICE}"));
    all.check("PATCH", &gateway.ask(&json("PATCH").body("{}")), NOT_FOUND);
    all.check("TRACE", &gateway.ask(&json("TRACE")), format!("501 | {CORS}"));
    all.check(
        "binary",
        &gateway.ask(&json("POST").body(b"\x00\xff\xfebin")),
        r#"200 | …"body": "\u0000ÿþbin"…"#,
    );
    for (name, target, kind, body) in [
        ("method in the query", "/post?_method=DELETE", "application/json", "x"),
        ("method in a form", "/post", "application/x-www-form-urlencoded", "_method=DELETE"),
    ] {
        let request = Request::new("POST", target).header("Content-Type", kind).body(body);
        all.check(name, &gateway.ask(&request), answer("POST", target, body));
    }
    let mut wire = Wire::connect(gateway.inbound());
    wire.send("POST /post HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    all.check("chunked", &Response::read(&mut wire, false), answer("POST", "/post", "hello"));
    let upgrade = Request::get("/post").header("Expect", "100-continue").header("Upgrade", "foo");
    all.check("upgrade without connection", &gateway.ask(&upgrade), answer("GET", "/post", ""));
}

#[test]
fn a_preflight_for_a_path_that_has_endpoints() {
    let (_upstream, gateway) = start();
    let mut all = Scenarios::default();
    let preflight = Request::new("OPTIONS", "/secure")
        .header("Origin", "http://a")
        .header("Access-Control-Request-Method", "GET");
    all.check(
        "a preflight",
        &gateway.ask(&preflight),
        "204 | access-control-allow-headers: content-type,authorization | access-control-allow-methods: GET… | access-control-allow-origin: * | …",
    );
    all.check("of no path", &gateway.ask(&Request::new("OPTIONS", "/nothing")), NOT_FOUND);
}

#[test]
fn secured_endpoints() {
    let (_upstream, gateway) = start();
    let mut all = Scenarios::default();
    let (token, key) = (token_of("j1"), EncodingKey::from_secret(KEY.as_bytes()).expect("a key"));
    let token_with = |claims: serde_json::Value| signed(&claims, Algorithm::HS256, &key);
    let expired = token_with(json!({ "exp": in_seconds(-60), "jti": "x" }));
    let endless = token_with(json!({ "jti": "q" }));
    let other = signed(&claims("x", "bob"), Algorithm::HS512, &key);
    let ok = answer("GET", "/secure", "");
    for (name, authorization, expected) in [
        ("header", format!("Bearer {token}"), ok.as_str()),
        ("garbage", "Bearer garbage".into(), DENIED),
        ("expired", format!("Bearer {expired}"), DENIED),
        ("lower case", format!("bearer {token}"), &ok),
        ("no scheme", token.clone(), &ok),
        // RIG accepts the request because of the valid token, and the service receives the invalid
        // one first.
        ("a bad one and a good one", format!("Bearer x, Bearer {token}"), DENIED),
        ("without end", format!("Bearer {endless}"), DENIED),
        ("another algorithm", format!("Bearer {other}"), DENIED),
        ("basic", "Basic eDp5".into(), DENIED),
        ("empty", String::new(), DENIED),
    ] {
        let request = Request::get("/secure").header("Authorization", authorization);
        all.check(name, &gateway.ask(&request), expected);
    }
    all.check("no token", &gateway.ask(&Request::get("/secure")), DENIED);
    let query = format!("/secure?token={token}");
    all.check("query", &gateway.ask(&Request::get(&query)), answer("GET", &query, ""));
    let both = Request::get(&query).header("Authorization", "Bearer x");
    all.check("bad header, good query", &gateway.ask(&both), DENIED);
    gateway.blacklist("j1");
    all.check("header, killed", &gateway.ask(&Request::get("/secure").bearer(&token)), DENIED);
    all.check("query, killed", &gateway.ask(&Request::get(&query)), DENIED);
    let open = gateway.ask(&Request::get("/open/x").bearer(&token));
    all.check("open endpoint, killed", &open, answer("GET", "/up/x", ""));
}

#[test]
fn an_answer_of_another_request() {
    let upstream = RawUpstream::by_hand();
    let endpoint =
        json!({ "id": "async", "method": "POST", "path_regex": "/async", "response_from": "http_async" });
    let apis = json!([api_of("svc", upstream.address(), json!([endpoint]))]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    let mut client = Request::post_json("/async", r#"{"q":1}"#).start(gateway.inbound());
    let mut service = upstream.accept();
    let asked = Received::read(&mut service).expect("a request");
    assert_eq!(asked.body, br#"{"q":1}"#);
    let token = asked.target.strip_prefix("/async?correlation=").expect("a token").replace("%3D", "=");
    service.send("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n");
    let respond = Request::post_json("/v3/responses", r#"{"answer":42}"#)
        .header("rig-correlation", token)
        .header("rig-response-code", "201")
        .header("x-custom", "1");
    let mut all = Scenarios::default();
    let told = gateway.ask_internal(&respond);
    all.check("the service is told", &told, "202 | …message sent to correlated reverse proxy request");
    let answer = Response::read(&mut client, false);
    let shown = r#"201 | access-control-allow-headers: content-type | access-control-allow-methods: * | access-control-allow-origin: * | content-type: application/json | {"answer":42}"#;
    all.check("the client gets it", &answer, shown);
    assert_eq!((answer.header("x-custom"), answer.header("content-length")), (Some("1"), Some("13")));
}
