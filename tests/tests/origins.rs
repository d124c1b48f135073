//! Pages of other origins at the inbound port: what they may read, and whether their visitor's
//! cookies count.

use std::process::Command;

use rig_tests::*;
use serde_json::{Value, json};

const SSE: &str = "/_rig/v1/connection/sse";
const WS: &str = "/_rig/v1/connection/ws";
const LP: &str = "/_rig/v1/connection/longpolling";
const APP: &str = "https://app.test";
const EVIL: &str = "https://evil.test";

/// The header fields of a page, whether its cookie counts on a request, and whether on a WebSocket.
type Page = (Vec<(&'static str, String)>, bool, bool);

/// Returns pages of all kinds.
fn pages(own: &str) -> Vec<Page> {
    let origin = |origin: &str| ("Origin", origin.to_owned());
    let site = |site: &str| ("Sec-Fetch-Site", site.to_owned());
    vec![
        (vec![], true, false),
        (vec![site("same-origin")], true, false),
        (vec![site("none")], true, false),
        (vec![origin(&format!("http://{own}"))], true, true),
        (vec![origin(&format!("https://{own}"))], true, true),
        (vec![origin(APP)], true, true),
        (vec![origin(APP), site("cross-site")], true, true),
        (vec![origin(EVIL)], false, false),
        (vec![origin("null")], false, false),
        (vec![origin("")], false, false),
        (vec![origin(&format!("http://{own}.evil.test"))], false, false),
        (vec![origin("http://app.test")], false, false),
        (vec![origin("https://app.test:8443")], false, false),
        (vec![origin("https://sub.app.test")], false, false),
        (vec![origin(APP), origin(EVIL)], false, false),
        (vec![origin(&format!("{APP}, {EVIL}"))], false, false),
        (vec![site("cross-site")], false, false),
        (vec![site("same-site")], false, false),
    ]
}

fn with(request: &Request, headers: &[(&str, String)]) -> Request {
    headers.iter().fold(request.clone(), |request, (name, value)| request.header(name, value.clone()))
}

fn status(gateway: &Gateway, request: &Request) -> u16 {
    Response::read_head(&mut request.start(gateway.inbound())).expect("an answer").status
}

#[test]
fn f09_a_cookie_counts_only_for_pages_that_are_known() {
    let gateway = Gateway::start(&[("JWT_COOKIE", "jwt"), ("CORS", APP)]);
    let cookie = format!("jwt={}", token_of("s1"));
    for (headers, request, socket) in pages(&gateway.inbound().to_string()) {
        let by_cookie = |asked: Request| status(&gateway, &with(&asked.header("Cookie", &*cookie), &headers));
        assert_eq!(by_cookie(Request::get(SSE)), if request { 200 } else { 403 }, "SSE {headers:?}");
        assert_eq!(by_cookie(Request::get(LP)), if request { 200 } else { 403 }, "poll {headers:?}");
        let socket = if socket { 101 } else { 403 };
        assert_eq!(by_cookie(WebSocket::handshake(WS)), socket, "WebSocket {headers:?}");
        // A token that the page itself knows may be used by any page.
        let token = token_of("s1");
        for by_page in [
            Request::get(format!("{SSE}?jwt={token}")),
            Request::get(SSE).bearer(&token),
            Request::get(SSE).bearer(&token).header("Cookie", &*cookie),
            Request::get(SSE),
        ] {
            assert_eq!(status(&gateway, &with(&by_page, &headers)), 200, "{headers:?}");
        }
        let by_page = WebSocket::handshake(&format!("{WS}?jwt={token}"));
        assert_eq!(status(&gateway, &with(&by_page, &headers)), 101, "{headers:?}");
    }
    let refused = gateway.ask(&Request::get(SSE).header("Cookie", cookie).header("Origin", EVIL));
    assert!(
        refused.text().contains("only by cookie") && refused.text().contains("CORS"),
        "{}",
        refused.text()
    );
    assert_eq!(refused.header("access-control-allow-origin"), Some(APP));
    let counted = gateway.metric(r#"rig_connections_refused_total{reason="origin"}"#);
    assert!(counted > 20.0, "{counted}");
}

#[test]
fn f09_subscriptions_and_events_too() {
    let settings = [("JWT_COOKIE", "jwt"), ("CORS", APP), ("SUBMISSION_CHECK", "jwt_validation")];
    let gateway = Gateway::start(&settings);
    let cookie = format!("jwt={}", token_of("s1"));
    let mut sse = Sse::connect(gateway.inbound(), "");
    let path = format!("{SSE}/{}/subscriptions", sse.welcome());
    for (headers, trusted, _) in pages(&gateway.inbound().to_string()) {
        let put = Request::put_json(&*path, r#"{"subscriptions":[]}"#).header("Cookie", &*cookie);
        let put = gateway.ask(&with(&put, &headers));
        assert_eq!(put.status, if trusted { 204 } else { 403 }, "{headers:?}");
        let post = Request::post_json("/_rig/v1/events", greeting("1", "bob")).header("Cookie", &*cookie);
        let post = gateway.ask(&with(&post, &headers));
        // The check requires the token in a header, whichever page asks.
        assert_eq!(post.status, 403, "{headers:?}");
        assert_eq!(post.text().contains("only by cookie"), !trusted, "{headers:?}: {}", post.text());
        let explicit = Request::post_json("/_rig/v1/events", greeting("1", "bob")).bearer(&token_of("s1"));
        assert_eq!(gateway.ask(&with(&explicit, &headers)).status, 202, "{headers:?}");
    }
}

#[test]
fn f09_polls_of_another_page_get_nothing() {
    let gateway = Gateway::start(&[("JWT_COOKIE", "jwt"), ("CORS", APP)]);
    let own = gateway.inbound().to_string();
    let poll = |cookies: &str, headers: &[(&str, String)]| {
        let request = Request::get(LP).header("Cookie", cookies).header("Accept", "*/*");
        gateway.ask(&with(&request, headers))
    };
    let cookies = |response: &Response| {
        let set = response.headers.iter().filter(|(name, _)| name == "set-cookie");
        let pairs = set.map(|(_, cookie)| cookie.split(';').next().unwrap_or_default().to_owned());
        pairs.collect::<Vec<_>>().join("; ")
    };
    let opened = gateway.ask(&Request::get(LP).header("Cookie", format!("jwt={}", token_of("s1"))));
    let opened = cookies(&opened);
    for (headers, trusted, _) in pages(&own) {
        let answer = poll(&opened, &headers);
        let is_own =
            trusted && headers.iter().all(|(name, value)| *name != "Origin" || value.ends_with(&own));
        if is_own {
            assert!(answer.text().contains("rig.connection.create"), "{headers:?} {}", answer.text());
        } else if trusted {
            assert_eq!(answer.text(), r#""ok""#, "a connection of its own: {headers:?}");
            assert!(!cookies(&answer).contains("connection_token="), "beside the other: {}", answer.shown());
        } else {
            assert_eq!(answer.status, 403, "{headers:?} {}", answer.text());
            assert_eq!(cookies(&answer), "", "{headers:?}");
        }
    }
}

#[test]
fn f09_over_http_2_as_well() {
    let gateway = Gateway::start(&[("JWT_COOKIE", "jwt"), ("CORS", APP)]);
    let cookie = format!("jwt={}", token_of("s1"));
    for (origin, expected) in [("http://rig.test:4000", "200"), (APP, "200"), (EVIL, "403"), ("null", "403")]
    {
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "rig.test:4000"),
            (":path", LP),
            ("cookie", cookie.as_str()),
            ("origin", origin),
        ];
        assert_eq!(Http2::connect(gateway.inbound()).ask(&fields, None), expected, "{origin}");
    }
}

/// Starts a service whose answers allow every page to send cookies, behind endpoints that accept a
/// cookie.
fn behind_cookie(cors: &str) -> (Gateway, RawUpstream) {
    let answer = "HTTP/1.1 200 OK\r\naccess-control-allow-origin: https://evil.test\r\n\
                  access-control-allow-credentials: true\r\ncontent-length: 2\r\n\r\nok";
    let service = RawUpstream::start(&Script::Answers(answer.into()));
    let endpoint =
        |method: &str| json!({"id": method, "path_regex": "/x", "method": method, "secured": true});
    let endpoints: Vec<Value> = ["GET", "POST", "PUT", "PATCH", "DELETE"].map(endpoint).into();
    let mut api = api("svc", service.address().port(), &json!(endpoints));
    api["auth"] =
        json!({"use_header": true, "header_name": "authorization", "use_cookie": true, "cookie_name": "jwt"});
    let settings = [("PROXY_CONFIG_FILE", json!([api]).to_string())];
    let settings = [(settings[0].0, settings[0].1.as_str()), ("CORS", cors)];
    (Gateway::start(&settings), service)
}

#[test]
fn f09_what_changes_something_behind_the_proxy() {
    let cookie = format!("jwt={}", token_of("s1"));
    for cors in [APP, "*"] {
        let (gateway, _service) = behind_cookie(cors);
        for (headers, trusted, socket) in pages(&gateway.inbound().to_string()) {
            let is_app = headers.iter().any(|(name, value)| *name == "Origin" && value == APP);
            let trusted = trusted && !(is_app && cors == "*");
            for method in ["POST", "PUT", "PATCH", "DELETE"] {
                let asked = with(&Request::new(method, "/x").header("Cookie", &*cookie), &headers);
                let expected = if trusted { 200 } else { 403 };
                assert_eq!(status(&gateway, &asked), expected, "{cors} {method} {headers:?}");
                let explicit = with(&Request::new(method, "/x").bearer(&token_of("s1")), &headers);
                assert_eq!(status(&gateway, &explicit), 200, "{cors} {method} {headers:?}");
            }
            // A page cannot read the answers to these.
            let asked = with(&Request::get("/x").header("Cookie", &*cookie), &headers);
            assert_eq!(status(&gateway, &asked), 200, "{cors} {headers:?}");
            let asked = with(&WebSocket::handshake("/x").header("Cookie", &*cookie), &headers);
            let expected = if socket && trusted { 200 } else { 403 };
            assert_eq!(status(&gateway, &asked), expected, "{cors} WebSocket {headers:?}");
        }
    }
}

#[test]
fn f43_a_token_cookie_wants_origins() {
    for cors in [&[][..], &[("CORS", "*")]] {
        let settings = [&[("JWT_COOKIE", "jwt"), ("DATA_DIR", "memory")], cors].concat();
        let output = Command::new(Gateway::binary()).arg("check").env_clear().envs(settings).output();
        let output = output.expect("the gateway is built");
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!output.status.success() && told.contains("CORS") && told.contains("JWT_COOKIE"), "{told}");
        assert!(told.contains("expected the origins"), "{told}");
    }
}

#[test]
fn f43_answers_of_cookie_endpoints_allow_credentials_to_known_pages_only() {
    let cookie = format!("jwt={}", token_of("s1"));
    for (cors, origin, allowed) in [
        ("*", Some(EVIL), false),
        ("*", Some("null"), false),
        ("*", None, false),
        (APP, Some(EVIL), false),
        (APP, Some("null"), false),
        (APP, Some(APP), true),
    ] {
        let (gateway, _service) = behind_cookie(cors);
        let origin: Vec<_> = origin.map(|origin| ("Origin", origin.to_owned())).into_iter().collect();
        let answer = gateway.ask(&with(&Request::get("/x").header("Cookie", &*cookie), &origin));
        assert_eq!(answer.status, 200, "{}", answer.shown());
        let credentials = answer.header("access-control-allow-credentials");
        assert_eq!(credentials.is_some(), allowed, "{cors} {origin:?}");
        // The gateway's own answers: a refusal, and a preflight.
        for own in [Request::get("/x"), Request::new("OPTIONS", "/x")] {
            let own = gateway.ask(&with(&own, &origin));
            let credentials = own.header("access-control-allow-credentials");
            assert_eq!(credentials.is_some(), cors == APP, "{cors} {origin:?} {}", own.shown());
            assert_eq!(own.header("access-control-allow-origin"), Some(cors));
        }
        assert_eq!(gateway.log().contains("/auth/use_cookie"), cors == "*", "{}", gateway.log());
    }
}

#[test]
fn f43_a_definition_that_comes_later_is_warned_of_too() {
    let gateway = Gateway::start(&[]);
    let mut api = definition("svc", "svc");
    api["auth_type"] = json!("jwt");
    api["auth"] = json!({"use_cookie": true, "cookie_name": "jwt"});
    api["version_data"]["default"]["endpoints"][0]["secured"] = json!(true);
    post_api(&gateway, &api);
    let log = gateway.end();
    assert!(log.contains("/auth/use_cookie: under CORS=*"), "{log}");
}

#[test]
fn f43_it_is_warned_of_when_files_are_read_again_and_when_all_are_replaced() {
    let folder = Folder::new();
    let file = folder.join("apis.json");
    let mut api = definition("svc", "svc");
    api["auth_type"] = json!("jwt");
    api["auth"] = json!({"use_cookie": true, "cookie_name": "jwt"});
    api["version_data"]["default"]["endpoints"][0]["secured"] = json!(true);
    let list = json!([api]).to_string();
    for (cors, warned) in [("*", true), (APP, false)] {
        std::fs::write(&file, "[]").expect("a file");
        let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &file), ("CORS", cors)]);
        let warnings = |gateway: &Gateway| gateway.log().matches("/auth/use_cookie: under CORS=*").count();
        assert_eq!(warnings(&gateway), 0, "{}", gateway.log());
        std::fs::write(&file, &list).expect("a file");
        gateway.signal("HUP");
        eventually("a reload", || gateway.log().contains("SIGHUP: read again").then_some(()));
        assert_eq!(warnings(&gateway) > 0, warned, "{}", gateway.log());
        let before = warnings(&gateway);
        let dry = gateway.ask_internal(&Request::put_json("/v4/apis?dry_run=true", &*list));
        assert_eq!((dry.status, warnings(&gateway)), (200, before), "{}", dry.text());
        let replaced = gateway.ask_internal(&Request::put_json("/v4/apis", &*list));
        assert_eq!(replaced.status, 200, "{}", replaced.text());
        let log = gateway.end();
        assert_eq!(log.matches("/auth/use_cookie: under CORS=*").count() > before, warned, "{log}");
    }
}

#[test]
fn f43_each_page_polls_its_own_connection() {
    let gateway = Gateway::start(&[]);
    let ask = |origin: &str, cookies: &str| {
        gateway.ask(&Request::get(LP).header("Origin", origin).header("Cookie", cookies))
    };
    let cookies = |response: &Response| {
        let set = response.headers.iter().filter(|(name, _)| name == "set-cookie");
        let pairs = set.map(|(_, cookie)| cookie.split(';').next().unwrap_or_default().to_owned());
        pairs.collect::<Vec<_>>().join("; ")
    };
    let opened = ask("http://a.test", "");
    assert_eq!(opened.header("access-control-allow-origin"), Some("http://a.test"));
    let of_a = cookies(&opened);
    // Another page with the same cookie jar neither reads the events of the first page nor replaces
    // its cookies.
    let other = ask("http://b.test", &of_a);
    assert_eq!((other.status, other.text().as_str()), (200, r#""ok""#));
    let both = format!("{of_a}; {}", cookies(&other));
    assert!(both.contains("connection_token-http---b-test="), "{both}");
    let token = |response: &Response| {
        let body = response.json();
        body["events"][0]["data"]["connection_token"].as_str().expect("a token").to_owned()
    };
    let [polled_a, polled_b] = ["http://a.test", "http://b.test"].map(|origin| ask(origin, &both));
    assert_ne!(token(&polled_a), token(&polled_b));
    let list = r#"{"subscriptions":[{"eventType":"greeting"}]}"#;
    let put = Request::put_json(format!("{LP}/{}/subscriptions", token(&polled_a)), list);
    assert_eq!(gateway.ask(&put).status, 204);
    gateway.publish(&greeting("1", "bob"));
    assert!(ask("http://a.test", &both).text().contains(r#""bob""#));
    assert!(!ask("http://b.test", &both).text().contains(r#""bob""#));
    // A page that hides its origin gets nothing.
    for hidden in ["null", "", "http://a.test, http://b.test"] {
        let refused = ask(hidden, &both);
        assert_eq!((refused.status, cookies(&refused).as_str()), (403, ""), "{hidden}");
        assert_eq!(refused.header("access-control-allow-credentials"), None, "{hidden}");
    }
    let plain = gateway.ask(&Request::get(LP).header("Cookie", &*both));
    assert_eq!(plain.text(), r#""ok""#, "the gateway's own origin has another connection");
}

#[test]
fn f44_pages_of_a_named_origin_may_send_cookies_everywhere() {
    for (cors, origin) in [(APP, APP), ("https://app.test, http://two.test", "http://two.test")] {
        let gateway = Gateway::start(&[("CORS", cors), ("JWT_COOKIE", "jwt")]);
        let asks = |request: Request| {
            let response =
                Response::read_head(&mut request.header("Origin", origin).start(gateway.inbound()));
            response.expect("an answer")
        };
        for (request, status) in [
            (Request::get(SSE), 200),
            (Request::new("HEAD", SSE), 200),
            (Request::get(format!("{SSE}?jwt=x")), 400),
            (Request::get(LP), 200),
            (Request::post_json("/_rig/v1/events", greeting("1", "bob")), 202),
            (Request::post_json("/_rig/v1/events", "x"), 400),
            (Request::put_json(format!("{SSE}/x/subscriptions"), "x"), 400),
            (Request::new("OPTIONS", SSE), 204),
            (Request::new("OPTIONS", LP), 204),
            (Request::new("OPTIONS", "/_rig/v1/events"), 204),
            (Request::new("OPTIONS", format!("{SSE}/x/subscriptions")), 204),
        ] {
            let answer = asks(request);
            assert_eq!(answer.status, status, "{}", answer.shown());
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "{}", answer.shown());
            assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{}", answer.shown());
            let varies = answer.header("vary").is_some_and(|vary| vary.contains("origin"));
            assert_eq!(varies, cors != origin, "{}", answer.shown());
        }
    }
    let gateway = Gateway::start(&[]);
    let any = Sse::open(gateway.inbound(), &Request::get(SSE).header("Origin", APP)).unwrap();
    assert_eq!(any.head.header("access-control-allow-credentials"), None);
}

#[test]
fn f53_cookies_of_long_polling_go_to_other_sites_over_tls() {
    let folder = Folder::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let [chain, key] = ["chain.pem", "key.pem"].map(|name| folder.join(name));
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    std::fs::write(&chain, made.cert.pem()).expect("a file");
    let gateway = Gateway::start(&[("HTTPS_CERTFILE", chain.as_str()), ("HTTPS_KEYFILE", key.as_str())]);
    let https = format!("https://localhost:{}{LP}", gateway.port("inbound_tls").port());
    let http = format!("http://localhost:{}{LP}", gateway.inbound().port());
    let cookies = |version: &str, url: &str, sent: &str| {
        let arguments = ["--silent", "--insecure", "--max-time", "10", "--include", version, "-H", sent, url];
        let output = Command::new("curl").args(arguments).output().expect("curl is installed");
        let said = String::from_utf8_lossy(&output.stdout).to_ascii_lowercase();
        let lines = said.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    for version in ["--http1.1", "--http2"] {
        let set = cookies(version, &https, "X: y");
        assert_eq!(set.len(), 3, "{set:?}");
        for cookie in &set {
            assert!(cookie.ends_with("; path=/; httponly; samesite=none; secure"), "{cookie}");
        }
    }
    for cookie in cookies("--http1.1", &http, "X: y") {
        assert!(cookie.ends_with("; path=/; httponly"), "{cookie}");
    }
    // Cookies are deleted with the attributes with which they were set, or browsers would keep
    // them.
    let mut sse = Sse::connect(gateway.inbound(), "");
    let cleared = cookies("--http1.1", &https, &format!("Cookie: connection_token={}", sse.welcome()));
    assert_eq!(cleared.len(), 2, "{cleared:?}");
    for cookie in cleared {
        assert!(cookie.ends_with("=; path=/; httponly; max-age=0; samesite=none; secure"), "{cookie}");
    }
}

#[test]
fn f55_a_subprotocol_is_chosen_or_refused() {
    let gateway = Gateway::start(&[]);
    let offering = |offers: &[&str]| {
        let handshake = WebSocket::handshake(WS);
        offers.iter().fold(handshake, |request, offer| request.header("Sec-WebSocket-Protocol", *offer))
    };
    for offers in [
        &["a"][..],
        &["foo, bar"],
        &["a", "b"],
        &["Cloudevents.JSON"],
        &["cloudevents.jsonx"],
        &[", a"],
        &["eyJhbGciOiJIUzI1NiJ9.e30.x"],
        &["bearer.eyJhbGciOiJIUzI1NiJ9.e30.x"],
    ] {
        let refused = gateway.ask(&offering(offers));
        assert_eq!(refused.status, 400, "{offers:?} {}", refused.shown());
        assert!(refused.text().contains("sec-websocket-protocol"), "{}", refused.text());
        assert_eq!(refused.header("sec-websocket-protocol"), None);
    }
    assert_eq!(gateway.metric_sum("rig_connections_opened_total", &[("transport", "websocket")]), 0.0);
    assert_eq!(gateway.metric_sum("rig_connections", &[("transport", "websocket")]), 0.0);
    for (offers, chosen) in [
        (&["cloudevents.json"][..], Some("cloudevents.json")),
        (&["a, cloudevents.json"], Some("cloudevents.json")),
        (&["a", "cloudevents.json, b"], Some("cloudevents.json")),
        (&["rig, cloudevents.json"], Some("rig")),
        (&["", " , "], None),
        (&[], None),
    ] {
        let mut websocket = WebSocket::open(gateway.inbound(), &offering(offers));
        assert_eq!(websocket.head.header("sec-websocket-protocol"), chosen, "{offers:?}");
        websocket.welcome();
    }
}

#[test]
fn i36_a_token_among_the_subprotocols_of_a_websocket() {
    let settings = [("EXTRACTORS", EXTRACTORS), ("JWT_COOKIE", "token"), ("CORS", "http://app.test")];
    let gateway = Gateway::start(&settings);
    let asking = |offer: &str| WebSocket::handshake(WS).header("Sec-WebSocket-Protocol", offer);
    let token = token_of("s");
    for known in ["rig", "cloudevents.json"] {
        for offer in [format!("{known}, bearer.{token}"), format!("bearer.{token},{known}")] {
            let mut websocket = WebSocket::open(gateway.inbound(), &asking(&offer));
            assert_eq!(websocket.head.header("sec-websocket-protocol"), Some(known), "{offer}");
            // The token brings a subscription.
            websocket.receive();
            let set = websocket.receive();
            assert!(set.contains(r#""oneOf":[{"name":"bob"}]"#), "{set}");
        }
    }
    // A page of any origin can put a token there only if it has one, so its origin does not matter.
    let foreign = asking(&format!("rig, bearer.{token}")).header("Origin", "https://evil.test");
    WebSocket::open(gateway.inbound(), &foreign).welcome();
    // A token that is not valid is not replaced by a cookie.
    let with_cookie = asking("rig, bearer.x").header("Cookie", format!("token={token}"));
    let mut refused = WebSocket::open(gateway.inbound(), &with_cookie);
    refused.expect_close(1000, "Bad request.");
    assert!(!gateway.log().contains(&token), "the token is in the log");
}

#[test]
fn f77_a_list_of_origins_and_a_trailing_slash() {
    let gateway = Gateway::start(&[("CORS", "HTTPS://App.test:443/, http://two.test:8080")]);
    assert!(gateway.log().contains("CORS: the slash at the end of"), "{}", gateway.log());
    let answers = |origin: Option<&str>| {
        let ask = |request: Request| {
            let request =
                origin.into_iter().fold(request, |request, origin| request.header("Origin", origin));
            Response::read_head(&mut request.start(gateway.inbound())).expect("an answer")
        };
        [
            ask(Request::get(SSE)),
            ask(Request::get(LP)),
            ask(Request::new("OPTIONS", SSE)),
            ask(Request::get(format!("{SSE}?jwt=x"))),
            ask(Request::post_json("/_rig/v1/events", "x")),
        ]
    };
    for (origin, mirrored) in [
        (Some(APP), true),
        (Some("http://two.test:8080"), true),
        (Some("http://two.test"), false),
        (Some(EVIL), false),
        (Some("null"), false),
        (Some("https://app.test.evil.test"), false),
        (None, false),
    ] {
        for answer in answers(origin) {
            let expected = origin.filter(|_| mirrored);
            assert_eq!(answer.header("access-control-allow-origin"), expected, "{}", answer.shown());
            let credentials = answer.header("access-control-allow-credentials");
            assert_eq!(credentials.is_some(), mirrored, "{origin:?} {}", answer.shown());
            assert_eq!(answer.header("vary"), Some("origin"), "{}", answer.shown());
        }
    }
    for (cors, word) in
        [("*,https://a", "stands alone"), ("null", "sandboxed"), ("https://a/b", "not an origin")]
    {
        let check = Command::new(Gateway::binary()).arg("check").env_clear().env("CORS", cors).output();
        let output = check.expect("the gateway is built");
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!output.status.success() && told.contains(word), "{cors}: {told}");
    }
}

#[test]
fn f80_a_stream_may_be_asked_where_it_broke_off() {
    let gateway = Gateway::start(&[]);
    let preflight = Request::new("OPTIONS", SSE)
        .header("Origin", "http://a.test")
        .header("Access-Control-Request-Method", "GET")
        .header("Access-Control-Request-Headers", "authorization,cache-control,last-event-id");
    let answer = gateway.ask(&preflight);
    assert_eq!(answer.status, 204);
    let allowed = answer.header("access-control-allow-headers").expect("a list");
    for name in ["content-type", "authorization", "last-event-id", "cache-control"] {
        assert!(allowed.split(',').any(|one| one == name), "{name}: {allowed}");
    }
}

#[test]
fn f80_a_page_may_send_attributes_of_an_event_and_what_libraries_add() {
    let service = Upstream::start();
    let apis = json!([service.api("svc", &json!([{"id": "e", "path_regex": "/e", "method": "GET"}]))]);
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis.to_string())]);
    let allowed = |path: &str, asked: &[&str]| {
        let preflight = Request::new("OPTIONS", path)
            .header("Origin", "http://a.test")
            .header("Access-Control-Request-Method", "GET");
        let name = "Access-Control-Request-Headers";
        let answer =
            gateway.ask(&asked.iter().fold(preflight, |request, asked| request.header(name, *asked)));
        assert_eq!(answer.status, 204, "{path}");
        answer.header("access-control-allow-headers").expect("a list").to_owned()
    };
    let put = "/_rig/v1/connection/sse/x/subscriptions";
    for path in [SSE, WS, "/_rig/v1/connection/longpolling", put, "/_rig/v1/events", "/e"] {
        let least = allowed(path, &[]);
        assert!(least.starts_with("content-type,authorization"), "{path}: {least}");
        let asked = ["CE-id,ce-specversion, ce-trace_id", "authorization,traceparent,ce-id"];
        assert_eq!(allowed(path, &asked), format!("{least},ce-id,ce-specversion,ce-trace_id,traceparent"));
        for strange in ["", ",,", "x-forwarded-for,x-user", "ce-\u{e9}", "*", "ce-a b", "ce"] {
            assert_eq!(allowed(path, &[strange]), least, "{path}: {strange}");
        }
        let many: Vec<_> = (0..10_000).map(|n| format!("ce-{n}")).collect();
        let many = allowed(path, &[&many.join(",")[..8000]]);
        assert_eq!(many.matches(",ce-").count(), 64, "{path}");
    }
}
