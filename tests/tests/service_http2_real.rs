//! Real servers as services over HTTP/2, with low limits.

use std::net::SocketAddr;

use rig_tests::*;

/// Sends many requests, concurrently and one after the other, with and without bodies: each must be
/// answered.
fn all_are_answered(service: SocketAddr) {
    let apis = pass_all_http2(service);
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    let request = |number: usize| match number % 2 {
        0 => Request::get(format!("/{number}")),
        _ => Request::post_json(format!("/{number}"), r#"{"a":1}"#),
    };
    for number in 0..40 {
        let answer = gateway.ask(&request(number));
        assert_eq!(answer.status, 200, "{number}: {}\n{}", answer.shown(), gateway.log());
    }
    for round in 0..5 {
        let clients: Vec<_> = (0..40).map(|number| request(number).start(gateway.inbound())).collect();
        for mut client in clients {
            let answer = Response::read(&mut client, false);
            assert_eq!(answer.status, 200, "{round}: {}\n{}", answer.shown(), gateway.log());
        }
    }
}

#[test]
fn f11_nginx_goes_away_after_every_fifth_request() {
    let nginx = Nginx::start_http2(
        "keepalive_requests 5; http2_max_concurrent_streams 2; location / { return 200 ok; }",
    );
    all_are_answered(nginx.address());
}

/// Many requests over connections that accept one request, or five with two at a time: most
/// requests meet a GOAWAY, and some of them several.
#[test]
fn f11_a_crowd_of_posts_at_a_service_that_goes_away_all_the_time() {
    for limits in ["keepalive_requests 1;", "keepalive_requests 5; http2_max_concurrent_streams 2;"] {
        let nginx = Nginx::start_http2(&format!("{limits} location / {{ return 200 ok; }}"));
        let apis = pass_all_http2(nginx.address());
        let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    let mut client = Wire::connect(gateway.inbound());
                    for number in 0..50 {
                        client.send("POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
                        let answer = Response::read(&mut client, false);
                        assert_eq!(answer.status, 200, "{limits} {number}: {}", answer.shown());
                    }
                });
            }
        });
    }
}

/// Unread bytes are limited for each stream, and never fill the window of the connection.
#[test]
fn f10_clients_that_do_not_read_delay_no_other() {
    let nginx = Nginx::start_http2("root www;");
    nginx.serve("big", 16 << 20);
    nginx.serve("small", 2);
    let apis = pass_all_http2(nginx.address());
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    let slow: Vec<_> = (0..40)
        .map(|_| {
            let mut client = Wire::connect_narrow(gateway.inbound());
            client.send("GET /big HTTP/1.1\r\nhost: x\r\n\r\n");
            assert_eq!(Response::read_head(&mut client).expect("an answer").status, 200);
            client
        })
        .collect();
    for _ in 0..10 {
        assert_eq!(gateway.ask(&Request::get("/small")).text(), "\0\0", "{}", gateway.log());
    }
    drop(slow);
}

#[test]
fn f10_haproxy_takes_two_streams_at_once() {
    let haproxy = Haproxy::start(
        "
global
    tune.h2.max-concurrent-streams 2
frontend service
    bind ADDRESS proto h2
    http-request wait-for-body time 1s if METH_POST
    http-request return status 200 content-type text/plain string ok
",
    );
    all_are_answered(haproxy.address());
}
