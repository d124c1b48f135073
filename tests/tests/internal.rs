//! The internal port, as in RIG 3.0.0.

use rig_tests::*;

const CE: &str =
    r#"{"specversion": "0.2", "type": "greeting", "source": "/o", "id": "1", "data": {"name": "bob"}}"#;
const JSON: &str = "content-type: application/json…";
const NOT_FOUND: &str = r#"404 | content-type: application/json… | {"errors":{"detail":"Not found"}}"#;
const BAD_REQUEST: &str = r#"content-type: application/json… | {"errors":{"detail":"Bad request"}}"#;

#[test]
fn sessions_are_blacklisted_under_both_versions() {
    let gateway = Gateway::start(&[]);
    let mut all = Scenarios::default();
    for version in ["v2", "v3"] {
        let path = format!("/{version}/session-blacklist");
        let get = |id: &str| gateway.ask_internal(&Request::get(format!("{path}/{id}")));
        all.check("not blacklisted", &get("none"), "404 | …Not found.");
        for (name, body, location) in [
            ("number", r#"{"sessionId": "a", "validityInSeconds": 60}"#, "a"),
            ("numeric string", r#"{"sessionId": "b/c x", "validityInSeconds": "60"}"#, "b%2Fc%20x"),
            ("a very long time", r#"{"sessionId":"h","validityInSeconds":99999999999}"#, "h"),
            (
                "a longer time than fits anywhere",
                r#"{"sessionId":"i","validityInSeconds":18446744073709551615}"#,
                "i",
            ),
        ] {
            let response = gateway.ask_internal(&Request::post_json(&path, body));
            all.check(name, &response, format!("201 | {JSON} | location: {path}/{location} | {{}}"));
            all.check(name, &get(location), format!("200 | {JSON} | {{}}"));
        }
        let form = Request::new("POST", &path)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body("sessionId=form&validityInSeconds=60");
        all.check(
            "form",
            &gateway.ask_internal(&form),
            format!("201 | {JSON} | location: {path}/form | {{}}"),
        );
        all.check("form", &get("form"), format!("200 | {JSON} | {{}}"));
    }
}

#[test]
fn what_cannot_be_blacklisted() {
    let gateway = Gateway::start(&[]);
    let mut all = Scenarios::default();
    for version in ["v2", "v3"] {
        let path = format!("/{version}/session-blacklist");
        for (name, body, text) in [
            ("no session", r#"{"validityInSeconds":60}"#, r#"Missing value for "sessionId""#),
            (
                "session empty",
                r#"{"sessionId":"","validityInSeconds":60}"#,
                r#"Expected non-empty string, got """#,
            ),
            (
                "session a number",
                r#"{"sessionId":5,"validityInSeconds":60}"#,
                "Expected non-empty string, got 5",
            ),
            (
                "session null",
                r#"{"sessionId":null,"validityInSeconds":60}"#,
                "Expected non-empty string, got nil",
            ),
            ("no validity", r#"{"sessionId":"x"}"#, r#"Missing value for "validityInSeconds""#),
            ("validity 0", r#"{"sessionId":"x","validityInSeconds":0}"#, "Expected a positive number, got 0"),
            (
                "validity -1",
                r#"{"sessionId":"x","validityInSeconds":-1}"#,
                "Expected a positive number, got -1",
            ),
            (
                "validity abc",
                r#"{"sessionId":"x","validityInSeconds":"abc"}"#,
                r#"Expected a number, got "abc""#,
            ),
            (
                "validity \"1.5\"",
                r#"{"sessionId":"x","validityInSeconds":"1.5"}"#,
                r#"Expected a number, got "1.5""#,
            ),
            (
                "validity \"-5\"",
                r#"{"sessionId":"x","validityInSeconds":"-5"}"#,
                "Expected a positive number, got -5",
            ),
            (
                "validity null",
                r#"{"sessionId":"x","validityInSeconds":null}"#,
                "Expected a positive number, got nil",
            ),
            (
                "validity true",
                r#"{"sessionId":"x","validityInSeconds":true}"#,
                "Expected a positive number, got true",
            ),
            ("validity 1.5", r#"{"sessionId":"x","validityInSeconds":1.5}"#, "Expected a number, got 1.5"),
            ("empty object", "{}", r#"Missing value for "sessionId""#),
            ("empty", "", r#"Missing value for "sessionId""#),
            ("a list", "[]", r#"Missing value for "sessionId""#),
        ] {
            let response = gateway.ask_internal(&Request::post_json(&path, body));
            all.check(name, &response, format!("400 | content-type: text/plain; charset=utf-8 | {text}"));
        }
        let body = r#"{"sessionId": "x", "validityInSeconds": 60}"#;
        let ask = |request: &Request| gateway.ask_internal(request);
        all.check("not JSON", &ask(&Request::post_json(&path, "nojson")), format!("400 | {BAD_REQUEST}"));
        let text = Request::new("POST", &path).header("Content-Type", "text/plain").body(body);
        all.check("text", &ask(&text), format!("415 | {BAD_REQUEST}"));
        let untyped = Request::new("POST", &path).body(body);
        all.check("no content type", &ask(&untyped), r#"400 | …| Missing value for "sessionId""#);
        all.check("GET without session", &ask(&Request::get(&path)), NOT_FOUND);
        all.check("DELETE", &ask(&Request::new("DELETE", format!("{path}/x"))), NOT_FOUND);
        all.check("OPTIONS", &ask(&Request::new("OPTIONS", &path)), NOT_FOUND);
        all.check("nothing was recorded", &ask(&Request::get(format!("{path}/x"))), "404 | …Not found.");
    }
}

#[test]
fn an_entry_expires() {
    let gateway = Gateway::start(&[]);
    let path = "/v3/session-blacklist";
    let body = r#"{"sessionId": "ttl", "validityInSeconds": 1}"#;
    assert_eq!(gateway.ask_internal(&Request::post_json(path, body)).status, 201);
    let get = || gateway.ask_internal(&Request::get(format!("{path}/ttl"))).status;
    assert_eq!(get(), 200);
    eventually("the end of the entry", || (get() == 404).then_some(()));
}

#[test]
fn messages_are_published_under_both_versions() {
    let gateway = Gateway::start(&[("SUBMISSION_CHECK", "jwt_validation")]);
    let query = format!("subscriptions={}", encoded(r#"[{"eventType":"greeting"}]"#));
    let mut sse = Sse::connect(gateway.inbound(), &query);
    sse.welcome();
    let text = "content-type: text/plain; charset=utf-8";
    let mut all = Scenarios::default();
    for version in ["v2", "v3"] {
        let path = format!("/{version}/messages");
        let post = |body: &str| gateway.ask_internal(&Request::post_json(&path, body));
        let typed = |content_type: &str, body: &str| {
            gateway.ask_internal(&Request::new("POST", &path).header("Content-Type", content_type).body(body))
        };
        all.check("valid", &post(CE), format!("202 | {JSON} | {CE}"));
        all.check_text("it arrives", &sse.next_data(), CE);
        all.check("no event", &post(r#"{"a":1}"#), format!("400 | {text} | …specversion…"));
        let newest = r#"{"specversion":"1.0","type":"greeting","source":"/o","id":"1"}"#;
        all.check("1.0", &post(newest), format!("202 | {JSON} | {newest}"));
        all.check_text("it arrives", &sse.next_data(), newest);
        all.check("empty", &post(""), format!("400 | {text} | …"));
        all.check("not JSON", &post("nojson"), format!("400 | {text} | …"));
        all.check("a list", &post(&format!("[{CE}]")), format!("400 | {text} | …"));
        all.check("text", &typed("text/plain", CE), format!("400 | {text} | …"));
        all.check("structured", &typed("application/cloudevents+json", CE), format!("202 | {JSON} | {CE}"));
        all.check_text("it arrives", &sse.next_data(), CE);
        let untyped = Request::new("POST", &path).body(CE);
        all.check("no content type", &gateway.ask_internal(&untyped), format!("400 | {text} | …"));
        let binary = Request::post_json(&path, r#"{"name":"bob"}"#)
            .header("ce-specversion", "0.2")
            .header("ce-type", "greeting")
            .header("ce-id", "1");
        let event = r#"{"data":{"name":"bob"},"id":"1","specversion":"0.2","type":"greeting"}"#;
        all.check("binary", &gateway.ask_internal(&binary), format!("202 | {JSON} | {event}"));
        all.check_text("it arrives", &sse.next_data(), event);
        all.check("GET", &gateway.ask_internal(&Request::get(&path)), NOT_FOUND);
    }
}

#[test]
fn answers_without_a_waiting_request() {
    let gateway = Gateway::start(&[("NODE_COOKIE", "test-cookie")]);
    let mut sse = Sse::connect(gateway.inbound(), "");
    let connection_token = sse.welcome();
    let garbage = "eHh4".repeat(20);
    let event = r#"{"specversion":"0.2","id":"1","type":"t","source":"s","rig":{"correlation":"x"}}"#;
    let without_rig = r#"{"specversion":"0.2","id":"1","type":"t","source":"s"}"#;
    let no_event = "{:error, :not_a_cloud_event} (specversion is missing)";
    let no_header = ":error (the header rig-correlation is missing)";
    let mut all = Scenarios::default();
    for (name, version, correlation, body, text) in [
        ("no headers", "v3", None, "{}", no_header),
        ("no headers", "v2", None, "{}", no_event),
        ("garbage correlation", "v3", Some("abc"), "{}", "{:error, :not_base64}"),
        ("garbage correlation", "v2", Some("abc"), "{}", no_event),
        ("garbage base64", "v3", Some(garbage.as_str()), "{}", "{:error, :invalid_term}"),
        ("garbage base64", "v2", Some(garbage.as_str()), "{}", no_event),
        ("v2 style body", "v3", None, event, no_header),
        ("v2 style body", "v2", None, event, "{:error, :not_base64}"),
        ("no rig field", "v2", None, without_rig, ":error (rig is missing)"),
        ("token of a connection", "v3", Some(connection_token.as_str()), "{}", "{:error, :invalid_term}"),
    ] {
        let mut request = Request::post_json(format!("/{version}/responses"), body);
        if let Some(correlation) = correlation {
            request = request.header("rig-correlation", correlation).header("rig-response-code", "200");
        }
        all.check(
            &format!("{version} {name}"),
            &gateway.ask_internal(&request),
            format!("400 | content-type: text/plain; charset=utf-8 | Failed to parse request body: {text}"),
        );
    }
    let text = Request::new("POST", "/v3/responses").header("Content-Type", "text/plain");
    let text = text.header("rig-correlation", "abc").header("rig-response-code", "200").body("x");
    let refused = "400 | …| Failed to parse request body: {:error, :not_base64}";
    all.check("text/plain", &gateway.ask_internal(&text), refused);
    all.check("GET", &gateway.ask_internal(&Request::get("/v3/responses")), NOT_FOUND);
}

#[test]
fn health_and_all_that_is_not_there() {
    let gateway = Gateway::start(&[]);
    let mut all = Scenarios::default();
    let ok = "200 | content-type: text/plain; charset=utf-8 | OK";
    for path in ["/health", "/health/"] {
        all.check(path, &gateway.ask_internal(&Request::get(path)), ok);
    }
    for path in ["/_rig/health", "/", "/v1/apis", "/nope"] {
        all.check(path, &gateway.ask_internal(&Request::get(path)), NOT_FOUND);
    }
    all.check("inbound health", &gateway.ask(&Request::get("/_rig/health")), ok);
    let head = gateway.ask(&Request::new("HEAD", "/_rig/health"));
    all.check("HEAD", &head, "200 | content-type: text/plain; charset=utf-8");
    let not_found = r#"404 | content-type: application/json; charset=utf-8 | {"message":"Not Found"}"#;
    for path in ["/health", "/", "/nope", "/_rig", "/_rig/v1", "/_rig/v2/events", "/metrics", "//_rig/health"]
    {
        all.check(path, &gateway.ask(&Request::get(path)), not_found);
    }
    all.check("POST health", &gateway.ask(&Request::new("POST", "/_rig/health")), not_found);
}

#[test]
fn the_page_to_try_it() {
    let gateway = Gateway::start(&[]);
    let redirect = gateway.ask_internal(&Request::get("/swagger-ui"));
    assert_eq!(redirect.status / 100, 3, "{}", redirect.shown());
    let location = redirect.header("location").unwrap().to_owned();
    let page = gateway.ask_internal(&Request::get(location));
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html")), "{}", page.shown());
    let document = gateway.ask_internal(&Request::get("/openapi.json")).json();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/v3/session-blacklist"]["post"].is_object());
}

#[test]
fn metrics() {
    let gateway = Gateway::start(&[]);
    let query = format!("jwt={}&subscriptions={}", token_of("s"), encoded(r#"[{"eventType":"greeting"}]"#));
    let mut sse = Sse::connect(gateway.inbound(), &query);
    sse.welcome();
    gateway.publish(CE);
    assert_eq!(sse.next_data(), CE);
    gateway.blacklist("s");
    let mut all = Scenarios::default();
    sse.expect_kill();
    drop(sse);
    gateway.await_metric(r#"rig_connections{transport="sse"}"#, 0.0);
    for (name, value) in [
        (r#"rig_connections_opened_total{transport="sse"}"#, "1"),
        (r#"rig_connections_closed_total{transport="sse",reason="session_killed"}"#, "1"),
        ("rig_session_kills_total", "1"),
        ("rig_sessions", "0"),
        ("rig_subscriptions_total", "0"),
        (r#"rig_consumed_events_forwarded_total{type="greeting"}"#, "1"),
        (r#"rig_distributed_set_items_current{name="SessionBlacklist"}"#, "1"),
        (r#"rig_distributed_set_items_total{name="SessionBlacklist"}"#, "1"),
    ] {
        all.check_text(name, &gateway.metric(name).to_string(), value);
    }
    let off = Gateway::start(&[("PROMETHEUS_METRICS_ENABLED", "false")]);
    all.check("turned off", &off.ask_internal(&Request::get("/metrics")), NOT_FOUND);
}

#[test]
fn sockets_are_counted_over_all_ports_and_when_they_go() {
    let gateway = Gateway::start(&[]);
    // The socket of the scrape is one of them.
    gateway.await_metric("rig_tcp_connections", 1.0);
    let open: Vec<_> = (0..5).map(|_| Request::get("/_rig/health").start(gateway.inbound())).collect();
    let mut sse = Sse::connect(gateway.inbound(), "");
    sse.welcome();
    gateway.await_metric("rig_tcp_connections", 7.0);
    drop(sse);
    gateway.await_metric("rig_tcp_connections", 6.0);
    drop(open);
    gateway.await_metric("rig_tcp_connections", 1.0);
}

#[test]
fn every_answer_but_a_stream_has_a_request_id() {
    let gateway = Gateway::start(&[]);
    for (request, own) in [
        (Request::get("/_rig/health"), None),
        (Request::get("/nope"), None),
        (Request::get("/_rig/v1/connection/sse?jwt=garbage"), None),
        (Request::get("/_rig/health").header("X-Request-Id", "mine"), Some("mine")),
    ] {
        let response = gateway.ask(&request);
        let id = response.header("x-request-id");
        assert!(id.is_some_and(|id| own.map_or(id.len() == 36, |own| id == own)), "{id:?}");
    }
    let sse = Sse::connect(gateway.inbound(), "");
    assert_eq!(sse.head.header("x-request-id"), None);
    for request in [Request::get("/health"), Request::get("/nope"), Request::post_json("/v3/messages", "{}")]
    {
        let response = gateway.ask_internal(&request);
        assert_eq!(response.header("x-request-id").map(str::len), Some(36), "{}", response.shown());
    }
    let named = gateway.ask_internal(&Request::get("/health").header("X-Request-Id", "mine"));
    assert_eq!(named.header("x-request-id"), Some("mine"));
}
