//! Events from Kafka, which another client produces, at the clients of real gateways: what arrives,
//! and what crashes, outages and rebalances cost.

use std::collections::BTreeMap;
use std::time::Duration;

use rig_tests::*;
use serde_json::json;

/// Events of the stories about crashes. `KAFKA_EVENTS=100000` for a run by hand.
fn how_many() -> usize {
    std::env::var("KAFKA_EVENTS").map_or(20_000, |count| count.parse().expect("a number"))
}

const CONSUMED: &str = "rig_consumed_events_total";
const FAILED: &str = "rig_consumed_events_failed_total";
/// What is produced before a consumer has looked for the end of a partition is not lost.
const EARLIEST: (&str, &str) = ("KAFKA_AUTO_OFFSET_RESET", "earliest");

const GROUP: &str = "rig-kafka-to-filter";

fn listener(gateway: &Gateway) -> Sse {
    let query = format!("subscriptions={}", encoded(r#"[{"eventType":"greeting"}]"#));
    let mut stream = Sse::connect(gateway.inbound(), &query);
    stream.welcome();
    stream
}

fn event(id: usize) -> KafkaMessage {
    KafkaMessage::of(greeting(&id.to_string(), "bob"))
}

fn id_of(event: &str) -> usize {
    let event: serde_json::Value = serde_json::from_str(event).expect("an event");
    event["id"].as_str().and_then(|id| id.parse().ok()).expect("a number")
}

/// Produces events with these numbers, spread over the partitions.
fn produce(client: &KafkaClient, ids: std::ops::Range<usize>, partitions: usize) {
    let numbered = |id: usize| event(id).partition((id % partitions) as i32);
    let events: Vec<_> = ids.map(numbered).collect();
    for some in events.chunks(2000) {
        client.produce("rig", some);
    }
}

/// Waits until the three nodes of a cluster share the four partitions: the stand-in refuses what is
/// committed while others join, which a Kafka takes.
fn await_shares(client: &KafkaClient) -> Vec<KafkaMember> {
    eventually("each has its share", || {
        let members = client.await_members(GROUP, 3);
        let shares = members.iter().map(|member| member.partitions.len());
        (shares.clone().all(|count| count > 0) && shares.sum::<usize>() == 4).then_some(members)
    })
}

/// What a client has received: how often each event came, and in which order.
#[derive(Default)]
struct Seen {
    counts: BTreeMap<usize, usize>,
    order: Vec<usize>,
}

impl Seen {
    /// Returns whether it came for the first time.
    fn add(&mut self, id: usize) -> bool {
        let count = self.counts.entry(id).or_default();
        *count += 1;
        self.order.push(id);
        *count == 1
    }

    /// Reads until all of these have come.
    fn read_all(&mut self, stream: &mut Sse, ids: std::ops::Range<usize>) {
        let mut missing = ids.len() - self.counts.range(ids.clone()).count();
        while missing > 0 {
            let id = id_of(&stream.next_data());
            missing -= usize::from(self.add(id) && ids.contains(&id));
        }
    }

    fn repeats(&self) -> usize {
        self.counts.values().map(|count| count - 1).sum()
    }

    /// Returns whether each event came for the first time after all those before it in its
    /// partition.
    fn is_in_order(&self, partitions: usize) -> bool {
        let mut last = vec![None; partitions];
        self.order.iter().all(|id| {
            let last = &mut last[id % partitions];
            let is_first = last.is_none_or(|last| *id > last);
            let follows = last.map_or(*id < partitions, |last| *id <= last + partitions);
            if is_first {
                *last = Some(*id);
            }
            follows
        })
    }
}

/// b02, b03: structured events come byte for byte, whatever their version, and binary ones as JSON
/// with what their headers say.
#[test]
fn b03_events_of_kafka_reach_clients_as_they_were_sent() {
    let kafka = KafkaServer::start();
    let client = kafka.client();
    client.create_topic("rig", 1);
    let gateway = Gateway::start(&[("KAFKA_BROKERS", &kafka.address().to_string()), EARLIEST]);
    client.await_members(GROUP, 1);
    let mut stream = listener(&gateway);
    for version in ["0.1", "0.2", "0.3", "1.0"] {
        let text = match version {
            "0.1" => r#"{ "cloudEventsVersion":"0.1", "eventType":"greeting", "eventID":"1","source":"/s", "data":{"a":1.0} }"#.to_owned(),
            version => format!(r#"{{ "specversion":"{version}", "type":"greeting", "source":"/s", "id":"1", "data":{{"a": 1.0}}, "ext":"007" }}"#),
        };
        for content_type in ["application/cloudevents+json", "application/cloudevents; charset=utf-8", ""] {
            let mut message = KafkaMessage::of(&text);
            if !content_type.is_empty() {
                message = message.header("content-type", content_type);
            }
            client.produce("rig", &[message]);
            assert_eq!(stream.next_data(), text, "{version} {content_type}");
        }
    }
    let attributes = |value| {
        KafkaMessage { value, ..KafkaMessage::default() }
            .header("ce_specversion", "1.0")
            .header("ce_type", "greeting")
            .header("ce_source", "/s")
            .header("ce_id", "2")
            .header("ce_ext", "007")
    };
    client.produce(
        "rig",
        &[attributes(Some(br#"{"b": 2}"#.to_vec())).header("content-type", "application/json")],
    );
    assert_eq!(
        stream.next_data(),
        r#"{"data":{"b": 2},"datacontenttype":"application/json","ext":"007","id":"2","source":"/s","specversion":"1.0","type":"greeting"}"#
    );
    client.produce("rig", &[attributes(None)]);
    assert_eq!(
        stream.next_data(),
        r#"{"ext":"007","id":"2","source":"/s","specversion":"1.0","type":"greeting"}"#
    );
    // RIG #206: answers and events in one topic. Neither counts as failed.
    client.produce(
        "rig",
        &[KafkaMessage::of("x").header("rig-correlation", "t"), KafkaMessage::tombstone(), event(3)],
    );
    assert_eq!(id_of(&stream.next_data()), 3);
    assert_eq!(gateway.metric_sum(FAILED, &[("reason", "invalid")]), 0.0);
}

/// b01: a message that is no event is counted, a dead letter, and not read again; the log does not
/// have it.
#[test]
fn b01_a_poison_message_is_a_dead_letter_and_is_not_read_again() {
    let kafka = KafkaServer::start();
    let client = kafka.client();
    client.create_topic("rig", 1);
    client.create_topic("dead", 1);
    let address = kafka.address().to_string();
    let settings = [("KAFKA_BROKERS", &*address), EARLIEST, ("KAFKA_DEAD_LETTER_TOPIC", "dead")];
    let gateway = Gateway::start(&settings);
    client.await_members(GROUP, 1);
    let mut stream = listener(&gateway);
    let poison = KafkaMessage::of("a secret that is no event").key("k").header("x-mine", "1");
    client.produce("rig", &[event(1), poison, event(2)]);
    assert_eq!([id_of(&stream.next_data()), id_of(&stream.next_data())], [1, 2]);
    let letters = client.await_messages("dead", 1);
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!(
        (letter.text(), letter.key.as_deref()),
        ("a secret that is no event".to_owned(), Some(&b"k"[..]))
    );
    for (name, value) in [("x-mine", "1"), ("rig-topic", "rig"), ("rig-partition", "0"), ("rig-offset", "1")]
    {
        assert_eq!(letter.header_text(name).as_deref(), Some(value), "{name}");
    }
    assert!(letter.header_text("rig-error").is_some_and(|error| !error.contains("secret")), "{letter:?}");
    client.await_committed(GROUP, "rig", &[Some(3)]);
    assert_eq!(
        gateway.metric_sum(FAILED, &[("source", "kafka"), ("topic", "rig"), ("reason", "invalid")]),
        1.0
    );
    assert!(!gateway.end().contains("a secret"), "the log has no payloads");

    let again = Gateway::start(&settings);
    client.await_members(GROUP, 1);
    client.produce("rig", &[event(3)]);
    again.await_metric(&format!(r#"{CONSUMED}{{source="kafka",topic="rig"}}"#), 1.0);
    assert_eq!(client.read("dead").len(), 1);
}

/// b04: a nested record in Avro becomes JSON, and harms no client.
#[test]
fn b04_a_nested_record_in_avro_reaches_clients_as_json() {
    let registry = SchemaRegistry::start(RegistryOptions::default());
    let schema = json!({"type": "record", "name": "R", "fields": [
        {"name": "list", "type": {"type": "array", "items": {"type": "record", "name": "I", "fields": [
            {"name": "n", "type": "long"},
            {"name": "text", "type": ["null", "string"]},
        ]}}},
    ]});
    let id = registry.register("rig", &schema);
    let kafka = KafkaServer::start();
    let client = kafka.client();
    client.create_topic("rig", 1);
    let gateway = Gateway::start(&[
        ("KAFKA_BROKERS", &kafka.address().to_string()),
        ("KAFKA_SCHEMA_REGISTRY_HOST", &registry.address().to_string()),
        EARLIEST,
    ]);
    client.await_members(GROUP, 1);
    let mut stream = listener(&gateway);
    // Two items: 27 and null, -1 and "foo".
    let avro = b"\x04\x36\x00\x01\x02\x06foo\x00";
    let value = [&[0][..], &id.to_be_bytes(), avro].concat();
    let message = KafkaMessage::of(value)
        .header("content-type", "avro/binary")
        .header("ce_specversion", "1.0")
        .header("ce_type", "greeting")
        .header("ce_source", "/s")
        .header("ce_id", "1");
    // Without its schema, it waits, and what comes after it too.
    registry.set(RegistryState::Fails(503));
    client.produce("rig", &[message, event(2)]);
    registry.await_requests(1);
    registry.set(RegistryState::Up);
    let first: serde_json::Value = serde_json::from_str(&stream.next_data()).expect("an event");
    assert_eq!(first["data"], json!({"list": [{"n": 27, "text": null}, {"n": -1, "text": "foo"}]}));
    assert_eq!(id_of(&stream.next_data()), 2);
}

/// Story: kill -9 in the middle, with one node. What was committed in the first life had been
/// published in it, and the second one goes on there: nothing is missing over both lives.
#[test]
fn a_killed_gateway_loses_nothing_and_repeats_what_was_not_committed() {
    let count = how_many();
    let kafka = KafkaServer::start();
    let client = kafka.client();
    client.create_topic("rig", 4);
    let link = Link::to(kafka.address());
    let address = kafka.address().to_string();
    let first = Gateway::start(&[("KAFKA_BROKERS", &address), EARLIEST, ("OUTBOX_BYTES", "64MiB")]);
    let member = client.await_members(GROUP, 1).remove(0);
    let mut stream = listener(&first);
    let mut seen = Seen::default();
    produce(&client, 0..400, 4);
    client.await_committed(GROUP, "rig", &[Some(100); 4]);
    produce(&client, 400..count / 2, 4);
    seen.read_all(&mut stream, 0..count / 4);
    first.kill();
    kafka.expire(GROUP, &member.id);
    // What had reached the client's socket before.
    while let Some(frame) = stream.raw() {
        for event in frame.lines().filter_map(|line| line.strip_prefix("data: ")) {
            if event.contains("bob") {
                seen.add(id_of(event));
            }
        }
    }
    produce(&client, count / 2..count, 4);
    // Its client is there before the first event.
    link.set(LinkState::Cut);
    let second = Gateway::start(&[("KAFKA_BROKERS", &link.address().to_string()), ("OUTBOX_BYTES", "64MiB")]);
    let mut stream = listener(&second);
    link.set(LinkState::Open);
    seen.read_all(&mut stream, 0..count);
    assert!(seen.is_in_order(4), "each partition in order");
    let repeats = seen.repeats();
    println!("{count} events, {repeats} repeats after a kill");
    assert!(repeats <= count / 2, "only what the first life had not committed: {repeats}");
}

/// Story: kill -9 of one node of a cluster, whose partitions another one takes over. A client of
/// that other node, which stays connected, misses nothing.
#[test]
fn a_client_of_another_node_misses_nothing_when_a_node_is_killed() {
    let count = how_many();
    let kafka = KafkaServer::start();
    let client = kafka.client();
    client.create_topic("rig", 4);
    let address = kafka.address().to_string();
    let settings = [("KAFKA_BROKERS", &*address), EARLIEST, ("OUTBOX_BYTES", "64MiB")];
    let mut cluster = Cluster::start(ClusterOptions { settings: &settings, ..ClusterOptions::default() });
    await_shares(&client);
    let mut stream = listener(cluster.gateway(1));
    let mut seen = Seen::default();
    produce(&client, 0..count / 2, 4);
    seen.read_all(&mut stream, 0..count / 4);
    let killed = eventually("its metrics tell which member it is", || {
        let metrics = cluster.gateway(0).ask_internal(&Request::get("/metrics")).text();
        let has = |(_, partition): &(String, i32)| {
            metrics.contains(&format!(r#"rig_consumer_lag{{topic="rig",partition="{partition}"}}"#))
        };
        let count = metrics.lines().filter(|line| line.starts_with("rig_consumer_lag{")).count();
        let is_it =
            |member: &KafkaMember| member.partitions.len() == count && member.partitions.iter().all(has);
        await_shares(&client).into_iter().find(is_it)
    });
    cluster.kill(0);
    kafka.expire(GROUP, &killed.id);
    produce(&client, count / 2..count, 4);
    seen.read_all(&mut stream, 0..count);
    assert!(seen.is_in_order(4), "each partition in order");
    println!("{count} events, {} repeats after a kill", seen.repeats());
}

/// Story: Kafka is away under load. Everything that was produced arrives afterwards, with one
/// member in the group.
#[test]
fn nothing_is_lost_while_kafka_is_away() {
    let away: u64 = std::env::var("KAFKA_AWAY").map_or(3, |seconds| seconds.parse().expect("a number"));
    let mut kafka = KafkaServer::start();
    let client = kafka.client();
    client.create_topic("rig", 2);
    let gateway = Gateway::start(&[("KAFKA_BROKERS", &kafka.address().to_string()), EARLIEST]);
    client.await_members(GROUP, 1);
    let mut stream = listener(&gateway);
    let mut seen = Seen::default();
    for round in 0..3 {
        produce(&client, round * 1000..round * 1000 + 500, 2);
        seen.read_all(&mut stream, round * 1000..round * 1000 + 100);
        kafka.stop();
        gateway.await_metric(r#"rig_broker_up{broker="kafka"}"#, 0.0);
        // The connections of the source, the producer and the answers are lost one by one.
        eventually("the source is named", || {
            let readiness = gateway.ask_internal(&Request::get("/readyz")).text();
            (readiness == "OK\nkafka: not connected").then_some(())
        });
        // How long is what the story is about.
        std::thread::sleep(Duration::from_secs(if round == 0 { away } else { 0 }));
        kafka.restart();
        let client = kafka.client();
        produce(&client, round * 1000 + 500..(round + 1) * 1000, 2);
        seen.read_all(&mut stream, round * 1000..(round + 1) * 1000);
        assert_eq!(kafka.client().await_members(GROUP, 1).len(), 1);
    }
}

/// Story: a node joins the group and leaves it, while events come. In a cluster with `group`, each
/// subscriber has each event once; with `broadcast` too.
#[test]
fn a_rebalance_costs_no_subscriber_an_event() {
    for mode in ["group", "broadcast"] {
        let kafka = KafkaServer::start();
        let client = kafka.client();
        client.create_topic("rig", 4);
        let address = kafka.address().to_string();
        let settings =
            [("KAFKA_BROKERS", &*address), ("KAFKA_SOURCE_MODE", mode), EARLIEST, ("OUTBOX_BYTES", "16MiB")];
        let mut cluster = Cluster::start(ClusterOptions { settings: &settings, ..ClusterOptions::default() });
        match mode {
            "group" => drop(await_shares(&client)),
            _ => (0..3).for_each(|node| {
                cluster.gateway(node).await_metric(r#"rig_broker_up{broker="kafka"}"#, 1.0);
            }),
        }
        let mut streams: Vec<_> = (0..2).map(|node| listener(cluster.gateway(node))).collect();
        let mut seen = [Seen::default(), Seen::default()];
        let mut read = |seen: &mut [Seen; 2], ids: std::ops::Range<usize>| {
            for (stream, seen) in streams.iter_mut().zip(seen) {
                seen.read_all(stream, ids.clone());
            }
        };
        // The stand-in refuses what is committed during a rebalance, so all is committed before.
        let await_committed = |next| {
            if mode == "group" {
                client.await_committed(GROUP, "rig", &[Some(next); 4]);
            }
        };
        produce(&client, 0..1000, 4);
        read(&mut seen, 0..1000);
        await_committed(250);
        // The third node leaves in order, so that its events are committed.
        produce(&client, 1000..2000, 4);
        cluster.stop(2);
        read(&mut seen, 1000..2000);
        await_committed(500);
        cluster.launch(2);
        if mode == "group" {
            await_shares(&client);
        }
        produce(&client, 2000..3000, 4);
        read(&mut seen, 2000..3000);
        for seen in &seen {
            assert!(seen.is_in_order(4), "{mode}: each partition in order");
            assert_eq!(seen.repeats(), 0, "{mode}: none twice");
        }
        let groups = client.groups();
        assert_eq!(groups.contains(&GROUP.to_owned()), mode == "group", "{groups:?}");
    }
}

/// b36: readiness fails for want of a broker where that is asked for.
#[test]
fn b36_readiness_shows_the_broker_and_fails_if_it_is_needed() {
    let mut kafka = KafkaServer::start();
    kafka.stop();
    let address = kafka.address().to_string();
    let gateway = Gateway::start(&[("KAFKA_BROKERS", &address), ("BROKERS_NEEDED", "true")]);
    for (ask, path) in [(true, "/readyz"), (false, "/_rig/health")] {
        let request = Request::get(path);
        let response = if ask { gateway.ask_internal(&request) } else { gateway.ask(&request) };
        assert_eq!(response.status, 503, "{path}: {}", response.shown());
    }
    assert_eq!(gateway.ask_internal(&Request::get("/health")).status, 200);
    kafka.restart();
    eventually("it is ready", || {
        let response = gateway.ask_internal(&Request::get("/readyz"));
        (response.status == 200 && response.text() == "OK").then_some(())
    });
    assert_eq!(gateway.ask(&Request::get("/_rig/health")).status, 200);
}

/// b35: whether events have receivers is counted whatever is logged.
#[test]
fn b35_forwarded_events_are_counted_at_every_log_level() {
    let kafka = KafkaServer::start();
    let client = kafka.client();
    client.create_topic("rig", 1);
    let address = kafka.address().to_string();
    let gateway = Gateway::start(&[("KAFKA_BROKERS", &*address), EARLIEST, ("LOG_LEVEL", "error")]);
    let mut stream = listener(&gateway);
    client.produce("rig", &[KafkaMessage::of(unwanted("1")), event(2), event(3)]);
    assert_eq!([id_of(&stream.next_data()), id_of(&stream.next_data())], [2, 3]);
    gateway.await_metric(&format!(r#"{CONSUMED}{{source="kafka",topic="rig"}}"#), 3.0);
    assert_eq!(gateway.metric_sum("rig_consumed_events_forwarded_total", &[]), 2.0);
}

fn unwanted(id: &str) -> String {
    json!({"specversion": "0.2", "type": "unwanted", "source": "/s", "id": id}).to_string()
}
