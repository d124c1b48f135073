//! A single view of paths: the path that selects and guards the endpoint is the one that the
//! service receives, however the client spells it.

use rig_tests::*;
use serde_json::{Value, json};

/// Spellings of `/admin/x`, and of paths that some services treat as the same.
const SPELLINGS: &[&str] = &[
    "/admin/x",
    "/ADMIN/x",
    "/%61dmin/x",
    "/%61%64%6D%69%6e/x",
    "/admin/%78",
    "/x/../admin/x",
    "/x/%2e%2E/admin/x",
    "/x/.%2e/%61dmin/x",
    "/./admin/x",
    "/%2e/admin/./x",
    "//admin/x",
    "///admin//x",
    "/admin//x",
    "/%2Fadmin/x",
    "/admin%2Fx",
    "/admin%2fx",
    "/x%2F..%2Fadmin/x",
    "/x/..%2Fadmin/x",
    "/x%2F%2E%2E/admin/x",
    r"/admin\x",
    r"/x\..\admin\x",
    "/admin%5Cx",
    "/x%5c..%5cadmin%5cx",
    "/admin;/x",
    "/admin;a=b/x",
    "/admin%3Ba/x",
    "/;/admin/x",
    "/x/..;/admin/x",
    "/x/..;a/admin/x",
    "/x/%2e%2e;/admin/x",
    "/x/..%3b/admin/x",
    "/admin./x",
    "/admin%20/x",
    "/admin%20./x",
    "/.../admin/x",
    "/admin%00/x",
    "/%00/../admin/x",
    "/admin%0a/x",
    "/admin%09/x",
    "/admin%7f/x",
    "/admin%2Fx%3Fy",
    "/admin%/x",
    "/%zz/../admin/x",
    "/%4/../admin/x",
    "/%u0061dmin/x",
    "/%c0%ae%c0%ae/admin/x",
    "/x/%c0%ae%c0%ae%c0%afadmin/x",
    "/admin%c0%afx",
    "/admin%e0%80%afx",
];

/// Returns endpoints with each kind of check, each beside an open one.
fn guarded(claim: Value) -> Value {
    json!([
        { "id": "open", "method": "GET", "path_regex": "/.*" },
        { "id": "admin", "method": "GET", "path_regex": "/admin/.*", "secured": true, "claims": claim },
        { "id": "once", "method": "GET", "path_regex": "/once/.*",
          "rate_limit": { "requests": 1, "within_ms": 86_400_000 } },
        { "id": "all", "method": "POST", "path_regex": "/.*" },
        { "id": "small", "method": "POST", "path_regex": "/small/.*", "max_body_bytes": 1 },
    ])
}

fn start(service: std::net::SocketAddr, more: Value) -> Gateway {
    let mut api = api_of("a", service, guarded(json!({})));
    more.as_object().into_iter().flatten().for_each(|(name, rule)| api["proxy"][name] = rule.clone());
    Gateway::start(&[("PROXY_CONFIG_FILE", &json!([api]).to_string())])
}

#[test]
fn f04_a_secured_path_has_one_spelling() {
    let upstream = Upstream::start();
    let gateway = start(upstream.address(), json!({}));
    for spelling in SPELLINGS {
        let response = gateway.ask(&Request::get(*spelling));
        assert!([400, 401].contains(&response.status), "{spelling}: {}", response.shown());
        let mut http2 = Http2::connect(gateway.inbound());
        let fields = [(":method", "GET"), (":scheme", "http"), (":path", spelling), (":authority", "x")];
        let status = http2.ask(&fields, None);
        assert!(["400", "401"].contains(&&*status), "{spelling}: {status} over HTTP/2");
        let absolute = Request::get(format!("http://{}{spelling}", gateway.inbound()));
        assert!([400, 401].contains(&gateway.ask(&absolute).status), "{spelling} behind a host");
        let upgrade = Request::get(*spelling).header("Connection", "upgrade").header("Upgrade", "websocket");
        assert!([400, 401].contains(&gateway.ask(&upgrade).status), "{spelling} as an upgrade");
    }
    assert_eq!(upstream.waiting(), [], "the service has seen none of them");
    let token = token_of("s");
    for spelling in ["/%61dmin/x", "/admin/%78", "/x/../admin/x", "/%2e/admin/./x"] {
        assert_eq!(gateway.ask(&Request::get(spelling).bearer(&token)).status, 200, "{spelling}");
        assert_eq!(upstream.next().target, "/admin/x", "{spelling}");
    }
}

#[test]
fn f04_limits_and_claims_count_for_every_spelling() {
    let upstream = Upstream::start();
    let api = api_of("a", upstream.address(), guarded(json!({ "/role": "clerk" })));
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &json!([api]).to_string())]);
    let token = token_of("s");
    for spelling in SPELLINGS {
        let response = gateway.ask(&Request::get(*spelling).bearer(&token));
        assert!([400, 403].contains(&response.status), "{spelling}: {}", response.shown());
        let body = Request::new("POST", spelling.replace("admin", "small").replace("%61dmin", "sm%61ll"));
        let status = gateway.ask(&body.body("hello")).status;
        // Encoded or upper-case letters name another path here.
        let is_other = spelling.contains("%64") || spelling.contains("ADMIN");
        assert!([400, 413].contains(&status) || is_other, "{spelling}: {status}");
    }
    upstream.waiting();
    assert_eq!(gateway.ask(&Request::get("/once/x")).status, 200);
    for spelling in ["/%6fnce/x", "/ONCE/x", "/x/../once/y", "/%2e/once/%7e"] {
        assert_eq!(gateway.ask(&Request::get(spelling)).status, 429, "{spelling}");
    }
}

#[test]
fn f04_other_paths_are_forwarded_unchanged() {
    let upstream = Upstream::start();
    let gateway = start(upstream.address(), json!({}));
    for (target, received) in [
        ("/a%20b", "/a%20b"),
        ("/a+b/%2B", "/a+b/%2B"),
        ("/%E2%82%AC/%e2%82%ac", "/%E2%82%AC/%E2%82%AC"),
        ("/%E4", "/%E4"),
        ("/a;b=c,d/@x:!$&'()*=", "/a;b=c,d/@x:!$&'()*="),
        ("/%3B%2C%40%3A%21%24%26%27%28%29%2A%3D", "/%3B%2C%40%3A%21%24%26%27%28%29%2A%3D"),
        ("/%2561dmin/x", "/%2561dmin/x"),
        ("/%EF%BD%81dmin/x", "/%EF%BD%81dmin/x"),
        ("/[x]|", "/[x]|"),
        ("/x?a=%61&b=%2e%2E/../;%zz&%00", "/x?a=%61&b=%2e%2E/../;%zz&%00"),
        ("/~me/.well-known/a...b/c-_", "/~me/.well-known/a...b/c-_"),
        ("/x/", "/x/"),
        ("/", "/"),
    ] {
        let response = gateway.ask(&Request::get(target));
        assert_eq!(response.status, 200, "{target}: {}", response.shown());
        assert_eq!(upstream.next().target, received, "{target}");
    }
}

#[test]
fn f04_a_refusal_gives_the_reason() {
    let upstream = Upstream::start();
    let gateway = start(upstream.address(), json!({}));
    for (target, text) in [
        ("/%zz", "In a path, % must be followed by two hexadecimal digits."),
        ("/%00", "The path must not contain control characters."),
        ("/%c0%af", "A path must not contain overlong UTF-8."),
        ("/a%2Fb", "The path must not contain an encoded slash or a backslash (encoded_slashes)."),
        ("/a//b", "The path must not contain an empty segment (empty_segments)."),
        ("/a/..;/b", "The path must not contain dot segments in disguise."),
        ("/admin;/b", "The path can be read in two ways that lead to different endpoints."),
    ] {
        let response = gateway.ask(&Request::get(target));
        assert_eq!((response.status, &*response.text()), (400, text), "{target}");
    }
    assert_eq!(upstream.waiting(), []);
}

#[test]
fn f04_a_definition_may_allow_more() {
    let upstream = Upstream::start();
    let same = json!({ "encoded_slashes": "same_endpoint", "empty_segments": "same_endpoint" });
    let gateway = start(upstream.address(), same);
    for target in ["/x%2Fy", "//x///y/", r"/x\y", "/x%2F%5C//"] {
        assert_eq!(gateway.ask(&Request::get(target)).status, 200, "{target}");
        assert_eq!(upstream.next().target, target);
    }
    for target in SPELLINGS {
        assert!([400, 401].contains(&gateway.ask(&Request::get(*target)).status), "{target}");
    }
    let allow = json!({ "encoded_slashes": "allow", "empty_segments": "allow", "path_parameters": "allow" });
    let gateway = start(upstream.address(), allow);
    for target in ["/admin%2Fx", "//admin//x", "/admin;a/x"] {
        assert_eq!(gateway.ask(&Request::get(target)).status, 200, "the service receives {target} unchanged");
        assert_eq!(upstream.next().target, target);
    }
    let mut api = definition("w", "w");
    api["proxy"]["encoded_slashes"] = json!("yes");
    let response = gateway.ask_internal(&Request::post_json("/v3/apis", api.to_string()));
    assert_eq!(response.status, 400, "{}", response.text());
    assert!(response.text().contains("encoded_slashes"), "{}", response.text());
}

#[test]
fn f04_captures_stay_in_the_path_that_replaces() {
    let upstream = Upstream::start();
    let endpoint = |id: &str, regex: &str, replacement: &str| json!({ "id": id, "method": "GET", "path_regex": regex, "path_replacement": replacement });
    let mut api = api_of(
        "a",
        upstream.address(),
        json!([
            endpoint("user", "/users/([^/]+)", r"/v1/user/\1/public"),
            endpoint("files", "/files(.*)", r"/static/\1"),
            endpoint("two", "/two/(.*)-(.*)", r"/v1/\1\2/x"),
            endpoint("query", "/find/(.*)", r"/search?only=public&text=\1"),
        ]),
    );
    api["proxy"]["encoded_slashes"] = json!("allow");
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &json!([api]).to_string())]);
    for target in [
        "/users/..%2F..%2Fadmin",
        "/users/..;x",
        "/users/..%3B",
        "/users/..%20",
        r"/users/..\x",
        "/users/%2e%2e%2f",
        "/files..",
        "/files..;",
        "/two/.-.",
        "/two/%2E-%2e",
    ] {
        let response = gateway.ask(&Request::get(target));
        assert_eq!(response.status, 400, "{target}: {}", response.shown());
    }
    assert_eq!(upstream.waiting(), []);
    for (target, received) in [
        ("/users/b%3Fc%23d", "/v1/user/b%3Fc%23d/public"),
        ("/users/a%3Bb%C3%BC", "/v1/user/a%3Bb%C3%BC/public"),
        ("/users/a%2Fb", "/v1/user/a%2Fb/public"),
        ("/files/a...b/.c", "/static//a...b/.c"),
        ("/find/a&only=all/../x?y=&z", "/search?only=public&text=x&y=&z"),
        ("/find/a&only=all?y", "/search?only=public&text=a%26only=all&y"),
    ] {
        assert_eq!(gateway.ask(&Request::get(target)).status, 200, "{target}");
        assert_eq!(upstream.next().target, received, "{target}");
    }
}

#[test]
fn f04_the_gateways_own_paths_have_one_spelling_too() {
    let upstream = Upstream::start();
    let gateway = start(upstream.address(), json!({}));
    for own in
        ["/_rig/health", "/%5frig/health", "/%5Frig/%68ealth", "/x/../_rig/health", "/_rig/x/%2e%2e/health"]
    {
        assert_eq!(gateway.ask(&Request::get(own)).text(), "OK", "{own}");
    }
    for other in ["/_rig/../admin/x", "/_rig/%2e%2E/admin/x"] {
        assert_eq!(gateway.ask(&Request::get(other)).status, 401, "{other}");
    }
    assert_eq!(gateway.ask(&Request::get("//_rig/health")).status, 400);
    assert_eq!(gateway.ask(&Request::get("/_rig//health")).status, 404);
    assert_eq!(upstream.waiting(), []);
    let preflight = gateway.ask(&Request::new("OPTIONS", "/%61dmin/x"));
    assert_eq!(preflight.header("allow"), Some("GET, HEAD, POST"));
}

#[test]
fn f04_the_internal_port_checks_what_it_serves() {
    let token = "an-api-token-for-tests";
    let gateway = Gateway::start(&[("API_TOKEN", token)]);
    let status = |target: &str, bearer: bool| {
        let request = Request::get(target);
        gateway.ask_internal(&if bearer { request.bearer(token) } else { request }).status
    };
    for target in ["/health", "/%68ealth", "/v4/../health", "/health/"] {
        assert_eq!(status(target, false), 200, "{target}");
    }
    for target in [
        "/v4/sessions",
        "/%764/sessions",
        "/health/../v4/sessions",
        "/health/%2e%2E/v4/sessions",
        "/health/.%2e/v4/./sessions",
        "/v3/session%2Dblacklist/x",
        "/metrics",
    ] {
        assert_eq!(status(target, false), 401, "{target}");
        let expected = if target.contains("blacklist") { 404 } else { 200 };
        assert_eq!(status(target, true), expected, "{target}");
    }
    for target in
        ["//v4/sessions", "/health//../v4/sessions", "/health;/../v4/sessions", "/health%2F..%2Fv4/sessions"]
    {
        assert!([401, 404].contains(&status(target, false)), "{target}");
    }
    assert_eq!(status("/health%00", false), 401);
    for target in ["/%zz", "/health/%c0%ae%c0%ae/v4"] {
        assert_eq!(status(target, false), 400, "{target}");
    }
    let blacklisted = Request::new("POST", "/v3/session%2Dblacklist").bearer(token);
    let blacklisted = blacklisted.header("Content-Type", "application/json");
    let body = r#"{"sessionId":"a/b","validityInSeconds":60}"#;
    assert_eq!(gateway.ask_internal(&blacklisted.body(body)).status, 201);
    assert_eq!(status("/v3/session-blacklist/a%2fb", true), 200);
}

/// Requests the secret of a real service in every spelling, without a token; then with one.
fn assert_the_secret_is_guarded(service: std::net::SocketAddr) {
    for rules in [json!({}), json!({ "encoded_slashes": "same_endpoint", "empty_segments": "same_endpoint" })]
    {
        let gateway = start(service, rules);
        for spelling in SPELLINGS {
            let response = gateway.ask(&Request::get(*spelling));
            assert!(!response.text().contains("secret"), "{spelling}: {}", response.text());
        }
        let response = gateway.ask(&Request::get("/%61dmin/x").bearer(&token_of("s")));
        assert_eq!(
            (response.status, response.text().trim()),
            (200, "secret"),
            "with a token, the secret is returned"
        );
    }
}

#[test]
fn f04_nginx_as_the_service() {
    for merge in ["on", "off"] {
        let nginx = Nginx::start_with(&format!(
            "merge_slashes {merge}; location / {{ return 404; }} location ~* ^/+admin/ {{ return 200 secret; }}"
        ));
        assert_the_secret_is_guarded(nginx.address());
    }
}

#[test]
fn f04_haproxy_as_the_service() {
    let haproxy = Haproxy::start(
        "
frontend f
    bind ADDRESS
    http-request normalize-uri percent-decode-unreserved
    http-request normalize-uri path-strip-dot
    http-request normalize-uri path-strip-dotdot
    http-request normalize-uri path-merge-slashes
    http-request return status 200 content-type text/plain string secret if { path,url_dec -i -m beg /admin/ }
    http-request return status 404
",
    );
    assert_the_secret_is_guarded(haproxy.address());
}

#[test]
fn f04_python_as_the_service() {
    let script = r#"
import http.server, posixpath, sys, urllib.parse
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        path = posixpath.normpath(urllib.parse.unquote(self.path.split("?")[0])).lower().replace("\\", "/")
        body = b"secret" if path.lstrip("/").startswith("admin/") else b"open"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"#;
    assert_the_secret_is_guarded(ScriptServer::start("python3", "-c", script).address());
}

#[test]
fn f04_node_as_the_service() {
    let script = r#"
const server = require("node:http").createServer((request, response) => {
  let path = new URL(request.url, "http://localhost").pathname;
  try { path = decodeURIComponent(path); } catch {}
  path = require("node:path").posix.normalize(path.toLowerCase());
  response.end(path.startsWith("/admin/") ? "secret" : "open");
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"#;
    assert_the_secret_is_guarded(ScriptServer::start("node", "-e", script).address());
}
