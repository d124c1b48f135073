//! Clients that close their sending side after their requests, and wait for the answers (`nc -N`,
//! some HTTP/1.0 clients).

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rig_tests::*;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

/// Sends these bytes, closes the sending side, and returns everything that is received.
fn asks(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut wire = Wire::connect(address);
    wire.send(bytes);
    wire.half_close();
    String::from_utf8_lossy(&wire.rest()).into_owned()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

#[test]
fn f18_a_client_that_half_closes_gets_the_answer_of_a_service() {
    let upstream = RawUpstream::by_hand();
    let apis = pass_all(upstream.address());
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    let large = "x".repeat(300_000);
    let chunked =
        "POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            .to_owned();
    for request in
        [get("/x"), "GET /x HTTP/1.0\r\n\r\n".to_owned(), post("/x", "abc"), post("/x", &large), chunked]
    {
        let mut client = Wire::connect(gateway.inbound());
        let sending = std::thread::spawn(move || {
            client.send(request);
            client.half_close();
            client
        });
        let mut service = upstream.accept();
        // The client's FIN arrives long before the answer.
        Received::read(&mut service).expect("a whole request");
        let mut client = sending.join().expect("the client sends");
        assert!(client.is_silent_for(std::time::Duration::from_millis(100)));
        service.send("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nok");
        assert!(client.until(b"ok").is_some(), "the beginning of the answer");
        service.send("-whole");
        let rest = client.rest();
        assert!(rest.starts_with(b"-whol"), "and the rest, then the end: {}", String::from_utf8_lossy(&rest));
    }
}

#[test]
fn f18_pipelined_requests_are_all_answered() {
    let upstream = Upstream::start();
    let apis = pass_all(upstream.address());
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    let all = asks(gateway.inbound(), get("/1") + &post("/2", "abc") + &get("/_rig/health") + &get("/3"));
    assert_eq!(all.matches("HTTP/1.1 200 ").count(), 4, "{all}");
    assert!(all.find("/1") < all.find("/2") && all.find("/2") < all.find("/3"), "{all}");
}

#[test]
fn f18_the_gateways_own_answers_arrive() {
    let gateway = Gateway::start(&[]);
    let event = greeting("1", "alice");
    let (inbound, internal) = (gateway.inbound(), gateway.internal());
    let revocation = json!({"session": "bob", "validityInSeconds": 60}).to_string();
    let blacklist = json!({"sessionId": "bob", "validityInSeconds": 60}).to_string();
    for (address, request, status) in [
        (inbound, get("/_rig/health"), 200),
        (inbound, get("/nothing"), 404),
        (inbound, post("/_rig/v1/events", &event), 202),
        (inbound, "OPTIONS /_rig/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 204),
        (internal, get("/health"), 200),
        (internal, get("/metrics"), 200),
        (internal, get("/v4/sessions"), 200),
        (internal, post("/v3/messages", &event), 202),
        (internal, post("/v3/session-blacklist", &blacklist), 201),
        (internal, post("/v4/revocations", &revocation), 201),
    ] {
        let answer = asks(address, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{answer}");
    }
    // An incomplete request is not answered, whatever follows.
    assert!(
        !asks(inbound, "POST /_rig/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab")
            .contains(" 202 ")
    );
    assert!(!asks(inbound, "GET /_rig/health HTTP/1.1\r\nHo").contains(" 200 "));
}

#[test]
fn f18_a_poll_is_answered_when_its_event_comes() {
    let gateway = Gateway::start(&[]);
    let subscriptions = encoded(&json!([{"eventType": "greeting"}]).to_string());
    let path =
        format!("/_rig/v1/connection/longpolling?jwt={}&subscriptions={subscriptions}", token_of("alice"));
    let first = gateway.ask(&Request::get(path.as_str()));
    assert_eq!(first.status, 200, "{}", first.shown());
    let cookies: Vec<_> = first.headers.iter().filter(|(name, _)| name == "set-cookie").collect();
    let cookies: Vec<_> = cookies.iter().filter_map(|(_, value)| value.split(';').next()).collect();
    let mut poll = Wire::connect(gateway.inbound());
    poll.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\n\r\n", cookies.join("; ")));
    poll.half_close();
    gateway.publish(&greeting("1", "alice"));
    let answer = String::from_utf8_lossy(&poll.rest()).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("greeting"), "{answer}");
}

/// With `close_notify`, and without.
#[test]
fn f18_over_tls_too() {
    let folder = Folder::new();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    std::fs::write(&chain, certified.cert.pem()).expect("a file");
    std::fs::write(&key, certified.signing_key.serialize_pem()).expect("a file");
    let upstream = Upstream::start();
    let apis = pass_all(upstream.address());
    let gateway =
        Gateway::start(&[("PROXY_CONFIG_FILE", &apis), ("HTTPS_CERTFILE", &chain), ("HTTPS_KEYFILE", &key)]);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&chain).expect("PEM")).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    for (port, path) in [("inbound_tls", "/x"), ("inbound_tls", "/_rig/health"), ("internal_tls", "/health")]
    {
        for says_goodbye in [true, false] {
            let name = "localhost".try_into().expect("a name");
            let session = ClientConnection::new(config.clone(), name).expect("a session");
            let mut tls = StreamOwned::new(session, TcpStream::connect(gateway.port(port)).expect("a port"));
            tls.sock.set_read_timeout(Some(DEADLINE)).expect("an option");
            tls.write_all(post(path, "{}").replace("POST", "GET").as_bytes()).expect("it is sent");
            if says_goodbye {
                tls.conn.send_close_notify();
            }
            tls.flush().expect("it leaves");
            tls.sock.shutdown(Shutdown::Write).expect("half of it");
            let mut answer = Vec::new();
            tls.read_to_end(&mut answer).expect("an answer and a goodbye");
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{port} {path} {says_goodbye}: {answer}");
        }
    }
}

/// A client that resets its connection holds no socket any more.
#[test]
fn f18_a_client_that_resets_takes_its_request_with_it() {
    let upstream = RawUpstream::by_hand();
    let apis = pass_all(upstream.address());
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    let mut client = Wire::connect(gateway.inbound());
    client.send(get("/x"));
    let mut service = upstream.accept();
    Received::read(&mut service).expect("a request");
    client.reset();
    drop(client);
    assert!(service.rest().is_empty(), "the gateway closes");
}
