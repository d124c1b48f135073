//! Events from NATS, which another client publishes.

use rig_tests::*;

const CONSUMED: &str = "rig_consumed_events_total";
const FAILED: &str = "rig_consumed_events_failed_total";

fn nats(config: &str) -> NatsServer {
    NatsServer::start(NatsOptions { config, ..NatsOptions::default() })
}

fn listener(gateway: &Gateway) -> Sse {
    let query = format!("subscriptions={}", encoded(r#"[{"eventType":"greeting"}]"#));
    let mut stream = Sse::connect(gateway.inbound(), &query);
    stream.welcome();
    stream
}

/// Returns the value of a counter of a subject; 0 before it is counted.
fn counted(gateway: &Gateway, name: &str, labels: &[(&str, &str)]) -> f64 {
    gateway.metric_sum(name, &[&[("source", "nats")], labels].concat())
}

fn await_count(what: &str, expected: f64, count: impl Fn() -> f64) {
    eventually(what, || (count() == expected).then_some(()));
}

/// What is structured goes through byte for byte, what is binary becomes JSON, and what is no event
/// is counted and does not get into the log (b20, b22).
#[test]
fn b20_messages_of_nats_are_counted_and_those_that_are_no_events_too() {
    let nats = nats("");
    let gateway = Gateway::start(&[("NATS_SERVERS", &nats.url()), ("NATS_SOURCE_TOPICS", "rig, more.*")]);
    nats.await_subscribers("rig", 1);
    nats.await_subscribers("more.*", 1);
    let mut stream = listener(&gateway);

    let structured = r#"{ "specversion":"0.2", "type":"greeting", "id":"1", "data":{"a": 1.0} }"#;
    nats.publish("rig", &[], &[structured]);
    assert_eq!(stream.next_data(), structured);
    let attributes = [
        ("ce-specversion", "1.0"),
        ("CE-Type", "greeting"),
        ("ce-source", "/s"),
        ("ce-id", "2"),
        ("ce-subject", "a%20b"),
        ("ce-datacontenttype", "application/json"),
        ("other", "x"),
    ];
    nats.publish("more.b", &attributes, &[r#"{"b":2}"#]);
    assert_eq!(
        stream.next_data(),
        r#"{"data":{"b":2},"datacontenttype":"application/json","id":"2","source":"/s","specversion":"1.0","subject":"a b","type":"greeting"}"#
    );

    nats.publish("rig", &[], &["a secret that is no event", "", "{}"]);
    nats.publish("rig", &[("content-type", "application/cloudevents+avro")], &["x"]);
    let last = r#"{"specversion":"0.2","type":"greeting","id":"3"}"#;
    nats.publish("rig", &[], &[last]);
    assert_eq!(stream.next_data(), last);
    let durations = "rig_consumed_event_processing_duration_milliseconds_count";
    for (name, labels, count) in [
        (CONSUMED, &[("topic", "rig")][..], 6.0),
        (CONSUMED, &[("topic", "more.*")], 1.0),
        (FAILED, &[("topic", "rig"), ("reason", "invalid")], 4.0),
        (durations, &[], 3.0),
    ] {
        // An event is counted after it is delivered.
        await_count(name, count, || counted(&gateway, name, labels));
    }
    let log = gateway.end();
    assert_eq!(log.matches("a message was not published").count(), 1, "told once in a minute: {log}");
    assert!(!log.contains("a secret"), "{log}");
}

#[test]
fn b21_events_of_a_subject_keep_their_order_and_none_of_a_burst_is_lost() {
    let nats = nats("");
    // Its client reads only when all are published.
    let gateway = Gateway::start(&[("NATS_SERVERS", &nats.url()), ("OUTBOX_BYTES", "8MiB")]);
    nats.await_subscribers("rig", 1);
    let mut stream = listener(&gateway);
    let events: Vec<_> = (0..20_000).map(|number| greeting(&number.to_string(), "bob")).collect();
    nats.publish("rig", &[], &events.iter().map(String::as_str).collect::<Vec<_>>());
    for event in &events {
        assert_eq!(stream.next_data(), *event);
    }
}

#[test]
fn b22_credentials_of_nats_are_used_and_wrong_ones_are_told() {
    let nats = nats("authorization { user: gateway, password: \"a test password\" }");
    let settings = |password| {
        Gateway::start(&[
            ("NATS_SERVERS", &nats.url()),
            ("NATS_USER", "gateway"),
            ("NATS_PASSWORD", password),
        ])
    };
    settings("a test password").await_metric(r#"rig_broker_up{broker="nats"}"#, 1.0);
    let refused = settings("another one");
    eventually("the refusal is in the log", || {
        refused.log().to_lowercase().contains("authorization violation").then_some(())
    });
    assert_eq!(refused.metric(r#"rig_broker_up{broker="nats"}"#), 0.0);
    assert!(!refused.end().contains("another one"));
}

/// A gateway starts and serves without its broker, and takes its events as soon as it is there.
#[test]
fn a_broker_may_be_away_at_the_start_and_later() {
    let mut nats = nats("");
    nats.kill();
    let gateway = Gateway::start(&[("NATS_SERVERS", &nats.url())]);
    let mut stream = listener(&gateway);
    assert_eq!(gateway.metric(r#"rig_broker_up{broker="nats"}"#), 0.0);
    for id in ["1", "2"] {
        nats.restart();
        nats.await_subscribers("rig", 1);
        gateway.await_metric(r#"rig_broker_up{broker="nats"}"#, 1.0);
        let event = greeting(id, "bob");
        nats.publish("rig", &[], &[&event]);
        assert_eq!(stream.next_data(), event);
        nats.kill();
        gateway.await_metric(r#"rig_broker_up{broker="nats"}"#, 0.0);
    }
}

/// One gateway of a queue group receives an event; with `broadcast`, each does.
#[test]
fn a_group_receives_an_event_once_and_a_broadcast_reaches_each() {
    let nats = nats("");
    let start = |mode| Gateway::start(&[("NATS_SERVERS", &nats.url()), ("NATS_SOURCE_MODE", mode)]);
    let (one, other, each) = (start("group"), start("group"), start("broadcast"));
    nats.await_subscribers("rig", 3);
    let mut stream = listener(&each);
    for number in 0..100 {
        let event = greeting(&number.to_string(), "bob");
        nats.publish("rig", &[], &[&event]);
        assert_eq!(stream.next_data(), event);
    }
    let count = |gateway: &Gateway| counted(gateway, CONSUMED, &[]);
    await_count("all of the group", 100.0, || count(&one) + count(&other));
    assert!(count(&one) > 0.0 && count(&other) > 0.0, "both take part");
}

/// The node that receives an event passes it to the others of its cluster, but not what each
/// receives by itself.
#[test]
fn a_cluster_passes_on_the_events_of_a_group_and_not_those_of_a_broadcast() {
    for (mode, taken) in [("group", 1.0), ("broadcast", 3.0)] {
        let nats = nats("");
        let url = nats.url();
        let settings = [("NATS_SERVERS", &*url), ("NATS_SOURCE_MODE", mode)];
        let cluster = Cluster::start(ClusterOptions { settings: &settings, ..ClusterOptions::default() });
        nats.await_subscribers("rig", 3);
        let mut streams: Vec<_> = (0..3).map(|node| listener(cluster.gateway(node))).collect();
        for number in 0..50 {
            let event = greeting(&number.to_string(), "bob");
            nats.publish("rig", &[], &[&event]);
            for stream in &mut streams {
                assert_eq!(stream.next_data(), event, "{mode}");
            }
        }
        let count = |node| counted(cluster.gateway(node), CONSUMED, &[]);
        await_count(mode, 50.0 * taken, || (0..3).map(count).sum());
    }
}

/// A gateway that stops leaves the group first, and delivers what it has received: no event is
/// lost that was published before or after it left, and none comes twice.
#[test]
fn a_gateway_that_stops_delivers_what_it_has_received() {
    let nats = nats("");
    let start = || {
        Gateway::start(&[
            ("NATS_SERVERS", &nats.url()),
            ("SHUTDOWN_GRACE_PERIOD", "5m"),
            ("BODY_TIMEOUT", "5m"),
        ])
    };
    let (mut leaving, staying) = (start(), start());
    nats.await_subscribers("rig", 2);
    let (mut before, mut after) = (listener(&leaving), listener(&staying));
    // Without its body, it keeps the gateway from exiting.
    let request = "POST /_rig/v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";
    let mut unfinished = Some(Wire::connect(leaving.inbound()));
    unfinished.iter_mut().for_each(|wire| wire.send(request));
    for half in 0..2 {
        let events: Vec<_> = (0..1000).map(|number| greeting(&format!("{half}-{number}"), "bob")).collect();
        nats.publish("rig", &[], &events.iter().map(String::as_str).collect::<Vec<_>>());
        if half == 0 {
            leaving.terminate();
            nats.await_subscribers("rig", 1);
            drop(std::mem::take(&mut unfinished));
        }
    }
    leaving.exit_status();
    let mut received: Vec<String> = Vec::new();
    while let Some(frame) = before.raw() {
        received.extend(frame.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned));
    }
    received.retain(|event| event.contains("bob"));
    assert!((10..2000).contains(&received.len()), "both take part: {}", received.len());
    while received.len() < 2000 {
        received.push(after.next_data());
    }
    received.sort();
    received.dedup();
    assert_eq!(received.len(), 2000, "none twice");
}

/// What makes the client of NATS close the connection, or stop: the next message is taken.
#[test]
fn a_message_that_the_client_cannot_read_costs_a_moment_only() {
    let nats = nats("");
    let gateway = Gateway::start(&[("NATS_SERVERS", &nats.url())]);
    let mut stream = listener(&gateway);
    for (id, name, value) in [("1", "a", "b\rc"), ("2", "a b", "c")] {
        nats.await_subscribers("rig", 1);
        nats.publish("rig", &[(name, value)], &["{}"]);
        // What comes while the gateway connects again is lost.
        let event = greeting(id, "bob");
        let durations = "rig_consumed_event_processing_duration_milliseconds_count";
        let before = counted(&gateway, durations, &[]);
        eventually("an event arrives", || {
            nats.publish("rig", &[], &[&event]);
            (counted(&gateway, durations, &[]) > before).then_some(())
        });
        while stream.next_data() != event {}
        gateway.await_metric(r#"rig_broker_up{broker="nats"}"#, 1.0);
    }
}

#[test]
fn a_subscription_that_is_refused_is_told() {
    let nats =
        nats("authorization { users: [{ user: u, password: test, permissions: { subscribe: \"rig\" } }] }");
    let start = |subjects| {
        Gateway::start(&[
            ("NATS_SERVERS", &nats.url()),
            ("NATS_USER", "u"),
            ("NATS_PASSWORD", "test"),
            ("NATS_SOURCE_TOPICS", subjects),
        ])
    };
    start("rig").await_metric(r#"rig_broker_up{broker="nats"}"#, 1.0);
    let refused = start("rig,other");
    eventually("the refusal is in the log", || {
        refused.log().to_lowercase().contains("permissions violation").then_some(())
    });
    refused.await_metric(r#"rig_broker_up{broker="nats"}"#, 0.0);
}

/// A server that reloads its configuration keeps the connection, and forgets the subscription that
/// it has refused.
#[test]
fn a_subject_that_is_permitted_later_is_subscribed_to() {
    let permitting = |more: &str| {
        let permissions = format!("permissions: {{ subscribe: [\"rig\"{more}] }}");
        format!("authorization {{ users: [{{ user: u, password: p, {permissions} }}] }}\nno_auth_user: u")
    };
    let (before, after) = (permitting(""), permitting(", \"other\""));
    let nats = nats(&before);
    let gateway = Gateway::start(&[("NATS_SERVERS", &nats.url()), ("NATS_SOURCE_TOPICS", "rig,other")]);
    let mut stream = listener(&gateway);
    eventually("the refusal is in the log", || {
        gateway.log().to_lowercase().contains("permissions violation").then_some(())
    });
    gateway.await_metric(r#"rig_broker_up{broker="nats"}"#, 0.0);
    let file = nats.folder().join("nats.conf");
    let config = std::fs::read_to_string(&file).expect("it is there");
    std::fs::write(&file, config.replace(&before, &after)).expect("it can be written");
    nats.signal("HUP");
    nats.await_subscribers("other", 1);
    for (id, subject) in [("1", "other"), ("2", "rig")] {
        let event = greeting(id, "bob");
        nats.publish(subject, &[], &[&event]);
        assert_eq!(stream.next_data(), event);
    }
    gateway.await_metric(r#"rig_broker_up{broker="nats"}"#, 1.0);
    assert!(!gateway.end().contains("the connection is lost"));
}
