//! Requests to services belong to the session of their token: it decides whether they begin, and its end ends them.

use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;
use serde_json::{Value, json};

/// A secured endpoint for each method, with these members more.
fn secured(more: &Value) -> Value {
    let mut endpoints = everything(&["GET", "POST"]);
    for endpoint in endpoints.as_array_mut().expect("a list") {
        let endpoint = endpoint.as_object_mut().expect("an object");
        endpoint.insert("secured".into(), json!(true));
        endpoint.extend(more.as_object().expect("an object").clone());
    }
    endpoints
}

fn start(service: Value) -> Gateway {
    Gateway::start(&[("PROXY_CONFIG_FILE", &json!([service]).to_string())])
}

fn token_with(claims: &Value) -> String {
    signed(claims, Algorithm::HS256, &EncodingKey::from_secret(KEY.as_bytes()))
}

#[test]
fn a_token_may_come_by_header_query_or_cookie() {
    let upstream = Upstream::start();
    let mut service = api_of("svc", upstream.address(), secured(&json!({})));
    service["auth"] = json!({
        "use_header": true, "header_name": "X-Token",
        "use_query": true, "query_name": "t",
        "use_cookie": true, "cookie_name": "c",
    });
    let gateway = start(service);
    let token = token_of("s");
    for (request, status) in [
        (Request::get("/x").header("X-Token", &token), 200),
        (Request::get("/x").header("X-Token", format!("Bearer {token}")), 200),
        (Request::get("/x").bearer(&token), 401),
        (Request::get(format!("/x?a=b&t={token}")), 200),
        (Request::get(format!("/x?T={token}")), 401),
        (Request::get("/x").header("Cookie", format!("a=b; c={token}")), 200),
        (Request::get("/x").header("Cookie", format!("a={token}")), 401),
        (Request::get("/x"), 401),
    ] {
        assert_eq!(
            gateway.ask(&request).status,
            status,
            "{}",
            String::from_utf8_lossy(&request.bytes(gateway.inbound()))
        );
    }
}

#[test]
fn claims_decide_and_are_handed_over() {
    let upstream = Upstream::start();
    let more = json!({
        "claims": { "/roles": "admin", "/tenant/id": 7 },
        "forward_claims": { "X-User": "/username", "X-Tenant": "/tenant", "X-None": "/nothing" },
    });
    let gateway = start(api_of("svc", upstream.address(), secured(&more)));
    let token = |more: Value| {
        let mut claims = claims("s", "bob");
        claims.as_object_mut().expect("claims").extend(more.as_object().expect("an object").clone());
        token_with(&claims)
    };
    for (claims, status) in [
        (json!({ "roles": ["user", "admin"], "tenant": { "id": 7 } }), 200),
        (json!({ "roles": "admin", "tenant": { "id": 7 } }), 200),
        (json!({ "roles": ["user"], "tenant": { "id": 7 } }), 403),
        (json!({ "roles": "admin" }), 403),
        (json!({ "roles": "administrator", "tenant": { "id": 7 } }), 403),
    ] {
        let forged = Request::get("/x").header("X-User", "root").header("X-None", "root");
        let answer = gateway.ask(&forged.bearer(&token(claims.clone())));
        assert_eq!(answer.status, status, "{claims}: {}", answer.shown());
    }
    let received = upstream.waiting().pop().expect("a request");
    assert_eq!(received.header("x-user"), Some("bob"));
    assert_eq!(received.header("x-tenant"), Some(r#"{"id":7}"#));
    assert_eq!(received.header("x-none"), None);
    let users = received.headers.iter().filter(|(name, _)| name == "x-user").count();
    assert_eq!(users, 1, "what the client says of it is dropped");
}

#[test]
fn a_revocation_counts_for_the_very_next_request() {
    let upstream = Upstream::start();
    let gateway = start(api_of("svc", upstream.address(), secured(&json!({}))));
    for n in 0..50 {
        let session = format!("s{n}");
        let request = Request::get("/x").bearer(&token_of(&session));
        assert_eq!(gateway.ask(&request).status, 200);
        gateway.blacklist(&session);
        assert_eq!(gateway.ask(&request).status, 401, "a token that was verified before");
    }
    assert_eq!(upstream.waiting().len(), 50);
}

#[test]
fn a_token_that_was_good_ends_all_the_same() {
    let upstream = Upstream::start();
    let gateway = start(api_of("svc", upstream.address(), secured(&json!({}))));
    let token = token_with(&json!({ "jti": "s", "exp": in_seconds(2) }));
    let ask = || gateway.ask(&Request::get("/x").bearer(&token)).status;
    assert_eq!(ask(), 200);
    eventually("the end of the token", || (ask() == 401).then_some(()));
    assert!(in_seconds(0) >= 2);
}

#[test]
fn what_is_in_flight_ends_with_its_session() {
    let upstream = RawUpstream::by_hand();
    let gateway = start(api_of("svc", upstream.address(), secured(&json!({}))));
    let (killed, other) = (token_of("killed"), token_of("other"));
    let in_flight = |request: Request, token: &str| {
        let client = request.bearer(token).start(gateway.inbound());
        let mut service = upstream.accept();
        Received::read(&mut service).expect("a request");
        (client, service)
    };
    let (mut waiting, mut of_waiting) = in_flight(Request::get("/waiting"), &killed);
    let (mut streaming, mut of_streaming) = in_flight(Request::get("/streaming"), &killed);
    let (mut chunked, mut of_chunked) = in_flight(Request::get("/chunked"), &killed);
    let (mut tunnel, mut of_tunnel) = in_flight(WebSocket::handshake("/tunnel"), &killed);
    let (mut lives, mut of_lives) = in_flight(Request::get("/lives"), &other);
    let (mut tunnel_lives, mut of_tunnel_lives) = in_flight(WebSocket::handshake("/tunnel"), &other);
    for service in [&mut of_streaming, &mut of_lives] {
        service.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc");
    }
    of_chunked.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    for service in [&mut of_tunnel, &mut of_tunnel_lives] {
        service
            .send("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nabc");
    }
    for client in [&mut streaming, &mut chunked, &mut tunnel, &mut lives, &mut tunnel_lives] {
        assert!(client.until(b"abc").is_some());
    }

    gateway.blacklist("killed");
    let answer = Response::read(&mut waiting, false);
    assert_eq!((answer.status, answer.text().as_str()), (401, "Authentication failed."));
    assert!(streaming.rest().is_empty());
    let rest = chunked.rest();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
    assert!(tunnel.rest().is_empty());
    for service in [&mut of_waiting, &mut of_streaming, &mut of_chunked, &mut of_tunnel] {
        service.rest();
    }

    of_lives.send("def");
    assert_eq!(lives.exactly(3).expect("the rest"), b"def");
    of_tunnel_lives.send("def");
    assert_eq!(tunnel_lives.exactly(3).expect("more"), b"def");
    tunnel_lives.send("ghi");
    assert_eq!(of_tunnel_lives.exactly(3).expect("more"), b"ghi");
}

#[test]
fn a_session_that_ends_during_an_upload() {
    let upstream = RawUpstream::by_hand();
    let gateway = start(api_of("svc", upstream.address(), secured(&json!({}))));
    let mut client = Wire::connect(gateway.inbound());
    let token = token_of("s");
    client.send(format!(
        "POST /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 10\r\n\r\nabc"
    ));
    let mut service = upstream.accept();
    Received::read_head(&mut service).expect("a head");
    assert_eq!(service.exactly(3).expect("a part of the body"), b"abc");
    gateway.blacklist("s");
    assert_eq!(Response::read(&mut client, false).status, 401);
    assert!(service.rest().is_empty(), "the service gets no more of it");
}

#[test]
fn a_crowd_in_flight_is_cut_at_once_and_others_go_on() {
    const TICK: u128 = 20;
    let upstream = Upstream::start();
    let gateway = start(api_of("svc", upstream.address(), secured(&json!({}))));
    let began = Instant::now();
    let download = |session: &str| {
        let mut wire = Request::get("/endless").bearer(&token_of(session)).start(gateway.inbound());
        assert!(wire.until(b"tick").is_some());
        wire
    };
    let chat = |session: &str| {
        WebSocket::open(gateway.inbound(), &WebSocket::handshake("/upgrade").bearer(&token_of(session)))
    };
    let mut downloads: Vec<_> = (0..200).map(|_| download("killed")).collect();
    let mut chats: Vec<_> = (0..50).map(|_| chat("killed")).collect();
    let mut other_downloads: Vec<_> = (0..20).map(|_| download("other")).collect();
    let mut other_chats: Vec<_> = (0..10).map(|_| chat("other")).collect();

    let killed = Instant::now();
    gateway.blacklist("killed");
    let answered = killed.elapsed();
    for wire in &mut downloads {
        assert!(!wire.rest().ends_with(b"0\r\n\r\n"), "cut, not ended");
    }
    for chat in &mut chats {
        chat.wire().rest();
    }
    let cut = killed.elapsed();
    println!("200 downloads and 50 WebSockets: answered after {answered:?}, all cut after {cut:?}");
    assert!(cut < Duration::from_secs(2), "{cut:?}");

    // More than the system can have kept for them so far.
    let ticks = began.elapsed().as_millis() / TICK + 10;
    for wire in &mut other_downloads {
        for _ in 0..ticks {
            assert!(wire.until(b"tick").is_some(), "another session's download goes on");
        }
    }
    for chat in &mut other_chats {
        chat.wire().send("still there");
        assert_eq!(chat.wire().exactly(11).expect("an echo"), b"still there");
    }
}
