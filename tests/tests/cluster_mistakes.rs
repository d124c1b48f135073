//! Mistakes of operators: each is reported, and no revocation is missed because of it.

use std::process::Command;
use std::time::{Duration, Instant};

use rig_tests::*;
use serde_json::json;

const LEASE: ClusterOptions<'static> = ClusterOptions { servers: 1, lease: "3s", settings: &[] };

#[test]
fn a_node_with_another_cookie_does_not_join() {
    let mut cluster = Cluster::start(LEASE);
    cluster.set(2, "NODE_COOKIE", "a-cookie-that-the-others-do-not-have");
    cluster.stop(2);
    cluster.launch(2);
    eventually("it says why it does not join", || {
        cluster.gateway(2).log().contains("it has another NODE_COOKIE").then_some(())
    });
    assert!(!cluster.is_ready(2) && cluster.is_ready(0));
    let answer = cluster.revoke(0, "s");
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(!cluster.is_ready(2));
    // No other node could read the definitions that it would store.
    let api = Request::post_json("/v3/apis", definition("x", "1").to_string());
    let answer = cluster.gateway(2).ask_internal(&api);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("NODE_COOKIE"), "{}", answer.text());
    let answer = cluster.gateway(0).ask_internal(&api);
    assert_eq!(answer.status, 201, "{}", answer.text());
    // It cannot read theirs either, and begins without them.
    cluster.stop(2);
    cluster.launch(2);
    eventually("it starts again", || {
        cluster.gateway(2).log().contains("it has another NODE_COOKIE").then_some(())
    });
    // The mistake is mended.
    cluster.set(2, "NODE_COOKIE", "a-test-cookie-of-thirty-two-bytes");
    cluster.launch(2);
    cluster.await_ready_of(&[2]);
    assert_eq!(cluster.gateway(2).status_of("s"), 400);
    eventually("the definitions", || (api_names(cluster.gateway(2)) == ["x=1"]).then_some(()));
    // Garbage in the place of the definitions is replaced.
    let subject = format!("rig.{}.s.apis", cluster.stream().trim_start_matches("RIG_"));
    cluster.nats.server(0).store(&subject, "!");
    eventually("they are stored again", || {
        (0..3).any(|node| cluster.gateway(node).log().contains("stored again")).then_some(())
    });
    cluster.stop(1);
    cluster.launch(1);
    cluster.await_ready_of(&[1]);
    assert_eq!(api_names(cluster.gateway(1)), ["x=1"]);
}

#[test]
fn a_node_of_a_cluster_does_not_start_alone_by_mistake() {
    let mut cluster = Cluster::prepare(LEASE);
    cluster.launch(0);
    cluster.await_ready_of(&[0]);
    let answer = cluster.revoke(0, "s");
    assert_eq!(answer.status, 201, "{}", answer.text());
    cluster.stop(0);
    let folder = cluster.node(0).folder().join("data");
    let start = |name: &str, value: &str| {
        let mut command = Command::new(Gateway::binary());
        command.env_clear().envs([("INBOUND_PORT", "0"), ("API_HTTP_PORT", "0"), (name, value)]);
        let output = command.output().expect("the gateway runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (name, value) in [("DATA_DIR", folder.as_str()), ("CLUSTER_NAME", "test")] {
        let (started, told) = start(name, value);
        assert!(!started && told.contains("CLUSTER_NATS") && told.contains("CLUSTER=single"), "{told}");
    }
    let alone = Gateway::start(&[("DATA_DIR", &folder), ("CLUSTER", "single")]);
    assert_eq!(alone.status_of("s"), 400, "what was revoked in the cluster stays revoked");
}

#[test]
fn of_two_nodes_of_one_name_one_stops() {
    let mut cluster = Cluster::prepare(LEASE);
    for node in [0, 1] {
        cluster.set(node, "CLUSTER_NODE", "same");
        cluster.launch(node);
    }
    let told = eventually("one of them stops", || cluster.exited(0).or_else(|| cluster.exited(1)));
    assert!(told.contains("another node named") && told.contains("CLUSTER_NODE"), "{told}");
    let runs = [0, 1].into_iter().filter(|node| cluster.exited(*node).is_none());
    assert_eq!(runs.count(), 1);
}

#[test]
fn a_nearly_full_stream_queues_revocations_and_costs_no_lease() {
    let mut cluster = Cluster::prepare(LEASE);
    // `rig cluster init` makes no stream as small.
    cluster.nats.edit(&cluster.stream(), &json!({ "max_bytes": 256 << 10 }));
    for node in 0..3 {
        cluster.launch(node);
    }
    cluster.await_ready();
    let mut stored = Vec::new();
    loop {
        let session = format!("s{}", stored.len());
        let (id, reason) = (&session, "x".repeat(500));
        let body = json!({ "id": id, "session": id, "validityInSeconds": 7200, "reason": reason });
        let order = Request::post_json("/v4/revocations", body.to_string());
        let answer = cluster.gateway(stored.len() % 3).ask_internal(&order);
        if answer.status == 202 {
            assert_eq!(answer.json()["cluster"], "queued", "{}", answer.text());
            break;
        }
        assert_eq!(answer.status, 201, "{}", answer.text());
        stored.push(session);
    }
    let checked = cluster.command(&["check"]);
    let shown = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.code() == Some(1) && shown.starts_with("it is nearly full, with "), "{shown}");
    let full = Instant::now();
    // Beats and lifts are stored for longer than a lease.
    while full.elapsed() < Duration::from_secs(5) {
        let session = stored.pop().expect("there are many");
        let lift = Request::new("DELETE", format!("/v4/revocations/{session}"));
        let lifted = cluster.gateway(stored.len() % 3).ask_internal(&lift);
        assert_eq!(lifted.status, 204, "{}", lifted.text());
        assert!((0..3).all(|node| cluster.is_ready(node)), "after {:?}", full.elapsed());
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let told = (0..3).any(|node| cluster.gateway(node).log().contains("the stream is nearly full"));
    assert!(told);
}

#[test]
fn no_node_follows_a_stream_that_can_lose_messages() {
    let mut cluster = Cluster::prepare(LEASE);
    let (age, long) = (3_000_000_000u64, 120_000_000_000u64);
    cluster.nats.edit(&cluster.stream(), &json!({ "max_age": age, "duplicate_window": age }));
    cluster.launch(0);
    eventually("it says why it does not join", || {
        cluster.gateway(0).log().contains("max_age is 3000000000, but has to be 0").then_some(())
    });
    assert!(!cluster.is_ready(0));
    let checked = cluster.command(&["check"]);
    let shown = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.code() == Some(1) && shown.starts_with("dangerous: max_age is"), "{shown}");
    assert!(shown.contains("\nduplicate_window is "), "{shown}");
    cluster.nats.edit(&cluster.stream(), &json!({ "max_age": 0, "duplicate_window": long }));
    cluster.await_ready_of(&[0]);
}
