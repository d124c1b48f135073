//! A node that may have missed a revocation sends nothing to any session.

use std::time::{Duration, Instant};

use rig_tests::*;
use serde_json::json;

const LEASE: Duration = Duration::from_secs(3);

/// The lease, on clocks that differ by 0.1 % each.
const BOUND: Duration = Duration::from_micros(3_006_000);

/// Until a stream of a node without a lease is terminated.
const HOLD: Duration = Duration::from_secs(2);

/// What the answer may take beside the lease.
const ANSWER: Duration = Duration::from_millis(500);

fn start(servers: usize) -> Cluster {
    let settings = [("CLUSTER_HOLD", "2s")];
    Cluster::start(ClusterOptions { servers, lease: "3s", settings: &settings })
}

fn sse(cluster: &Cluster, node: usize, session: &str) -> Sse {
    let query =
        format!("subscriptions={}&jwt={}", encoded(r#"[{"eventType":"greeting"}]"#), token_of(session));
    let mut sse = Sse::connect(cluster.gateway(node).inbound(), &query);
    sse.welcome();
    sse
}

fn ready(cluster: &Cluster, node: usize) -> u16 {
    cluster.gateway(node).ask_internal(&Request::get("/readyz")).status
}

/// Publishes at a node until its stream has been silent for `quiet`, or for too long, and returns
/// when the last event was received.
fn last_payload(gateway: &Gateway, stream: &mut Sse, quiet: Duration) -> Instant {
    let start = Instant::now();
    let mut last = start;
    for n in 0.. {
        gateway.publish(&greeting(&n.to_string(), "bob"));
        if stream.wire().is_silent_for(quiet) || start.elapsed() > LEASE * 3 {
            return last;
        }
        stream.next_data();
        last = Instant::now();
    }
    last
}

#[test]
fn a_node_that_is_cut_off_holds_payload_then_terminates_and_the_revocation_is_answered() {
    for state in [LinkState::BlackHole, LinkState::HalfOpen(Direction::ToServer), LinkState::Cut] {
        let mut cluster = start(1);
        let mut revoked = sse(&cluster, 2, "s1");
        let mut other = sse(&cluster, 2, "s2");
        assert_eq!(ready(&cluster, 2), 200);
        cluster.set_links(2, state);
        let cut = Instant::now();
        let (answer, answered) = std::thread::scope(|scope| {
            let answer = scope.spawn(|| {
                let answer = cluster.revoke(0, "s1");
                (answer, Instant::now())
            });
            let last = last_payload(cluster.gateway(2), &mut revoked, HOLD / 2);
            assert!(
                last.duration_since(cut) <= BOUND,
                "{state:?}: payload {:?} after the cut",
                last.duration_since(cut)
            );
            let (answer, answered) = answer.join().expect("no panic");
            assert!(last <= answered, "{state:?}: payload after the answer");
            (answer, answered)
        });
        let receipt = answer.json();
        let states = receipt["nodes"].as_array().expect("a list").iter();
        let states: Vec<_> = states.map(|node| node["state"].as_str().expect("a text")).collect();
        // A node whose beats still arrive may get its lease back, for all that the others know.
        let (status, last_state) = match state {
            LinkState::HalfOpen(Direction::ToServer) => (202, "unconfirmed"),
            _ => (201, "expired"),
        };
        assert_eq!(states, ["applied", "applied", last_state], "{state:?}: {receipt}");
        assert_eq!(answer.status, status, "{state:?}: {receipt}");
        if status == 201 {
            let took = answered.duration_since(cut);
            assert!(took <= BOUND + ANSWER, "{state:?}: after {took:?}");
        }

        assert_eq!(ready(&cluster, 2), 503);
        assert_eq!(cluster.gateway(2).status_of("s3"), 503, "{state:?}");
        // What was held is never sent, the streams end.
        let ended = std::iter::from_fn(|| revoked.raw()).collect::<Vec<_>>().join("\n");
        assert!(!ended.contains("greeting"), "{state:?}: {ended}");
        let ended = std::iter::from_fn(|| other.raw()).collect::<Vec<_>>().join("\n");
        assert!(ended.contains("rig.lease_lost"), "{state:?}: {ended}");
        assert!(cut.elapsed() < BOUND + HOLD + LEASE, "{state:?}: after {:?}", cut.elapsed());

        cluster.heal_links();
        cluster.await_ready();
        assert_eq!(
            (cluster.gateway(2).status_of("s1"), cluster.gateway(2).status_of("s2")),
            (400, 200),
            "{state:?}"
        );
    }
}

#[test]
fn a_short_cut_delays_payload_and_loses_none() {
    let settings = [("CLUSTER_HOLD", "15s")];
    let mut cluster = Cluster::start(ClusterOptions { servers: 1, lease: "3s", settings: &settings });
    let mut stream = sse(&cluster, 2, "s1");
    cluster.set_links(2, LinkState::BlackHole);
    eventually("no lease", || (ready(&cluster, 2) == 503).then_some(()));
    for n in 0..20 {
        cluster.gateway(2).publish(&greeting(&n.to_string(), "bob"));
    }
    assert!(stream.wire().is_silent_for(Duration::from_millis(200)));
    cluster.heal_links();
    for n in 0..20 {
        assert_eq!(stream.next_data(), greeting(&n.to_string(), "bob"));
    }
    cluster.await_ready();
}

#[test]
fn a_revocation_without_nats_is_queued_and_arrives_later() {
    let mut cluster = start(1);
    cluster.nats.server(0).kill();
    let answer = cluster.revoke(0, "s1");
    assert_eq!((answer.status, &answer.json()["cluster"]), (202, &json!("queued")), "{}", answer.text());
    assert_eq!(answer.header("location"), Some("/v4/revocations/s1"));
    let lift = cluster.gateway(0).ask_internal(&Request::new("DELETE", "/v4/revocations/s1"));
    assert_eq!(lift.status, 503, "{}", lift.text());
    // Neither the queue nor what is in force depends on the process.
    cluster.kill(0);
    cluster.nats.server(0).restart();
    cluster.launch(0);
    cluster.await_ready();
    for node in 0..3 {
        eventually("it is in force", || (cluster.gateway(node).status_of("s1") == 400).then_some(()));
    }
    eventually("it is complete", || {
        let receipt = cluster.gateway(0).ask_internal(&Request::get("/v4/revocations/s1"));
        (receipt.status == 200).then_some(())
    });
}

#[test]
fn without_its_stream_no_node_has_a_lease_and_the_nodes_repair_it() {
    let mut cluster = start(3);
    let revoked = 30;
    for n in 0..revoked {
        assert_eq!(cluster.revoke(n % 3, &format!("s{n}")).status, 201);
    }
    cluster.nats.delete(&cluster.stream());
    for node in 0..3 {
        eventually("no lease", || (ready(&cluster, node) == 503).then_some(()));
    }
    cluster.init(&["--recover"]);
    cluster.await_ready();
    let info = format!("$JS.API.STREAM.INFO.{}", cluster.stream());
    eventually("all of them are in the stream again", || {
        (cluster.nats.request(&info, "")?["state"]["messages"].as_u64()? >= revoked as u64).then_some(())
    });
    for node in 0..3 {
        cluster.kill(node);
        cluster.launch(node);
        cluster.await_ready();
    }
    for node in 0..3 {
        for n in 0..revoked {
            assert_eq!(cluster.gateway(node).status_of(&format!("s{n}")), 400, "node {node}, s{n}");
        }
        assert_eq!(cluster.gateway(node).status_of("other"), 200);
    }
}
