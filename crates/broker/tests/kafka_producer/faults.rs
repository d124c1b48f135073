//! What goes wrong at brokers, or on the way to them.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rig_broker::kafka::{KafkaProducer, KafkaProducerConfig, Partitioner};
use rig_broker::{ProduceError, Producer};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::{ALL_BROKERS, DEADLINE, LIMIT, access, cluster, event, id, producer, read, to, until};

#[tokio::test]
async fn what_a_broker_refuses_has_a_reason() {
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR_INVALID_RECORD, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
    };
    type Kind = fn(String) -> ProduceError;
    let cases: [(_, Kind); 3] = [
        (RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, ProduceError::TooLarge),
        (RD_KAFKA_RESP_ERR_INVALID_RECORD, ProduceError::Refused),
        (RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, ProduceError::Refused),
    ];
    for (fault, kind) in cases {
        let cluster = cluster("events", 1);
        let producer = producer(&cluster, DEADLINE);
        cluster.request_errors(RDKafkaApiKey::Produce, &[fault]);
        let failure = producer.produce(&to("events"), event("1"), DEADLINE).await.unwrap_err();
        let text = failure.to_string();
        assert_eq!(failure, kind(text.clone()), "{fault:?}");
        assert!(text.starts_with("events: "), "{text}");
    }
    // Written, but not by as many brokers as it should be: sent again until its timeout.
    let cluster = cluster("events", 1);
    let producer = producer(&cluster, Duration::from_secs(2));
    let faults = [RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND; 200];
    cluster.request_errors(RDKafkaApiKey::Produce, &faults);
    let failure = producer.produce(&to("events"), event("1"), Duration::from_secs(5)).await;
    assert!(matches!(failure, Err(ProduceError::TimedOut(_))), "{failure:?}");
}

#[tokio::test]
async fn a_topic_that_is_unknown_is_refused() {
    use RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    let cluster = cluster("events", 1);
    cluster.topic_error("events", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    let failure = producer(&cluster, DEADLINE).produce(&to("events"), event("1"), DEADLINE).await;
    assert!(matches!(failure, Err(ProduceError::Refused(_))), "{failure:?}");
}

#[tokio::test]
async fn names_that_are_no_topic_are_refused() {
    let cluster = cluster("events", 1);
    let producer = producer(&cluster, DEADLINE);
    for topic in ["a\0b", &"a".repeat(1_000)] {
        let failure = producer.produce(&to(topic), event("1"), Duration::from_secs(20)).await;
        assert!(matches!(failure, Err(ProduceError::Refused(_))), "{topic:?}: {failure:?}");
    }
}

#[tokio::test]
async fn b18_an_event_that_is_too_large_is_refused_at_once() {
    let cluster = cluster("events", 1);
    let producer = producer(&cluster, DEADLINE);
    let mut event = event("1");
    event.members.insert("data".to_owned(), json!("x".repeat(2 << 20)));
    let failure = producer.produce(&to("events"), event, DEADLINE).await;
    assert!(matches!(failure, Err(ProduceError::TooLarge(_))), "{failure:?}");
}

#[tokio::test]
async fn b09_an_outage_costs_the_events_of_its_time_only() {
    let cluster = cluster("events", 1);
    let deadline = Duration::from_secs(4);
    let producer = producer(&cluster, deadline);
    producer.produce(&to("events"), event("before"), deadline).await.unwrap();
    cluster.broker_down(ALL_BROKERS).unwrap();
    until("it has noticed", || !producer.is_up()).await;
    let began = Instant::now();
    let failure = producer.produce(&to("events"), event("during"), deadline).await;
    assert!(matches!(failure, Err(ProduceError::Unavailable(_))), "{failure:?}");
    assert!(began.elapsed() <= deadline, "{:?}", began.elapsed());
    cluster.broker_up(ALL_BROKERS).unwrap();
    until("it is back", || producer.is_up()).await;
    producer.produce(&to("events"), event("after"), LIMIT).await.unwrap();
    let ids: Vec<_> = read(&cluster, "events", 1, 2).iter().map(id).collect();
    assert_eq!(ids, ["before", "after"]);
}

#[tokio::test]
async fn b09_a_short_outage_is_bridged() {
    let cluster = cluster("events", 1);
    let producer = producer(&cluster, DEADLINE);
    producer.produce(&to("events"), event("before"), DEADLINE).await.unwrap();
    cluster.broker_down(ALL_BROKERS).unwrap();
    until("it has noticed", || !producer.is_up()).await;
    let to = to("events");
    let sent = producer.produce(&to, event("during"), DEADLINE);
    let returns = async { cluster.broker_up(ALL_BROKERS).unwrap() };
    let (sent, ()) = tokio::join!(sent, returns);
    sent.unwrap();
}

#[tokio::test]
async fn a_broker_that_was_never_there_is_unavailable() {
    let deadline = Duration::from_secs(3);
    let access = access("127.0.0.1:1".to_owned());
    let config =
        KafkaProducerConfig { access, registry: None, partitioner: Partitioner::default(), deadline };
    let producer = KafkaProducer::new(config).unwrap();
    let failure = producer.produce(&to("events"), event("1"), deadline).await;
    assert!(matches!(failure, Err(ProduceError::Unavailable(_))), "{failure:?}");
    assert!(!producer.is_up());
}

#[tokio::test]
async fn what_waits_to_be_sent_is_bounded() {
    let cluster = cluster("events", 1);
    let producer = Arc::new(producer(&cluster, LIMIT));
    cluster.broker_down(ALL_BROKERS).unwrap();
    let mut large = event("1");
    large.members.insert("data".to_owned(), json!("x".repeat(900_000)));
    let mut sending = tokio::task::JoinSet::new();
    // 40 of them are more than the 32 MiB that may wait.
    for _ in 0..40 {
        let (producer, event) = (producer.clone(), large.clone());
        sending.spawn(async move { producer.produce(&to("events"), event, LIMIT).await });
    }
    let first = timeout(Duration::from_secs(10), sending.join_next()).await.unwrap().unwrap().unwrap();
    let failure = first.unwrap_err();
    assert_eq!(failure, ProduceError::Unavailable("events: QueueFull (Local: Queue full)".to_owned()));
}
