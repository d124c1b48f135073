//! The proxy's own answers, and whether the requesting page can read them.

use std::process::Command;

use rig_tests::*;
use serde_json::{Value, json};

const PAGE: &str = "https://app.test";

/// Starts a gateway with an endpoint for each refusal, and a service that never answers.
fn start(cors: &str) -> (RawUpstream, Gateway) {
    let silent = RawUpstream::by_hand();
    let endpoints = |list: &[(&str, Value)]| -> Value {
        let of_both_methods = list.iter().flat_map(|(path, more)| {
            ["GET", "POST"].map(|method| {
                let id = format!("{method}{path}");
                let mut endpoint = json!({ "id": id, "path_regex": path, "method": method });
                endpoint.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
                endpoint
            })
        });
        of_both_methods.collect()
    };
    let refusing = endpoints(&[
        ("/secured", json!({ "secured": true })),
        ("/claims", json!({ "secured": true, "claims": { "/admin": true } })),
        ("/small", json!({ "max_body_bytes": 2 })),
        (
            "/rate",
            json!({
                "timeout_ms": 300,
                "rate_limit": { "requests": 1, "within_ms": 600_000, "by": "address" },
            }),
        ),
        ("/silent", json!({ "timeout_ms": 300 })),
        ("/up/.+", json!({})),
    ]);
    let apis = json!([
        api_of("svc", silent.address(), refusing),
        api_of("dead", unused_address(), endpoints(&[("/dead", json!({}))])),
    ]);
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis.to_string()), ("CORS", cors)]);
    (silent, gateway)
}

/// Returns the status, and the names and values of the headers.
fn curl(gateway: &Gateway, version: &str, arguments: &[&str]) -> (u16, Vec<(String, String)>) {
    let (path, arguments) = arguments.split_last().expect("a path");
    let url = format!("http://{}{path}", gateway.inbound());
    let common = ["-s", "-i", "-m", "20", "--path-as-is", version];
    let output =
        Command::new("curl").args(common).args(arguments).arg(url).output().expect("curl is installed");
    let output = String::from_utf8(output.stdout).expect("text");
    let (head, _) = output.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {output}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    (status.parse().expect("a number"), headers)
}

/// Returns requests that are refused, as arguments of curl, with the status.
fn refused(token: &str) -> Vec<(u16, Vec<&str>)> {
    vec![
        (404, vec!["/nowhere"]),
        (400, vec!["/up/a%2Fb"]),
        (400, vec!["/%zz"]),
        (401, vec!["/secured"]),
        (401, vec!["-H", "Authorization: Bearer x", "/secured"]),
        (403, vec!["-H", token, "/claims"]),
        (413, vec!["-d", "abc", "/small"]),
        (429, vec!["/rate"]),
        (502, vec!["/dead"]),
        (502, vec!["/silent"]),
    ]
}

#[test]
fn f47_a_page_reads_every_refusal() {
    let token = format!("Authorization: Bearer {}", token_of("a"));
    let origin = format!("Origin: {PAGE}");
    for (cors, allowed, credentials) in [
        ("*", "*", None),
        (PAGE, PAGE, Some("true")),
        ("https://a.test,https://app.test", PAGE, Some("true")),
    ] {
        let (_silent, gateway) = start(cors);
        for method in ["GET", "POST"] {
            let allowed = gateway.ask(&Request::new(method, "/rate"));
            assert_eq!(allowed.status, 502, "the rate allows one");
        }
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            for method in ["GET", "POST"] {
                for (status, arguments) in refused(&token) {
                    let arguments = [&["-X", method, "-H", &origin], &*arguments].concat();
                    let case = format!("CORS={cors} {version} {arguments:?}");
                    let (answered, headers) = curl(&gateway, version, &arguments);
                    assert_eq!(answered, status, "{case}");
                    let header = |name: &str| {
                        headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
                    };
                    assert_eq!(header("access-control-allow-origin"), Some(allowed), "{case}");
                    assert_eq!(header("access-control-allow-credentials"), credentials, "{case}");
                }
            }
        }
    }
}

#[test]
fn f47_other_pages_read_no_refusal() {
    let (_silent, gateway) = start("https://a.test,https://b.test");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for path in ["/nowhere", "/dead", "/silent", "/secured", "/%zz"] {
            let (_, headers) = curl(&gateway, version, &["-H", &format!("Origin: {PAGE}"), path]);
            assert!(
                !headers.iter().any(|(name, _)| name == "access-control-allow-origin"),
                "{path}: {headers:?}"
            );
        }
    }
}

#[test]
fn f47_without_an_origin_the_answers_are_those_of_rig() {
    let (_silent, gateway) = start("*");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for (status, path) in [(404, "/nowhere"), (502, "/dead"), (502, "/silent")] {
            let (answered, headers) = curl(&gateway, version, &[path]);
            assert_eq!(answered, status);
            let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
            assert!(!names.iter().any(|name| name.starts_with("access-control-")), "{path}: {names:?}");
        }
    }
}
