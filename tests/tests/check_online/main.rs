//! `rig check --online`: what it finds at real brokers, and what it says of those that cannot be
//! used.

mod kinesis;
mod nats;
mod told;

use rig_tests::*;
use serde_json::json;
use told::{PASSWORD, apis, check, nats};

/// A broker with the topics that the default settings name.
fn kafka() -> KafkaServer {
    let kafka = KafkaServer::start();
    let client = kafka.client();
    client.create_topic("rig", 3);
    client.create_topic("rig-proxy-response", 1);
    kafka
}

#[test]
fn without_a_broker_nothing_is_looked_at() {
    let told = check(&[]);
    assert_eq!((told.code, told.error.as_str()), (Some(0), ""));
    assert_eq!(told.lines.last().map(String::as_str), Some("no broker is configured"));
}

#[test]
fn wrong_settings_come_first() {
    let told = check(&[("NATS_SERVERS", &nats("").url()), ("INBOUND_PORT", "x")]);
    assert_eq!(told.code, Some(2));
    assert!(told.lines.is_empty() && told.error.contains("INBOUND_PORT"), "{}", told.error);
}

/// What a definition sends to is looked for too, and nothing is created or taken.
#[test]
fn what_is_there_is_found_at_a_broker_with_tls_and_sasl() {
    let authority = Authority::new("brokers");
    let sasl = GateSasl { user: "gateway", password: PASSWORD, ..GateSasl::default() };
    let mut gate = Gate::start(GateOptions { tls: Some(GateTls::of(&authority)), sasl: Some(sasl) });
    let client = gate.server().client();
    for (topic, partitions) in [("rig", 3), ("orders", 1), ("dead", 2), ("rig-request-log", 1)] {
        client.create_topic(topic, partitions);
    }
    client.commit("rig-kafka-to-filter", "rig", 1, 0);
    let registry = SchemaRegistry::start(RegistryOptions {
        credentials: Some(("gateway", PASSWORD)),
        ..RegistryOptions::default()
    });
    let schema = json!({"type": "record", "name": "R", "fields": [{"name": "foo", "type": "string"}]});
    registry.register("order", &schema);
    registry.register("log", &schema);
    let nats = nats(&format!("authorization {{ user: gateway, password: \"{PASSWORD}\" }}"));
    let apis = apis(&[
        json!({"target": "kafka", "topic": "orders", "schema": "order"}),
        json!({"target": "nats", "topic": "orders"}),
    ]);
    let told = check(&[
        ("KAFKA_BROKERS", &gate.address().to_string()),
        ("KAFKA_SSL_ENABLED", "true"),
        ("KAFKA_SSL_CA_CERTFILE", &authority.file()),
        ("KAFKA_SASL", &format!("scram-sha-256:gateway:{PASSWORD}")),
        ("KAFKA_DEAD_LETTER_TOPIC", "dead"),
        ("REQUEST_LOG", "kafka"),
        ("KAFKA_LOG_SCHEMA", "log"),
        ("KAFKA_SERIALIZER", "avro"),
        ("KAFKA_SCHEMA_REGISTRY_HOST", &registry.url()),
        ("KAFKA_SCHEMA_REGISTRY_USER", "gateway"),
        ("KAFKA_SCHEMA_REGISTRY_PASSWORD", PASSWORD),
        ("NATS_SERVERS", &nats.url()),
        ("NATS_USER", "gateway"),
        ("NATS_PASSWORD", PASSWORD),
        ("NATS_SOURCE_TOPICS", "rig, more.*"),
        ("PROXY_CONFIG_FILE", &apis),
    ]);
    told.is_good(&[
        "kafka: connection: connected",
        "kafka: topic rig: 3 partitions",
        "kafka: topic orders: 1 partition",
        "kafka: topic dead: 2 partitions",
        "kafka: topic rig-request-log: 1 partition",
        "kafka: topic rig-proxy-response: not there, but no endpoint waits for an answer by Kafka",
        &format!("kafka: broker {}: connected", gate.address()),
        "kafka: group rig-kafka-to-filter: has committed an offset for 1 of 3 partitions",
        "schema registry: connected",
        "schema registry: subject order: has a schema",
        "schema registry: subject log: has a schema",
        "nats: subject rig: may be subscribed to",
        "nats: subject more.*: may be subscribed to",
    ]);
    assert!(told.lines.iter().any(|line| line.starts_with("nats: connection: connected to one")));
    assert!(client.await_members("rig-kafka-to-filter", 0).is_empty());
}

#[test]
fn a_topic_that_is_missing_is_named() {
    let kafka = kafka();
    let brokers = kafka.address().to_string();
    let sends = json!({"target": "kafka", "topic": "orders"});
    let told = check(&[("KAFKA_BROKERS", &brokers), ("PROXY_CONFIG_FILE", &apis(&[sends]))]);
    told.is_bad("kafka: topic orders", &["not there"]);
    let topics = [("KAFKA_SOURCE_TOPICS", "rig,other"), ("KAFKA_SOURCE_MODE", "broadcast")];
    let told = check(&[&topics[..], &[("KAFKA_BROKERS", &brokers)]].concat());
    told.is_bad("kafka: topic other", &["not there"]);
    assert!(!told.lines.iter().any(|line| line.starts_with("kafka: group ")), "{:#?}", told.lines);
    // The topic of answers is needed as soon as an endpoint waits for one.
    kafka.client().delete_topic("rig-proxy-response");
    check(&[("KAFKA_BROKERS", &brokers)]).is_good(&["kafka: topic rig: 3 partitions"]);
    let waits = apis(&[json!({"target": "kafka", "topic": "rig", "response_from": "kafka"})]);
    let told = check(&[("KAFKA_BROKERS", &brokers), ("PROXY_CONFIG_FILE", &waits)]);
    told.is_bad("kafka: topic rig-proxy-response", &["not there"]);
    let topics = kafka.client().topics().expect("the broker answers");
    assert!(!topics.iter().any(|(topic, _)| topic == "orders" || topic == "other"), "{topics:?}");
}

#[test]
fn brokers_that_are_away_are_told_with_the_reason() {
    let away = unused_address();
    let told = check(&[("KAFKA_BROKERS", &away.to_string())]);
    told.is_bad("kafka: connection", &["Connection refused", &away.to_string()]);
    let told = check(&[("NATS_SERVERS", &format!("nats://{away}"))]);
    told.is_bad("nats: connection", &["Connection refused", &away.to_string()]);
    let told = check(&[("KAFKA_BROKERS", "no-such-host.invalid:9092")]);
    told.is_bad("kafka: connection", &["no-such-host.invalid"]);
    // Something else listens there.
    let nats = nats("");
    let kafka = KafkaServer::start();
    check(&[("NATS_SERVERS", &format!("nats://{}", kafka.address()))]).is_bad("nats: connection", &[]);
    check(&[("KAFKA_BROKERS", &nats.address().to_string())]).is_bad("kafka: connection", &[]);
}

#[test]
fn a_wrong_password_is_told_and_not_shown() {
    for mechanism in ["plain", "scram-sha-512"] {
        let gate = Gate::start(GateOptions { sasl: Some(GateSasl::default()), ..GateOptions::default() });
        let told = check(&[
            ("KAFKA_BROKERS", &gate.address().to_string()),
            ("KAFKA_SASL", &format!("{mechanism}:gateway:wrong")),
        ]);
        told.is_bad("kafka: connection", &["uthentication", "(KAFKA_SASL)"]);
    }
    let nats = nats(&format!("authorization {{ user: gateway, password: \"{PASSWORD}\" }}"));
    let told = check(&[("NATS_SERVERS", &nats.url()), ("NATS_USER", "gateway"), ("NATS_PASSWORD", "wrong")]);
    told.is_bad("nats: connection", &["authorization violation", "NATS_USER"]);
}

#[test]
fn without_a_token_of_the_identity_provider_nothing_else_is_tried() {
    let gate = Gate::start(GateOptions { sasl: Some(GateSasl::default()), ..GateOptions::default() });
    let told = check(&[
        ("KAFKA_BROKERS", &gate.address().to_string()),
        ("KAFKA_SASL", "oauthbearer:gateway:wrong"),
        ("KAFKA_SASL_TOKEN_URL", &format!("http://{}/token", unused_address())),
    ]);
    told.is_bad("kafka: token (KAFKA_SASL_TOKEN_URL)", &["the identity provider cannot be reached"]);
    assert!(gate.authentications().is_empty(), "{:?}", gate.authentications());
}

#[test]
fn an_authority_that_is_not_trusted_is_told() {
    let (brokers, other) = (Authority::new("brokers"), Authority::new("other"));
    let gate = Gate::start(GateOptions { tls: Some(GateTls::of(&brokers)), ..GateOptions::default() });
    let told = check(&[
        ("KAFKA_BROKERS", &gate.address().to_string()),
        ("KAFKA_SSL_ENABLED", "true"),
        ("KAFKA_SSL_CA_CERTFILE", &other.file()),
    ]);
    told.is_bad("kafka: connection", &["certificate", "(KAFKA_SSL_CA_CERTFILE)"]);
    let (certificate, key) = brokers.files("127.0.0.1");
    let nats = nats(&format!("tls {{ cert_file: \"{certificate}\", key_file: \"{key}\" }}"));
    let settings = |authority: &Authority| {
        let url = format!("tls://{}", nats.address());
        check(&[("NATS_SERVERS", &url), ("NATS_CA", &authority.file())])
    };
    settings(&other).is_bad("nats: connection", &["TLS", "NATS_CA"]);
    settings(&brokers).is_good(&[]);
}

#[test]
fn a_registry_that_cannot_be_used_is_told() {
    let kafka = kafka();
    kafka.client().create_topic("orders", 1);
    let options = RegistryOptions { credentials: Some(("gateway", PASSWORD)), ..RegistryOptions::default() };
    let registry = SchemaRegistry::start(options);
    let apis = apis(&[json!({"target": "kafka", "topic": "orders", "schema": "order"})]);
    let check = |url: &str, password| {
        check(&[
            ("KAFKA_BROKERS", &kafka.address().to_string()),
            ("KAFKA_SERIALIZER", "avro"),
            ("KAFKA_SCHEMA_REGISTRY_HOST", url),
            ("KAFKA_SCHEMA_REGISTRY_USER", "gateway"),
            ("KAFKA_SCHEMA_REGISTRY_PASSWORD", password),
            ("PROXY_CONFIG_FILE", &apis),
        ])
    };
    check(&registry.url(), PASSWORD).is_bad("schema registry: subject order", &["no such subject"]);
    check(&registry.url(), "wrong").is_bad("schema registry", &["401"]);
    registry.set(RegistryState::Fails(500));
    check(&registry.url(), PASSWORD).is_bad("schema registry", &["500"]);
    registry.set(RegistryState::Hangs);
    check(&registry.url(), PASSWORD).is_bad("schema registry", &["no answer"]);
    check(&format!("http://{}", unused_address()), PASSWORD).is_bad("schema registry", &["refused"]);
    // An endpoint that sends JSON has no use of its schema.
    let registry = SchemaRegistry::start(RegistryOptions::default());
    let told = self::check(&[
        ("KAFKA_BROKERS", &kafka.address().to_string()),
        ("KAFKA_SCHEMA_REGISTRY_HOST", &registry.url()),
        ("PROXY_CONFIG_FILE", &apis),
    ]);
    told.is_good(&["schema registry: connected", "kafka: topic orders: 1 partition"]);
}
