//! Events from a stream of JetStream, which gateways of one consumer share.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use rig_tests::*;
use serde_json::{Value, json};

const UP: &str = r#"rig_broker_up{broker="nats"}"#;

/// Asks JetStream, as a client that is not the gateway's library.
fn ask(nats: &NatsServer, subject: &str, request: &Value) -> Value {
    let mut stream = TcpStream::connect(nats.address()).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time limit");
    let payload = if request.is_null() { String::new() } else { request.to_string() };
    let length = payload.len();
    write!(stream, "CONNECT {{}}\r\nSUB a 1\r\nPUB $JS.API.{subject} a {length}\r\n{payload}\r\n")
        .expect("it reads");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("an answer"));
    let answer = lines.find(|line| line.starts_with('{')).expect("an answer");
    serde_json::from_str(&answer).expect("JSON")
}

fn create_stream(nats: &NatsServer) {
    let created = ask(nats, "STREAM.CREATE.S", &json!({ "name": "S", "subjects": ["rig"] }));
    assert!(created["config"].is_object(), "{created}");
}

fn create_consumer(nats: &NatsServer, ack_policy: &str) {
    let config = json!({
        "durable_name": "C", "deliver_policy": "new", "ack_policy": ack_policy, "ack_wait": 1_000_000_000,
    });
    let created = ask(nats, "CONSUMER.CREATE.S.C", &json!({ "stream_name": "S", "config": config }));
    assert!(created["config"].is_object(), "{created}");
}

fn await_consumer(nats: &NatsServer, what: &str, is_so: impl Fn(&Value) -> bool) {
    eventually(what, || is_so(&ask(nats, "CONSUMER.INFO.S.C", &Value::Null)).then_some(()));
}

fn gateway(nats: &NatsServer) -> Gateway {
    Gateway::start(&[("NATS_SERVERS", &nats.url()), ("NATS_STREAM", "S"), ("NATS_CONSUMER", "C")])
}

/// A gateway that is killed between the delivery of an event and its acknowledgement does not take
/// the event with it.
#[test]
fn what_a_killed_gateway_has_not_acknowledged_is_delivered_by_another() {
    let nats = NatsServer::start(NatsOptions::default());
    create_stream(&nats);
    create_consumer(&nats, "explicit");
    let (killed, staying) = (gateway(&nats), gateway(&nats));
    killed.await_metric(UP, 1.0);
    staying.await_metric(UP, 1.0);
    let query = format!("subscriptions={}", encoded(r#"[{"eventType":"greeting"}]"#));
    let mut stream = Sse::connect(staying.inbound(), &query);
    stream.welcome();
    await_consumer(&nats, "both wait for a message", |info| info["num_waiting"] == 2);
    killed.signal("STOP");
    let mut expected: Vec<_> = (0..20).map(|id| greeting(&id.to_string(), "bob")).collect();
    expected.iter().for_each(|event| nats.store("rig", event));
    await_consumer(&nats, "the one that is stopped has one of them", |info| {
        info["delivered"]["stream_seq"] == 20 && info["num_ack_pending"] == 1
    });
    killed.kill();
    let mut received: Vec<_> = (0..20).map(|_| stream.next_data()).collect();
    assert_ne!(received, expected, "what is delivered again comes later");
    received.sort();
    expected.sort();
    assert_eq!(received, expected);
    await_consumer(&nats, "all are acknowledged", |info| info["ack_floor"]["stream_seq"] == 20);
}

#[test]
fn what_is_wrong_with_a_stream_or_a_consumer_is_told_and_can_be_mended() {
    let told = |gateway: &Gateway, text: &str| {
        eventually(text, || gateway.log().contains(text).then_some(()));
        assert_eq!(gateway.metric(UP), 0.0);
    };
    let nats = NatsServer::start(NatsOptions::default());
    let first = gateway(&nats);
    told(&first, "the stream S of JetStream does not exist");
    create_stream(&nats);
    first.await_metric(UP, 1.0);

    let nats = NatsServer::start(NatsOptions::default());
    create_stream(&nats);
    create_consumer(&nats, "none");
    let second = gateway(&nats);
    told(&second, r#"its ack_policy is \"none\", and has to be \"explicit\""#);
    ask(&nats, "CONSUMER.DELETE.S.C", &Value::Null);
    second.await_metric(UP, 1.0);
}
