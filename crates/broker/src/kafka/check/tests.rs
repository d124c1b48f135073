//! A mock cluster says what a broker without access control does not.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;

const WITHIN: Duration = Duration::from_secs(10);

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn config(cluster: &Cluster) -> KafkaCheck {
    let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    KafkaCheck {
        access: KafkaAccess {
            brokers: vec![cluster.bootstrap_servers()],
            tls: None,
            sasl: None,
            restart_delay: Duration::from_secs(1),
            properties: Vec::new(),
        },
        sources: texts(&["events"]),
        group: Some("group".to_owned()),
        needed: texts(&["orders", "events"]),
        unused: texts(&["answers"]),
    }
}

/// Returns what is found about something; `None` if it is not looked for.
fn of<'f>(findings: &'f [Finding], what: &str) -> Option<Result<&'f str, &'f str>> {
    let finding = findings.iter().find(|finding| finding.what == what)?;
    Some(finding.result.as_deref().map_err(String::as_str))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_told_from_what_is_missing() {
    let cluster = Cluster::new(2).unwrap();
    cluster.create_topic("events", 3, 1).unwrap();
    for (partition, broker) in [(0, 1), (1, 2), (2, 1)] {
        cluster.partition_leader("events", partition, Some(broker)).unwrap();
    }
    let findings = check(config(&cluster), WITHIN).await;
    assert_eq!(findings.len(), 7, "each is looked at once: {findings:?}");
    assert_eq!(of(&findings, "kafka: connection"), Some(Ok("connected")));
    assert_eq!(of(&findings, "kafka: topic events"), Some(Ok("3 partitions")));
    assert_eq!(of(&findings, "kafka: topic orders"), Some(Err("not there")));
    let unused = "not there, but no endpoint waits for an answer by Kafka";
    assert_eq!(of(&findings, "kafka: topic answers"), Some(Ok(unused)));
    let servers = cluster.bootstrap_servers();
    for server in servers.split(',') {
        assert_eq!(of(&findings, &format!("kafka: broker {server}")), Some(Ok("connected")), "{findings:?}");
    }
    let offsets = "has committed an offset for 0 of 3 partitions";
    assert_eq!(of(&findings, "kafka: group group"), Some(Ok(offsets)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_authorized_is_named() {
    let cluster = Cluster::new(1).unwrap();
    for topic in ["events", "orders"] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.topic_error("orders", denied).unwrap();
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::OffsetFetch, &[denied; 100]);
    let findings = check(config(&cluster), WITHIN).await;
    assert_eq!(of(&findings, "kafka: topic events"), Some(Ok("1 partition")));
    let orders = "not authorized to see it, or it is not there";
    assert_eq!(of(&findings, "kafka: topic orders"), Some(Err(orders)));
    assert_eq!(of(&findings, "kafka: group group"), Some(Err("not authorized to read the group")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_does_not_answer_and_a_partition_without_one_are_named() {
    let cluster = Cluster::new(2).unwrap();
    cluster.create_topic("events", 1, 1).unwrap();
    cluster.partition_leader("events", 0, Some(2)).unwrap();
    cluster.broker_round_trip_time(2, 2 * WITHIN).unwrap();
    let servers = cluster.bootstrap_servers();
    let (first, second) = servers.split_once(',').unwrap();
    let mut config = config(&cluster);
    config.access.brokers = vec![first.to_owned()];
    config.group = None;
    let findings = check(config.clone(), WITHIN).await;
    assert_eq!(of(&findings, "kafka: topic events"), Some(Ok("1 partition")));
    let Some(Err(reason)) = of(&findings, &format!("kafka: broker {second}")) else { panic!("{findings:?}") };
    assert!(reason.contains("no answer in time"), "{reason}");
    assert_eq!(of(&findings, "kafka: topic orders"), Some(Err("not there")), "there is time for the others");
    assert!(!findings.iter().any(|finding| finding.what.starts_with("kafka: group")), "{findings:?}");
    cluster.broker_down(2).unwrap();
    let findings = check(config, WITHIN).await;
    assert_eq!(of(&findings, "kafka: topic events"), Some(Err("partition 0 has no leader")));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_connection_nothing_else_is_looked_at() {
    let cluster = Cluster::new(1).unwrap();
    let mut config = config(&cluster);
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    config.access.brokers = vec![unused.to_string()];
    let began = Instant::now();
    let findings = check(config, WITHIN).await;
    assert!(began.elapsed() < WITHIN, "it is known before the time is over");
    let [Finding { what, result: Err(reason) }] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!(what, "kafka: connection");
    assert!(reason.contains("Connection refused"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_listens_but_never_answers_takes_no_longer_than_it_may() {
    let cluster = Cluster::new(1).unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(&cluster);
    config.access.brokers = vec![silent.local_addr().unwrap().to_string()];
    let began = Instant::now();
    let findings = check(config, Duration::from_secs(1)).await;
    assert!(began.elapsed() < Duration::from_secs(1) + GRACE);
    assert_eq!(of(&findings, "kafka: connection"), Some(Err("no answer in time")), "{findings:?}");
}
