//! What was measured of RIG 3.0.0's proxy, in the same order. Deviations are rows in docs/compatibility.md.

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;
use serde_json::{Value, json};

/// The definitions of the measurement.
fn definitions(service: &Upstream, down: u16) -> Value {
    let own = |id: &str, path: &str, method: &str| json!({"id": id, "path_regex": path, "method": method});
    let mut open = own("open", "/open/(.*)", "GET");
    open["path_replacement"] = json!(r"/up/\1");
    let mut header = own("header", "/hdr", "GET");
    header["transform_request_headers"] = json!(true);
    let mut secure = own("secure", "/secure", "GET");
    secure["secured"] = json!(true);
    let mut later = own("later", "/async", "POST");
    later["response_from"] = json!("http_async");
    let posts = ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "GET"];
    let mut endpoints = vec![open, header, secure, later];
    endpoints.extend(posts.map(|method| own(method, "/post", method)));
    let mut all = service.api("all", &endpoints.into());
    all["version_data"]["default"]["transform_request_headers"] = json!({"add_headers": {"x-added": "yes"}});
    json!([all, api("dead", down, &json!([own("dead", "/dead", "GET")]))])
}

fn start(service: &Upstream) -> Gateway {
    let down =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let apis = definitions(service, down.port()).to_string();
    let timeouts = [("PROXY_RECV_TIMEOUT", "500"), ("PROXY_HTTP_ASYNC_RESPONSE_TIMEOUT", "500")];
    Gateway::start(&[timeouts[0], timeouts[1], ("PROXY_CONFIG_FILE", &apis)])
}

/// What the service says that it was asked: the method, the path, the body, and a header where one is given.
fn asked(method: &str, path: &str, body: &str, header: &str) -> String {
    let [method, path, body] = [method, path, body].map(|text| Value::from(text).to_string());
    let header = match header.split_once(": ") {
        Some((name, value)) => format!("…   \"{name}\",\n   \"{value}\"\n"),
        None => String::new(),
    };
    format!(
        "{{\n \"method\": {method},\n \"path\": {path},\n \"headers\": [{header}…\n ],\n \"body\": {body}\n}}"
    )
}

/// An answer of the service, with the headers that it always sends.
fn answered(status: &str, body: &str) -> String {
    format!("{status} | content-type: application/json | {body}")
}

const COOKIES: &str = " | set-cookie: a=1 | set-cookie: b=2";

fn json_of(status: u16, method: &str, path: &str, body: &str, header: &str) -> String {
    answered(&status.to_string(), "").replace(
        " | content-type: application/json | ",
        &format!(" | content-type: application/json{COOKIES} | "),
    ) + &asked(method, path, body, header)
}

const UNAUTHENTICATED: &str = "401 | access-control-allow-headers: content-type | access-control-allow-methods: * | access-control-allow-origin: * | www-authenticate: Bearer | Authentication failed.";

const NOT_FOUND: &str = "404 | content-type: application/json; charset=utf-8 | {\"message\":\"Not Found\"}";

#[test]
fn open_endpoints() {
    let service = Upstream::start();
    let gateway = start(&service);
    let mut scenarios = Scenarios::default();
    let mut check = |name: &str, request: Request, expected: String| {
        scenarios.check(name, &gateway.ask(&request), expected);
    };
    let query = "a=1&b=x%20y&c[]=1&c[]=2&d=%2B+";
    let headers = Request::get(format!("/open/foo?{query}"))
        .header("X-Foo", "bar")
        .header("Forwarded", "for=1.2.3.4")
        .header("X-Forwarded-For", "9.9.9.9")
        .header("Accept-Encoding", "gzip")
        .header("Cookie", "q=1");
    let up = format!("/up/foo?{query}");
    check("a query, headers", headers.clone(), json_of(200, "GET", &up, "", "x-foo: bar"));
    check("a cookie", headers.clone(), json_of(200, "GET", &up, "", "cookie: q=1"));
    check("an encoding", headers, json_of(200, "GET", &up, "", "accept-encoding: gzip"));
    let path = "/OPEN/Foo%20bar/%2F/b";
    check("caseless, encoded path", Request::get(path), json_of(200, "GET", "/up/Foo%20bar/%2F/b", "", ""));
    check("dot segments", Request::get("/open/x/../y"), json_of(200, "GET", "/up/y", "", ""));
    for status in [404, 500] {
        let path = format!("/status/{status}");
        let expected = json_of(status, "GET", &format!("/up{path}"), "", "");
        check("a status of the service", Request::get(format!("/open{path}")), expected);
    }
    let redirect = json_of(302, "GET", "/up/redirect/status/302", "", "");
    let redirect = redirect.replace(COOKIES, &format!(" | location: /elsewhere{COOKIES}"));
    check("a redirect is not followed", Request::get("/open/redirect/status/302"), redirect);
    check("204", Request::get("/open/empty"), format!("204 | content-type: application/json{COOKIES}"));
    let chunked = format!("200 | content-type: application/json{COOKIES} | hello world");
    check("chunked", Request::get("/open/chunked"), chunked);
    check("a service that is too slow", Request::get("/open/slow"), "502 | Bad gateway.".into());
    let added = Request::get("/hdr").header("X-Added", "client");
    check("transform_request_headers", added, json_of(200, "GET", "/hdr", "", "x-added: yes"));
    check("a service that is down", Request::get("/dead"), "502 | Bad gateway.".into());
    check("no API", Request::get("/notdefined"), NOT_FOUND.into());
    check(
        "a method that is not defined for the path",
        Request::new("POST", "/open/x").body(""),
        NOT_FOUND.into(),
    );
}

#[test]
fn methods_and_bodies() {
    let service = Upstream::start();
    let gateway = start(&service);
    let mut scenarios = Scenarios::default();
    let mut check = |name: &str, request: Request, expected: String| {
        scenarios.check(name, &gateway.ask(&request), expected);
    };
    for method in ["POST", "PUT", "DELETE"] {
        let request =
            Request::new(method, "/post").header("Content-Type", "application/json").body("{\"b\":1}");
        check(method, request, json_of(200, method, "/post", "{\"b\":1}", "content-type: application/json"));
    }
    for method in ["OPTIONS", "GET"] {
        check(method, Request::new(method, "/post"), json_of(200, method, "/post", "", ""));
    }
    let head = format!("200 | content-type: application/json{COOKIES}");
    check("HEAD", Request::new("HEAD", "/post"), head);
    check("PATCH", Request::new("PATCH", "/post").body("{\"b\":1}"), NOT_FOUND.into());
    check("TRACE", Request::new("TRACE", "/post"), "501".into());
    let binary = Request::new("POST", "/post").header("Content-Type", "application/octet-stream");
    let expected =
        json_of(200, "POST", "/post", "\0\u{ff}\u{fe}bin", "content-type: application/octet-stream");
    check("a binary body", binary.body(b"\0\xff\xfebin"), expected);
    let path = "/post?_method=DELETE";
    check("?_method", Request::new("POST", path).body("x"), json_of(200, "POST", path, "x", ""));
    let form = Request::new("POST", "/post").header("Content-Type", "application/x-www-form-urlencoded");
    check(
        "_method in a form",
        form.body("_method=DELETE"),
        json_of(200, "POST", "/post", "_method=DELETE", ""),
    );
    let expects = Request::get("/post").header("Expect", "100-continue").header("Upgrade", "foo");
    let mut wire = expects.start(gateway.inbound());
    let mut answer = Response::read_head(&mut wire).expect("an answer");
    if answer.status == 100 {
        answer = Response::read_head(&mut wire).expect("an answer");
    }
    assert_eq!(answer.status, 200);
    let mut wire = Wire::connect(gateway.inbound());
    wire.send("POST /post HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    scenarios.check("chunked", &Response::read(&mut wire, false), json_of(200, "POST", "/post", "hello", ""));
}

#[test]
fn secured_endpoints() {
    let service = Upstream::start();
    let gateway = start(&service);
    let mut scenarios = Scenarios::default();
    let mut check = |name: &str, request: Request, expected: String| {
        scenarios.check(name, &gateway.ask(&request), expected);
    };
    let key = EncodingKey::from_secret(KEY.as_bytes());
    let token = token_of("j1");
    let secure = || Request::get("/secure");
    let authorization = |value: &str| secure().header("Authorization", value);
    let ok = |value: &str| json_of(200, "GET", "/secure", "", &format!("authorization: {value}"));
    check("no token", secure(), UNAUTHENTICATED.into());
    let bearer = format!("Bearer {token}");
    check("header", authorization(&bearer), ok(&bearer));
    let query = Request::get(format!("/secure?token={token}"));
    check("a query that is not looked at", query.clone(), UNAUTHENTICATED.into());
    check("garbage", authorization("Bearer garbage"), UNAUTHENTICATED.into());
    let expired = signed(&json!({"jti": "j1", "exp": in_seconds(-60)}), Algorithm::HS256, &key);
    check("expired", secure().bearer(&expired), UNAUTHENTICATED.into());
    check("no scheme", authorization(&token), UNAUTHENTICATED.into());
    let lower = format!("bearer {token}");
    check("a scheme is caseless", authorization(&lower), ok(&lower));
    let both = format!("Bearer x, Bearer {token}");
    check("two, a bad and a good one", authorization(&both), ok(&both));
    let endless = signed(&json!({"jti": "j1"}), Algorithm::HS256, &key);
    check("no exp", secure().bearer(&endless), UNAUTHENTICATED.into());
    let other = signed(&claims("j1", "bob"), Algorithm::HS512, &key);
    check("another algorithm", secure().bearer(&other), UNAUTHENTICATED.into());
    gateway.blacklist("j1");
    check("blacklisted", authorization(&bearer), UNAUTHENTICATED.into());
    check("blacklisted, in the query", query, UNAUTHENTICATED.into());
    let open = Request::get("/open/x").bearer(&token);
    check("not secured", open, json_of(200, "GET", "/up/x", "", &format!("authorization: {bearer}")));
}

#[test]
fn asynchronous_answers() {
    let service = Upstream::start();
    let gateway = start(&service);
    let ask = || Request::post_json("/async", "{\"q\":1}").start(gateway.inbound());
    let mut waiting = ask();
    let received = service.next();
    let (path, correlation) = received.target.split_once("?correlation=").expect("a correlation");
    assert_eq!((path, &*received.body), ("/async", &b"{\"q\":1}"[..]));
    let answer = |correlation: &str| {
        Request::post_json("/v3/responses", "{\"answer\":42}").header("rig-correlation", correlation)
    };
    let mut scenarios = Scenarios::default();
    let told =
        gateway.ask_internal(&answer(correlation).header("rig-response-code", "201").header("x-custom", "1"));
    scenarios.check("the service answers", &told, "202 | message sent to correlated reverse proxy request");
    let got = Response::read(&mut waiting, false);
    scenarios.check("the client gets it", &got, "201 | access-control-allow-headers: content-type | access-control-allow-methods: * | access-control-allow-origin: * | content-type: application/json | {\"answer\":42}");
    let mut waiting = ask();
    let received = service.next();
    let correlation = received.target.split_once("?correlation=").expect("a correlation").1;
    let abc = gateway.ask_internal(&answer(correlation).header("rig-response-code", "abc"));
    scenarios.check_text("a code that is none", &abc.status.to_string(), "400");
    scenarios.check_text("no code", &gateway.ask_internal(&answer(correlation)).status.to_string(), "400");
    let late = Response::read(&mut waiting, false);
    scenarios.check("no answer in time", &late, "504 | access-control-allow-headers: content-type | access-control-allow-methods: * | access-control-allow-origin: *");
}
