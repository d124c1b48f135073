//! What the proxy makes of requests and answers on their way through.

use rig_tests::{Gateway, Request, Upstream};
use serde_json::json;

#[test]
fn a_request_and_its_answer_go_through() {
    let upstream = Upstream::start();
    let apis = json!([upstream.api("a", &json!([{"id": "any", "path_regex": "/.*", "method": "GET"}]))]);
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis.to_string())]);
    let response = gateway.ask(&Request::get("/a/status/418?q=1"));
    assert_eq!(response.status, 418, "{}", response.text());
    assert_eq!(response.json()["path"], "/a/status/418?q=1");
    let received = upstream.next();
    assert_eq!((&*received.method, &*received.target), ("GET", "/a/status/418?q=1"));
    let chunked = gateway.ask(&Request::get("/chunked").header("TE", "trailers").header("Connection", "te"));
    assert_eq!((chunked.text().as_str(), chunked.trailers.len()), ("hello world", 1));
}
