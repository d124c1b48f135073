//! What is wrong with a message, a stream, or the permissions.

use std::time::{Duration, Instant};

use node::Source;
use rig_tests::{NatsOptions, NatsServer, eventually};
use serde_json::{Value, json};

use crate::world::{
    Gateway, ask, await_consumer, await_event, create_consumer, create_stream, ids, next, publish,
    publish_raw, requests, server,
};

/// The library closes the connection over such a message, or its task panics.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_client_cannot_read_is_skipped_and_the_rest_of_its_batch_is_not_lost() {
    const UNREADABLE: [(&[u8], &[u8]); 4] = [
        (b"a.b", b"NATS/1.0\r\nce-subject: M\xfcller\r\n\r\n"),
        (b"a.b", b"NATS/1.0\r\na: b\rc\r\n\r\n"),
        (b"a.b", b"NATS/1.0\r\nno colon\r\n\r\n"),
        (b"a.\xfc", b"NATS/1.0\r\n\r\n"),
    ];
    let server = server("");
    create_consumer(&server, json!({}));
    for (number, (subject, headers)) in UNREADABLE.into_iter().enumerate() {
        publish(&server, 2 * number..2 * number + 2);
        publish_raw(&server, subject, headers);
    }
    publish(&server, 8..10);
    // They are one batch.
    let gateway = Gateway::launch(&server, false).await;
    (0..10).for_each(|id| await_event(&gateway, id));
    let settled = |count| {
        await_consumer(&server, "all are settled", |info| {
            info["ack_floor"]["stream_seq"] == count && info["num_ack_pending"] == 0
        });
        let invalid = r#"rig_consumed_events_failed_total{source="nats",topic="S",reason="invalid"}"#;
        gateway.metric(invalid)
    };
    assert_eq!(settled(14), Some(4.0));
    // They come one by one.
    for (number, (subject, headers)) in UNREADABLE.into_iter().enumerate() {
        publish_raw(&server, subject, headers);
        publish(&server, [10 + number]);
        await_event(&gateway, 10 + number);
    }
    assert_eq!(settled(22), Some(8.0));
    let mut got = gateway.gate.ids();
    got.sort();
    got.dedup();
    let mut expected = ids(0..14);
    expected.sort();
    assert_eq!(got, expected, "some may come twice");
}

/// Such a stream refuses a consumer that begins elsewhere than with its first message.
#[tokio::test(flavor = "multi_thread")]
async fn a_work_queue_is_read_from_its_first_message() {
    let server = NatsServer::start(NatsOptions::default());
    let config = json!({ "name": "S", "subjects": ["a.>"], "retention": "workqueue" });
    ask(&server, "STREAM.CREATE.S", &config);
    publish(&server, 0..3);
    let gateway = Gateway::start(&server, false).await;
    (0..3).for_each(|id| await_event(&gateway, id));
    await_consumer(&server, "all are acknowledged", |info| info["ack_floor"]["stream_seq"] == 3);
    ask(&server, "CONSUMER.DELETE.S.C", &Value::Null);
    publish(&server, 3..6);
    (3..6).for_each(|id| await_event(&gateway, id));
    assert_eq!(gateway.gate.ids(), ids(0..6), "what was acknowledged is gone");
}

/// A server that reloads its configuration keeps the connection, and forgets the subscription that
/// it has refused.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_permitted_later_are_received() {
    let permitting = |more: &str| {
        let permissions = format!("permissions: {{ subscribe: [\"a\"{more}] }}");
        format!("authorization {{ users: [{{ user: u, password: p, {permissions} }}] }}\nno_auth_user: u")
    };
    let (before, after) = (permitting(""), permitting(", \"_INBOX.>\""));
    let server = NatsServer::start(NatsOptions { config: &before, ..NatsOptions::default() });
    create_stream(&server);
    create_consumer(&server, json!({}));
    let gateway = Gateway::launch(&server, false).await;
    eventually("its inbox is refused", || server.log().contains(".*\"").then_some(()));
    assert!(!gateway.source.is_up());
    let file = server.folder().join("nats.conf");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, config.replace(&before, &after)).unwrap();
    server.signal("HUP");
    publish(&server, [1]);
    await_event(&gateway, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_refuses_a_pull_is_asked_again_after_a_pause() {
    // So this test answers, and not the consumer.
    let server = server("mappings: { \"$JS.API.CONSUMER.MSG.NEXT.S.C\": \"refusing\" }");
    let mut pulls = requests(&server, "refusing").await;
    let _gateway = Gateway::launch(&server, false).await;
    let mut began = None;
    for _ in 0..4 {
        let reply = next(&mut pulls).await.reply.unwrap();
        began.get_or_insert_with(Instant::now);
        publish_raw(&server, reply.as_bytes(), b"NATS/1.0 400 Bad Request\r\n\r\n");
    }
    let took = began.unwrap().elapsed();
    assert!(took > Duration::from_millis(2500), "{took:?}");
}
