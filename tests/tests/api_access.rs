//! The internal port with several callers, each with its rights: tokens, tokens of a provider, and
//! certificates, which openssl issues and curl presents.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use rig_tests::*;
use serde_json::{Value, json};

const BODY: &str = r#"{"session": "s", "validityInSeconds": 60, "by": "bob"}"#;

/// Runs openssl in a folder.
fn openssl(folder: &Folder, arguments: &[&str]) -> Output {
    let mut command = Command::new("openssl");
    command.current_dir(folder.path()).args(arguments).stdin(Stdio::null());
    command.output().expect("openssl is installed")
}

/// An authority of client certificates that openssl has made.
struct ClientAuthority {
    folder: Folder,
}

impl ClientAuthority {
    fn new() -> Self {
        let authority = Self { folder: Folder::new() };
        let config = "[req]\ndistinguished_name = dn\nprompt = no\n[dn]\nCN = unused\n";
        std::fs::write(authority.folder.join("config"), config).expect("a file");
        authority.make("ca", &["basicConstraints = critical,CA:TRUE", "keyUsage = keyCertSign"], &[]);
        authority
    }

    /// Returns the file of its own certificate.
    fn file(&self) -> String {
        self.folder.join("ca.pem")
    }

    /// Issues a certificate with these subject alternative names. Returns its file, and its key's.
    fn issue(&self, name: &str, names: &str) -> [String; 2] {
        let names = format!("subjectAltName = {names}");
        let extensions = ["basicConstraints = critical,CA:FALSE", "extendedKeyUsage = clientAuth", &names];
        self.make(name, &extensions, &["-CA", "ca.pem", "-CAkey", "ca.key"]);
        [self.folder.join(&format!("{name}.pem")), self.folder.join(&format!("{name}.key"))]
    }

    fn make(&self, name: &str, extensions: &[&str], more: &[&str]) {
        let (subject, key) = (format!("/CN={name}"), format!("{name}.key"));
        let certificate = format!("{name}.pem");
        let mut arguments =
            vec!["req", "-config", "config", "-x509", "-days", "2", "-nodes", "-subj", &subject];
        arguments.extend(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        arguments.extend(["-keyout", &key, "-out", &certificate]);
        arguments.extend(extensions.iter().flat_map(|extension| ["-addext", extension]));
        arguments.extend(more);
        let output = openssl(&self.folder, &arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A gateway whose internal port has callers of each kind.
struct World {
    gateway: Gateway,
    provider: StubIssuer,
    server: Authority,
    clients: ClientAuthority,
    folder: Folder,
}

/// Returns the token of a caller that has one.
fn token(name: &str) -> String {
    format!("token-of-the-caller-{name}")
}

impl World {
    fn start() -> Self {
        let (folder, server, clients) = (Folder::new(), Authority::new("server"), ClientAuthority::new());
        let provider = StubIssuer::start();
        let file = |name: &str| {
            std::fs::write(folder.join(name), token(name) + "\n").expect("a file");
            folder.join(name)
        };
        let access = json!([
            { "name": "reader", "rights": ["read"], "token_file": file("reader") },
            { "name": "killer", "rights": ["revoke"], "token_file": file("killer") },
            { "name": "ops", "rights": ["revoke"], "issuer": "kc", "claim": "/roles", "value": "ops" },
            { "name": "ci", "rights": ["read", "revoke"], "certificate": "spiffe://example/ci" },
            { "name": "mail", "rights": ["publish"], "certificate": "ops@example.com" },
            { "name": "host", "rights": ["revoke"], "certificate": "Ops.example" },
        ]);
        let (certificate, key) = server.files("localhost");
        let gateway = Gateway::start(&[
            ("API_ACCESS", &access.to_string()),
            ("API_TOKEN", &token("api")),
            ("API_CLIENT_CA", &clients.file()),
            ("HTTPS_CERTFILE", &certificate),
            ("HTTPS_KEYFILE", &key),
            ("ISSUERS", &json!([provider.settings("kc", &json!({}))]).to_string()),
            ("DATA_DIR", &folder.join("data")),
        ]);
        Self { gateway, provider, server, clients, folder }
    }

    fn revoke(&self, token: &str) -> Response {
        self.gateway.ask_internal(&Request::post_json("/v4/revocations", BODY).bearer(token))
    }

    /// Asks over HTTPS with curl, with the certificate and key if there is one. Returns the status
    /// and the body; the status is 000 if there is no answer.
    fn curl(&self, certificate: Option<&[String; 2]>, path: &str, arguments: &[&str]) -> (String, String) {
        let mut command = Command::new("curl");
        command.args(["--silent", "--max-time", "10", "--write-out", "\n%{http_code}", "--noproxy", "*"]);
        command.args(["--cacert", &self.server.file()]).args(arguments);
        if let Some([certificate, key]) = certificate {
            command.args(["--cert", certificate, "--key", key]);
        }
        command.arg(format!("https://localhost:{}{path}", self.gateway.port("internal_tls").port()));
        let output = command.output().expect("curl is installed");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = printed.rsplit_once('\n').expect("the status is in a line of its own");
        (status.to_owned(), body.to_owned())
    }

    /// Revokes over HTTPS. Returns the status, and who did it.
    fn curl_revoke(&self, certificate: Option<&[String; 2]>, arguments: &[&str]) -> (String, Value) {
        let post = ["--header", "content-type: application/json", "--data", BODY];
        let (status, body) = self.curl(certificate, "/v4/revocations", &[&post, arguments].concat());
        let receipt: Value = serde_json::from_str(&body).unwrap_or_default();
        (status, receipt["by"].clone())
    }
}

fn status(response: &Response) -> (u16, Value) {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    (response.status, body["missingRight"].clone())
}

#[test]
fn i35_each_caller_has_its_rights_and_the_audit_log_names_it() {
    let world = World::start();
    let gateway = &world.gateway;
    assert_eq!(status(&world.revoke(&token("reader"))), (403, json!("revoke")));
    let list = gateway.ask_internal(&Request::get("/v4/revocations").bearer(&token("reader")));
    assert_eq!(list.status, 200);
    let message = Request::post_json("/v3/messages", greeting("1", "bob"));
    let refused = gateway.ask_internal(&message.clone().bearer(&token("killer")));
    assert_eq!(
        (refused.status, refused.text()),
        (403, r#"{"errors":{"detail":"missing right: publish"}}"#.into())
    );
    assert_eq!(gateway.ask_internal(&message.bearer(&token("api"))).status, 202);
    assert_eq!(world.revoke(&token("killer")).status, 201);
    assert_eq!(world.revoke(&token("api")).status, 201);
    assert_eq!(world.revoke(&token("nobody")).status, 401);

    let of_alice = |roles: Value| world.provider.token("a", "alice", "s9", &json!({ "roles": roles }));
    // Until the keys are there, it is a 503.
    eventually("the keys of the provider", || {
        (world.revoke(&of_alice(json!(["x", "ops"]))).status == 201).then_some(())
    });
    assert_eq!(world.revoke(&of_alice(json!(["x"]))).status, 401);
    assert_eq!(
        status(&gateway.ask_internal(&Request::get("/v4/sessions").bearer(&of_alice(json!("ops"))))),
        (403, json!("read"))
    );
    assert_eq!(world.revoke(&token_of("s9")).status, 401, "a token of the static key is no caller");

    let ci = world.clients.issue("ci", "DNS:other.example,URI:spiffe://example/ci");
    for version in ["--http1.1", "--http2"] {
        assert_eq!(
            world.curl_revoke(Some(&ci), &[version]),
            ("201".to_owned(), json!("ci (on behalf of bob)"))
        );
    }
    let audit = std::fs::read_to_string(world.folder.join("data/audit.log")).expect("an audit log");
    let lines = audit.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
    let by: Vec<_> = lines.filter(|line| line["action"] == "revoke").map(|line| line["by"].clone()).collect();
    let expected = [
        "killer (on behalf of bob)",
        "bob",
        "ops/alice (on behalf of bob)",
        "ci (on behalf of bob)",
        "ci (on behalf of bob)",
    ];
    assert_eq!(by, expected, "{audit}");
    assert_eq!(gateway_metric(gateway, "right"), 3.0);

    let log = world.gateway.end();
    assert!(!log.contains("token-of-the-caller"), "{log}");
    assert!(log.contains(r#""name":"reader""#) && log.contains("missing right: revoke"), "{log}");
}

fn gateway_metric(gateway: &Gateway, reason: &str) -> f64 {
    let metrics = gateway.ask_internal(&Request::get("/metrics").bearer(&token("api"))).text();
    let name = format!(r#"rig_api_refused_total{{reason="{reason}"}} "#);
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("{name} is not in {metrics}")).parse().expect("a number")
}

#[test]
fn i35_certificates_count_by_whole_names_of_their_kind() {
    let world = World::start();
    let issue = |name: &str, names: &str| world.clients.issue(name, names);
    let (ci, mail) = (issue("ci", "URI:spiffe://example/ci"), issue("mail", "email:ops@example.com"));
    let host = issue("host", "DNS:first.example,DNS:OPS.example");
    for (certificate, by) in [(&ci, "ci"), (&host, "host")] {
        let expected = ("201".to_owned(), json!(format!("{by} (on behalf of bob)")));
        assert_eq!(world.curl_revoke(Some(certificate), &[]), expected, "{by}");
    }
    assert_eq!(world.curl_revoke(Some(&mail), &[]).0, "403");
    let publish = ["--header", "content-type: application/json", "--data", &greeting("1", "bob")];
    assert_eq!(world.curl(Some(&mail), "/v3/messages", &publish).0, "202");

    for (name, names) in [
        ("prefix", "URI:spiffe://example/ci/more"),
        ("case", "URI:spiffe://example/CI"),
        ("other-kind", "DNS:spiffe.example,email:ci@example.com"),
        ("subject", "DNS:unnamed.example"),
        ("wildcard", "DNS:*.example"),
        ("address", "IP:127.0.0.1"),
    ] {
        assert_eq!(world.curl_revoke(Some(&issue(name, names)), &[]).0, "401", "{names}");
    }
    assert_eq!(world.curl_revoke(None, &[]).0, "401", "no certificate and no token");
    let bearer = |name: &str| format!("authorization: Bearer {}", token(name));
    let killer = world.curl_revoke(None, &["--header", &bearer("killer")]);
    assert_eq!(
        killer,
        ("201".to_owned(), json!("killer (on behalf of bob)")),
        "a token needs no certificate"
    );
    // A token is what the request says of its caller; the certificate is that of the connection.
    assert_eq!(world.curl_revoke(Some(&ci), &["--header", &bearer("reader")]).0, "403");
    assert_eq!(world.curl_revoke(Some(&ci), &["--header", &bearer("nobody")]).0, "401");
    let forwarded = "x-forwarded-client-cert: By=x;URI=spiffe://example/ci";
    assert_eq!(world.curl_revoke(None, &["--header", forwarded]).0, "401", "no header names a certificate");
    assert_eq!(world.curl(None, "/health", &[]), ("200".to_owned(), "OK".to_owned()));
}

#[test]
fn i35_a_certificate_of_another_authority_is_refused_in_tls() {
    let world = World::start();
    // The files go when their authority is dropped.
    let stranger = ClientAuthority::new();
    let other = stranger.issue("ci", "URI:spiffe://example/ci");
    for path in ["/v4/revocations", "/health"] {
        for version in ["--http1.1", "--http2"] {
            let bearer = format!("authorization: Bearer {}", token("api"));
            assert_eq!(world.curl(Some(&other), path, &[version, "--header", &bearer]).0, "000", "{path}");
        }
    }
    // The port of frontends asks for none, and takes no notice of one.
    let inbound = world.gateway.port("inbound_tls").port().to_string();
    let internal = world.gateway.port("internal_tls").port().to_string();
    let [certificate, key] = &other;
    let handshake = |port: &str, version: &str| {
        let address = format!("localhost:{port}");
        let server = world.server.file();
        let arguments = ["s_client", "-connect", &address, "-CAfile", &server, version];
        let output = openssl(&world.folder, &[&arguments[..], &["-cert", certificate, "-key", key]].concat());
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let said = handshake(&inbound, version);
        assert!(said.contains("No client certificate CA names sent"), "{said}");
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    }
    let said = handshake(&internal, "-tls1_2");
    assert!(said.contains("Acceptable client certificate CA names\nCN = ca"), "{said}");
    // Both authorities have the same name, so only the signature tells them apart.
    assert!(said.contains("alert decrypt error"), "{said}");

    let refused = r#"rig_connections_refused_total{reason="client_certificate"}"#;
    let metrics = world.gateway.ask_internal(&Request::get("/metrics").bearer(&token("api"))).text();
    let count = metrics.lines().find_map(|line| line.strip_prefix(refused)).expect("the metric");
    assert_eq!(count.trim(), "5", "{metrics}");
    assert!(world.gateway.log().contains("client certificate refused"), "{}", world.gateway.log());
}

#[test]
fn i35_tokens_and_authorities_are_replaced_while_it_runs() {
    let world = World::start();
    std::fs::write(world.folder.join("killer"), token("next")).expect("a file");
    eventually("the new token", || (world.revoke(&token("next")).status == 201).then_some(()));
    assert_eq!(world.revoke(&token("killer")).status, 401, "the old one has gone");

    let next = ClientAuthority::new();
    let (old, new) =
        (world.clients.issue("ci", "URI:spiffe://example/ci"), next.issue("ci", "URI:spiffe://example/ci"));
    assert_eq!(world.curl_revoke(Some(&old), &[]).0, "201");
    assert_eq!(world.curl_revoke(Some(&new), &[]).0, "000");
    std::fs::copy(next.file(), world.clients.file()).expect("a file");
    eventually("the new authority", || (world.curl_revoke(Some(&new), &[]).0 == "201").then_some(()));
    assert_eq!(world.curl_revoke(Some(&old), &[]).0, "000");
}

/// A connection that is kept has proved who it is by the authorities of its beginning.
#[test]
fn i35_a_kept_connection_has_no_rights_once_its_authority_is_gone() {
    let world = World::start();
    let next = ClientAuthority::new();
    let new = next.issue("ci", "URI:spiffe://example/ci");
    let [certificate, key] = world.clients.issue("ci", "URI:spiffe://example/ci");
    let address = format!("localhost:{}", world.gateway.port("internal_tls").port());
    let server = world.server.file();
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &address, "-CAfile", &server])
        .args(["-cert", &certificate, "-key", &key])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is installed");
    let mut requests = client.stdin.take().expect("it is piped");
    let mut answers = BufReader::new(client.stdout.take().expect("it is piped"));
    let mut ask = || {
        requests.write_all(b"GET /v4/issuers HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("it is open");
        loop {
            let mut line = String::new();
            assert!(answers.read_line(&mut line).expect("text") > 0, "the connection was closed");
            // The body before it has no line end.
            if let Some((_, status)) = line.split_once("HTTP/1.1 ") {
                return status.split(' ').next().expect("a status").to_owned();
            }
        }
    };
    assert_eq!([ask(), ask()], ["200", "200"]);
    std::fs::copy(next.file(), world.clients.file()).expect("a file");
    eventually("the new authority", || (world.curl_revoke(Some(&new), &[]).0 == "201").then_some(()));
    assert_eq!(ask(), "401");
    drop((client.kill(), client.wait()));
}
