//! Events from a stream of JetStream.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod faults;
mod world;

use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use node::Source;
use rig_tests::{DEADLINE, NatsOptions, NatsServer, eventually};
use serde_json::{Value, json};

use self::world::{
    Gateway, ask, await_consumer, await_event, consumer, create_consumer, create_stream, event, ids, next,
    next_receipt, publish, receipts, requests, server, try_ask,
};

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_stream_keep_their_order_and_are_acknowledged_once_they_have_left() {
    let server = server("");
    publish(&server, [10_000]);
    let gateway = Gateway::start(&server, true).await;
    let config = &consumer(&server)["config"];
    for (name, value) in [
        ("durable_name", json!("C")),
        ("filter_subject", json!("a.>")),
        ("deliver_policy", json!("new")),
        ("ack_policy", json!("explicit")),
        ("ack_wait", json!(30_000_000_000_u64)),
        ("max_ack_pending", json!(1000)),
        ("max_deliver", json!(-1)),
    ] {
        assert_eq!(config[name], value, "{name}");
    }
    let mut receipts = receipts(&server).await;
    publish(&server, 0..600);
    gateway.gate.await_count(1);
    for _ in 0..20 {
        let info = consumer(&server);
        let pending = info["num_ack_pending"].as_u64().unwrap();
        assert!((1..=256).contains(&pending), "one batch: {pending}");
        assert_eq!(info["ack_floor"]["stream_seq"], 1);
    }
    assert!(receipts.next().now_or_never().is_none(), "nothing has left yet");
    gateway.gate.flushes.send_replace(true);
    await_consumer(&server, "all are acknowledged", |info| {
        info["num_ack_pending"] == 0 && info["ack_floor"]["stream_seq"] == 601
    });
    assert_eq!(gateway.gate.ids(), ids(0..600));
    assert_eq!(next_receipt(&mut receipts).await, "+ACK");
    let consumed = r#"rig_consumed_events_total{source="nats",topic="S"}"#;
    assert_eq!(gateway.metric(consumed), Some(600.0));
    eventually("nothing is left", || {
        (gateway.metric(r#"rig_consumer_lag{topic="S",partition="0"}"#) == Some(0.0)).then_some(())
    });
}

/// The server does not deliver again what the gateway cannot publish yet.
#[tokio::test(flavor = "multi_thread")]
async fn an_existing_consumer_is_used_as_it_is_and_back_pressure_is_no_loss() {
    let server = server("");
    publish(&server, 0..30);
    let limits = json!({ "max_batch": 10, "max_expires": 2_000_000_000, "ack_wait": 3_000_000_000_u64 });
    create_consumer(&server, limits);
    let before = consumer(&server)["config"].clone();
    let mut receipts = receipts(&server).await;
    let gateway = Gateway::start(&server, true).await;
    gateway.gate.await_count(10);
    // Three times half of the time after which it delivers again.
    for _ in 0..30 {
        assert_eq!(next_receipt(&mut receipts).await, "+WPI");
    }
    let info = consumer(&server);
    assert_eq!((&info["num_redelivered"], &info["num_ack_pending"]), (&json!(0), &json!(10)));
    gateway.gate.flushes.send_replace(true);
    await_consumer(&server, "all are acknowledged", |info| info["ack_floor"]["stream_seq"] == 30);
    assert_eq!(gateway.gate.ids(), ids(0..30), "each once, in order");
    assert_eq!(consumer(&server)["config"], before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_counted_and_not_delivered_again() {
    // Larger than a batch may be.
    let server = server("max_payload: 16MB");
    let gateway = Gateway::start(&server, false).await;
    let mut receipts = receipts(&server).await;
    let large = json!({ "specversion": "0.2", "type": "t", "id": "x", "data": "x".repeat(9 << 20) });
    for (payload, expected) in
        [(&*event(0), "+ACK"), ("no event", "+TERM"), (&*large.to_string(), "+TERM"), (&*event(1), "+ACK")]
    {
        server.publish("a.b", &[], &[payload]);
        assert_eq!(next_receipt(&mut receipts).await, expected);
    }
    let info = await_consumer(&server, "all are settled", |info| info["num_ack_pending"] == 0);
    assert_eq!(info["delivered"]["consumer_seq"], 4, "each is delivered once");
    assert_eq!(gateway.gate.ids(), ids(0..2));
    for reason in ["invalid", "too_large"] {
        let failed =
            format!("rig_consumed_events_failed_total{{source=\"nats\",topic=\"S\",reason=\"{reason}\"}}");
        assert_eq!(gateway.metric(&failed), Some(1.0), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_larger_than_the_consumer_delivers_at_once_comes_alone() {
    let server = server("");
    create_consumer(&server, json!({ "max_bytes": 1000 }));
    let gateway = Gateway::start(&server, false).await;
    let mut large: Value = serde_json::from_str(&event(1)).unwrap();
    large["data"] = "x".repeat(5000).into();
    server.publish("a.b", &[], &[&event(0), &large.to_string(), &event(2)]);
    (0..3).for_each(|id| await_event(&gateway, id));
    assert_eq!(gateway.gate.ids(), ids(0..3));
}

/// These are 20 batches, none of which waits until its request expires.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_delivers_little_ahead_is_not_slow() {
    let server = server("");
    create_consumer(&server, json!({ "max_ack_pending": 5 }));
    publish(&server, 0..100);
    let began = Instant::now();
    let gateway = Gateway::start(&server, false).await;
    await_consumer(&server, "all are acknowledged", |info| info["ack_floor"]["stream_seq"] == 100);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(gateway.gate.ids(), ids(0..100));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crashed_gateway_has_not_acknowledged_comes_to_the_next() {
    let server = server("");
    create_consumer(&server, json!({}));
    let crashed = Gateway::start(&server, true).await;
    publish(&server, 0..5);
    crashed.gate.await_count(5);
    drop(crashed);
    let next = Gateway::start(&server, false).await;
    next.gate.await_count(5);
    await_consumer(&server, "all are acknowledged", |info| info["ack_floor"]["stream_seq"] == 5);
    let mut got = next.gate.ids();
    got.sort();
    assert_eq!(got, ids(0..5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_between_delivery_and_acknowledgement_loses_nothing() {
    let mut server = server("");
    create_consumer(&server, json!({}));
    let gateway = Gateway::start(&server, true).await;
    publish(&server, 0..5);
    gateway.gate.await_count(5);
    server.kill();
    eventually("the connection is lost", || (!gateway.source.is_up()).then_some(()));
    gateway.gate.flushes.send_replace(true);
    server.restart();
    server.wait();
    publish(&server, 5..10);
    await_consumer(&server, "all are acknowledged", |info| info["ack_floor"]["stream_seq"] == 10);
    let mut got = gateway.gate.ids();
    got.sort();
    got.dedup();
    assert_eq!(got, ids(0..10), "some may come twice");
}

/// Whoever deletes the consumer or the stream does not make the gateway miss what is published
/// until they are there again.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_and_a_stream_that_are_deleted_cost_no_event() {
    let server = server("");
    let gateway = Gateway::start(&server, false).await;
    publish(&server, 0..3);
    gateway.gate.await_count(3);
    await_consumer(&server, "all are acknowledged", |info| info["ack_floor"]["stream_seq"] == 3);
    let created = consumer(&server)["created"].clone();
    // Held up by this event, the gateway does not notice what happens meanwhile.
    let hold = |id: usize| {
        gateway.gate.flushes.send_replace(false);
        publish(&server, [id]);
        await_event(&gateway, id);
    };
    hold(3);
    ask(&server, "CONSUMER.DELETE.S.C", &Value::Null);
    publish(&server, 4..6);
    gateway.gate.flushes.send_replace(true);
    (4..6).for_each(|id| await_event(&gateway, id));
    let other = await_consumer(&server, "it is there again", |info| info["num_ack_pending"] == 0);
    assert_ne!(other["created"], created, "it is another one");

    hold(6);
    ask(&server, "STREAM.DELETE.S", &Value::Null);
    create_stream(&server);
    publish(&server, 7..9);
    gateway.gate.flushes.send_replace(true);
    (7..9).for_each(|id| await_event(&gateway, id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_leaves_gives_back_what_it_has_not_begun_with() {
    let server = server("");
    create_consumer(&server, json!({}));
    let leaving = Gateway::start(&server, true).await;
    let mut receipts = receipts(&server).await;
    // While this event keeps the gateway from asking, the others become one batch.
    publish(&server, [0]);
    leaving.gate.await_count(1);
    publish(&server, 1..11);
    leaving.gate.ready.send_replace(false);
    leaving.gate.flushes.send_replace(true);
    while next_receipt(&mut receipts).await != "+ACK" {}
    // The next event cannot be published, and the others are behind it.
    assert_eq!(next_receipt(&mut receipts).await, "+WPI");
    let left = leaving.source.leave(DEADLINE);
    let opening = async { leaving.gate.ready.send_replace(true) };
    tokio::join!(left, opening);
    let mut counts = [0, 0];
    while counts[0] + counts[1] < 10 {
        match &*next_receipt(&mut receipts).await {
            "+ACK" => counts[0] += 1,
            "-NAK" => counts[1] += 1,
            _ => {}
        }
    }
    assert_eq!(1 + counts[0], leaving.gate.ids().len());
    assert!(counts[1] > 0, "{counts:?}");
    let staying = Gateway::start(&server, false).await;
    await_consumer(&server, "all are acknowledged", |info| info["ack_floor"]["stream_seq"] == 11);
    assert_eq!(leaving.gate.ids().len() + staying.gate.ids().len(), 11, "each once");
}

/// Gateways that share a consumer share its messages.
#[tokio::test(flavor = "multi_thread")]
async fn of_the_gateways_that_share_a_consumer_one_receives_an_event() {
    let server = server("");
    let gateways = [Gateway::start(&server, false).await, Gateway::start(&server, false).await];
    for id in 0..100 {
        publish(&server, [id]);
    }
    let count = || gateways.iter().map(|gateway| gateway.gate.ids().len()).sum::<usize>();
    eventually("all", || (count() == 100).then_some(()));
    await_consumer(&server, "all are acknowledged", |info| info["ack_floor"]["stream_seq"] == 100);
    assert_eq!(count(), 100);
    assert!(gateways.iter().all(|gateway| !gateway.gate.ids().is_empty()), "both take part");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_or_a_consumer_that_cannot_be_used_is_tried_again() {
    let server = NatsServer::start(NatsOptions::default());
    let gateway = Gateway::launch(&server, false).await;
    eventually("it is connected", || server.get("/connz").contains("rig broker").then_some(()));
    assert!(!gateway.source.is_up());
    create_stream(&server);
    eventually("it is bound", || gateway.source.is_up().then_some(()));
    ask(&server, "CONSUMER.DELETE.S.C", &Value::Null);
    eventually("it is there again", || {
        try_ask(&server, "CONSUMER.INFO.S.C", &Value::Null).get("error").is_none().then_some(())
    });
    drop(gateway);
    for (id, unusable) in
        [json!({ "ack_policy": "none" }), json!({ "priority_policy": "overflow", "priority_groups": ["g"] })]
            .into_iter()
            .enumerate()
    {
        eventually("it is gone", || (!server.get("/connz").contains("rig broker")).then_some(()));
        ask(&server, "CONSUMER.DELETE.S.C", &Value::Null);
        create_consumer(&server, unusable);
        let gateway = Gateway::launch(&server, false).await;
        let mut infos = requests(&server, "$JS.API.CONSUMER.INFO.S.C").await;
        for _ in 0..2 {
            next(&mut infos).await;
        }
        assert!(!gateway.source.is_up(), "after it was looked at");
        ask(&server, "CONSUMER.DELETE.S.C", &Value::Null);
        eventually("it is bound", || gateway.source.is_up().then_some(()));
        publish(&server, [id]);
        await_event(&gateway, id);
    }
}
