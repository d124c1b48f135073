//! `REQUEST_LOG=console`: the log lines of proxied requests.

use rig_tests::*;
use serde_json::{Value, json};

const ON: (&str, &str) = ("REQUEST_LOG", "console");

fn apis(upstream: &Upstream) -> String {
    let endpoints = json!([
        {"id": "open", "path_regex": "/open/.*", "method": "GET"},
        {"id": "secured", "path_regex": "/secured/.*", "method": "GET", "secured": true},
    ]);
    json!([upstream.api("shop", &endpoints)]).to_string()
}

/// Returns the lines about requests, without times and other values that differ from run to run.
fn lines(log: &str) -> Vec<Value> {
    let told = |line: &str| {
        let mut line: Value = serde_json::from_str(line).ok()?;
        if line["target"] != "rig::request" {
            return None;
        }
        let object = line.as_object_mut()?;
        assert_eq!(object.remove("message"), Some(json!("request")));
        assert_eq!(object.remove("level"), Some(json!("INFO")));
        assert!(object.remove("duration_ms").is_some_and(|duration| duration.is_f64()));
        let remote = object.remove("remote");
        assert!(remote.is_some_and(|remote| remote.as_str().is_some_and(|it| it.starts_with("127.0.0.1:"))));
        object.remove("time");
        object.remove("target");
        Some(line)
    };
    log.lines().filter_map(told).collect()
}

#[test]
fn each_request_is_a_line() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis(&upstream)), ON, ("LOG_LEVEL", "error")]);
    let (token, trace) = (token_of("a-session"), "0af7651916cd43dd8448eb211c80319c");
    let traced = |request: Request| request.header("Traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    gateway.ask(&traced(Request::get(format!("/open/status/418?jwt={token}"))));
    gateway.ask(&traced(Request::get("/secured/x").bearer(&token)));
    gateway.ask(&traced(Request::get("/secured/x").bearer("garbage")));
    gateway.ask(&traced(Request::get("/nope/%0A%1B[31m")));
    gateway.ask(&Request::get("/_rig/health"));
    let line = |path: &str, api: &str, endpoint: &str, status: u16, outcome: &str| {
        json!({
            "method": "GET", "path": path, "api": api, "endpoint": endpoint, "status": status,
            "outcome": outcome, "trace_id": trace,
        })
    };
    let mut in_session = line("/secured/x", "shop", "secured", 200, "ok");
    in_session["session"] = json!("a-session");
    let mut refused = line("/secured/x", "shop", "secured", 401, "unauthenticated");
    refused["reason"] = json!("Invalid signature");
    let log = gateway.end();
    assert_eq!(
        lines(&log),
        [
            line("/open/status/418", "shop", "open", 418, "ok"),
            in_session,
            refused,
            line("/nope/%0A%1B[31m", "N/A", "N/A", 404, "not_found"),
        ]
    );
    assert!(!log.contains(&token) && !log.contains("garbage"), "{log}");
}

#[test]
fn without_it_nothing_is_told() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis(&upstream)), ("LOG_LEVEL", "debug")]);
    assert_eq!(gateway.ask(&Request::get("/open/x")).status, 200);
    assert_eq!(lines(&gateway.end()), [json!(null); 0]);
}

#[test]
fn a_client_that_disconnects_is_logged_without_a_status() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis(&upstream)), ON]);
    let leaves = Request::get("/open/slow").start(gateway.inbound());
    upstream.next();
    leaves.reset();
    drop(leaves);
    let line = eventually("the line", || lines(&gateway.log()).pop());
    assert_eq!((&line["outcome"], &line["status"]), (&json!("client_closed"), &json!(null)));
}
