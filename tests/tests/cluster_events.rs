//! What is lost on its way between nodes is noticed, and nothing else is a gap.

use rig_tests::*;
use serde_json::json;

fn connect(cluster: &Cluster, node: usize, event_type: &str) -> EventSource {
    EventSource::connect(cluster.gateway(node).inbound(), &subscribed_to(&[event_type]))
}

/// Returns how many gaps of this kind there were at a node.
fn lost(cluster: &Cluster, node: usize) -> f64 {
    cluster.gateway(node).metric(r#"rig_gaps_total{reason="lost"}"#)
}

fn has_logged(cluster: &Cluster, node: usize, line: &str) {
    eventually(line, || cluster.gateway(node).log().contains(line).then_some(()));
}

/// The second node is cut off, and connects again after `meanwhile`.
fn cut_off(cluster: &Cluster, meanwhile: impl FnOnce()) {
    cluster.set_links(1, LinkState::Cut);
    has_logged(cluster, 1, "events: no connection to NATS");
    meanwhile();
    cluster.heal_links();
}

fn start() -> Cluster {
    Cluster::start(ClusterOptions { settings: &[("LOG_LEVEL", "debug")], ..ClusterOptions::default() })
}

#[test]
fn an_event_that_is_lost_is_a_gap_although_it_is_the_first_of_its_node() {
    let cluster = start();
    let (mut concerned, mut other) = (connect(&cluster, 1, "greeting"), connect(&cluster, 1, "farewell"));
    cut_off(&cluster, || cluster.gateway(0).publish(&event_of("greeting", 1)));
    let gap = concerned.until("rig.gap");
    assert_eq!(gap.answer(), Some(Err(json!({ "reason": "lost", "since": null }))));
    // Nothing of the other type was published.
    cluster.gateway(0).publish(&event_of("farewell", 2));
    other.until_received(1);
    other.cut();
    assert_eq!(other.come_back(), Ok(0));
    assert_eq!(lost(&cluster, 1), 1.0);
}

#[test]
fn another_connection_alone_is_no_gap() {
    let cluster = start();
    let mut client = connect(&cluster, 1, "greeting");
    for number in 0..3 {
        cluster.gateway(number).publish(&event_of("greeting", number));
    }
    client.until_received(3);
    cut_off(&cluster, || {});
    has_logged(&cluster, 1, "events: it is known what was lost with the connection");
    for number in 3..6 {
        cluster.gateway(number % 3).publish(&event_of("greeting", number));
    }
    client.until_received(6);
    client.cut();
    assert_eq!(client.come_back(), Ok(0));
    assert_eq!(lost(&cluster, 1), 0.0);
}

#[test]
fn what_a_killed_node_has_sent_meanwhile_is_a_gap_for_all() {
    let mut cluster = start();
    let mut client = connect(&cluster, 1, "greeting");
    cluster.set_links(1, LinkState::Cut);
    has_logged(&cluster, 1, "events: no connection to NATS");
    cluster.gateway(0).publish(&event_of("greeting", 1));
    cluster.kill(0);
    cluster.heal_links();
    let gap = client.until("rig.gap");
    assert_eq!(gap.answer(), Some(Err(json!({ "reason": "lost", "since": null }))));
}
