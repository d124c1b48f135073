//! A session is revoked during its downloads and tunnels: all of them are cut, and no others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, LazyLock};
use std::time::{Duration, Instant};

use rig_tests::*;
use serde_json::json;

const DOWNLOADS: usize = 200;
const TUNNELS: usize = 50;
const BYSTANDERS: usize = 20;

/// The length of a stamp in bytes.
const STAMP: usize = 32;

/// Returns the nanoseconds since the test began.
fn clock() -> u128 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGAN.elapsed().as_nanos()
}

/// Starts a service of endless bodies and tunnels, which sends the current time repeatedly.
fn endless(pause: Duration) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut wire = Wire::patient(stream);
                let Some(request) = Received::read(&mut wire) else { return };
                match request.header("upgrade") {
                    Some(protocol) => wire.send(format!(
                        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
                    )),
                    None => wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n"),
                }
                while wire.try_send(format!("{:0>STAMP$}", clock())).is_some() {
                    std::thread::sleep(pause);
                }
            });
        }
    });
    address
}

/// Clients that read until they are cut.
struct Crowd {
    /// The number of bytes received by each client.
    read: Arc<Vec<AtomicUsize>>,
    over: Arc<AtomicUsize>,
}

impl Crowd {
    fn new(gateway: &Gateway, count: usize, request: impl Fn() -> Request) -> Self {
        let read: Arc<Vec<AtomicUsize>> = Arc::new((0..count).map(|_| AtomicUsize::new(0)).collect());
        let over = Arc::<AtomicUsize>::default();
        let ready = Arc::new(Barrier::new(count + 1));
        for number in 0..count {
            let (read, over, ready) = (read.clone(), over.clone(), ready.clone());
            let mut wire = request().start(gateway.inbound());
            std::thread::spawn(move || {
                let head = Response::read_head(&mut wire).expect("an answer begins");
                assert!([101, 200].contains(&head.status), "{}", head.shown());
                wire.some().expect("and goes on");
                ready.wait();
                while let Some(bytes) = wire.some() {
                    read[number].fetch_add(bytes.len(), Ordering::Relaxed);
                }
                over.fetch_add(1, Ordering::Relaxed);
            });
        }
        ready.wait();
        Self { read, over }
    }

    fn over(&self) -> usize {
        self.over.load(Ordering::Relaxed)
    }

    fn read(&self) -> Vec<usize> {
        self.read.iter().map(|read| read.load(Ordering::Relaxed)).collect()
    }
}

#[test]
fn d10_a_kill_cuts_downloads_and_tunnels_of_its_session_alone() {
    let service = endless(Duration::from_millis(20));
    let endpoints = json!([{"id": "e", "path_regex": "/.*", "method": "GET", "secured": true}]);
    let apis = json!([api("svc", service.port(), &endpoints)]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    let of = |session: &str| Request::get("/x").bearer(&token_of(session));
    let tunnel = |session: &str| of(session).header("Connection", "Upgrade").header("Upgrade", "websocket");
    let downloads = Crowd::new(&gateway, DOWNLOADS, || of("alice"));
    let tunnels = Crowd::new(&gateway, TUNNELS, || tunnel("alice"));
    let others = Crowd::new(&gateway, BYSTANDERS, || of("bob"));
    let other_tunnels = Crowd::new(&gateway, 5, || tunnel("bob"));

    let asked = Instant::now();
    let body = json!({"session": "alice", "validityInSeconds": 7200}).to_string();
    let receipt = gateway.ask_internal(&Request::post_json("/v4/revocations", body));
    let answered = asked.elapsed();
    assert_eq!(receipt.status, 201, "{}", receipt.shown());
    eventually("all are cut", || (downloads.over() == DOWNLOADS && tunnels.over() == TUNNELS).then_some(()));
    let cut = asked.elapsed();
    println!(
        "{DOWNLOADS} downloads and {TUNNELS} tunnels: answered after {:.1} ms, all cut after {:.1} ms",
        answered.as_secs_f64() * 1e3,
        cut.as_secs_f64() * 1e3
    );
    let receipt = receipt.json();
    assert_eq!(receipt["requestsCut"], DOWNLOADS, "{receipt}");
    assert_eq!(receipt["connectionsTerminated"], TUNNELS, "{receipt}");
    assert!(receipt["lastPayloadAt"].is_string(), "{receipt}");

    for crowd in [&others, &other_tunnels] {
        let before = crowd.read();
        eventually("others go on", || {
            crowd.read().iter().zip(&before).all(|(now, before)| now > before).then_some(())
        });
        assert_eq!(crowd.over(), 0);
    }
    assert_eq!(gateway.ask(&of("alice")).status, 401);
}

/// Bytes that the service sent before the answer to the revocation may be read after it. Bytes that
/// it sent later may not.
#[test]
fn nothing_is_written_after_the_answer_to_the_revocation() {
    let service = endless(Duration::from_micros(200));
    let endpoints = json!([{"id": "e", "path_regex": "/.*", "method": "GET", "secured": true}]);
    let apis = json!([api("svc", service.port(), &endpoints)]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    for round in 0..40 {
        let session = format!("s{round}");
        let mut request = Request::get("/x").bearer(&token_of(&session));
        if round % 2 == 1 {
            request = request.header("Connection", "Upgrade").header("Upgrade", "websocket");
        }
        let mut wire = request.start(gateway.inbound());
        let head = Response::read_head(&mut wire).expect("an answer begins");
        assert!([101, 200].contains(&head.status), "{}", head.shown());
        for _ in 0..50 {
            wire.exactly(STAMP).expect("and goes on");
        }
        gateway.blacklist(&session);
        let answered = clock();
        while let Some(stamp) = wire.exactly(STAMP) {
            let sent: u128 = String::from_utf8_lossy(&stamp).parse().expect("a time");
            assert!(sent < answered, "round {round}: sent {} ns after the answer", sent - answered);
        }
    }
}

/// The service has sent the complete answer, and its rest waits in the gateway for a client that
/// does not read. It must not be sent after the kill.
#[test]
fn what_waits_for_a_slow_reader_is_not_sent_after_the_kill() {
    let service = Upstream::start();
    let endpoints = json!([{"id": "e", "path_regex": "/.*", "method": "GET", "secured": true}]);
    let apis = json!([service.api("svc", &endpoints)]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    let mut cut = 0;
    // Until an answer is larger than what kernel and gateway buffer together.
    for size in (8..).map(|step| step * (32 << 10)) {
        let session = format!("s{size}");
        let mut wire = Wire::connect_narrow(gateway.inbound());
        let request = Request::get(format!("/bytes/{size}")).bearer(&token_of(&session));
        wire.send(request.bytes(gateway.inbound()));
        service.next();
        Response::read_head(&mut wire).expect("an answer begins");
        let asked = Instant::now();
        let mut has_ended = false;
        while !has_ended && asked.elapsed() < Duration::from_millis(500) {
            has_ended = gateway.metric("rig_proxy_requests_in_flight") == 0.0;
        }
        let body = json!({"session": session, "validityInSeconds": 7200}).to_string();
        let receipt = gateway.ask_internal(&Request::post_json("/v4/revocations", body)).json();
        let mut read = 0;
        while read < size
            && let Some(bytes) = wire.some()
        {
            read += bytes.len();
        }
        assert_eq!(receipt["requestsCut"], u64::from(read < size), "{size} bytes, {read} read: {receipt}");
        if !has_ended {
            break;
        }
        cut += u64::from(read < size);
    }
    assert!(cut > 0, "no answer was complete in the gateway and unsent");
}
