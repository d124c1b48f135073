//! Settings of Kafka.

use std::time::Duration;

use ::broker::kafka::{Partitioner, Reach, Reset, Sasl};

use super::*;
use crate::settings::broker::{KafkaLogSettings, KafkaSettings};

const KAFKA: (&str, &str) = ("KAFKA_BROKERS", "127.0.0.1, localhost:9093");

/// Returns the settings of Kafka with these more.
fn kafka(more: &[(&str, &str)]) -> KafkaSettings {
    parse(&[], &[&[KAFKA], more].concat()).unwrap().brokers.kafka.unwrap()
}

/// Returns the mistakes with these more; empty if there is none.
fn mistakes(more: &[(&str, &str)]) -> String {
    parse(&[], &[&[KAFKA], more].concat()).err().unwrap_or_default()
}

fn warnings(variables: &[(&str, &str)]) -> Vec<String> {
    parse(&[], variables).unwrap().warnings
}

fn group(id: &str) -> Reach {
    Reach::Group { id: id.to_owned(), instance: None }
}

#[test]
fn kafka_is_used_if_it_is_named() {
    assert!(parse(&[], &[("KAFKA_SOURCE_TOPICS", "a")]).unwrap().brokers.kafka.is_none());
    assert_eq!(warnings(&[KAFKA]), [""; 0]);
    let kafka = kafka(&[]);
    assert_eq!(kafka.access.brokers, ["127.0.0.1:9092", "localhost:9093"]);
    assert_eq!(kafka.access.restart_delay, Duration::from_secs(10));
    assert!(kafka.access.tls.is_none() && kafka.access.sasl.is_none() && kafka.access.properties.is_empty());
    assert_eq!((kafka.topics, kafka.reach), (vec!["rig".to_owned()], group("rig-kafka-to-filter")));
    assert_eq!((kafka.reset, kafka.dead_letters, kafka.log), (Reset::Latest, None, None));
    assert!(kafka.registry.is_none() && !kafka.sends_avro);
    assert_eq!(kafka.partitioner, Partitioner::Murmur2);
    assert_eq!(kafka.response_topics, ["rig-proxy-response"]);
}

#[test]
fn each_setting_of_kafka_has_its_effect() {
    let set = kafka(&[
        ("KAFKA_SOURCE_TOPICS", "a, b,a"),
        ("KAFKATOFILTER_KAFKA_GROUP_ID", "g"),
        ("KAFKA_GROUP_INSTANCE_ID", "one"),
        ("KAFKA_AUTO_OFFSET_RESET", "earliest"),
        ("KAFKA_DEAD_LETTER_TOPIC", "dead"),
        ("KAFKA_RESTART_DELAY_MS", "20000"),
        ("KAFKA_PARTITIONER", "rig"),
        ("KAFKA_SERIALIZER", "avro"),
        ("KAFKA_SCHEMA_REGISTRY_HOST", "registry:8081"),
        ("KAFKA_SCHEMA_REGISTRY_USER", "u"),
        ("KAFKA_SCHEMA_REGISTRY_PASSWORD", "p"),
        ("REQUEST_LOG", "Kafka, console"),
        ("KAFKA_LOG_SCHEMA", "calls"),
        ("PROXY_KAFKA_RESPONSE_TOPICS", "r,s"),
        ("KAFKA_PROPERTIES", "fetch.min.bytes=5"),
    ]);
    assert_eq!(set.topics, ["a", "b"]);
    assert_eq!(set.reach, Reach::Group { id: "g".to_owned(), instance: Some("one".to_owned()) });
    assert_eq!((set.reset, set.dead_letters.as_deref()), (Reset::Earliest, Some("dead")));
    assert_eq!(set.access.restart_delay, Duration::from_secs(20));
    assert_eq!(set.access.properties, [("fetch.min.bytes".to_owned(), "5".to_owned())]);
    assert_eq!((set.partitioner, set.sends_avro), (Partitioner::Rig, true));
    assert_eq!(set.registry.unwrap().credentials, Some(("u".to_owned(), "p".to_owned())));
    let log = KafkaLogSettings { topic: "rig-request-log".to_owned(), schema: Some("calls".to_owned()) };
    assert_eq!(set.log, Some(log));
    assert_eq!(set.response_topics, ["r", "s"]);
    assert_eq!(kafka(&[("KAFKA_SOURCE_MODE", "Broadcast")]).reach, Reach::Every);
}

#[test]
fn b27_there_are_other_ways_than_plain() {
    for (text, user, password) in [
        ("plain:ann:a:b", "ann", "a:b"),
        ("PLAIN:$ConnectionString:Endpoint=sb://x/;Key=y=", "$ConnectionString", "Endpoint=sb://x/;Key=y="),
        ("scram-sha-256:ann:p", "ann", "p"),
        ("SCRAM-SHA-512:ann:p", "ann", "p"),
    ] {
        let sasl = kafka(&[("KAFKA_SASL", text)]).access.sasl.unwrap();
        let (Sasl::Plain(given) | Sasl::ScramSha256(given) | Sasl::ScramSha512(given)) = sasl else {
            panic!("{text}")
        };
        assert_eq!((&*given.user, &*given.password), (user, password), "{text}");
    }
    let sasl = ("KAFKA_SASL", "oauthbearer:client:hidden");
    let set = kafka(&[sasl, ("KAFKA_SASL_TOKEN_URL", "https://id.example/token")]);
    assert!(matches!(set.access.sasl, Some(Sasl::OAuthBearer(_))));
    assert!(mistakes(&[sasl]).contains("KAFKA_SASL_TOKEN_URL = \"\": missing"));
    let told = mistakes(&[sasl, ("KAFKA_SASL_TOKEN_URL", "http://id.example/token")]);
    assert!(told.contains("expected an https URL"), "{told}");
    for wrong in ["plain", "plain:ann", "plain:ann:", "plain::hidden", "gssapi:ann:hidden", "ann:hidden"] {
        let told = mistakes(&[("KAFKA_SASL", wrong)]);
        assert!(told.starts_with("environment KAFKA_SASL: expected plain:USER"), "{wrong}: {told}");
        assert!(!told.contains("hidden"), "{told}");
    }
}

#[test]
fn b28_there_are_no_files_by_default() {
    let tls = kafka(&[("KAFKA_SSL_ENABLED", "1")]).access.tls.unwrap();
    assert!(tls.ca.is_none() && tls.certificate.is_none() && tls.key.is_none() && tls.key_password.is_none());
    let folder = Folder::new("kafka-tls");
    let (certificate, key) = (folder.file("c.pem", "x"), folder.file("k.pem", "x"));
    let files = [("KAFKA_SSL_CERTFILE", &*certificate), ("KAFKA_SSL_KEYFILE", &*key)];
    let more = [("KAFKA_SSL_ENABLED", "YES"), ("KAFKA_SSL_CA_CERTFILE", &*certificate)];
    let tls = kafka(&[&files[..], &more].concat()).access.tls.unwrap();
    assert!(tls.ca.is_some() && tls.certificate.is_some() && tls.key.is_some());
    for (file, missing) in [(files[0], "KAFKA_SSL_KEYFILE"), (files[1], "KAFKA_SSL_CERTFILE")] {
        let told = mistakes(&[file, more[0]]);
        assert!(told.contains(&format!("{missing} = \"\": missing")), "{told}");
    }
    let told = warnings(&[&[KAFKA], &files[..]].concat());
    assert!(matches!(&told[..], [one] if one.contains("KAFKA_SSL_ENABLED is not set")), "{told:?}");
    let told = mistakes(&[("KAFKA_SSL_ENABLED", "1"), ("KAFKA_SSL_CA_CERTFILE", "ca.crt.pem")]);
    assert!(told.contains("KAFKA_SSL_CA_CERTFILE") && told.contains("RIG looked in"), "{told}");
    assert!(mistakes(&[("KAFKA_SSL_ENABLED", "on")]).contains("expected true or false"));
}

#[test]
fn b31_ports_have_a_default_and_what_is_empty_counts_as_not_set() {
    let empty = [
        ("KAFKA_SOURCE_TOPICS", ""),
        ("KAFKATOFILTER_KAFKA_GROUP_ID", ""),
        ("PROXY_KAFKA_RESPONSE_TOPICS", ""),
        ("KAFKA_LOG_TOPIC", ""),
        ("KAFKA_SASL", ""),
        ("KAFKA_SSL_CERTFILE", ""),
        ("KAFKA_SERIALIZER", ""),
    ];
    let off = parse(&[], &[&[("KAFKA_BROKERS", "")], &empty[..]].concat()).unwrap();
    assert!(off.brokers.kafka.is_none());
    let set = kafka(&empty);
    assert_eq!((set.topics, set.reach), (vec!["rig".to_owned()], group("rig-kafka-to-filter")));
    let set = parse(&[], &[("KAFKA_BROKERS", "[::1],[::1]:1,localhost")]).unwrap().brokers.kafka.unwrap();
    assert_eq!(set.access.brokers, ["[::1]:9092", "[::1]:1", "localhost:9092"]);
}

#[test]
fn mistakes_of_kafka_name_their_setting() {
    for (name, value, reason) in [
        ("KAFKA_BROKERS", "a,,b", "\"\" is no broker"),
        ("KAFKA_BROKERS", "a:x", "\"a:x\" is no broker"),
        ("KAFKA_SOURCE_TOPICS", "a, b c", "\"b c\" is no topic"),
        ("KAFKA_SOURCE_TOPICS", "..", "\"..\" is no topic"),
        ("KAFKA_SOURCE_MODE", "each", "expected group or broadcast"),
        ("KAFKA_AUTO_OFFSET_RESET", "none", "expected latest or earliest"),
        ("KAFKA_DEAD_LETTER_TOPIC", "rig", "one of KAFKA_SOURCE_TOPICS"),
        ("KAFKA_RESTART_DELAY_MS", "0", "expected a time"),
        ("KAFKA_PARTITIONER", "random", "expected murmur2_random or rig"),
        ("KAFKA_SERIALIZER", "protobuf", "expected json or avro"),
        ("KAFKA_SERIALIZER", "avro", "KAFKA_SCHEMA_REGISTRY_HOST = \"\": missing"),
        ("KAFKA_SCHEMA_REGISTRY_USER", "u", "KAFKA_SCHEMA_REGISTRY_PASSWORD: missing"),
        ("KAFKA_PROPERTIES", "sasl.password=hidden", "sasl.password: the gateway sets this property"),
        ("KAFKA_PROPERTIES", "fetch.min.bites=hidden", "fetch.min.bites"),
        ("KAFKA_PROPERTIES", "hidden", "expected name=value"),
    ] {
        let told = mistakes(&[(name, value)]);
        assert!(told.contains(name) && told.contains(reason), "{name}: {told}");
        assert!(name != "KAFKA_PROPERTIES" || value == "hidden" || !told.contains("hidden"), "{told}");
    }
    let told = mistakes(&[("KAFKA_SOURCE_MODE", "broadcast"), ("KAFKA_GROUP_INSTANCE_ID", "a")]);
    assert!(told.contains("KAFKA_GROUP_INSTANCE_ID") && told.contains("there is no group"), "{told}");
}

#[test]
fn b32_the_request_log_needs_a_kafka() {
    let told = parse(&[], &[("REQUEST_LOG", "console,kafka")]).unwrap_err();
    assert!(told.contains("REQUEST_LOG") && told.contains("KAFKA_BROKERS is not set"), "{told}");
    assert!(kafka(&[("REQUEST_LOG", "console")]).log.is_none());
    let settings = parse(&[], &[KAFKA, ("REQUEST_LOG", "kafka")]).unwrap();
    assert!(!settings.rooms.request_log, "not in the log as well");
    assert_eq!(settings.brokers.kafka.unwrap().log.unwrap().topic, "rig-request-log");
}

#[test]
fn what_is_dangerous_at_kafka_is_a_warning() {
    let far = ("KAFKA_BROKERS", "kafka.example");
    let told = warnings(&[far]);
    assert!(matches!(&told[..], [one] if one.contains("is used without TLS")), "{told:?}");
    let sasl = ("KAFKA_SASL", "plain:ann:hidden");
    let told = warnings(&[far, sasl]);
    assert!(matches!(&told[..], [one] if one.contains("can read the credentials")), "{told:?}");
    assert_eq!(warnings(&[far, sasl, ("KAFKA_SSL_ENABLED", "true")]), [""; 0]);
}

#[test]
fn secrets_of_kafka_are_not_shown() {
    let secrets = [
        ("KAFKA_SASL", "plain:ann:hidden"),
        ("KAFKA_SSL_KEYFILE_PASS", "hidden"),
        ("KAFKA_SCHEMA_REGISTRY_PASSWORD", "hidden"),
        ("KAFKA_PROPERTIES", "client.rack=hidden"),
    ];
    let shown = gather(&[], &environment(&secrets)).to_string();
    assert!(!shown.contains("hidden"), "{shown}");
    let more = [("KAFKA_SCHEMA_REGISTRY_HOST", "r:1"), ("KAFKA_SCHEMA_REGISTRY_USER", "u")];
    let shown = format!("{:?}", kafka(&[&secrets[..], &more].concat()));
    assert!(!shown.contains("hidden"), "{shown}");
}
