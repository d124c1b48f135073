//! Sources of the client's address: only proxies that the operator trusts, by headers or by the
//! PROXY protocol.

use rig_tests::*;
use serde_json::{Value, json};

/// Headers in which proxies describe their client, here sent by the client itself.
const CLAIMS: &[(&str, &str)] = &[
    ("Forwarded", "for=6.6.6.6;proto=https;host=evil.test"),
    ("X-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded-For", "7.7.7.7"),
    ("X-Forwarded-Host", "evil.test"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Port", "443"),
    ("X-Forwarded-Prefix", "/evil"),
    ("X-Forwarded-Server", "evil.test"),
    ("X-Forwarded-Scheme", "https"),
    ("X-Forwarded-Ssl", "on"),
    ("X-Forwarded-User", "root"),
    ("X-Forwarded-Client-Cert", "Subject=root"),
    ("X-Real-IP", "6.6.6.6"),
    ("X-Original-URL", "/admin/x"),
    ("X-Original-Host", "evil.test"),
    ("X-Rewrite-URL", "/admin/x"),
    ("X-Host", "evil.test"),
    ("Front-End-Https", "on"),
    ("True-Client-IP", "6.6.6.6"),
    ("CF-Connecting-IP", "6.6.6.6"),
    ("X-Client-IP", "6.6.6.6"),
    ("X-Cluster-Client-IP", "6.6.6.6"),
    ("Client-Cert", ":AAAA:"),
    ("X-Forward-For", "6.6.6.6"),
    ("Forwarded-For", "6.6.6.6"),
    ("X-Originating-IP", "6.6.6.6"),
    ("X-Source-IP", "6.6.6.6"),
    ("Incap-Client-IP", "6.6.6.6"),
    ("X-Remote-User", "root"),
    ("Remote-User", "root"),
    ("Remote_User", "root"),
    ("X-Auth-Request-Email", "root@evil.test"),
    ("X-SSL-Client-Cert", ":AAAA:"),
    ("SSL-Client-Cert", ":AAAA:"),
    ("X-Script-Name", "/admin/x"),
    ("X_Forwarded_For", "6.6.6.6"),
    ("X_Forwarded-Host", "evil.test"),
    ("X-Forwarded_Proto", "https"),
    ("X_Real_IP", "6.6.6.6"),
    ("X_Original_URL", "/admin/x"),
    ("Client_Cert", ":AAAA:"),
];

fn claims(request: Request) -> Request {
    CLAIMS.iter().fold(request, |request, (name, value)| request.header(name, *value))
}

/// Starts a gateway in front of this service, with these additional settings.
fn start(upstream: &Upstream, more: &[(&str, &str)]) -> Gateway {
    let apis = json!([api_of(
        "a",
        upstream.address(),
        json!([
            { "id": "all", "method": "GET", "path_regex": "/.*" },
            { "id": "post", "method": "POST", "path_regex": "/.*" },
            { "id": "once", "method": "GET", "path_regex": "/once",
              "rate_limit": { "requests": 1, "within_ms": 86_400_000, "by": "address" } },
        ])
    )]);
    Gateway::start(
        &[&[("PROXY_CONFIG_FILE", &*apis.to_string()), ("REQUEST_LOG", "console")][..], more].concat(),
    )
}

/// Asserts that a service has received none of the claims of a client.
fn is_clean(received: &Received, gateway: &Gateway, transport: &str) {
    let all = format!("{received:?}");
    for lie in ["6.6.6.6", "7.7.7.7", "evil", "root", "AAAA", "/admin/x"] {
        assert!(!all.contains(lie), "{transport}: {lie} in {all}");
    }
    assert!(received.headers.iter().all(|(name, _)| !name.contains('_')), "{transport}: {all}");
    // Checked by name, since its value may occur in a port of this test.
    assert_eq!(received.header("x-forwarded-port"), None, "{transport}");
    let inbound = gateway.inbound();
    assert_eq!(received.all("x-forwarded-for").collect::<Vec<_>>(), ["127.0.0.1"], "{transport}");
    assert_eq!(received.all("x-forwarded-proto").collect::<Vec<_>>(), ["http"], "{transport}");
    assert_eq!(received.all("x-forwarded-host").collect::<Vec<_>>(), [inbound.to_string()], "{transport}");
    let forwarded = format!("for=127.0.0.1;by=127.0.0.1;host=\"{inbound}\";proto=http");
    assert_eq!(received.all("forwarded").collect::<Vec<_>>(), [forwarded], "{transport}");
}

#[test]
fn f07_no_proxy_is_trusted_by_default() {
    let upstream = Upstream::start();
    let gateway = start(&upstream, &[]);
    assert_eq!(gateway.ask(&claims(Request::get("/x"))).status, 200);
    is_clean(&upstream.next(), &gateway, "HTTP/1.1");
    let names: Vec<_> = CLAIMS.iter().map(|(name, _)| *name).collect();
    gateway.ask(&claims(Request::get("/x").header("Connection", names.join(", "))));
    is_clean(&upstream.next(), &gateway, "named by Connection");
    let upgrade = Request::get("/upgrade").header("Connection", "upgrade").header("Upgrade", "echo");
    let mut wire = claims(upgrade).start(gateway.inbound());
    assert_eq!(Response::read_head(&mut wire).unwrap().status, 101);
    is_clean(&upstream.next(), &gateway, "an upgrade");
    let authority = gateway.inbound().to_string();
    let lower: Vec<_> = CLAIMS.iter().map(|(name, value)| (name.to_ascii_lowercase(), *value)).collect();
    let mut fields =
        vec![(":method", "GET"), (":scheme", "http"), (":path", "/x"), (":authority", &authority)];
    fields.extend(lower.iter().map(|(name, value)| (&**name, *value)));
    assert_eq!(Http2::connect(gateway.inbound()).ask(&fields, None), "200");
    is_clean(&upstream.next(), &gateway, "HTTP/2");
    let mut wire = Wire::connect(gateway.inbound());
    wire.send(format!(
        "POST /x HTTP/1.1\r\nHost: {authority}\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nConnection: te\r\n\
         Trailer: X-Sum\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 1\r\n"
    ));
    CLAIMS.iter().for_each(|(name, value)| wire.send(format!("{name}: {value}\r\n")));
    wire.send("\r\n");
    assert_eq!(Response::read(&mut wire, false).status, 200);
    let received = upstream.next();
    is_clean(&received, &gateway, "trailers");
    assert_eq!(received.trailers, [("x-sum".to_owned(), "1".to_owned())]);
    let log = gateway.end();
    assert!(log.contains("127.0.0.1") && !log.contains("6.6.6.6"), "{log}");
}

#[test]
fn f07_no_client_bypasses_a_limit_by_headers() {
    let upstream = Upstream::start();
    for trusted in ["", "10.0.0.0/8,::1"] {
        let gateway = start(&upstream, &[("TRUSTED_PROXIES", trusted)]);
        assert_eq!(gateway.ask(&Request::get("/once")).status, 200);
        assert_eq!(gateway.ask(&claims(Request::get("/once"))).status, 429, "trusted: {trusted}");
    }
}

#[test]
fn f07_a_trusted_proxy_is_believed() {
    let upstream = Upstream::start();
    let gateway = start(&upstream, &[("TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.1")]);
    let inbound = gateway.inbound();
    let by_proxy = |chain: &str| {
        Request::get("/x")
            .header("X-Forwarded-For", chain)
            .header("X-Forwarded-Proto", "https")
            .header("X-Forwarded-Host", "shop.example")
            .header("X-Forwarded-Port", "443")
            .header("X-Forwarded-Prefix", "/shop")
            .header("X-Real-IP", "192.0.2.1")
            .header("X_Forwarded_Port", "6")
    };
    assert_eq!(gateway.ask(&by_proxy("6.6.6.6, 192.0.2.1, 10.0.0.7")).status, 200);
    let received = upstream.next();
    for (name, value) in [
        ("forwarded", "for=192.0.2.1;by=127.0.0.1;host=\"shop.example\";proto=https"),
        ("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.0.0.7, 127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-prefix", "/shop"),
        ("x-real-ip", "192.0.2.1"),
    ] {
        assert_eq!(received.all(name).collect::<Vec<_>>(), [value], "{name}");
    }
    assert_eq!(received.header("x_forwarded_port"), None, "proxies do not send this header");
    let once = |field: &str, value: &str| gateway.ask(&Request::get("/once").header(field, value)).status;
    assert_eq!(once("X-Forwarded-For", "6.6.6.1, 192.0.2.1"), 200);
    assert_eq!(once("X-Forwarded-For", "6.6.6.2, 192.0.2.1"), 429, "the client is the same");
    assert_eq!(once("X-Forwarded-For", "192.0.2.1, 10.1.1.1"), 429);
    assert_eq!(once("X-Forwarded-For", "192.0.2.2"), 200, "another client");
    assert_eq!(once("Forwarded", "for=\"192.0.2.2:99\";proto=https"), 429);
    assert_eq!(once("Forwarded", "for=\"[2001:db8:1:2::3]\""), 200);
    assert_eq!(once("X-Real-IP", "2001:db8:1:2::4"), 429, "the same network of a host");
    let mut http2 = Http2::connect(inbound);
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/once"),
        (":authority", "x"),
        ("x-forwarded-for", "192.0.2.2"),
    ];
    assert_eq!(http2.ask(&fields, None), "429");
    let log = gateway.end();
    assert!(log.contains("192.0.2.1"), "{log}");
}

/// Returns the `Forwarded` that the service receives if a connection begins with these bytes;
/// `None` if the connection was closed.
fn through(gateway: &Gateway, upstream: &Upstream, header: &[u8]) -> Option<String> {
    let mut wire = Wire::connect(gateway.inbound());
    wire.send(header);
    wire.send(Request::get("/x").bytes(gateway.inbound()));
    let response = Response::read_head(&mut wire)?;
    assert_eq!(response.status, 200);
    let received = upstream.next();
    received.header("forwarded").and_then(|value| value.split(';').next()).map(str::to_owned)
}

fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("a short header").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, rest].concat()
}

#[test]
fn f07_the_proxy_protocol_tells_who_connects() {
    let upstream = Upstream::start();
    let on = [("PROXY_PROTOCOL", "on"), ("TRUSTED_PROXIES", "127.0.0.1"), ("HEAD_TIMEOUT", "300ms")];
    let gateway = start(&upstream, &on);
    let addresses = [192, 0, 2, 9, 10, 0, 0, 1, 1, 1, 0, 80];
    for (header, client) in [
        (b"PROXY TCP4 192.0.2.8 10.0.0.1 4000 80\r\n".to_vec(), Some("for=192.0.2.8")),
        (b"PROXY TCP6 2001:db8::8 ::1 4000 80\r\n".to_vec(), Some("for=\"[2001:db8::8]\"")),
        (b"PROXY UNKNOWN\r\n".to_vec(), Some("for=127.0.0.1")),
        (binary(0x21, 0x11, &addresses), Some("for=192.0.2.9")),
        (binary(0x21, 0x11, &[&addresses[..], &[4, 0, 2, 1, 1]].concat()), Some("for=192.0.2.9")),
        (binary(0x20, 0x00, &[]), Some("for=127.0.0.1")),
        (binary(0x21, 0x31, &[0; 216]), Some("for=127.0.0.1")),
        (binary(0x21, 0x11, &addresses[..9]), None),
        (binary(0x23, 0x11, &addresses), None),
        (binary(0x20, 0x00, &[0; 60_000]), None),
        (b"PROXY TCP4 192.0.2.8 10.0.0.1 4000\r\n".to_vec(), None),
        (b"".to_vec(), None),
    ] {
        assert_eq!(through(&gateway, &upstream, &header).as_deref(), client, "{}", header.escape_ascii());
    }
    let mut slow = Wire::connect(gateway.inbound());
    slow.send("PROXY TCP4 192.0.2.8 10");
    assert_eq!(slow.rest(), b"", "closed in time");
    let mut silent = Wire::connect(gateway.inbound());
    assert_eq!(silent.rest(), b"", "closed in time");
    assert_eq!(
        gateway.ask_internal(&Request::get("/health")).status,
        200,
        "the internal port expects no header"
    );
    // The header names the client, whose own claims are not trusted.
    let mut wire = Wire::connect(gateway.inbound());
    wire.send("PROXY TCP4 192.0.2.8 10.0.0.1 4000 80\r\n");
    wire.send(claims(Request::get("/x")).bytes(gateway.inbound()));
    assert_eq!(Response::read(&mut wire, false).status, 200);
    let received = upstream.next();
    assert_eq!(received.all("x-forwarded-for").collect::<Vec<_>>(), ["192.0.2.8"]);
    assert_eq!(received.header("x-real-ip"), None);
    let mut wire = Wire::connect(gateway.inbound());
    wire.send("PROXY TCP4 127.0.0.1 10.0.0.1 4000 80\r\n");
    wire.send(Request::get("/x").header("X-Forwarded-For", "192.0.2.3").bytes(gateway.inbound()));
    assert_eq!(Response::read(&mut wire, false).status, 200);
    assert_eq!(
        upstream.next().header("x-forwarded-for"),
        Some("192.0.2.3, 127.0.0.1"),
        "another trusted proxy"
    );
}

#[test]
fn f07_what_does_not_begin_with_the_proxy_protocol_is_counted_and_logged() {
    let upstream = Upstream::start();
    let gateway = start(&upstream, &[("PROXY_PROTOCOL", "on"), ("TRUSTED_PROXIES", "127.0.0.1")]);
    let refused = || gateway.metric(r#"rig_connections_refused_total{reason="proxy_protocol"}"#);
    // A health check of a balancer, which only connects. It has been handled by the time the next
    // connection is counted.
    drop(Wire::connect(gateway.inbound()));
    for count in 1..=20 {
        assert_eq!(through(&gateway, &upstream, b"PROXY TCP9 damaged\r\n"), None);
        eventually("the count", || (refused() == f64::from(count)).then_some(()));
    }
    let log = gateway.end();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("PROXY_PROTOCOL is on")).collect();
    assert!(!lines.is_empty() && lines.len() < 20, "{log}");
    assert!(lines[0].contains(r#""WARN""#) && lines[0].contains("127.0.0.1"), "{log}");
}

#[test]
fn f07_the_proxy_protocol_is_accepted_from_trusted_proxies_only() {
    let upstream = Upstream::start();
    let gateway = start(&upstream, &[("PROXY_PROTOCOL", "on"), ("TRUSTED_PROXIES", "10.0.0.0/8")]);
    assert_eq!(through(&gateway, &upstream, b"PROXY TCP4 192.0.2.8 10.0.0.1 4000 80\r\n"), None);
    let told = || gateway.log().contains("the address is not in TRUSTED_PROXIES").then_some(());
    eventually("a line of the log", told);
    assert_eq!(through(&gateway, &upstream, b""), None);
    let local = through(&gateway, &upstream, b"PROXY UNKNOWN\r\n");
    assert_eq!(local.as_deref(), Some("for=127.0.0.1"), "the node's own host cannot name other clients");
    let gateway = start(&upstream, &[("TRUSTED_PROXIES", "127.0.0.1")]);
    let mut wire = Wire::connect(gateway.inbound());
    wire.send("PROXY TCP4 192.0.2.8 10.0.0.1 4000 80\r\n");
    wire.send(Request::get("/x").bytes(gateway.inbound()));
    assert_eq!(
        Response::read_head(&mut wire).unwrap().status,
        400,
        "without the setting, the header is not HTTP"
    );
}

#[test]
fn f07_addresses_of_the_proxy_protocol_are_limited() {
    let upstream = Upstream::start();
    let settings =
        [("PROXY_PROTOCOL", "on"), ("TRUSTED_PROXIES", "127.0.0.1"), ("MAX_CONNECTIONS_PER_ADDRESS", "1")];
    let gateway = start(&upstream, &settings);
    let connect = |address: &str| {
        let mut wire = Wire::connect(gateway.inbound());
        wire.send(format!("PROXY TCP4 {address} 10.0.0.1 4000 80\r\n"));
        wire.send(Request::get("/x").bytes(gateway.inbound()));
        let status = Response::read(&mut wire, false).status;
        (wire, status)
    };
    let (first, status) = connect("192.0.2.1");
    assert_eq!(status, 200);
    assert_eq!(connect("192.0.2.1").1, 429);
    assert_eq!(connect("192.0.2.2").1, 200);
    drop(first);
    eventually("the place of the first", || (connect("192.0.2.1").1 == 200).then_some(()));
}

fn seen_by(upstream: &Upstream) -> Value {
    let received = upstream.next();
    json!([
        received.header("forwarded").map(|value| value.split(";by=").next()),
        received.header("x-forwarded-for")
    ])
}

#[test]
fn f07_haproxy_before_the_gateway() {
    let upstream = Upstream::start();
    for sends in ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl"] {
        let gateway = start(&upstream, &[("PROXY_PROTOCOL", "on"), ("TRUSTED_PROXIES", "127.0.0.1")]);
        let haproxy = Haproxy::start(&format!(
            "
listen l
    mode tcp
    bind ADDRESS
    source 127.0.0.1
    server gateway {} {sends}
",
            gateway.inbound()
        ));
        let request = Request::get("/x").header("X-Forwarded-For", "6.6.6.6");
        // The client counts as a trusted proxy here, since it connects from the same host.
        assert_eq!(request.send(haproxy.address()).status, 200, "{sends}");
        assert_eq!(seen_by(&upstream), json!(["for=6.6.6.6", "6.6.6.6, 127.0.0.1"]), "{sends}");
    }
    let gateway = start(&upstream, &[("TRUSTED_PROXIES", "127.0.0.1")]);
    let haproxy = Haproxy::start(&format!(
        "
listen l
    bind ADDRESS
    http-request set-header X-Forwarded-Proto https
    option forwardfor
    server gateway {}
",
        gateway.inbound()
    ));
    assert_eq!(Request::get("/x").header("X-Forwarded-For", "6.6.6.6").send(haproxy.address()).status, 200);
    let received = upstream.next();
    assert_eq!(received.header("x-forwarded-proto"), Some("https"));
}

#[test]
fn f07_nginx_before_the_gateway() {
    let upstream = Upstream::start();
    for (trusted, expected) in [
        ("127.0.0.1", json!(["for=192.0.2.5", "192.0.2.5, 127.0.0.1"])),
        ("", json!(["for=127.0.0.1", "127.0.0.1"])),
    ] {
        let gateway = start(&upstream, &[("TRUSTED_PROXIES", trusted)]);
        let nginx = Nginx::start_with(&format!(
            "location / {{ proxy_pass http://{}; proxy_set_header X-Forwarded-For 192.0.2.5; }}",
            gateway.inbound()
        ));
        assert_eq!(Request::get("/x").send(nginx.address()).status, 200);
        assert_eq!(seen_by(&upstream), expected, "trusted: {trusted:?}");
    }
}

#[test]
fn f07_curl_before_the_gateway() {
    let upstream = Upstream::start();
    let gateway = start(&upstream, &[("PROXY_PROTOCOL", "on"), ("TRUSTED_PROXIES", "127.0.0.1")]);
    let mut curl = std::process::Command::new("curl");
    curl.args(["--silent", "--fail", "--max-time", "20", "--haproxy-protocol", "--output", "/dev/null"]);
    curl.arg(format!("http://{}/x", gateway.inbound()));
    assert!(curl.status().expect("curl is installed: scripts/need curl").success());
    assert_eq!(seen_by(&upstream), json!(["for=127.0.0.1", "127.0.0.1"]));
}

#[test]
fn f07_settings_that_make_no_sense_are_refused() {
    for (settings, text) in [
        (&["TRUSTED_PROXIES=10.0.0.0/33"][..], "TRUSTED_PROXIES"),
        (&["TRUSTED_PROXIES=localhost"], "TRUSTED_PROXIES"),
        (&["TRUSTED_PROXIES=10.0.0.1/8"], "10.0.0.0/8"),
        (&["TRUSTED_PROXIES=10.0.0.0/8,,::1"], "TRUSTED_PROXIES"),
        (&["PROXY_PROTOCOL=on"], "TRUSTED_PROXIES"),
        (&["PROXY_PROTOCOL=v1"], "PROXY_PROTOCOL"),
    ] {
        let mut rig = std::process::Command::new(Gateway::binary());
        rig.arg("check").env_clear().env("JWT_SECRET_KEY", KEY);
        rig.envs(settings.iter().filter_map(|setting| setting.split_once('=')));
        let output = rig.output().expect("the gateway's binary");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(text), "{settings:?}: {said}");
    }
}

#[test]
fn f07_the_proxy_protocol_comes_before_tls() {
    let upstream = Upstream::start();
    let folder = Folder::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let [chain, key] = ["chain.pem", "key.pem"].map(|name| folder.join(name));
    std::fs::write(&chain, made.cert.pem()).expect("a file");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    let settings = [
        ("PROXY_PROTOCOL", "on"),
        ("TRUSTED_PROXIES", "127.0.0.1"),
        ("HTTPS_CERTFILE", &*chain),
        ("HTTPS_KEYFILE", &*key),
    ];
    let gateway = start(&upstream, &settings);
    for (arguments, status) in
        [(&["--haproxy-protocol"][..], true), (&["--haproxy-protocol", "--http1.1"], true), (&[], false)]
    {
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--fail", "--insecure", "--max-time", "20", "--output", "/dev/null"])
            .args(arguments);
        curl.arg(format!("https://localhost:{}/x", gateway.port("inbound_tls").port()));
        assert_eq!(
            curl.status().expect("curl is installed: scripts/need curl").success(),
            status,
            "{arguments:?}"
        );
        if status {
            assert_eq!(upstream.next().header("x-forwarded-proto"), Some("https"), "{arguments:?}");
        }
    }
    // TLS was terminated at the balancer, whose TLV says so (section 2.2.6).
    let addresses = [192, 0, 2, 9, 10, 0, 0, 1, 1, 1, 0, 80];
    let mut wire = Wire::connect(gateway.inbound());
    wire.send(binary(0x21, 0x11, &[&addresses[..], &[0x20, 0, 5, 1, 0, 0, 0, 0]].concat()));
    wire.send(Request::get("/x").bytes(gateway.inbound()));
    assert_eq!(Response::read(&mut wire, false).status, 200);
    let received = upstream.next();
    assert_eq!(received.header("x-forwarded-proto"), Some("https"));
    assert!(received.header("forwarded").is_some_and(|value| value.ends_with("proto=https")), "{received:?}");
}

#[test]
fn f07_the_canary_and_connections_know_their_client() {
    let upstream = Upstream::start();
    let settings =
        [("PROXY_PROTOCOL", "on"), ("TRUSTED_PROXIES", "127.0.0.0/8"), ("CANARY_INTERVAL", "100ms")];
    let gateway = start(&upstream, &settings);
    eventually("a run of the canary", || {
        (gateway.metric_sum("rig_canary_runs_total", &[("result", "ok")]) > 0.0).then_some(())
    });
    let gateway = start(&upstream, &[("TRUSTED_PROXIES", "127.0.0.1")]);
    let request = Request::get("/_rig/v1/connection/sse").bearer(&token_of("s"));
    let _sse = Sse::open(gateway.inbound(), &request.header("X-Forwarded-For", "6.6.6.6, 192.0.2.77"))
        .unwrap_or_else(|refusal| panic!("refused: {}", refusal.shown()));
    let session = gateway.ask_internal(&Request::get("/v4/sessions/s")).text();
    assert!(session.contains(r#""192.0.2.77""#) && !session.contains("6.6.6.6"), "{session}");
}
