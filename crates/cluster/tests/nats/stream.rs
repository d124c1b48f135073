//! The stream: its configuration, and what it stores.

use rig_cluster::nats::{NatsConfig, NewStream};
use rig_cluster::wire::{Publication, PublishError, Wire, WireError};
use rig_tests::{NatsOptions, NatsServer};

use super::{
    DEADLINE, STREAM, all_shown, config, names, one_server, open, operation, publication, raw_client, row,
    shown,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_created_once_and_described() {
    let server = NatsServer::start(NatsOptions::default());
    let wire = open(&config(vec![server.url()], "a")).await;
    assert_eq!(wire.info().await, Err(WireError::NoStream("RIG_c".to_owned())));
    let refused = wire.publish(operation("x", "1")).await;
    assert!(matches!(refused, Err(PublishError::Refused(_))), "{refused:?}");

    let created = wire.create_stream(NewStream { adopted: false, ..STREAM }).await.unwrap();
    assert_eq!((created.format, created.first, created.last, created.messages), (1, 1, 0, 0));
    assert_eq!((created.replicas, created.adopted), (1, false));
    assert_eq!(created.deviations, [""; 0]);
    assert_ne!(created.epoch.0, 0);
    let again = wire.create_stream(STREAM).await;
    assert_eq!(again, Err(WireError::Refused("stream RIG_c exists".to_owned())));

    let adopted = wire.adopt_stream().await.unwrap();
    assert_eq!((adopted.adopted, adopted.epoch), (true, created.epoch));
    assert_eq!(adopted.deviations, [""; 0]);
    let three = open(&NatsConfig { replicas: 3, ..config(vec![server.url()], "b") }).await;
    let deviations = three.info().await.unwrap().deviations;
    assert_eq!(deviations, ["num_replicas is 1, but has to be 3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_taken_once_and_changed_only_by_who_knows_it() {
    let (_server, wire) = one_server().await;
    let with = |expected, payload: &str| Publication { expected: Some(expected), ..operation("x", payload) };
    assert_eq!(wire.publish(with(0, "one")).await, Ok(1));
    assert_eq!(wire.publish(with(0, "other")).await, Err(PublishError::Conflict));
    assert_eq!(wire.publish(with(1, "two")).await, Ok(2));
    assert_eq!(wire.publish(with(1, "late")).await, Err(PublishError::Conflict));
    let last = wire.last(names().operation("x")).await.unwrap().unwrap();
    assert_eq!(shown(&last), row(2, "op.x", "two"));
    assert_eq!(wire.last(names().operation("y")).await, Ok(None));
    assert!(matches!(
        wire.publish(operation("y", &"x".repeat(2 << 20))).await,
        Err(PublishError::Refused(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_without_an_answer_is_unknown_and_its_repetition_is_told() {
    let (server, wire) = one_server().await;
    let message = Publication { expected: Some(0), ..operation("x", "one") };
    server.signal("STOP");
    assert_eq!(wire.publish(message.clone()).await, Err(PublishError::Unknown));
    server.signal("CONT");
    wire.connected(DEADLINE).await.unwrap();
    // It was stored when the server went on. A repetition expects that the subject is as it was, so
    // the subject has to be read then.
    assert_eq!(wire.publish(message).await, Err(PublishError::Conflict));
    let last = wire.last(names().operation("x")).await.unwrap().unwrap();
    assert_eq!(shown(&last), row(1, "op.x", "one"));
    assert_eq!(wire.info().await.unwrap().last, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_is_refused_even_to_an_administrator() {
    let (server, wire) = one_server().await;
    wire.publish(operation("x", "1")).await.unwrap();
    let client = raw_client(&server, async_nats::ConnectOptions::new()).await;
    for request in ["$JS.API.STREAM.PURGE.RIG_c", "$JS.API.STREAM.MSG.DELETE.RIG_c"] {
        let answer = client.request(request, r#"{"seq":1}"#.into()).await.unwrap();
        assert!(String::from_utf8_lossy(&answer.payload).contains("error"), "{answer:?}");
    }
    assert_eq!(wire.info().await.unwrap().messages, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_beat_of_each_node_is_returned() {
    let (_server, wire) = one_server().await;
    assert_eq!(wire.latest(names().beats()).await, Ok(Vec::new()));
    for (node, payload) in [("n1", "1"), ("n2", "1"), ("n1", "2")] {
        wire.publish(publication(&names().beat(node), payload)).await.unwrap();
    }
    wire.publish(operation("x", "one")).await.unwrap();
    let beats = wire.latest(names().beats()).await.unwrap();
    assert_eq!(all_shown(&beats), [row(2, "beat.n2", "1"), row(3, "beat.n1", "2")]);
}
