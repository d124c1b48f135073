//! Our additions to RIG's format: each member with each kind of invalid value.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::definition::{Ejection, HealthCheck, RateLimit, RateLimitBy};

/// Values of every type, with all edge cases of numbers and texts.
fn values() -> Vec<Value> {
    let long = "x".repeat(10_000);
    vec![
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("x"),
        json!("\u{0}\n"),
        json!(long),
        json!([]),
        json!([1]),
        json!({}),
        json!({"": 1}),
        json!({"x": []}),
    ]
}

/// Returns the values that are accepted at a pointer. Checks that all others are faults at or below
/// it.
fn allowed(base: &Value, pointer: &str) -> Vec<String> {
    let mut allowed = Vec::new();
    for value in values() {
        let mut document = base.clone();
        set(&mut document, pointer, value.clone());
        let shown: String = value.to_string().chars().take(20).collect();
        match Api::parse(&document, &nothing) {
            Ok(_) => allowed.push(shown),
            Err(faults) => {
                let there = faults.iter().any(|fault| fault.pointer.starts_with(pointer));
                assert!(there, "{pointer} = {shown}: {faults:?}");
            }
        }
    }
    allowed
}

#[test]
fn every_number_has_its_type_and_bounds() {
    let mut base = secured("rate_limit", json!({"requests": 1, "within_ms": 1}));
    set(&mut base, "/proxy/health_check", json!({"path": "/health"}));
    set(&mut base, "/proxy/eject", json!({}));
    for (pointer, expected) in [
        (endpoint("timeout_ms"), vec!["0", "1"]),
        (endpoint("max_body_bytes"), vec!["0", "1"]),
        (endpoint("rate_limit/requests"), vec!["1"]),
        (endpoint("rate_limit/within_ms"), vec!["1"]),
        ("/proxy/health_check/interval_ms".to_owned(), vec![]),
        ("/proxy/health_check/timeout_ms".to_owned(), vec!["1"]),
        ("/proxy/health_check/healthy_after".to_owned(), vec!["1"]),
        ("/proxy/health_check/unhealthy_after".to_owned(), vec!["1"]),
        ("/proxy/eject/after_failures".to_owned(), vec!["1"]),
        ("/proxy/eject/for_ms".to_owned(), vec!["1"]),
        ("/proxy/port".to_owned(), vec!["1"]),
    ] {
        assert_eq!(allowed(&base, &pointer), expected, "{pointer}");
    }
}

#[test]
fn every_other_member_has_its_type() {
    let mut base = secured("rate_limit", json!({"requests": 1, "within_ms": 1}));
    set(&mut base, "/proxy/health_check", json!({"path": "/health"}));
    set(&mut base, "/proxy/eject", json!({}));
    set(&mut base, "/proxy/tls", json!({}));
    set(&mut base, "/auth/use_cookie", json!(true));
    set(&mut base, "/auth/cookie_name", json!("c"));
    let (empty, x) = (r#""""#, r#""x""#);
    for (pointer, expected) in [
        (endpoint("rate_limit"), vec![]),
        (endpoint("rate_limit/by"), vec![]),
        (endpoint("claims"), vec!["{}"]),
        (endpoint("forward_claims"), vec!["{}"]),
        (endpoint("forward_claims/x"), vec![]),
        (endpoint("response_headers"), vec!["{}"]),
        (endpoint("response_headers/x"), vec![empty, x]),
        (endpoint("secured"), vec!["true"]),
        (endpoint("transform_request_headers"), vec!["true"]),
        (endpoint("path_replacement"), vec![]),
        (endpoint("response_from"), vec![]),
        ("/version_data/default/transform_request_headers/add_headers/x".to_owned(), vec![empty, x]),
        ("/proxy/http2".to_owned(), vec!["true"]),
        ("/proxy/targets".to_owned(), vec![]),
        ("/proxy/tls/ca_file".to_owned(), vec![]),
        ("/proxy/tls/cert_file".to_owned(), vec![]),
        ("/proxy/tls/key_file".to_owned(), vec![]),
        ("/proxy/health_check".to_owned(), vec![]),
        ("/proxy/health_check/path".to_owned(), vec![]),
        ("/active".to_owned(), vec!["true"]),
        ("/auth/use_cookie".to_owned(), vec!["true"]),
        ("/auth/cookie_name".to_owned(), vec![x]),
    ] {
        assert_eq!(allowed(&base, &pointer), expected, "{pointer}");
    }
    // In an object without required members, each unknown member is a warning.
    for pointer in ["/proxy/tls", "/proxy/eject"] {
        assert_eq!(allowed(&base, pointer), ["{}", r#"{"":1}"#, r#"{"x":[]}"#], "{pointer}");
    }
}

#[test]
fn claims_are_pointers_with_plain_values() {
    for (claims, reason) in [
        (json!({"roles": "admin"}), "/roles: must be a JSON Pointer (RFC 6901), such as /roles"),
        (json!({"/a~2": 1}), "/~1a~02: must be a JSON Pointer (RFC 6901), such as /roles"),
        (json!({"": 1}), "/: must be a JSON Pointer (RFC 6901), such as /roles"),
        (json!({"/roles": ["admin"]}), "/~1roles: must be string, number or boolean"),
        (json!({"/roles": null}), "/~1roles: must be string, number or boolean"),
    ] {
        let told = faults(&secured("claims", claims));
        assert_eq!(told, [format!("{}{reason}", endpoint("claims"))]);
    }
    for name in ["claims", "forward_claims"] {
        let told = faults(&with(&endpoint(name), json!({})));
        assert_eq!(told, [format!("{}: must not be there without secured: true", endpoint(name))]);
    }
    let api = parse(&secured("claims", json!({"/roles": "admin", "/level": 3, "/ok": true})));
    assert_eq!(api.endpoints[0].claims.len(), 3);
    let api = parse(&secured("forward_claims", json!({"X-User": "/sub"})));
    assert_eq!(api.endpoints[0].forward_claims, [("x-user".parse().unwrap(), "/sub".to_owned())]);
}

#[test]
fn headers_that_frame_a_message_are_not_set() {
    for name in ["Content-Length", "transfer-encoding", "Connection", "TE", "Upgrade", "trailer"] {
        for (document, place) in [
            (with(&endpoint("response_headers"), json!({name: "1"})), endpoint("response_headers")),
            (secured("forward_claims", json!({name: "/sub"})), endpoint("forward_claims")),
        ] {
            let told = faults(&document);
            assert_eq!(told, [format!("{place}/{name}: must not be set: the gateway decides about it")]);
        }
    }
    for name in ["", "a b", "a:", "ä", "a\r\nb"] {
        let told = faults(&with(&endpoint("response_headers"), json!({name: "1"})));
        assert!(told[0].ends_with(": must be a header name (RFC 9110)"), "{told:?}");
    }
    let told = faults(&with(&endpoint("response_headers"), json!({"x": "a\r\nset-cookie: b"})));
    assert!(told[0].ends_with("/x: must be the value of a header, a string"), "{told:?}");
    // The service may be known by another name.
    let version = "/version_data/default/transform_request_headers";
    parse(&with(version, json!({"add_headers": {"Host": "service.example"}})));
    let api = parse(&with(&endpoint("response_headers"), json!({"server": null, "x-a": "b"})));
    let headers = &api.endpoints[0].response_headers;
    assert_eq!(headers.iter().map(|(_, value)| value.is_some()).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn lists_are_bounded() {
    let many = |most: usize| {
        let members = (0..=most).map(|number| (format!("x-{number}"), json!("/sub")));
        Value::Object(members.collect())
    };
    for name in ["claims", "forward_claims", "response_headers"] {
        let told = faults(&secured(name, many(100)));
        assert_eq!(told, [format!("{}: must have at most 100 members", endpoint(name))]);
    }
    let one = json!({"id": "e", "path_regex": "/x", "method": "GET"});
    let told = faults(&with("/version_data/default/endpoints", json!(vec![one; 20_001])));
    assert_eq!(told, ["/version_data/default/endpoints: must have at most 20000 entries"]);
    let told = faults(&with("/version_data/default/endpoints", json!(vec![json!({}); 20_000])));
    assert_eq!(told.len(), 1000);
}

#[test]
fn targets_stand_alone_and_share() {
    let targets = |targets: Value| json!({"targets": targets});
    let upstream = parse(&with(
        "/proxy",
        targets(json!([
            {"url": "http://a"}, {"url": "https://b", "weight": 3}, {"url": "https://[::1]:9", "weight": 0}
        ])),
    ))
    .upstream;
    let shown = upstream.targets.iter().map(|target| (&*target.host, target.port, target.weight));
    assert_eq!(shown.collect::<Vec<_>>(), [("a", 80, 1), ("b", 443, 3), ("::1", 9, 0)]);
    for (proxy, told) in [
        (targets(json!([])), "/proxy/targets: must have 1 to 64 entries"),
        (targets(json!([5])), "/proxy/targets/0: must be object"),
        (targets(json!([{"url": "a"}])), "/proxy/targets/0/url: must begin with http:// or https://"),
        (targets(json!([{"url": "http://a/b"}])), "/proxy/targets/0/url: must not have a path"),
        (
            targets(json!([{"url": "http://a:0"}])),
            "/proxy/targets/0/url: must have a port from 1 to 65535, or none",
        ),
        (
            targets(json!([{"url": "http://a", "weight": 0}])),
            "/proxy/targets: must have a target with a weight above 0",
        ),
        (
            targets(json!([{"url": "http://a", "weight": -1}])),
            "/proxy/targets/0/weight: must be between 0 and 65535",
        ),
        (json!({"targets": [{"url": "http://a"}], "port": 5}), "/proxy/port: must not stand beside targets"),
        (targets(json!(vec![json!({"url": "http://a"}); 65])), "/proxy/targets: must have 1 to 64 entries"),
    ] {
        assert_eq!(faults(&with("/proxy", proxy)), [told]);
    }
}

#[test]
fn what_is_left_out_has_a_default() {
    let api = parse(&least());
    assert_eq!(api.upstream.health_check, None);
    assert_eq!(api.upstream.ejection, None);
    assert!(!api.upstream.http2);
    let endpoint_of = &api.endpoints[0];
    assert_eq!((endpoint_of.timeout, endpoint_of.max_body, endpoint_of.rate_limit), (None, None, None));
    let api = parse(&with("/proxy/health_check", json!({"path": "/health"})));
    let health_check = HealthCheck {
        path: "/health".to_owned(),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(1),
        healthy_after: 2,
        unhealthy_after: 3,
    };
    assert_eq!(api.upstream.health_check, Some(health_check));
    let ejection = Ejection { after: 5, time: Duration::from_secs(10) };
    assert_eq!(parse(&with("/proxy/eject", json!({}))).upstream.ejection, Some(ejection));
    let limit = json!({"requests": 10, "within_ms": 2000, "by": "session"});
    let limit = parse(&with(&endpoint("rate_limit"), limit)).endpoints[0].rate_limit;
    let requests = 10.try_into().unwrap();
    let within = Duration::from_secs(2);
    assert_eq!(limit, Some(RateLimit { requests, within, by: RateLimitBy::Session }));
    let told = faults(&with(&endpoint("rate_limit"), json!({})));
    let place = endpoint("rate_limit");
    assert_eq!(
        told,
        [format!("{place}/requests: must be present"), format!("{place}/within_ms: must be present")]
    );
    let api = parse(&with(&endpoint("timeout_ms"), json!(0)));
    assert_eq!(api.endpoints[0].timeout, Some(Duration::ZERO));
}

#[test]
fn the_files_of_tls_are_looked_at() {
    let folder = std::env::temp_dir().join(format!("rig-proxy-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let cert = file("cert.pem", &made.cert.pem());
    let key = file("key.pem", &made.signing_key.serialize_pem());
    let text = file("text", "no PEM");
    let tls = |tls: Value| {
        let mut document = with("/proxy/target_url", json!("https://localhost"));
        set(&mut document, "/proxy/tls", tls);
        document
    };
    let files = parse(&tls(json!({"ca_file": cert, "cert_file": cert, "key_file": key}))).upstream.tls;
    assert_eq!(files.ca.as_deref(), Some(cert.as_ref()));
    assert_eq!(files.client, Some((cert.clone().into(), key.clone().into())));
    for (files, told) in [
        (json!({"ca_file": text}), "/proxy/tls/ca_file: must have a certificate as PEM"),
        (json!({"ca_file": key}), "/proxy/tls/ca_file: must have a certificate as PEM"),
        (json!({"cert_file": cert, "key_file": cert}), "/proxy/tls/key_file: must have a private key as PEM"),
        (json!({"cert_file": cert}), "/proxy/tls/key_file: must be present where cert_file is"),
        (json!({"key_file": key}), "/proxy/tls/cert_file: must be present where key_file is"),
        (json!({"ca_file": folder.to_str()}), "/proxy/tls/ca_file: cannot be read: not a regular file"),
        (json!({"ca_file": "/dev/zero"}), "/proxy/tls/ca_file: cannot be read: not a regular file"),
    ] {
        assert_eq!(faults(&tls(files)), [told]);
    }
    let missing = faults(&tls(json!({"ca_file": "/no/such/file"})));
    assert!(missing[0].starts_with("/proxy/tls/ca_file: cannot be read: No such file"), "{missing:?}");
    let warned = warnings(&with("/proxy/tls", json!({"ca_file": cert})));
    assert_eq!(warned, ["/proxy/tls: has no effect: no target is https"]);
    std::fs::remove_dir_all(&folder).unwrap();
}
