//! Several servers of one service: which of them get requests, and which are ejected.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rig_tests::{Gateway, RawUpstream, Received, Request, Response, Script, Wire, api, eventually};
use serde_json::{Value, json};

/// A service that answers each request with a status that the test sets, and its health checks with
/// another.
struct Service {
    address: SocketAddr,
    status: Arc<AtomicUsize>,
    health: Arc<AtomicUsize>,
    /// The number of requests, without health checks.
    asked: Arc<AtomicUsize>,
}

impl Service {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (status, health) = (Arc::new(AtomicUsize::new(200)), Arc::new(AtomicUsize::new(200)));
        let asked = Arc::<AtomicUsize>::default();
        let service = Self { address, status: status.clone(), health: health.clone(), asked: asked.clone() };
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (status, health, asked) = (status.clone(), health.clone(), asked.clone());
                std::thread::spawn(move || {
                    let mut wire = Wire::patient(stream);
                    while let Some(request) = Received::read(&mut wire) {
                        let status = if request.target == "/health?deep" {
                            assert_eq!(request.header("host"), Some(&*address.to_string()));
                            health.load(Ordering::SeqCst)
                        } else {
                            asked.fetch_add(1, Ordering::SeqCst);
                            status.load(Ordering::SeqCst)
                        };
                        let head = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n");
                        wire.send(format!("{head}X-Server: {}\r\n\r\n", address.port()));
                    }
                });
            }
        });
        service
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn target(&self, weight: u32) -> Value {
        target(self.address, weight)
    }
}

fn target(address: SocketAddr, weight: u32) -> Value {
    json!({"url": format!("http://{address}"), "weight": weight})
}

/// Returns an address on which no server listens.
fn unused_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket has an address")
}

/// Starts a gateway with the API `a` of these servers.
fn gateway(targets: &Value, more: &Value) -> Gateway {
    let endpoints = json!([
        {"id": "get", "path_regex": "/.*", "method": "GET"},
        {"id": "post", "path_regex": "/.*", "method": "POST"},
    ]);
    let mut api = api("a", 1, &endpoints);
    api["proxy"] = json!({"targets": targets});
    api["proxy"].as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    Gateway::start(&[("PROXY_CONFIG_FILE", &json!([api]).to_string())])
}

fn ask(gateway: &Gateway) -> Response {
    gateway.ask(&Request::get("/x"))
}

/// Returns the log lines with this message.
fn lines(gateway: &Gateway, message: &str) -> Vec<Value> {
    let lines: Vec<Value> =
        gateway.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    lines
        .into_iter()
        .filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with(message)))
        .collect()
}

#[test]
fn servers_get_requests_by_their_weight() {
    let (small, large, none) = (Service::start(), Service::start(), Service::start());
    let gateway = gateway(&json!([small.target(1), large.target(3), none.target(0)]), &json!({}));
    (0..80).for_each(|_| assert_eq!(ask(&gateway).status, 200));
    assert!((16..=24).contains(&small.asked()), "{} of 80", small.asked());
    assert_eq!((small.asked() + large.asked(), none.asked()), (80, 0));
}

#[test]
fn a_server_that_cannot_be_reached_costs_no_request() {
    let up = Service::start();
    let gateway =
        gateway(&json!([target(unused_address(), 1), up.target(1), target(unused_address(), 5)]), &json!({}));
    for _ in 0..20 {
        assert_eq!(ask(&gateway).status, 200);
        assert_eq!(gateway.ask(&Request::post_json("/x", "{}")).status, 200, "no part of it had been sent");
    }
    assert_eq!(up.asked(), 40);
}

#[test]
fn where_none_can_be_reached_that_is_said() {
    let gateway =
        gateway(&json!([target(unused_address(), 1), target(unused_address(), 1)]), &json!({"eject": {}}));
    (0..20).for_each(|_| assert_eq!(ask(&gateway).status, 502));
}

#[test]
fn only_what_can_be_asked_twice_goes_to_another_server_after_a_connection_without_an_answer() {
    let (rude, up) = (RawUpstream::start(&Script::AnswersAndCloses(Vec::new())), Service::start());
    let gateway = gateway(&json!([target(rude.address(), 1), up.target(1)]), &json!({}));
    (0..10).for_each(|_| assert_eq!(ask(&gateway).status, 200));
    assert!(rude.connections() > 0, "it was not asked");
    let statuses: Vec<_> = (0..20).map(|_| gateway.ask(&Request::post_json("/x", "{}")).status).collect();
    assert!(statuses.contains(&502) && statuses.contains(&200), "{statuses:?}");
}

#[test]
fn a_server_that_fails_is_ejected_and_comes_back() {
    let (ill, up) = (Service::start(), Service::start());
    ill.status.store(503, Ordering::SeqCst);
    let eject = json!({"eject": {"after_failures": 3, "for_ms": 1000}});
    let gateway = gateway(&json!([ill.target(1), up.target(1)]), &eject);
    eventually("the ejection", || (ask(&gateway).status == 503 && ill.asked() == 3).then_some(()));
    let before = ill.asked();
    assert!((0..10).all(|_| ask(&gateway).status == 200), "it gets no requests");
    assert_eq!(ill.asked(), before);
    eventually("the trial", || (ask(&gateway).status == 503).then_some(()));
    assert!((0..10).all(|_| ask(&gateway).status == 200), "one failure is enough now");
    ill.status.store(200, Ordering::SeqCst);
    eventually("the end of the ejection", || {
        assert_eq!(ask(&gateway).status, 200);
        (ill.asked() > before + 10).then_some(())
    });
    let ejected = lines(&gateway, "target is ejected");
    assert_eq!(ejected.len(), 1, "{ejected:?}");
    assert_eq!((&ejected[0]["level"], &ejected[0]["api"]), (&json!("WARN"), &json!("a")));
    assert_eq!(lines(&gateway, "target is back").len(), 1);
    // A failed trial extends the same ejection.
    let ejections = format!("rig_proxy_upstream_ejections_total{{api=\"a\",target=\"{}\"}}", ill.address);
    assert_eq!(gateway.metric(&ejections), 1.0);
}

#[test]
fn a_server_that_cannot_be_reached_is_ejected_too() {
    let up = Service::start();
    let eject = json!({"eject": {"after_failures": 2, "for_ms": 60_000}});
    let gateway = gateway(&json!([target(unused_address(), 1), up.target(1)]), &eject);
    eventually("the ejection", || {
        assert_eq!(ask(&gateway).status, 200);
        lines(&gateway, "target is ejected").pop()
    });
}

#[test]
fn a_server_whose_health_check_fails_is_left_out_until_it_is_well() {
    let (ill, up) = (Service::start(), Service::start());
    ill.health.store(404, Ordering::SeqCst);
    up.health.store(302, Ordering::SeqCst);
    let check = json!({"health_check": {"path": "/health?deep", "interval_ms": 100, "unhealthy_after": 2}});
    let gateway = gateway(&json!([ill.target(1), up.target(1)]), &check);
    let unwell = eventually("the checks", || lines(&gateway, "target is unwell").pop());
    assert_eq!(unwell["server"], ill.address.to_string(), "{unwell}");
    let before = ill.asked();
    (0..20).for_each(|_| assert_eq!(ask(&gateway).status, 200));
    assert_eq!(ill.asked(), before, "it gets no requests");
    ill.health.store(204, Ordering::SeqCst);
    eventually("the checks", || lines(&gateway, "target is well").pop());
    (0..20).for_each(|_| assert_eq!(ask(&gateway).status, 200));
    assert!(ill.asked() > before, "it is back");
    assert_eq!(lines(&gateway, "target is unwell").len(), 1, "told once");
}
