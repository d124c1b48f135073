//! HTTPS and HTTP/2, driven by curl: a client that shares no code with the gateway.

use std::path::PathBuf;
use std::process::Command;

use rig_tests::*;

/// A folder with a certificate for localhost and its key, gone with the variable.
struct Certificate(PathBuf);

impl Certificate {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("rig-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let this = Self(folder);
        this.renew();
        this
    }

    /// Writes another certificate in the place of the first.
    fn renew(&self) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(self.key(), made.signing_key.serialize_pem()).expect("a file");
        std::fs::write(self.chain(), made.cert.pem()).expect("a file");
    }

    fn chain(&self) -> String {
        self.0.join("chain.pem").display().to_string()
    }

    fn key(&self) -> String {
        self.0.join("key.pem").display().to_string()
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn start(certificate: &Certificate) -> Gateway {
    Gateway::start(&[("HTTPS_CERTFILE", &certificate.chain()), ("HTTPS_KEYFILE", &certificate.key())])
}

/// What curl prints, and its exit code.
fn curl(arguments: &[&str]) -> (String, Option<i32>) {
    let output = Command::new("curl").args(["--silent", "--max-time", "10"]).args(arguments).output();
    let output = output.expect("curl is installed");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
}

#[test]
fn both_versions_of_http_over_tls_and_in_clear() {
    let certificate = Certificate::new("versions");
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
    let certificate = Certificate::new("kill");
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
            // What was queued at the time of the kill is not sent any more.
            let all = ["rig.connection.create", "rig.subscriptions_set", "greeting"];
            assert!(all.starts_with(before), "{version} {base}: {events:?}");
            assert_eq!(code, Some(0), "{version} {base}: an orderly end");
        }
    });
}

#[test]
fn a_renewed_certificate_is_taken_without_dropping_connections() {
    let certificate = Certificate::new("renew");
    let gateway = start(&certificate);
    let url = format!("https://localhost:{}/_rig/health", gateway.port("inbound_tls").port());
    let first = certificate.0.join("first.pem").display().to_string();
    std::fs::copy(certificate.chain(), &first).expect("a copy");
    assert_eq!(curl(&["--cacert", &first, &url]).0, "OK");
    certificate.renew();
    eventually("the new certificate", || {
        (curl(&["--cacert", &certificate.chain(), &url]).0 == "OK").then_some(())
    });
    assert_ne!(curl(&["--cacert", &first, &url]).1, Some(0), "the old one is gone");
}
