//! The session of a client that floods the gateway can always be revoked: the internal port has its
//! own descriptors.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rig_tests::*;
use serde_json::json;

/// Few enough for one client to use them up.
const DESCRIPTORS: usize = 100;

const SESSION: &str = "flood";

/// Opens connections of one kind until the gateway accepts no more.
fn flood(address: SocketAddr, start: impl Fn(SocketAddr) -> Option<Wire>) -> Vec<Wire> {
    (0..DESCRIPTORS + 20).map_while(|_| start(address)).collect()
}

/// The name of a kind of client, its port, and a function that opens a connection.
type Kind = (&'static str, SocketAddr, Box<dyn Fn(SocketAddr) -> Option<Wire>>);

/// Returns all kinds of clients. They wait for an answer only if one is sent.
fn kinds(gateway: &Gateway) -> Vec<Kind> {
    let token = token_of(SESSION);
    let query = format!("jwt={token}");
    let (sse_query, ws_query) = (query.clone(), query);
    let (poll_token, slow_token) = (token.clone(), token);
    let answered = |mut wire: Wire, status: u16| {
        (Response::read_head(&mut wire).filter(|head| head.status == status)).map(|_| wire)
    };
    let sse = move |address| {
        answered(Request::get(format!("/_rig/v1/connection/sse?{sse_query}")).start(address), 200)
    };
    let websocket = move |address| {
        answered(WebSocket::handshake(&format!("/_rig/v1/connection/ws?{ws_query}")).start(address), 101)
    };
    let poll = move |address: SocketAddr| {
        let first = Request::get("/_rig/v1/connection/longpolling").bearer(&poll_token);
        let mut wire = first.start(address);
        let opened = Response::read_head(&mut wire).filter(|head| head.status == 200)?;
        let cookies: Vec<_> = opened
            .headers
            .iter()
            .filter(|(name, _)| name == "set-cookie")
            .filter_map(|(_, value)| value.split(';').next().map(str::to_owned))
            .collect();
        let body = opened.header("content-length").and_then(|length| length.parse().ok())?;
        wire.exactly(body)?;
        wire.send(
            Request::get("/_rig/v1/connection/longpolling")
                .header("Cookie", cookies.join("; "))
                .bytes(address),
        );
        Some(wire)
    };
    let half_head = |address| {
        let mut wire = Wire::connect(address);
        wire.try_send("GET /_rig/health HTTP/1.1\r\nhost:")?;
        Some(wire)
    };
    let half_handshake = |address| {
        let mut wire = Wire::connect(address);
        // The beginning of a handshake record.
        wire.try_send([0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC])?;
        Some(wire)
    };
    let preface = |address| {
        let mut wire = Wire::connect(address);
        wire.try_send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        Some(wire)
    };
    let idle = move |address| {
        let mut wire = Request::get("/_rig/health").start(address);
        let head = Response::read_head(&mut wire).filter(|head| head.status == 200)?;
        wire.exactly(head.header("content-length")?.parse().ok()?)?;
        Some(wire)
    };
    let slow_body = |address| {
        let mut wire = Wire::connect(address);
        wire.try_send("POST /_rig/v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n{")?;
        Some(wire)
    };
    let slow_service = move |address| {
        let mut wire = Wire::connect(address);
        wire.try_send(format!("GET /slow?token={slow_token} HTTP/1.1\r\nhost: x\r\n\r\n"))?;
        Some(wire)
    };
    let (clear, tls) = (gateway.inbound(), gateway.port("inbound_tls"));
    vec![
        ("sse", clear, Box::new(sse) as Box<dyn Fn(SocketAddr) -> Option<Wire>>),
        ("websocket", clear, Box::new(websocket)),
        ("long polling", clear, Box::new(poll)),
        ("half heads", clear, Box::new(half_head)),
        ("half handshakes", tls, Box::new(half_handshake)),
        ("silent", tls, Box::new(|address| Some(Wire::connect(address)))),
        ("http/2", clear, Box::new(preface)),
        ("idle", clear, Box::new(idle)),
        ("slow bodies", clear, Box::new(slow_body)),
        ("slow services", clear, Box::new(slow_service)),
    ]
}

/// Starts a gateway with few descriptors, TLS, a log on disk, and a service that never answers.
fn gateway(folder: &Folder, descriptors: usize, service: SocketAddr) -> Gateway {
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let [certificate, key, data] = ["chain.pem", "key.pem", "data"].map(|name| folder.join(name));
    std::fs::write(&certificate, identity.cert.pem()).expect("a file");
    std::fs::write(&key, identity.signing_key.serialize_pem()).expect("a file");
    let endpoint = json!([{ "id": "slow", "method": "GET", "path_regex": "/slow", "secured": true }]);
    let api = api_of("slow", service, endpoint);
    let apis = json!([api]).to_string();
    Gateway::start_with_descriptors(
        descriptors,
        &[
            ("HTTPS_CERTFILE", &certificate),
            ("HTTPS_KEYFILE", &key),
            ("DATA_DIR", &data),
            ("PROXY_CONFIG_FILE", &apis),
            ("PROXY_RECV_TIMEOUT", "60s"),
            ("HEAD_TIMEOUT", "60s"),
        ],
    )
}

/// Revokes the session and uses everything that an operator uses, over new connections.
fn operate(gateway: &Gateway, kind: &str) {
    let began = Instant::now();
    gateway.blacklist(SESSION);
    for path in ["/health", "/v4/sessions", "/metrics"] {
        let response = gateway.ask_internal(&Request::get(path));
        assert_eq!(response.status, 200, "{kind}: {path}: {}", response.text());
    }
    assert!(began.elapsed() < DEADLINE / 4, "{kind}: {:?}", began.elapsed());
}

#[test]
fn f03_a_flood_of_any_kind_of_connection_can_be_revoked() {
    let service = Upstream::start();
    let count = {
        let folder = Folder::new();
        kinds(&gateway(&folder, DESCRIPTORS, service.address())).len()
    };
    for at in 0..count {
        let folder = Folder::new();
        let gateway = gateway(&folder, DESCRIPTORS, service.address());
        let (kind, address, start) = kinds(&gateway).swap_remove(at);
        let crowd = flood(address, start);
        assert!(crowd.len() > DESCRIPTORS / 3, "{kind}: only {} came in", crowd.len());
        operate(&gateway, kind);
        if matches!(kind, "sse" | "websocket" | "long polling") {
            for mut wire in crowd {
                // A poll is answered and its socket is kept; a stream is closed.
                match kind {
                    "long polling" => drop(Response::read_head(&mut wire)),
                    _ => drop(wire.rest()),
                }
            }
            let open = |transport| gateway.metric(&format!(r#"rig_connections{{transport="{transport}"}}"#));
            eventually("the flood is gone", || (open("sse") + open("websocket") == 0.0).then_some(()));
        }
    }
}

#[test]
fn f03_a_mixed_flood_is_seen_to_go() {
    let (folder, service) = (Folder::new(), Upstream::start());
    let gateway = gateway(&folder, DESCRIPTORS, service.address());
    let kinds = kinds(&gateway);
    let mut streams = Vec::new();
    let mut others = Vec::new();
    for round in 0..DESCRIPTORS / 8 {
        for (kind, address, start) in &kinds {
            // At a full port, clients that read an answer would wait in vain.
            let is_stream = matches!(*kind, "sse" | "websocket");
            if (round < 3 || !matches!(*kind, "sse" | "websocket" | "long polling" | "idle"))
                && let Some(wire) = start(*address)
            {
                if is_stream { &mut streams } else { &mut others }.push(wire);
            }
        }
    }
    assert_eq!(streams.len(), 6);
    operate(&gateway, "mixed");
    for mut stream in streams {
        stream.rest();
    }
    drop(others);
    eventually("room for others", || {
        let mut wire = Request::get("/_rig/health").start(gateway.inbound());
        Response::read_head(&mut wire).filter(|head| head.status == 200).map(drop)
    });
}

#[test]
fn f03_above_the_limit_clients_are_refused_with_retry_after() {
    let gateway = Gateway::start(&[("MAX_CONNECTIONS", "2")]);
    let _streams = [(); 2].map(|()| {
        let mut sse = Sse::connect(gateway.inbound(), "");
        sse.welcome();
        sse
    });
    for request in [Request::get("/_rig/health"), Request::post_json("/_rig/v1/events", "x".repeat(30_000))] {
        let refused = request.send(gateway.inbound());
        assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true));
    }
}

#[test]
fn f03_the_internal_port_makes_room_for_requests() {
    let gateway = Gateway::start(&[("MAX_API_CONNECTIONS", "8"), ("API_TOKEN", "0123456789abcdef")]);
    let starts: [&dyn Fn() -> Wire; 4] = [
        &|| Wire::connect(gateway.internal()),
        &|| {
            let mut wire = Wire::connect(gateway.internal());
            wire.send("POST /v3/session-blacklist HTTP/1.1\r\nhost:");
            wire
        },
        &|| {
            let mut wire = Wire::connect(gateway.internal());
            wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            wire
        },
        &|| Request::get("/health").start(gateway.internal()),
    ];
    for start in starts {
        let crowd: Vec<_> = (0..40).map(|_| start()).collect();
        for n in 0..5 {
            let session = format!("session-{n}");
            let body = json!({ "sessionId": session, "validityInSeconds": 600 }).to_string();
            let request = Request::post_json("/v3/session-blacklist", body).bearer("0123456789abcdef");
            assert_eq!(gateway.ask_internal(&request).status, 201);
        }
        drop(crowd);
    }
}

#[test]
fn f03_too_few_descriptors_are_reported_at_the_start() {
    for descriptors in [64, 50, 40] {
        let gateway = Gateway::start_with_descriptors(descriptors, &[]);
        assert!(gateway.log().contains("MAX_CONNECTIONS = 100000 is lowered to "), "{}", gateway.log());
        assert!(gateway.log().contains(&format!("the limit of open files is {descriptors}")));
        assert_eq!(gateway.ask_internal(&Request::get("/health")).status, 200);
        let crowd = flood(gateway.inbound(), |address| Some(Wire::connect(address)));
        gateway.blacklist(SESSION);
        drop(crowd);
    }
    let output = std::process::Command::new("/bin/sh")
        .arg("-c")
        .arg("ulimit -n 24 && exec \"$0\"")
        .arg(Gateway::binary())
        .env_clear()
        .env("JWT_SECRET_KEY", KEY)
        .env("DATA_DIR", "memory")
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("the limit of open files is 24"), "{said}");
}

#[test]
fn f03_connections_to_services_leave_the_reserve_alone() {
    let (folder, service) = (Folder::new(), Upstream::start());
    let gateway = gateway(&folder, DESCRIPTORS, service.address());
    let token = token_of(SESSION);
    let mut crowd = flood(gateway.inbound(), |address| {
        let mut wire = Wire::connect(address);
        wire.try_send(format!("GET /slow?token={token} HTTP/1.1\r\nhost: x\r\n\r\n"))?;
        Some(wire)
    });
    let refused = eventually("a request without a descriptor", || {
        crowd.iter_mut().find_map(|wire| {
            let is_silent = wire.is_silent_for(Duration::from_millis(5));
            (!is_silent).then(|| Response::read_head(wire).map(|head| head.status))
        })
    });
    assert_eq!(refused, Some(503));
    operate(&gateway, "services");
}
