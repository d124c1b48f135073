//! Endpoints whose target is Kafka: what gets into the topic, and what the client gets.

mod answers;
mod world;

use std::time::{Duration, Instant};

use rig_tests::*;
use serde_json::{Value, json};

use self::world::{EVENT, World, api, gateway, json_of, with_id};

/// b08, b12, b33: the client's members stay, `rig` is the gateway's, and credentials are not in it.
#[test]
fn b33_an_event_is_in_the_topic_when_the_client_is_told_so() {
    let world = World::new(&[]);
    let request = Request::post_json("/publish?a=1&key=S1&jwt=S2", EVENT)
        .header("Authorization", "Bearer S3")
        .header("Cookie", "c=S4")
        .header("Origin", "https://page.example.com")
        .header("X-More", "1");
    let response = world.gateway.ask(&request);
    assert_eq!((response.status, &*response.text()), (202, "Accepted."), "{}", response.shown());
    assert_eq!(response.header("content-type"), None);
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "*"),
        ("access-control-allow-headers", "content-type,authorization"),
    ] {
        assert_eq!(response.header(name), Some(value), "{}", response.shown());
    }
    // It is there already (b08).
    let messages = world.client.read("requests");
    let [message] = &messages[..] else { panic!("{messages:?}") };
    let content_type = message.header_text("content-type");
    assert_eq!(content_type.as_deref(), Some("application/cloudevents+json; charset=UTF-8"));
    let event = json_of(message);
    assert_eq!(event["data"], json!({"foo": "bar"}));
    let rig = &event["rig"];
    assert_eq!(
        (&rig["host"], &rig["port"], &rig["scheme"], &rig["method"], &rig["path"], &rig["query"]),
        (
            &json!("127.0.0.1"),
            &json!(world.gateway.inbound().port()),
            &json!("http"),
            &json!("POST"),
            &json!("/publish"),
            &json!("a=1")
        )
    );
    assert_eq!(rig["remoteip"], "127.0.0.1");
    assert!(rig["headers"].as_array().expect("a list").contains(&json!(["x-more", "1"])), "{rig}");
    assert!(event["traceparent"].as_str().expect("a trace").starts_with("00-"), "{event}");
    let text = event.to_string();
    assert!((1..=4).all(|number| !text.contains(&format!("S{number}"))), "b12: {text}");

    let produced = [("target", "kafka"), ("topic", "requests")];
    assert_eq!(world.gateway.metric_sum("rig_produced_events_total", &produced), 1.0);
    assert_eq!(world.gateway.metric_sum("rig_produce_duration_milliseconds_count", &produced), 1.0);
    let requests = [("target", "kafka"), ("status", "ok")];
    assert_eq!(world.gateway.metric_sum("rig_proxy_requests_total", &requests), 1.0);

    let preflight = Request::new("OPTIONS", "/publish")
        .header("Origin", "https://page.example.com")
        .header("Access-Control-Request-Method", "POST");
    let response = world.gateway.ask(&preflight);
    assert_eq!((response.status, response.header("access-control-allow-origin")), (204, Some("*")));
}

#[test]
fn b12_a_setting_keeps_credentials_in_the_event_as_rig_does() {
    let world = World::new(&[("PROXY_BROKER_CREDENTIALS", "keep")]);
    let request = Request::post_json("/publish?jwt=S2", EVENT).header("Authorization", "Bearer S3");
    assert_eq!(world.gateway.ask(&request).status, 202);
    let text = world.client.read("requests")[0].text();
    assert!(text.contains("Bearer S3") && text.contains("jwt=S2"), "{text}");
}

/// b11, b18, b37: what is refused has a text, and pages can read it.
#[test]
fn b37_what_is_no_event_is_refused_with_rigs_texts_for_pages_too() {
    let world = World::new(&[]);
    let no_event = "Bad request: the body does not look like a CloudEvent.";
    let no_json = "Bad request: expected a JSON encoded request body.";
    for (body, text) in [
        ("{}", no_event),
        ("[]", no_event),
        (r#"{"cloudEventsVersion":"0.1","eventType":"t"}"#, no_event),
        ("", no_json),
        ("{", no_json),
        ("\u{1}", no_json),
        (
            r#"{"specversion":"1.0","rig":{"target_partition":1}}"#,
            "Bad request: rig.target_partition must be a string.",
        ),
        (r#"{"specversion":"1.0","partitionkey":[]}"#, "Bad request: partitionkey must be a string."),
    ] {
        let response = world.gateway.ask(&Request::post_json("/publish", body));
        assert_eq!(response.status, 400, "{body}");
        assert!(response.text().starts_with(text), "{body}: {}", response.text());
        assert_eq!(response.header("access-control-allow-origin"), Some("*"), "{}", response.shown());
    }
    let refused = [("target", "kafka"), ("status", "bad_request")];
    assert_eq!(world.gateway.metric_sum("rig_proxy_requests_total", &refused), 8.0);
    let large = |bytes: usize| format!(r#"{{"specversion":"1.0","data":"{}"}}"#, "x".repeat(bytes));
    assert_eq!(world.gateway.ask(&Request::post_json("/small", large(200))).status, 413);
    assert_eq!(world.gateway.ask(&Request::post_json("/publish", large(1_000_001))).status, 413);
    assert_eq!(world.client.read("requests").len(), 0);
    assert_eq!(world.gateway.ask(&Request::post_json("/publish", large(900_000))).status, 202);
    // A body that breaks off is no event, even if what has come of it is one.
    let mut half = Wire::connect(world.gateway.inbound());
    half.send(format!("POST /publish HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{EVENT}"));
    half.half_close();
    half.rest();
    assert_eq!(world.client.read("requests").len(), 1);
}

/// Events with one key stay in one partition, that of other clients of Kafka (b34).
#[test]
fn b34_events_with_one_key_are_in_the_partition_of_other_clients() {
    let world = World::new(&[]);
    for number in 0..20 {
        let body = json!({"specversion": "1.0", "id": number.to_string(), "rig": {"target_partition": format!("key{}", number % 5)}});
        assert_eq!(world.gateway.ask(&Request::post_json("/publish", body.to_string())).status, 202);
    }
    let theirs = Kafka::new(&world.kafka);
    theirs.client.create_topic("theirs", 4);
    for message in world.client.read("requests") {
        let key = message.key.clone().expect("a key");
        let (partition, _) = theirs.client.produce("theirs", &[KafkaMessage::of("x").key(&key)])[0];
        assert_eq!(message.partition, Some(partition), "{}", String::from_utf8_lossy(&key));
    }
}

/// A client of librdkafka with the partitioner of the Java client.
struct Kafka {
    client: KafkaClient,
}

impl Kafka {
    fn new(server: &KafkaServer) -> Self {
        Self { client: KafkaClient::start(server.address(), &[("partitioner", "murmur2_random")]) }
    }
}

/// b08, b09: while Kafka is away, requests get a 503 in time; afterwards all flows again.
#[test]
fn b09_requests_are_refused_while_kafka_is_away_and_flow_again_afterwards() {
    let mut world = World::new(&[("PROXY_RECV_TIMEOUT", "3s")]);
    world.await_answers();
    assert_eq!(world.gateway.ask(&Request::post_json("/publish", with_id("before"))).status, 202);
    world.kafka.stop();
    world.gateway.await_metric(r#"rig_broker_up{broker="kafka"}"#, 0.0);
    for path in ["/publish", "/ask"] {
        let began = Instant::now();
        let response = world.gateway.ask(&Request::post_json(path, with_id("away")));
        assert_eq!(response.status, 503, "{path}: {}", response.shown());
        assert_eq!(response.header("access-control-allow-origin"), Some("*"), "{}", response.shown());
        assert!(began.elapsed() < Duration::from_secs(6), "{path}");
    }
    assert!(world.gateway.is_healthy(), "an outage ends nothing");
    world.kafka.restart();
    eventually("it flows again", || {
        let response = world.gateway.ask(&Request::post_json("/publish", with_id("after")));
        (response.status == 202).then_some(())
    });
    world.await_answers();
    let client = world.kafka.client();
    let ids: Vec<_> = client.read("requests").iter().map(|message| json_of(message)["id"].clone()).collect();
    assert!(ids.contains(&json!("before")) && ids.contains(&json!("after")), "{ids:?}");
    assert!(!ids.contains(&json!("away")), "b08: what was refused is not there: {ids:?}");
    assert_eq!(client.await_members("rig-kafka-to-filter", 1).len(), 1);
}

/// b10: what no broker is configured for is refused in the definition, and by `rig check`.
#[test]
fn b10_endpoints_of_a_broker_that_is_not_configured_are_refused() {
    let gateway = Gateway::start(&[]);
    let api = serde_json::from_str::<Value>(&api(&json!({}))).expect("a list")[0].take();
    let refused = gateway.ask_internal(&Request::post_json("/v3/apis", api.to_string()));
    assert_eq!(refused.status, 400);
    assert!(
        refused.text().contains("kafka is not configured: KAFKA_BROKERS is not set"),
        "{}",
        refused.text()
    );
    let checked = std::process::Command::new(Gateway::binary())
        .arg("check")
        .env("PROXY_CONFIG_FILE", json!([api]).to_string())
        .output()
        .expect("the program runs");
    let told = String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.status.code(), Some(2), "{told}");
    assert!(told.contains("/0/version_data/default/endpoints/0/target: kafka is not configured"), "{told}");
}

/// The schema of an endpoint decides how `data` is encoded, and a body that does not fit is a 400.
#[test]
fn data_is_encoded_in_avro_by_the_schema_of_the_endpoint() {
    let registry = SchemaRegistry::start(RegistryOptions::default());
    let schema = json!({"type": "record", "name": "R", "fields": [
        {"name": "foo", "type": "string"},
        {"name": "inner", "type": ["null", {"type": "record", "name": "I", "fields": [{"name": "n", "type": "long"}]}], "default": null},
    ]});
    let id = registry.register("orders", &schema);
    let world = World::with(
        json!({"schema": "orders"}),
        &[("KAFKA_SERIALIZER", "avro"), ("KAFKA_SCHEMA_REGISTRY_HOST", &registry.address().to_string())],
    );
    assert_eq!(world.gateway.ask(&Request::post_json("/extra", EVENT)).status, 202);
    let messages = world.client.read("requests");
    let [message] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(message.header_text("content-type").as_deref(), Some("avro/binary"));
    for (name, value) in
        [("ce_type", "com.example"), ("ce_id", "1"), ("ce_source", "/cli"), ("ce_specversion", "0.2")]
    {
        assert_eq!(message.header_text(name).as_deref(), Some(value), "{name}");
    }
    let rig: Value = serde_json::from_str(&message.header_text("ce_rig").expect("a header")).expect("JSON");
    assert_eq!(rig["path"], "/extra");
    let mut expected = vec![0];
    expected.extend(id.to_be_bytes());
    expected.extend(b"\x06bar\x00");
    assert_eq!(message.value.as_deref(), Some(&expected[..]));

    let wrong = r#"{"specversion":"0.2","type":"t","source":"/s","id":"2","data":{"foo":5}}"#;
    let refused = world.gateway.ask(&Request::post_json("/extra", wrong));
    assert_eq!(refused.status, 400, "{}", refused.shown());
    assert!(refused.text().contains("/foo"), "it names the field: {}", refused.text());
}

/// b06: trouble of the registry costs requests for schemas that are not known, and nothing else.
#[test]
fn b06_trouble_of_the_registry_is_a_503_and_ends_nothing() {
    let registry = SchemaRegistry::start(RegistryOptions::default());
    registry.set(RegistryState::Fails(500));
    let world = World::with(
        json!({"schema": "orders"}),
        &[("KAFKA_SERIALIZER", "avro"), ("KAFKA_SCHEMA_REGISTRY_HOST", &registry.address().to_string())],
    );
    for _ in 0..10 {
        assert_eq!(world.gateway.ask(&Request::post_json("/extra", EVENT)).status, 503);
    }
    registry.register(
        "orders",
        &json!({"type": "record", "name": "R", "fields": [{"name": "foo", "type": "string"}]}),
    );
    registry.set(RegistryState::Up);
    eventually("the registry is asked again", || {
        (world.gateway.ask(&Request::post_json("/extra", EVENT)).status == 202).then_some(())
    });
    registry.set(RegistryState::Closes);
    assert_eq!(world.gateway.ask(&Request::post_json("/extra", EVENT)).status, 202, "the schema is known");
}

/// b32: the request log tells how requests ended, and has no partition of its own.
#[test]
fn b32_requests_are_reported_to_a_topic_with_their_outcome() {
    let kafka = KafkaServer::start();
    let client = kafka.client();
    for topic in ["rig", "requests", "rig-request-log"] {
        client.create_topic(topic, 2);
    }
    let settings = [("REQUEST_LOG", "kafka"), ("LOG_LEVEL", "info")];
    let gateway = gateway(&kafka.address().to_string(), &json!({}), &settings);
    eventually("Kafka is there", || {
        let request = Request::post_json("/publish?a=secret", EVENT).header("X-Request-Id", "request-1");
        (gateway.ask(&request).status == 202).then_some(())
    });
    assert_eq!(gateway.ask(&Request::post_json("/secret", EVENT)).status, 401);
    let records = client.await_messages("rig-request-log", 2);
    let of = |path: &str| {
        let record = records.iter().map(json_of).find(|record| record["data"]["request_path"] == path);
        record.expect("a record")
    };
    let record = of("/publish");
    let data = &record["data"];
    assert_eq!((&record["type"], &record["source"]), (&json!("com.rig.proxy.api.call"), &json!("/rig")));
    assert_eq!((&data["method"], &data["request_id"]), (&json!("POST"), &json!("request-1")));
    assert_eq!(data["remote_ip"], "127.0.0.1");
    assert_eq!(
        (&data["endpoint"]["id"], &data["endpoint"]["topic"]),
        (&json!("publish"), &json!("requests"))
    );
    assert!(data["duration_ms"].is_number(), "{data}");
    assert_eq!(of("/secret")["data"]["status"], 401);
    assert!(records.iter().all(|record| record.key.is_none() && !record.text().contains("a=secret")));
    let log = gateway.end();
    assert!(!log.contains("rig::request"), "it is not in the log as well: {log}");
}
