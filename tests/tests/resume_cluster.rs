//! A client comes back to a cluster: to the node that it was connected to, or to another one.

use std::collections::BTreeSet;

use rig_tests::*;
use serde_json::{Value, json};

fn query() -> String {
    subscribed_to(&["greeting"])
}

fn connect(cluster: &Cluster, node: usize) -> EventSource {
    EventSource::connect(cluster.gateway(node).inbound(), &query())
}

/// Publishes events with these numbers, each at the next node.
fn publish(cluster: &Cluster, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        cluster.gateway(number % 3).publish(&event_of("greeting", number));
    }
}

/// Returns the numbers of the events that the client has got.
///
/// # Panics
/// Panics if one came twice, or those of one publisher not in their order.
fn numbers(client: &mut EventSource) -> BTreeSet<usize> {
    let number = |data: String| -> usize {
        let event: Value = serde_json::from_str(&data).expect("JSON");
        event["id"].as_str().and_then(|id| id.parse().ok()).expect("a number")
    };
    let received: Vec<usize> = client.received().into_iter().map(number).collect();
    for node in 0..3 {
        let of_node = received.iter().filter(|number| **number % 3 == node);
        assert!(of_node.is_sorted_by(|one, next| one < next), "{received:?}");
    }
    received.into_iter().collect()
}

fn reason(answer: Result<u64, Value>) -> String {
    answer.expect_err("a gap")["reason"].as_str().expect("a reason").to_owned()
}

#[test]
fn r31_a_client_goes_from_node_to_node_and_gets_each_event_once() {
    let cluster = Cluster::start(ClusterOptions::default());
    let mut client = connect(&cluster, 0);
    publish(&cluster, 0..6);
    client.until_received(6);
    let mut known: BTreeSet<usize> = numbers(&mut client);
    // The second node has had no subscriber of this type, nor the third one.
    for (round, node) in [1, 2, 0, 1, 1, 2, 0].into_iter().enumerate() {
        client.cut();
        let first = 6 + round * 12;
        publish(&cluster, first..first + 9);
        client.turn_to(cluster.gateway(node).inbound());
        let answer = client.come_back();
        assert!(answer.is_ok(), "round {round}, node {node}: {answer:?}");
        publish(&cluster, first + 9..first + 12);
        client.until_received(12);
        let received = numbers(&mut client);
        assert_eq!(received, (first..first + 12).collect(), "round {round}, node {node}");
        known.extend(received);
    }
    assert_eq!(known, (0..90).collect());
    let resumed = |node| cluster.gateway(node).metric(r#"rig_resumes_total{result="resumed"}"#);
    assert_eq!([0, 1, 2].map(resumed).iter().sum::<f64>(), 7.0);
}

#[test]
fn r31_a_client_of_a_node_that_was_killed_has_a_gap() {
    let mut cluster = Cluster::start(ClusterOptions::default());
    let mut client = connect(&cluster, 0);
    publish(&cluster, [0]);
    client.until_received(1);
    let cursor = client.cursor().to_owned();
    client.cut();
    cluster.kill(0);
    client.turn_to(cluster.gateway(1).inbound());
    assert_eq!(client.come_back(), Err(json!({ "reason": "elsewhere", "since": cursor })));
    publish(&cluster, [1]);
    client.until_received(2);
    client.cut();
    publish(&cluster, [4]);
    assert_eq!(client.come_back(), Ok(1), "its cursor is of this node now");
}

#[test]
fn r31_a_stream_that_is_made_anew_changes_nothing_for_events() {
    let cluster = Cluster::start(ClusterOptions::default());
    let mut clients = [connect(&cluster, 0), connect(&cluster, 1)];
    publish(&cluster, 0..3);
    for client in &mut clients {
        client.until_received(3);
        client.cut();
    }
    cluster.nats.delete(&cluster.stream());
    publish(&cluster, 3..6);
    cluster.init(&[]);
    for node in [0, 1] {
        eventually("the node follows the new stream", || {
            (cluster.revoke(node, &format!("s{node}")).status == 201).then_some(())
        });
    }
    publish(&cluster, 6..9);
    for (node, client) in clients.iter_mut().enumerate() {
        let answer = client.come_back();
        assert!(answer.is_ok(), "node {node}: {answer:?}");
        // The last ones may come after the answer.
        client.until_received(9);
        assert_eq!(numbers(client), (0..9).collect(), "node {node}");
    }
}

#[test]
fn r31_what_is_lost_between_nodes_is_a_gap_live_and_at_the_next_resume() {
    let cluster = Cluster::start(ClusterOptions::default());
    let (mut live, mut away, mut publisher_side) =
        (connect(&cluster, 1), connect(&cluster, 1), connect(&cluster, 0));
    cluster.gateway(0).publish(&event_of("greeting", 0));
    for client in [&mut live, &mut away, &mut publisher_side] {
        client.until_received(1);
    }
    away.cut();
    cluster.set_links(1, LinkState::Cut);
    let lost = || cluster.gateway(1).metric(r#"rig_gaps_total{reason="lost"}"#);
    let before = lost();
    cluster.gateway(0).publish(&event_of("greeting", 3));
    publisher_side.until_received(2);
    cluster.heal_links();
    let gap = live.until("rig.gap");
    assert_eq!(gap.answer(), Some(Err(json!({ "reason": "lost", "since": null }))));
    assert_eq!(reason(away.come_back()), "lost");
    assert!(lost() >= before + 2.0);
    // At the other node nothing is missing.
    publisher_side.cut();
    assert_eq!(publisher_side.come_back(), Ok(0));
    // After the gap, the stream goes on, and a resume from there is exact.
    cluster.gateway(0).publish(&event_of("greeting", 6));
    live.until_received(2);
    live.cut();
    cluster.gateway(0).publish(&event_of("greeting", 9));
    eventually("the event comes to the node", || {
        (cluster.gateway(1).metric("rig_cluster_events_received_total") >= 3.0).then_some(())
    });
    assert_eq!(live.come_back(), Ok(1));
    assert_eq!(numbers(&mut live), [0, 6, 9].into());
}

/// A node receives a type only while it has subscribers of it, so it has not seen what came before.
#[test]
fn r31_a_type_that_a_node_did_not_receive_is_a_gap() {
    let cluster = Cluster::start(ClusterOptions::default());
    let both = subscribed_to(&["greeting", "other"]);
    let mut witness = EventSource::connect(cluster.gateway(0).inbound(), &both);
    let mut client = connect(&cluster, 1);
    client.cut();
    cluster.gateway(0).publish(&event_of("other", 0));
    witness.until("other");
    client.ask_for(&both);
    assert_eq!(reason(client.come_back()), "expired");
    assert_eq!(client.come_back(), Ok(0), "from here on, nothing is missing");
    cluster.gateway(0).publish(&event_of("other", 3));
    client.until_received(1);
    assert_eq!(client.received(), [event_of("other", 3)]);
}

/// Its own events outlive a restart, but others went on without it.
#[test]
fn r31_a_node_that_was_restarted_has_missed_what_others_published() {
    let mut cluster = Cluster::start(ClusterOptions::default());
    let mut client = connect(&cluster, 1);
    publish(&cluster, [0]);
    client.until_received(1);
    client.cut();
    cluster.stop(1);
    publish(&cluster, [3]);
    cluster.launch(1);
    cluster.await_ready_of(&[1]);
    client.turn_to(cluster.gateway(1).inbound());
    assert_eq!(reason(client.come_back()), "lost");
    publish(&cluster, [6]);
    client.until_received(2);
    assert_eq!(numbers(&mut client), [0, 6].into());
    assert_eq!(client.come_back(), Ok(0), "the gap was a new beginning");
}

#[test]
fn r27_a_page_whose_mailbox_is_gone_comes_back_to_another_node() {
    let cluster = Cluster::start(ClusterOptions {
        settings: &[("LONGPOLLING_IDLE_TIMEOUT", "1s")],
        ..ClusterOptions::default()
    });
    let mut page = LongPolling::connect(cluster.gateway(0).inbound(), &query());
    page.welcome();
    publish(&cluster, [0]);
    assert!(page.poll().text().contains("greeting"));
    cluster.gateway(0).await_metric(r#"rig_connections{transport="longpolling"}"#, 0.0);
    publish(&cluster, [1, 2]);
    let ask = |page: &mut LongPolling| {
        let target = format!("/_rig/v1/connection/longpolling?{}", query());
        let response = cluster.gateway(1).ask(&Request::get(target).header("Cookie", page.cookie()));
        page.take_cookies(&response);
        response
    };
    assert_eq!(ask(&mut page).text(), r#""ok""#, "a new connection");
    let events = ask(&mut page).json()["events"].clone();
    let types: Vec<_> =
        events.as_array().expect("a list").iter().map(|event| event["type"].clone()).collect();
    let expected = ["rig.connection.create", "rig.subscriptions_set", "greeting", "greeting", "rig.resumed"];
    assert_eq!(types, expected, "{events}");
}
