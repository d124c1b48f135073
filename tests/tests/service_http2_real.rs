//! Real servers as services over HTTP/2, with limits that are soon reached.

use std::net::SocketAddr;

use rig_tests::*;

/// Many requests at once and one after the other, with bodies and without: each has its answer.
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
