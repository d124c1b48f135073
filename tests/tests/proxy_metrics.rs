//! Every request to the proxy is counted once, whatever its outcome.

use std::net::{SocketAddr, TcpListener};

use rig_tests::*;
use serde_json::{Value, json};

/// Starts a service that does what the last part of the path says, and closes.
fn service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(move || serve(&mut Wire::from(stream)));
        }
    });
    address
}

fn serve(wire: &mut Wire) -> Option<()> {
    let head = String::from_utf8(wire.until(b"\r\n\r\n")?).ok()?;
    let path = head.split(' ').nth(1)?.split('?').next()?;
    wire.send(match path.rsplit('/').next()? {
        "ok" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "empty" => "HTTP/1.1 204 No Content\r\n\r\n",
        "chunked" => "HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "half" => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "garbage" => "garbage\r\n\r\n",
        "async" => "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
        "upgrade" => "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\n",
        "endless" => "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhello",
        _ => "",
    });
    match path.rsplit('/').next()? {
        "endless" | "silent" | "upgrade" => drop(wire.rest()),
        _ => {}
    }
    Some(())
}

fn definitions(address: SocketAddr) -> Value {
    let endpoint = |id: &str, more: Value| {
        let mut endpoint = json!({ "id": id, "method": "GET", "path_regex": format!("/{id}/.*") });
        endpoint.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        endpoint
    };
    let proxy = json!({ "target_url": "127.0.0.1", "port": address.port() });
    json!([
        {
            "id": "shop", "name": "shop", "auth_type": "jwt",
            "auth": { "use_header": true, "header_name": "Authorization" },
            "version_data": { "default": { "endpoints": [
                endpoint("open", json!({})),
                endpoint("brief", json!({ "timeout_ms": 50 })),
                endpoint("post", json!({ "method": "POST", "max_body_bytes": 5 })),
                endpoint("secured", json!({ "secured": true })),
                endpoint("staff", json!({ "secured": true, "claims": { "/role": "staff" } })),
                endpoint("rare", json!({ "rate_limit": { "requests": 1, "within_ms": 60_000 } })),
                endpoint("later", json!({ "response_from": "http_async" })),
            ] } },
            "proxy": proxy,
        },
        {
            "id": "gone", "name": "gone",
            "version_data": { "default": { "endpoints": [endpoint("gone", json!({}))] } },
            // A port on which no server listens.
            "proxy": { "target_url": "127.0.0.1", "port": 1 },
        },
    ])
}

fn gateway(more: &[(&str, &str)]) -> Gateway {
    let definitions = definitions(service()).to_string();
    Gateway::start(&[&[("PROXY_CONFIG_FILE", definitions.as_str())], more].concat())
}

/// Returns the line of the metrics for `GET`s of an endpoint with this status.
fn line(endpoint: &str, status: &str) -> String {
    let (method, from) = match endpoint {
        "post" => ("POST", "http"),
        "later" => ("GET", "http_async"),
        _ => ("GET", "http"),
    };
    format!(
        r#"rig_proxy_requests_total{{method="{method}",path="/{endpoint}/.*",target="http",response_from="{from}",status="{status}"}}"#
    )
}

/// Returns the number of all counted requests.
fn total(gateway: &Gateway, family: &str) -> f64 {
    let text = gateway.ask_internal(&Request::get("/metrics")).text();
    let of = |line: &str| line.strip_prefix(family)?.rsplit_once(' ')?.1.parse::<f64>().ok();
    text.lines().filter_map(of).sum()
}

#[test]
fn the_counters_add_up() {
    let gateway = gateway(&[("PROXY_HTTP_ASYNC_RESPONSE_TIMEOUT", "50ms")]);
    let (mut asked, token) = (0.0, token_of("a"));
    let mut all = Scenarios::default();
    let mut check = |name: &str, request: &Request, status: u16, line: &str, count: f64| {
        let got = gateway.ask(request).status;
        asked += 1.0;
        all.check_text(name, &got.to_string(), status.to_string());
        gateway.await_metric(line, count);
    };
    let get = |path: &str| Request::get(path);
    check("a length", &get("/open/ok"), 200, &line("open", "ok"), 1.0);
    check("chunks, and another status", &get("/open/chunked"), 500, &line("open", "ok"), 2.0);
    check("no body", &get("/open/empty"), 204, &line("open", "ok"), 3.0);
    check("HEAD", &Request::new("HEAD", "/open/ok"), 200, &line("open", "ok"), 4.0);
    check("no HTTP", &get("/open/garbage"), 502, &line("open", "unreachable"), 1.0);
    check("no server listens", &get("/gone/x"), 502, &line("gone", "unreachable"), 1.0);
    check("no answer", &get("/brief/silent"), 502, &line("brief", "request_timeout"), 1.0);
    check("no token", &get("/secured/ok"), 401, &line("secured", "unauthenticated"), 1.0);
    check("a token", &get("/secured/ok").bearer(&token), 200, &line("secured", "ok"), 1.0);
    check("not this token", &get("/staff/ok").bearer(&token), 403, &line("staff", "forbidden"), 1.0);
    check("one", &get("/rare/ok"), 200, &line("rare", "ok"), 1.0);
    check("and one more", &get("/rare/ok"), 429, &line("rare", "too_many_requests"), 1.0);
    let large = Request::post_json("/post/ok", "123456");
    check("large", &large, 413, &line("post", "too_large"), 1.0);
    check("no answer later", &get("/later/async"), 504, &line("later", "response_timeout"), 1.0);
    check("an answer at once", &get("/later/ok"), 200, &line("later", "ok"), 1.0);
    let unmatched = |method: &str, status: &str| {
        format!(
            r#"rig_proxy_requests_total{{method="{method}",path="N/A",target="N/A",response_from="N/A",status="{status}"}}"#
        )
    };
    check("no such path", &get("/nope"), 404, &unmatched("GET", "not_found"), 1.0);
    let invented = Request::new("INVENTED", "/open/ok");
    check("a method of the client's own", &invented, 404, &unmatched("other", "not_found"), 1.0);
    check("preflight", &Request::new("OPTIONS", "/open/ok"), 204, &unmatched("OPTIONS", "ok"), 1.0);
    assert_eq!(total(&gateway, "rig_proxy_requests_total{"), asked);
    assert_eq!(total(&gateway, "rig_proxy_request_duration_seconds_count{"), asked);
    assert_eq!(gateway.metric("rig_proxy_requests_in_flight"), 0.0);
    assert_eq!(gateway.metric(r#"rig_proxy_token_cache_total{result="miss"}"#), 1.0);
    assert_eq!(gateway.metric(r#"rig_proxy_token_cache_total{result="hit"}"#), 1.0);
}

#[test]
fn what_ends_in_the_middle_is_counted_as_what_ended_it() {
    let gateway = gateway(&[]);
    let start = |path: &str| Request::get(path).bearer(&token_of("a")).start(gateway.inbound());
    let in_flight = |count| gateway.await_metric("rig_proxy_requests_in_flight", count);

    let mut half = start("/open/half");
    half.rest();
    gateway.await_metric(&line("open", "broken"), 1.0);

    let mut leaves = start("/open/endless");
    leaves.until(b"hello").unwrap();
    in_flight(1.0);
    leaves.reset();
    drop(leaves);
    gateway.await_metric(&line("open", "client_closed"), 1.0);

    let impatient = start("/open/silent");
    in_flight(1.0);
    // Reset, since an orderly close looks like a half-close, after which the answer could still be
    // read.
    impatient.reset();
    drop(impatient);
    gateway.await_metric(&line("open", "client_closed"), 2.0);

    let mut answered = start("/secured/endless");
    answered.until(b"hello").unwrap();
    let waiting = start("/secured/silent");
    let mut tunnel = Request::get("/secured/upgrade")
        .bearer(&token_of("a"))
        .header("Connection", "upgrade")
        .header("Upgrade", "test")
        .start(gateway.inbound());
    tunnel.until(b"\r\n\r\n").unwrap();
    in_flight(3.0);
    gateway.blacklist("a");
    gateway.await_metric(&line("secured", "killed"), 3.0);
    drop((answered, waiting, tunnel));
    in_flight(0.0);
    assert_eq!(total(&gateway, "rig_proxy_requests_total{"), 6.0);
}

#[test]
fn a_tunnel_counts_when_it_ends() {
    let gateway = gateway(&[]);
    let upgrade = Request::get("/open/upgrade").header("Connection", "upgrade").header("Upgrade", "test");
    let mut tunnel = upgrade.start(gateway.inbound());
    tunnel.until(b"\r\n\r\n").unwrap();
    gateway.await_metric("rig_proxy_requests_in_flight", 1.0);
    assert_eq!(gateway.metric(&line("open", "ok")), 0.0);
    drop(tunnel);
    gateway.await_metric(&line("open", "ok"), 1.0);
    assert_eq!(gateway.metric("rig_proxy_requests_in_flight"), 0.0);
}

#[test]
fn requests_that_wait_for_an_answer_are_seen() {
    let gateway = gateway(&[]);
    let waits = Request::get("/later/async").start(gateway.inbound());
    gateway.await_metric("rig_proxy_responses_waiting", 1.0);
    waits.reset();
    drop(waits);
    gateway.await_metric("rig_proxy_responses_waiting", 0.0);
    gateway.await_metric(&line("later", "client_closed"), 1.0);
}
