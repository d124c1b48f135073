//! HTTPS and HTTP/2, driven by curl: a client that shares no code with the gateway.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;

use pkcs8::der::pem::LineEnding;
use pkcs8::pkcs5::pbes2;
use rig_tests::*;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A folder with a certificate for localhost and its key, which is removed when the variable is
/// dropped.
struct Certificate(Folder);

impl Certificate {
    fn new() -> Self {
        let this = Self(Folder::new());
        this.renew();
        this
    }

    /// Replaces the certificate by another one.
    fn renew(&self) {
        let made = made();
        std::fs::write(self.key(), made.signing_key.serialize_pem()).expect("a file");
        std::fs::write(self.chain(), made.cert.pem()).expect("a file");
    }

    /// Replaces the certificate by one whose key is encrypted.
    fn lock(&self, passphrase: &str) {
        let made = made();
        let key = made.signing_key.serialized_der();
        let method = pbes2::Parameters::pbkdf2_sha256_aes256cbc(2048, b"a test's salt", &[7; 16]);
        let key = pkcs8::PrivateKeyInfo::try_from(key).expect("PKCS#8");
        let key = key.encrypt_with_params(method.expect("a method"), passphrase).expect("an encrypted key");
        let pem = key.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).expect("PEM");
        std::fs::write(self.key(), pem.as_bytes()).expect("a file");
        std::fs::write(self.chain(), made.cert.pem()).expect("a file");
    }

    fn chain(&self) -> String {
        self.0.join("chain.pem")
    }

    fn key(&self) -> String {
        self.0.join("key.pem")
    }
}

fn made() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate")
}

fn start(certificate: &Certificate) -> Gateway {
    Gateway::start(&[("HTTPS_CERTFILE", &certificate.chain()), ("HTTPS_KEYFILE", &certificate.key())])
}

/// Returns the output of curl, and its exit code.
fn curl(arguments: &[&str]) -> (String, Option<i32>) {
    let output = Command::new("curl").args(["--silent", "--max-time", "10"]).args(arguments).output();
    let output = output.expect("curl is installed");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
}

#[test]
fn both_versions_of_http_over_tls_and_in_clear() {
    let certificate = Certificate::new();
    let gateway = start(&certificate);
    let https = format!("https://localhost:{}", gateway.port("inbound_tls").port());
    let http = format!("http://{}", gateway.inbound());
    let internal = format!("https://localhost:{}", gateway.port("internal_tls").port());
    let chain = certificate.chain();
    for (url, version, printed) in [
        (format!("{https}/_rig/health"), "--http1.1", "OK 1.1"),
        (format!("{https}/_rig/health"), "--http2", "OK 2"),
        (format!("{http}/_rig/health"), "--http2-prior-knowledge", "OK 2"),
        (format!("{internal}/health"), "--http2", "OK 2"),
    ] {
        let said = curl(&["--write-out", " %{http_version}", "--cacert", &chain, version, &url]);
        assert_eq!(said.0, printed, "{version} {url}");
    }
}

#[test]
fn streams_over_tls_and_http_2_are_killed_too() {
    let certificate = Certificate::new();
    let gateway = start(&certificate);
    let https = format!("https://localhost:{}", gateway.port("inbound_tls").port());
    let http = format!("http://{}", gateway.inbound());
    let subscriptions = encoded(r#"[{"eventType":"greeting"}]"#);
    let token = token_of("s1");
    let path = format!("/_rig/v1/connection/sse?jwt={token}&subscriptions={subscriptions}");
    let streams = [("--http1.1", &https), ("--http2", &https), ("--http2-prior-knowledge", &http)];
    std::thread::scope(|scope| {
        let seen: Vec<_> = streams
            .iter()
            .map(|(version, base)| {
                let (url, chain) = (format!("{base}{path}"), certificate.chain());
                scope.spawn(move || curl(&["--no-buffer", version, "--cacert", &chain, &url]))
            })
            .collect();
        gateway.await_metric(r#"rig_connections{transport="sse"}"#, 3.0);
        gateway.publish(&greeting("1", "bob"));
        gateway.blacklist("s1");
        for (seen, (version, base)) in seen.into_iter().zip(streams) {
            let (text, code) = seen.join().expect("curl ran");
            let events: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
            let (last, before) = events.split_last().expect("events");
            assert_eq!(*last, "rig.session_killed", "{version} {base}");
            // Events that were queued at the time of the kill are dropped, so some may be missing.
            let all = ["rig.connection.create", "rig.subscriptions_set", "greeting"];
            assert!(all.starts_with(before), "{version} {base}: {events:?}");
            assert_eq!(code, Some(0), "{version} {base}: an orderly end");
        }
    });
}

/// Connects a TLS client that trusts this certificate and speaks HTTP/1.1.
fn secure(certificate: &Certificate, port: u16) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate.chain()).expect("a certificate")).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    let tcp = TcpStream::connect(("127.0.0.1", port)).expect("the gateway accepts");
    tcp.set_read_timeout(Some(DEADLINE)).expect("a socket option");
    StreamOwned::new(connection, tcp)
}

/// Reads up to `end`, and returns everything that was read.
fn until(stream: &mut impl Read, end: &[u8]) -> Vec<u8> {
    let mut seen = Vec::new();
    while !seen.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {seen:?}"));
        seen.push(byte[0]);
    }
    seen
}

#[test]
fn a_websocket_over_tls_is_read_and_killed() {
    let certificate = Certificate::new();
    let gateway = start(&certificate);
    let address = gateway.port("inbound_tls");
    let mut stream = secure(&certificate, address.port());
    let path = format!("/_rig/v1/connection/ws?jwt={}", token_of("s1"));
    stream.write_all(&WebSocket::handshake(&path).bytes(address)).expect("the gateway reads");
    let head = until(&mut stream, b"\r\n\r\n");
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    until(&mut stream, br#""type":"rig.subscriptions_set"}"#);
    // Each byte is sent in a separate TLS record.
    for byte in Frame::new(Opcode::Ping, "abc").bytes() {
        stream.write_all(&[byte]).expect("the gateway reads");
        stream.flush().expect("the gateway reads");
    }
    assert_eq!(until(&mut stream, b"abc"), b"\x8a\x03abc");
    gateway.blacklist("s1");
    assert_eq!(until(&mut stream, b"killed."), b"\x88\x11\x03\xe8Session killed.");
    stream.write_all(&Frame::close(1000, "").bytes()).expect("the gateway reads");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("TLS ends before TCP does");
    assert!(rest.is_empty(), "{rest:?}");
}

#[test]
fn a_renewed_certificate_is_used_without_dropping_connections() {
    let certificate = Certificate::new();
    let gateway = start(&certificate);
    let base = format!("https://localhost:{}", gateway.port("inbound_tls").port());
    let url = format!("{base}/_rig/health");
    let first = certificate.0.join("first.pem");
    std::fs::copy(certificate.chain(), &first).expect("a copy");
    let stream = format!(
        "{base}/_rig/v1/connection/sse?jwt={}&subscriptions={}",
        token_of("s1"),
        encoded(r#"[{"eventType":"greeting"}]"#)
    );
    std::thread::scope(|scope| {
        let open = scope.spawn(|| curl(&["--no-buffer", "--http1.1", "--cacert", &first, &stream]));
        gateway.await_metric(r#"rig_connections{transport="sse"}"#, 1.0);
        certificate.renew();
        eventually("the new certificate", || {
            (curl(&["--cacert", &certificate.chain(), &url]).0 == "OK").then_some(())
        });
        assert_ne!(curl(&["--cacert", &first, &url]).1, Some(0), "the old one is gone");
        gateway.publish(&greeting("1", "bob"));
        gateway.blacklist("s1");
        let (seen, code) = open.join().expect("curl ran");
        assert!(seen.contains("event: greeting\n") && seen.contains("event: rig.session_killed\n"), "{seen}");
        assert_eq!(code, Some(0));
    });
}

#[test]
fn a_certificate_that_cannot_be_used_leaves_the_old_one() {
    let certificate = Certificate::new();
    let gateway = start(&certificate);
    let url = format!("https://localhost:{}/_rig/health", gateway.port("inbound_tls").port());
    let first = certificate.0.join("first.pem");
    std::fs::copy(certificate.chain(), &first).expect("a copy");
    std::fs::write(certificate.key(), made().signing_key.serialize_pem()).expect("a file");
    eventually("the complaint", || gateway.log().contains("certificate not reloaded").then_some(()));
    assert!(gateway.log().contains("not the key of the certificate"), "{}", gateway.log());
    assert_eq!(curl(&["--cacert", &first, &url]).0, "OK");
}

#[test]
fn an_encrypted_key_is_opened_with_its_passphrase() {
    let certificate = Certificate::new();
    certificate.lock("a passphrase for tests");
    let (chain, key) = (certificate.chain(), certificate.key());
    let gateway = Gateway::start(&[
        ("HTTPS_CERTFILE", &chain),
        ("HTTPS_KEYFILE", &key),
        ("HTTPS_KEYFILE_PASS", "a passphrase for tests"),
    ]);
    let url = format!("https://localhost:{}/_rig/health", gateway.port("inbound_tls").port());
    assert_eq!(curl(&["--cacert", &chain, &url]).0, "OK");
}

#[test]
fn over_http_2_the_endpoints_and_their_bounds_are_the_same() {
    let gateway = Gateway::start(&[("MAX_BODY_BYTES", "1KiB"), ("MAX_HEADER_BYTES", "16KiB")]);
    let base = format!("http://{}", gateway.inbound());
    let event = greeting("1", "bob");
    let (large, header) = (greeting("1", &"x".repeat(2000)), format!("x-long: {}", "x".repeat(17_000)));
    let json = ["--header", "content-type: application/json", "--data-binary"];
    for (path, arguments, status) in [
        ("/_rig/v1/events".to_owned(), [&json[..], &[&event]].concat(), "202"),
        ("/_rig/v1/events".into(), [&json[..], &[&large]].concat(), "413"),
        ("/_rig/v1/connection/longpolling".into(), vec![], "200"),
        ("/_rig/v1/connection/sse?jwt=garbage".into(), vec![], "400"),
        // A WebSocket over HTTP/2 would need an extended CONNECT (RFC 8441), which is not
        // supported.
        ("/_rig/v1/connection/ws".into(), vec![], "426"),
        (format!("/{}", "x".repeat(9_000)), vec![], "414"),
        ("/_rig/health".into(), vec!["--header", &header], "431"),
        ("/nope".into(), vec![], "404"),
    ] {
        let url = format!("{base}{path}");
        let common = [
            "--http2-prior-knowledge",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code} %{http_version}",
        ];
        let said = curl(&[&common[..], &arguments, &[&url]].concat());
        assert_eq!(said.0, format!("{status} 2"), "{}", &path[..path.len().min(60)]);
    }
}

#[test]
fn sigterm_ends_streams_over_http_2_in_order() {
    let mut gateway = Gateway::start(&[]);
    let url = format!("http://{}/_rig/v1/connection/sse", gateway.inbound());
    let (seen, code) = std::thread::scope(|scope| {
        let open = scope.spawn(|| curl(&["--no-buffer", "--http2-prior-knowledge", &url]));
        gateway.await_metric(r#"rig_connections{transport="sse"}"#, 1.0);
        gateway.terminate();
        open.join().expect("curl ran")
    });
    assert!(seen.ends_with("\n\n") && seen.contains("rig.subscriptions_set"), "{seen}");
    assert_eq!(code, Some(0), "no stream is reset");
    assert_eq!(gateway.exit_status().code(), Some(0), "{}", gateway.log());
}
