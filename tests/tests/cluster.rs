//! Three nodes work as one gateway.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use rig_tests::*;
use serde_json::{Value, json};

/// Returns the query of a client that wants greetings, with the token of a session.
fn greetings(session: &str) -> String {
    format!("subscriptions={}&jwt={}", encoded(r#"[{"eventType":"greeting"}]"#), token_of(session))
}

fn sse(cluster: &Cluster, node: usize, session: &str) -> Sse {
    let mut sse = Sse::connect(cluster.gateway(node).inbound(), &greetings(session));
    sse.welcome();
    sse
}

fn websocket(cluster: &Cluster, node: usize, session: &str) -> WebSocket {
    let mut websocket = WebSocket::connect(cluster.gateway(node).inbound(), &greetings(session));
    websocket.welcome();
    websocket
}

fn longpolling(cluster: &Cluster, node: usize, session: &str) -> LongPolling {
    let mut longpolling = LongPolling::connect(cluster.gateway(node).inbound(), &greetings(session));
    longpolling.welcome();
    longpolling
}

/// Returns what a receipt says of each node.
fn nodes(receipt: &Value) -> BTreeMap<String, String> {
    let nodes = receipt["nodes"].as_array().unwrap_or_else(|| panic!("no nodes: {receipt}")).iter();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    nodes.map(|node| (text(&node["node"]), text(&node["state"]))).collect()
}

fn all(state: &str) -> BTreeMap<String, String> {
    ["a", "b", "c"].map(|node| (node.to_owned(), state.to_owned())).into()
}

fn event(id: usize) -> String {
    greeting(&id.to_string(), "bob")
}

#[test]
fn d03_a_revocation_at_one_node_is_in_force_at_all_before_the_answer() {
    let cluster = Cluster::start(ClusterOptions::default());
    let mut stream = sse(&cluster, 0, "s1");
    let mut socket = websocket(&cluster, 1, "s1");
    let mut polls = longpolling(&cluster, 2, "s1");
    cluster.gateway(1).publish(&event(1));
    assert_eq!(stream.next_data(), event(1));
    assert_eq!(socket.next_text(), event(1));
    assert!(polls.poll().text().contains("greeting"));
    let poll = polls.start();

    let answer = cluster.revoke(2, "s1");
    let answered = Instant::now();
    assert_eq!(answer.status, 201, "{}", answer.text());
    let receipt = answer.json();
    assert_eq!((&receipt["cluster"], nodes(&receipt)), (&json!("complete"), all("applied")), "{receipt}");
    for node in 0..3 {
        assert_eq!(cluster.gateway(node).status_of("s1"), 400, "node {node}");
        assert_eq!(cluster.gateway(node).ask(&Request::post_json("/_rig/v1/events", event(2))).status, 202);
    }
    stream.expect_kill();
    socket.expect_close(1000, "Session killed.");
    let last = poll.answer();
    assert!(!last.text().contains("greeting"), "{}", last.text());
    assert!(answered.elapsed() < Duration::from_secs(5), "the farewells came with the answer");

    let lifted = cluster.gateway(1).ask_internal(&Request::new("DELETE", "/v4/revocations/s1"));
    assert_eq!(lifted.status, 204, "{}", lifted.text());
    for node in 0..3 {
        assert_eq!(cluster.gateway(node).status_of("s1"), 200, "node {node}");
    }
}

#[test]
fn each_second_canary_is_revoked_by_another_node() {
    let cluster = Cluster::start(ClusterOptions {
        settings: &[("CANARY_INTERVAL", "200ms")],
        ..ClusterOptions::default()
    });
    for node in 0..3 {
        let runs = |labels: &[_]| cluster.gateway(node).metric_sum("rig_canary_runs_total", labels);
        eventually("runs of both kinds", || {
            let by = |revoker| runs(&[("result", "ok"), ("revoked_by", revoker)]);
            (by("another_node") >= 2.0 && by("this_node") >= 2.0).then_some(())
        });
        for result in ["late_payload", "not_killed"] {
            assert_eq!(runs(&[("result", result)]), 0.0, "node {node}: {result}");
        }
    }
}

#[test]
fn rigs_blacklist_is_one_for_all_nodes() {
    let cluster = Cluster::start(ClusterOptions::default());
    let mut stream = sse(&cluster, 0, "s1");
    cluster.gateway(1).blacklist("s1");
    stream.expect_kill();
    for node in 0..3 {
        let known = cluster.gateway(node).ask_internal(&Request::get("/v3/session-blacklist/s1"));
        assert_eq!(known.status, 200, "node {node}: {}", known.text());
        let unknown = cluster.gateway(node).ask_internal(&Request::get("/v3/session-blacklist/s2"));
        assert_eq!(unknown.status, 404, "node {node}");
        assert_eq!(cluster.gateway(node).status_of("s1"), 400, "node {node}");
        assert_eq!(cluster.gateway(node).status_of("s2"), 200, "node {node}");
    }
    // Again, at another node: no conflict, whoever was first.
    cluster.gateway(2).blacklist("s1");
}

#[test]
fn an_event_posted_at_any_node_reaches_its_subscribers_at_all_nodes() {
    let cluster = Cluster::start(ClusterOptions::default());
    let mut streams: Vec<_> = (0..3).map(|node| sse(&cluster, node, "s1")).collect();
    let mut sockets: Vec<_> = (0..3).map(|node| websocket(&cluster, node, "s2")).collect();
    let mut polls: Vec<_> = (0..3).map(|node| longpolling(&cluster, node, "s3")).collect();
    for n in 0..9 {
        // The next one is published when the last one has arrived everywhere.
        cluster.gateway(n % 3).publish(&event(n));
        for (node, stream) in streams.iter_mut().enumerate() {
            assert_eq!(stream.next_data(), event(n), "SSE at {node}");
        }
        for (node, socket) in sockets.iter_mut().enumerate() {
            assert_eq!(socket.next_text(), event(n), "WebSocket at {node}");
        }
        for (node, client) in polls.iter_mut().enumerate() {
            let events = client.poll().json()["events"].clone();
            assert_eq!(events.as_array().map(Vec::len), Some(1), "{events}");
            assert_eq!(events[0]["id"], n.to_string(), "long polling at {node}");
        }
    }
}

#[test]
fn subscriptions_are_set_at_any_node() {
    let cluster = Cluster::start(ClusterOptions::default());
    let mut stream = Sse::connect(cluster.gateway(0).inbound(), &format!("jwt={}", token_of("s1")));
    let token = stream.welcome();
    let put = |node: usize, token: &str| {
        let path = format!("/_rig/v1/connection/sse/{token}/subscriptions");
        let body = r#"{"subscriptions":[{"eventType":"greeting"}]}"#;
        cluster.gateway(node).ask(&Request::put_json(path, body).bearer(&token_of("s1")))
    };
    let answer = put(1, &token);
    assert_eq!(answer.status, 204, "{}", answer.shown());
    assert!(stream.next_data().contains(r#""type":"rig.subscriptions_set""#));
    cluster.gateway(2).publish(&event(1));
    assert_eq!(stream.next_data(), event(1));
    stream.wire().half_close();
    drop(stream);
    eventually("no such connection", || {
        (put(2, &token).status == put(0, &token).status && put(0, &token).status != 204).then_some(())
    });
}

#[test]
fn a_long_polling_client_behind_a_balancer_misses_nothing() {
    const EVENTS: usize = 60;
    let cluster = Cluster::start(ClusterOptions::default());
    let mut client = longpolling(&cluster, 0, "s1");
    let (mut published, mut received) = (0, Vec::new());
    for turn in 1.. {
        if published < EVENTS {
            for _ in 0..turn % 4 {
                // Events of one publisher are in order.
                cluster.gateway(1).publish(&event(published));
                published += 1;
            }
        } else if received.len() == published {
            break;
        }
        if received.len() < published {
            client.turn_to(cluster.gateway(turn % 3).inbound());
            let answer = client.poll();
            assert_eq!(answer.status, 200, "{}", answer.shown());
            for event in answer.json()["events"].as_array().expect("a list") {
                received.push(event["id"].as_str().expect("a text").to_owned());
            }
        }
    }
    assert_eq!(received, (0..published).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(cluster.revoke(1, "s1").status, 201);
    client.turn_to(cluster.gateway(2).inbound());
    let answer = client.poll();
    assert!(answer.status != 200 || answer.text().contains("rig.session_killed"), "{}", answer.shown());
}

#[test]
fn sessions_of_all_nodes_are_listed_together() {
    let mut cluster = Cluster::start(ClusterOptions { lease: "3s", ..ClusterOptions::default() });
    let _open =
        [sse(&cluster, 0, "s1"), sse(&cluster, 1, "s1"), sse(&cluster, 1, "s2"), sse(&cluster, 2, "s3")];
    let list = |cluster: &Cluster| cluster.gateway(0).ask_internal(&Request::get("/v4/sessions")).json();
    let names = |page: &Value| -> Vec<_> {
        let sessions = page["sessions"].as_array().expect("a list").iter();
        sessions.map(|one| (one["name"].clone(), one["connectionCount"].clone())).collect()
    };
    let page = list(&cluster);
    assert_eq!(
        names(&page),
        [("s1", 2), ("s2", 1), ("s3", 1)].map(|(name, n)| (json!(name), json!(n))),
        "{page}"
    );
    assert_eq!(page.get("partial"), None, "{page}");
    cluster.gateway(2).signal("STOP");
    let page = list(&cluster);
    assert_eq!(page["partial"], json!(["c"]), "{page}");
    assert_eq!(names(&page).len(), 2, "{page}");
    cluster.gateway(2).signal("CONT");
    cluster.await_ready();
    let one = cluster.gateway(2).ask_internal(&Request::get("/v4/sessions/s1")).json();
    assert_eq!(one["connectionCount"], 2, "{one}");
    let ended = cluster.gateway(2).ask_internal(&Request::new("DELETE", "/v4/sessions/s1"));
    assert_eq!(ended.status, 200, "{}", ended.text());
    eventually("its connections are closed everywhere", || (names(&list(&cluster)).len() == 2).then_some(()));
}

#[test]
fn a_request_is_answered_and_an_api_defined_at_any_node() {
    let cluster = Cluster::start(ClusterOptions::default());
    let upstream = Upstream::start();
    let endpoints = json!([
        {"id": "a", "path_regex": "/.*/async", "method": "GET", "response_from": "http_async"},
        {"id": "e", "path_regex": "/echo", "method": "GET"},
    ]);
    post_api(cluster.gateway(0), &upstream.api("svc", &endpoints));
    for node in 0..3 {
        eventually("the definition is compiled", || {
            (cluster.gateway(node).ask(&Request::get("/echo")).status == 200).then(|| upstream.next())
        });
        assert_eq!(api_names(cluster.gateway(node)), ["svc=svc"], "node {node}");
    }
    for version in ["v2", "v3"] {
        let mut client = Request::get("/x/async").start(cluster.gateway(1).inbound());
        let target = upstream.next().target;
        let (_, token) = target.split_once("correlation=").expect("a token");
        let token = token.split('&').next().unwrap_or_default();
        let answer = json!({
            "specversion": "0.2", "type": "t", "source": "/s", "id": "1", "data": {"n": 1},
            "rig": {"correlation": token, "response_code": 201},
        });
        let request = Request::post_json(format!("/{version}/responses"), answer.to_string());
        let request = if version == "v3" {
            Request::new("POST", "/v3/responses")
                .header("rig-correlation", token)
                .header("rig-response-code", "201")
                .body(r#"{"data":{"n":1}}"#)
        } else {
            request
        };
        let told = cluster.gateway(2).ask_internal(&request);
        assert_eq!(told.status, 202, "{}", told.shown());
        let response = Response::read(&mut client, false);
        assert_eq!((response.status, response.json()["data"].clone()), (201, json!({"n": 1})));
    }
    let removed = cluster.gateway(2).ask_internal(&Request::new("DELETE", "/v3/apis/svc"));
    assert_eq!(removed.status, 204, "{}", removed.text());
    for node in 0..3 {
        eventually("the definition is gone", || {
            (cluster.gateway(node).ask(&Request::get("/echo")).status == 404).then_some(())
        });
    }
}

#[test]
fn of_two_revocations_with_one_id_one_is_accepted() {
    let cluster = Cluster::start(ClusterOptions::default());
    for round in 0..10 {
        let revoke = |node: usize| {
            let body = json!({ "id": format!("r{round}"), "session": format!("s{round}-{node}"), "validityInSeconds": 7200 });
            cluster
                .gateway(node)
                .ask_internal(&Request::post_json("/v4/revocations", body.to_string()))
                .status
        };
        let mut answers = std::thread::scope(|scope| {
            [0, 1]
                .map(|node| scope.spawn(move || revoke(node)))
                .map(|thread| thread.join().expect("no panic"))
        });
        let winner = usize::from(answers[0] != 201);
        answers.sort_unstable();
        assert_eq!(answers, [201, 409], "round {round}");
        for node in 0..3 {
            assert_eq!(cluster.gateway(node).status_of(&format!("s{round}-{winner}")), 400);
            // In force before the answer; the log of each node learns of it later.
            let loser = format!("s{round}-{}", 1 - winner);
            eventually(&format!("the one refused is in force nowhere, not at {node}"), || {
                (cluster.gateway(node).status_of(&loser) == 200).then_some(())
            });
            eventually(&format!("the receipt at {node}"), || {
                let path = format!("/v4/revocations/r{round}");
                let receipt = cluster.gateway(node).ask_internal(&Request::get(path)).json();
                (receipt["selector"]["session"] == format!("s{round}-{winner}")).then_some(())
            });
        }
    }
}

#[test]
fn d02_a_node_that_joins_learns_everything_before_it_listens() {
    let mut cluster = Cluster::prepare(ClusterOptions { lease: "3s", ..ClusterOptions::default() });
    for node in [0, 1] {
        cluster.launch(node);
    }
    cluster.await_ready_of(&[0, 1]);
    for n in 0..20 {
        assert_eq!(cluster.revoke(n % 2, &format!("s{n}")).status, 201);
    }
    assert_eq!(cluster.gateway(0).ask_internal(&Request::new("DELETE", "/v4/revocations/s0")).status, 204);
    cluster.launch(2);
    cluster.await_ready();
    // Killed, and restarted from its own log and the stream.
    for _ in 0..2 {
        assert_eq!(cluster.gateway(2).status_of("s0"), 200, "lifted");
        for n in 1..20 {
            assert_eq!(cluster.gateway(2).status_of(&format!("s{n}")), 400, "s{n}");
        }
        cluster.kill(2);
        assert_eq!(cluster.revoke(0, "s0").status, 201, "after its lease");
        assert_eq!(
            cluster.gateway(0).ask_internal(&Request::new("DELETE", "/v4/revocations/s0")).status,
            204
        );
        cluster.launch(2);
        cluster.await_ready();
    }
}

#[test]
fn a_node_that_leaves_in_order_keeps_no_one_waiting() {
    let mut cluster = Cluster::start(ClusterOptions::default());
    let stream = sse(&cluster, 2, "s1");
    cluster.stop(2);
    drop(stream);
    let asked = Instant::now();
    let answer = cluster.revoke(0, "s1");
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(asked.elapsed() < Duration::from_secs(3), "its lease of 15 s was waited for");
    // As does a node whose next life says that this one has ended.
    cluster.kill(1);
    cluster.launch(1);
    cluster.await_ready_of(&[1]);
    let asked = Instant::now();
    let answer = cluster.revoke(0, "s2");
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(asked.elapsed() < Duration::from_secs(3), "the lease of the last life was waited for");
    assert_eq!(cluster.gateway(1).status_of("s1"), 400);
}

#[test]
fn nodes_without_a_cluster_are_refused() {
    let start = |more: &[(&str, &str)]| {
        let mut command = Command::new(Gateway::binary());
        command.env_clear().envs([("DATA_DIR", "memory"), ("INBOUND_PORT", "0"), ("API_HTTP_PORT", "0")]);
        let output = command.envs(more.iter().copied()).output().expect("the gateway runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let discovery = ("DISCOVERY_TYPE", "dns");
    let (code, error) = start(&[discovery]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("DISCOVERY_TYPE") && error.contains("CLUSTER_NATS"), "{error}");
    let nats = ("CLUSTER_NATS", "nats://127.0.0.1:1");
    let (code, error) = start(&[nats, ("NODE_COOKIE", "short")]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("NODE_COOKIE") && error.contains("DATA_DIR"), "{error}");
    let mut gateway = Gateway::start(&[discovery, ("CLUSTER", "single")]);
    assert!(gateway.is_healthy());
}
