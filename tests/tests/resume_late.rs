//! Subscriptions that a client sets right after it has come back, as RIG's examples do.

use rig_tests::*;
use serde_json::{Value, json};

/// The page of `examples/channels` connects without subscriptions and sets them by PUT.
const NEWS: [&str; 2] = ["channels.news", "channels.sports"];

const BOTH: &[&str] = &["news", "sports"];

fn put(gateway: &Gateway, client: &mut EventSource, event_types: &[&str]) {
    let list: Vec<_> = event_types.iter().map(|name| json!({ "eventType": name })).collect();
    let path = format!("/_rig/v1/connection/sse/{}/subscriptions", client.token());
    let body = json!({ "subscriptions": list }).to_string();
    let answer = gateway.ask(&Request::put_json(path, body));
    assert_eq!(answer.status, 204, "{}", answer.shown());
}

/// Comes back, and sets its subscriptions when the first event names the connection token.
fn come_back(gateway: &Gateway, client: &mut EventSource, event_types: &[&str]) {
    let cursor = client.cursor().to_owned();
    client.open();
    assert_eq!(client.until("rig.connection.create").id, cursor);
    client.until("rig.subscriptions_set");
    assert_eq!(client.until_answer(), Ok(0), "it has no subscriptions yet");
    assert_eq!(client.cursor(), cursor, "they are to come, so the cursor stays");
    put(gateway, client, event_types);
    client.until("rig.subscriptions_set");
}

fn publish(gateway: &Gateway, event_type: &str, ids: std::ops::Range<usize>) -> Vec<String> {
    let events: Vec<_> = ids.map(|id| event_of(event_type, id)).collect();
    for event in &events {
        gateway.publish(event);
    }
    events
}

#[test]
fn r16_the_channels_example_is_cut_in_the_middle_of_the_late_replay() {
    let gateway = Gateway::start(&[("HEARTBEAT_INTERVAL", "100ms")]);
    let mut client = EventSource::connect(gateway.inbound(), "");
    put(&gateway, &mut client, &NEWS);
    client.until("rig.subscriptions_set");
    let first = publish(&gateway, NEWS[0], 0..1);
    client.until_received(1);
    assert_eq!(client.received(), first);
    client.cut();
    let missed = [publish(&gateway, NEWS[0], 1..4), publish(&gateway, NEWS[1], 4..6)].concat();

    for some in [1, 3] {
        let cursor = client.cursor().to_owned();
        come_back(&gateway, &mut client, &NEWS);
        client.until_received(client.events.iter().filter(|event| !event.is_of_rig()).count() + some);
        assert_eq!(client.cursor(), cursor, "these blocks have the cursor's id");
        assert_eq!(client.received(), missed[..some]);
        client.cut();
    }
    come_back(&gateway, &mut client, &NEWS);
    let live = publish(&gateway, NEWS[1], 6..7);
    client.until_received(client.events.iter().filter(|event| !event.is_of_rig()).count() + 6);
    let ids: Vec<_> = client.events.iter().filter(|e| !e.is_of_rig()).map(|e| e.id.clone()).collect();
    assert_eq!(client.received(), [missed, live].concat(), "each once, in order");
    assert!(ids[..5].iter().all(|id| *id == ids[0]) && ids[5] != ids[0], "{ids:?}");

    // From here on, the cursor is that of the live event.
    client.cut();
    let missed = publish(&gateway, NEWS[0], 7..8);
    come_back(&gateway, &mut client, &NEWS);
    client.until_received(1);
    assert_eq!(client.received(), missed);
}

#[test]
fn r16_what_the_query_has_selected_is_not_repeated() {
    let gateway = Gateway::start(&[("EXTRACTORS", EXTRACTORS)]);
    let mut client = EventSource::connect(gateway.inbound(), &subscribed_to(BOTH));
    client.cut();
    let all: Vec<_> = ["news", "sports", "news", "sports", "other"]
        .iter()
        .enumerate()
        .flat_map(|(id, event_type)| publish(&gateway, event_type, id..id + 1))
        .collect();
    let old = client.cursor().to_owned();
    client.ask_for(&subscribed_to(&["news"]));
    assert_eq!(client.come_back(), Ok(2));
    assert_eq!(client.received(), [all[0].clone(), all[2].clone()]);

    let mut late =
        EventSource::new(gateway.inbound(), &format!("{}&last_event_id={old}", subscribed_to(&["news"])));
    assert_eq!(late.come_back(), Ok(2));
    put(&gateway, &mut late, BOTH);
    late.until("rig.subscriptions_set");
    let live = publish(&gateway, "news", 9..10);
    late.until_received(5);
    assert_eq!(late.received(), [&all[0], &all[2], &all[1], &all[3], &live[0]].map(Clone::clone));
    // The same again adds nothing.
    put(&gateway, &mut late, BOTH);
    let live = publish(&gateway, "sports", 10..11);
    late.until_received(1);
    assert_eq!(late.received(), live);
}

#[test]
fn r16_live_events_wait_until_the_late_ones_have_come() {
    const MISSED: usize = 2_000;
    let gateway = Gateway::start(&[("OUTBOX_BYTES", "64KiB")]);
    let mut client = EventSource::connect(gateway.inbound(), "");
    put(&gateway, &mut client, &["news"]);
    client.until("rig.subscriptions_set");
    client.cut();
    let mut publisher = Publisher::to(gateway.inbound());
    let events: Vec<_> = (0..MISSED + 500).map(|id| event_of("news", id)).collect();
    let (missed, live) = events.split_at(MISSED);
    let mut send = |events: &[String]| {
        for some in events.chunks(64) {
            some.iter().for_each(|event| publisher.send(event));
            publisher.settle();
        }
    };
    send(missed);
    client.open();
    client.until("rig.connection.create");
    client.until_answer().expect("it is resumed");
    put(&gateway, &mut client, &["news"]);
    send(live);
    client.until_received(events.len());
    assert_eq!(client.received(), events, "each once, in order");
    assert_eq!(client.come_back(), Ok(0));
}

#[test]
fn r16_a_late_subscription_whose_past_is_gone_is_a_gap() {
    let gateway = Gateway::start(&[("HISTORY_EXCLUDE", "noisy")]);
    let mut client = EventSource::connect(gateway.inbound(), "");
    put(&gateway, &mut client, &["news", "noisy"]);
    client.until("rig.subscriptions_set");
    client.cut();
    publish(&gateway, "noisy", 0..1);
    let missed = publish(&gateway, "news", 1..2);
    let cursor = client.cursor().to_owned();
    client.open();
    assert_eq!(client.until_answer(), Ok(0));
    put(&gateway, &mut client, &["news", "noisy"]);
    let gap: Value = client.until_answer().expect_err("the event of the other type is not kept");
    assert_eq!(gap["reason"], "expired", "{gap}");
    assert_eq!(client.received(), [""; 0], "never a part: {missed:?}");
    assert!(![cursor.as_str(), ""].contains(&client.cursor()), "the gap is a new beginning");
    let live = publish(&gateway, "news", 2..3);
    client.until_received(1);
    assert_eq!(client.received(), live);
}

/// The claims of a token give subscriptions as well: they are those of the present token.
#[test]
fn r16_a_token_in_the_put_adds_its_subscriptions() {
    let gateway = Gateway::start(&[("EXTRACTORS", EXTRACTORS)]);
    let mut client = EventSource::connect(gateway.inbound(), "");
    client.cut();
    gateway.publish(&greeting("1", "alice"));
    gateway.publish(&greeting("2", "bob"));
    // Without any subscriber so far, events of a type are not kept.
    assert_eq!(client.come_back(), Ok(0));
    let path = format!("/_rig/v1/connection/sse/{}/subscriptions", client.token());
    let put = Request::put_json(path, r#"{"subscriptions":[]}"#).bearer(&token_of("s"));
    assert_eq!(gateway.ask(&put).status, 204);
    let gap = client.until_answer().expect_err("a type that nobody was subscribed to");
    assert_eq!(gap["reason"], "expired", "{gap}");
}

/// A token gives a subscription before the PUT names the others. Until then, no block may move the
/// cursor past what they have missed.
#[test]
fn r16_events_before_the_put_do_not_move_the_cursor() {
    let gateway = Gateway::start(&[("EXTRACTORS", EXTRACTORS)]);
    let mut client = EventSource::connect(gateway.inbound(), &format!("jwt={}", token_of("s")));
    put_with_token(&gateway, &client, &["news"]);
    client.until("rig.subscriptions_set");
    client.cut();
    let news = publish(&gateway, "news", 0..1);
    gateway.publish(&greeting("missed", "bob"));
    client.open();
    client.until("greeting");
    client.until_answer().expect("it is resumed");
    gateway.publish(&greeting("live", "bob"));
    client.until("greeting");
    client.cut();
    client.events.clear();
    client.open();
    client.until("rig.connection.create");
    client.until_answer().expect("it is resumed");
    put_with_token(&gateway, &client, &["news"]);
    client.until("news");
    let received = client.received();
    assert!(received.contains(&news[0]), "{received:?}");
}

/// Nor may a heartbeat.
#[test]
fn r16_heartbeats_before_the_put_have_no_id() {
    let gateway = Gateway::start(&[("HEARTBEAT_INTERVAL", "100ms")]);
    let mut client = EventSource::connect(gateway.inbound(), "");
    put(&gateway, &mut client, &["news"]);
    client.until("rig.subscriptions_set");
    publish(&gateway, "news", 0..1);
    client.until_received(1);
    publish(&gateway, "news", 1..2);
    let request = Request::get("/_rig/v1/connection/sse").header("Last-Event-ID", client.cursor());
    let mut stream = Sse::open(gateway.inbound(), &request).expect("a stream");
    let heartbeats = [(); 3].map(|()| stream.next_heartbeat());
    assert!(heartbeats.iter().all(|block| !block.contains("\nid")), "{heartbeats:?}");
}

fn put_with_token(gateway: &Gateway, client: &EventSource, event_types: &[&str]) {
    let list: Vec<_> = event_types.iter().map(|name| json!({ "eventType": name })).collect();
    let path = format!("/_rig/v1/connection/sse/{}/subscriptions", client.token());
    let body = json!({ "subscriptions": list }).to_string();
    let answer = gateway.ask(&Request::put_json(path, body).bearer(&token_of("s")));
    assert_eq!(answer.status, 204, "{}", answer.shown());
}
