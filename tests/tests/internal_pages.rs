//! The internal port and web pages: other pages cannot act through an operator's browser.

use std::process::Command;

use rig_tests::*;

const API_TOKEN: &str = "an-api-token-for-tests";
const FORM: &str = "application/x-www-form-urlencoded";

/// The ways to reach an internal port: curl's arguments, and the beginning of the URL.
struct Ways {
    gateway: Gateway,
    _certificate: Folder,
    ways: [(&'static [&'static str], String); 4],
}

impl Ways {
    fn start(settings: &[(&str, &str)]) -> Self {
        let folder = Folder::new();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let [chain, key] = ["chain.pem", "key.pem"].map(|name| folder.join(name));
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
        std::fs::write(&chain, made.cert.pem()).expect("a file");
        let tls = [("HTTPS_CERTFILE", chain.as_str()), ("HTTPS_KEYFILE", key.as_str())];
        let gateway = Gateway::start(&[settings, &tls].concat());
        let http = format!("http://localhost:{}", gateway.internal().port());
        let https = format!("https://localhost:{}", gateway.port("internal_tls").port());
        let ways: [(&[&str], String); 4] = [
            (&["--http1.1"], http.clone()),
            (&["--http2-prior-knowledge"], http),
            (&["--http1.1"], https.clone()),
            (&["--http2"], https),
        ];
        Self { gateway, _certificate: folder, ways }
    }

    /// Returns status and body of the same request on each of the ways. `{own}` in an argument is
    /// the origin of the port.
    fn ask(&self, path: &str, arguments: &[&str]) -> Vec<String> {
        let ask = |(version, base): &(&[&str], String)| {
            let arguments = arguments.iter().map(|argument| argument.replace("{own}", base));
            let output = Command::new("curl")
                .args(["--silent", "--insecure", "--max-time", "10", "--write-out", " %{http_code}"])
                .args(*version)
                .args(arguments)
                .arg(format!("{base}{path}"))
                .output()
                .expect("curl is installed");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        self.ways.iter().map(ask).collect()
    }

    /// Checks that the answer has this status, and this word in its text, on each of the ways.
    fn check(&self, path: &str, arguments: &[&str], status: u16, word: &str) {
        for (said, (version, base)) in self.ask(path, arguments).iter().zip(&self.ways) {
            let expected = said.ends_with(&format!(" {status}")) && said.contains(word);
            assert!(expected, "{version:?} {base}{path} {arguments:?}: {said}");
        }
    }
}

/// Every route, with a method that it knows.
const ROUTES: [(&str, &str); 17] = [
    ("GET", "/health"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/swagger-ui/"),
    ("GET", "/v2/session-blacklist/a"),
    ("POST", "/v2/session-blacklist"),
    ("POST", "/v3/session-blacklist"),
    ("POST", "/v3/messages"),
    ("POST", "/v3/responses"),
    ("POST", "/v3/apis"),
    ("PUT", "/v3/apis/a"),
    ("DELETE", "/v3/apis/a"),
    ("OPTIONS", "/v3/session-blacklist"),
    ("POST", "/v4/revocations"),
    ("GET", "/v4/sessions"),
    ("DELETE", "/v4/sessions/a"),
    ("GET", "/nothing"),
];

#[test]
fn f61_a_page_of_another_origin_is_refused_on_every_route() {
    for settings in [&[][..], &[("API_TOKEN", API_TOKEN)]] {
        let ways = Ways::start(settings);
        let bearer = format!("Authorization: Bearer {API_TOKEN}");
        let refused = |method: &str, path: &str, said: &[&str]| {
            let arguments = [said, &["-X", method, "-H", &bearer]].concat();
            ways.check(path, &arguments, 403, "refused");
        };
        for (method, path) in ROUTES {
            refused(method, path, &["-HOrigin: http://evil.test"]);
            refused(method, path, &["-HSec-Fetch-Site: cross-site"]);
        }
        for said in [
            &["-HOrigin: null"][..],
            &["-HOrigin;"],
            &["-HOrigin: {own}", "-HOrigin: http://evil.test"],
            &["-HOrigin: {own}", "-HSec-Fetch-Site: cross-site"],
            &["-HOrigin: ftp://localhost"],
            &["-HOrigin: http://localhost:1"],
            &["-HSec-Fetch-Site: same-site"],
        ] {
            refused("GET", "/v4/sessions", said);
        }
        // The port's own origin, a typed URL, and services.
        for said in [
            &["-HOrigin: {own}"][..],
            &["-HOrigin: {own}", "-HSec-Fetch-Site: same-origin"],
            &["-HSec-Fetch-Site: same-origin"],
            &["-HSec-Fetch-Site: none", "-HSec-Fetch-Mode: navigate"],
            &[],
        ] {
            let arguments = [said, &["-H", &bearer]].concat();
            ways.check("/v4/sessions", &arguments, 200, "sessions");
        }
    }
}

#[test]
fn f61_nothing_is_revoked_by_a_form() {
    let ways = Ways::start(&[]);
    let post = |id: &str, said: &[&str], content_type: &str, status: u16| {
        // Over HTTP/2 the answer may be lost if the body is not read, so requests that are refused
        // have no body here.
        let body = if status == 201 { format!("sessionId={id}&validityInSeconds=60") } else { String::new() };
        let content_type = format!("Content-Type: {content_type}");
        let arguments = [said, &["-X", "POST", "-H", &content_type, "-d", &body]].concat();
        ways.check("/v3/session-blacklist", &arguments, status, "");
    };
    post("page", &["-HOrigin: http://evil.test"], FORM, 403);
    post("page", &["-HOrigin: {own}"], FORM, 403);
    post("page", &["-HOrigin: {own}"], "Application/X-WWW-Form-Urlencoded ; charset=utf-8", 403);
    post("page", &["-HOrigin: {own}"], "multipart/form-data; boundary=x", 403);
    post("page", &["-HOrigin: {own}"], "text/plain", 403);
    post("page", &["-HSec-Fetch-Site: cross-site"], FORM, 403);
    post("service", &[], FORM, 201);
    let is_revoked =
        |id: &str| ways.gateway.ask_internal(&Request::get(format!("/v3/session-blacklist/{id}")));
    assert_eq!((is_revoked("page").status, is_revoked("service").status), (404, 200));
}

#[test]
fn f61_a_link_to_the_swagger_ui_is_let_in() {
    let ways = Ways::start(&[]);
    let link = ["-HSec-Fetch-Site: cross-site", "-HSec-Fetch-Mode: navigate", "-HSec-Fetch-Dest: document"];
    for (path, status) in
        [("/swagger-ui", 303), ("/swagger-ui/", 200), ("/swagger-ui/index.html", 200), ("/v4/sessions", 403)]
    {
        ways.check(path, &link, status, "");
    }
    let framed = ["-HSec-Fetch-Site: cross-site", "-HSec-Fetch-Mode: navigate", "-HSec-Fetch-Dest: iframe"];
    for arguments in [
        &framed[..],
        &link[..1],
        &link[..2],
        &[&link[..], &["-X", "POST"]].concat(),
        &[&link[..], &["-HOrigin: null"]].concat(),
    ] {
        ways.check("/swagger-ui/", arguments, 403, "refused");
    }
    ways.check("/swagger-ui/swagger-ui.css", &link, 403, "refused");
}

#[test]
fn f62_without_a_token_only_names_of_the_port_are_answered() {
    let ways = Ways::start(&[("HOST", "rig.example")]);
    for (host, status) in [
        ("localhost", 200),
        ("LocalHost:1234", 200),
        ("localhost.", 200),
        ("app.localhost", 200),
        ("127.0.0.1:4010", 200),
        ("127.9.9.9", 200),
        ("[::1]:4010", 200),
        ("rig.example", 200),
        ("RIG.example:80", 200),
        ("evil.test", 421),
        ("evil.test:4010", 421),
        ("localhost.evil.test", 421),
        ("127.0.0.1.nip.io", 421),
        ("127.0.0.1.", 421),
        ("x.rig.example", 421),
        ("192.168.0.1", 421),
        ("0.0.0.0", 421),
        ("[::2]", 421),
    ] {
        let header = format!("Host: {host}");
        for (path, word) in [("/v4/sessions", "sessions"), ("/health", "OK"), ("/v3/apis", "[")] {
            let word = if status == 200 { word } else { "API_TOKEN" };
            ways.check(path, &["-H", &header], status, word);
        }
    }
    // The name in the target decides; a `Host` that differs is refused.
    let internal = ways.gateway.internal();
    for (request, status) in [
        ("GET http://evil.test/v4/sessions HTTP/1.1\r\nHost: evil.test\r\n\r\n".to_owned(), 421),
        ("GET http://evil.test/v4/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 400),
        (format!("GET http://{internal}/v4/sessions HTTP/1.1\r\nHost: {internal}\r\n\r\n"), 200),
        ("GET /v4/sessions HTTP/1.1\r\nHost:\r\n\r\n".to_owned(), 421),
        ("GET /v4/sessions HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET /v4/sessions HTTP/1.0\r\nHost: evil.test\r\n\r\n".to_owned(), 421),
        // Health checks of balancers. Browsers always send a name.
        ("GET /health HTTP/1.0\r\n\r\n".to_owned(), 200),
    ] {
        let mut wire = Wire::connect(internal);
        wire.send(&request);
        assert_eq!(Response::read(&mut wire, false).status, status, "{request}");
    }
}

#[test]
fn f61_f62_refusals_are_counted_and_logged() {
    let gateway = Gateway::start(&[]);
    let own = format!("http://{}", gateway.internal());
    let ask = |request: Request| gateway.ask_internal(&request).status;
    for _ in 0..10 {
        assert_eq!(ask(Request::get("/v4/sessions").header("Origin", "http://evil.test")), 403);
        let mut wire = Wire::connect(gateway.internal());
        wire.send("GET /v4/sessions HTTP/1.1\r\nHost: evil.test\r\n\r\n");
        assert_eq!(Response::read(&mut wire, false).status, 421);
    }
    let form = Request::new("POST", "/v3/session-blacklist").header("Content-Type", FORM);
    assert_eq!(ask(form.header("Origin", own)), 403);
    for (reason, count) in [("page", 10.0), ("host", 10.0), ("form", 1.0)] {
        let name = format!(r#"rig_internal_requests_refused_total{{reason="{reason}"}}"#);
        assert_eq!(gateway.metric(&name), count, "{reason}");
    }
    let log = gateway.end();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("refused by the internal port")).collect();
    assert!(!lines.is_empty() && lines.len() < 20, "{log}");
    assert!(lines[0].contains(r#""WARN""#) && lines[0].contains("another origin"), "{log}");
}

#[test]
fn f62_with_a_token_any_name_is_answered() {
    let ways = Ways::start(&[("API_TOKEN", API_TOKEN)]);
    let bearer = format!("-HAuthorization: Bearer {API_TOKEN}");
    ways.check("/v4/sessions", &[&bearer, "-HHost: rig.namespace.svc:4010"], 200, "sessions");
    ways.check("/health", &["-HHost: 10.0.0.7:4010"], 200, "OK");
    ways.check("/v4/sessions", &["-HHost: evil.test"], 401, "");
}

#[test]
fn f62_an_address_that_was_bound_is_a_name_of_the_port() {
    let gateway = Gateway::start(&[("API_BIND", "0.0.0.0"), ("HOST", "rig")]);
    assert!(gateway.log().contains("the name in HOST"), "{}", gateway.log());
    for (host, status) in [("rig:4010", 200), ("localhost", 200), ("gateway:4010", 421)] {
        let mut wire = Wire::connect(gateway.internal());
        wire.send(format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(Response::read(&mut wire, false).status, status, "{host}");
    }
}
