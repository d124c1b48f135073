//! Where reports go: over TLS, from a cluster, to topics.

use rig_tests::*;
use serde_json::{Value, json};

use crate::world::*;

/// Only a receiver whose certificate is trusted gets anything.
#[test]
fn over_tls_the_authorities_of_the_system_count() {
    let (receiver, files) = (HookReceiver::start(), Files::new());
    let authority = Authority::new("of the test");
    let (certificate, key) = authority.files("localhost");
    let read = |file| std::fs::read_to_string(file).expect("a file");
    let both = files.folder.join("server.pem");
    std::fs::write(&both, read(certificate) + &read(key)).expect("a file");
    let tls = Haproxy::start(&format!(
        "frontend tls\n    bind ADDRESS ssl crt {both}\n    default_backend hook\nbackend hook\n    server hook {}\n",
        receiver.address()
    ));
    let url = format!("https://localhost:{}/hooks/rig", tls.address().port());
    let gateway = files.start(&url);
    revoke(&gateway, "s1");
    eventually("an attempt fails", || (sent(&gateway, "failed") >= 1.0).then_some(()));
    eventually("the reason", || gateway.log().contains("UnknownIssuer").then_some(()));
    gateway.end();
    assert_eq!(receiver.posts().len(), 0);
    let file = authority.file();
    let mut settings = files.settings(&url);
    settings.push(("SSL_CERT_FILE", &file));
    let gateway = Gateway::start(&settings);
    assert!(receiver.await_posts(2).iter().all(|post| post.is_signed_by(SECRET)));
    drop(gateway);
}

/// The node that has accepted a revocation reports everything about it, and no other node does.
#[test]
fn in_a_cluster_the_node_that_was_asked_reports() {
    let (receiver, files) = (HookReceiver::start(), Files::new());
    let url = receiver.url();
    let settings = [("REVOCATION_HOOK_URL", url.as_str()), ("REVOCATION_HOOK_SECRET_FILE", &files.secret)];
    let mut cluster = Cluster::start(ClusterOptions { settings: &settings, ..ClusterOptions::default() });
    revoke(cluster.gateway(0), "s1");
    cluster.gateway(1).blacklist("s2");
    // Another node lifts it, while the one that has accepted it is down.
    receiver.await_posts(4);
    cluster.kill(0);
    let lifted =
        cluster.gateway(2).ask_internal(&Request::new("DELETE", "/v4/revocations/s1?by=bob&wait=0s"));
    assert!(matches!(lifted.status, 202 | 204), "{}", lifted.text());
    cluster.launch(0);
    let posts = eventually("the lift is reported", || {
        let posts = unique(&receiver.posts());
        posts.iter().any(|post| post.kind() == "lifted").then_some(posts)
    });
    let told: Vec<_> = posts
        .iter()
        .map(|post| (post.event()["source"].as_str().expect("a text").to_owned(), id_of(post), post.kind()))
        .collect();
    let of = |source: &str| -> Vec<_> {
        told.iter()
            .filter(|(of, ..)| of == source)
            .map(|(_, id, kind)| (id.as_str(), kind.as_str()))
            .collect()
    };
    assert_eq!(of("/rig/a"), [("s1", "accepted"), ("s1", "applied"), ("s1", "lifted")]);
    assert_eq!(of("/rig/b"), [("session-blacklist/s2", "accepted"), ("session-blacklist/s2", "applied")]);
    assert_eq!(of("/rig/c"), []);
    let lifted = posts.iter().find(|post| post.kind() == "lifted").expect("reported");
    assert_eq!(lifted.event()["data"]["by"], "bob");
}

/// Another gateway receives the reports as events.
#[test]
fn revocations_are_reported_to_a_subject_of_nats() {
    let nats = NatsServer::start(NatsOptions::default());
    let files = Files::new();
    let consumer = Gateway::start(&[("NATS_SERVERS", &nats.url()), ("NATS_SOURCE_TOPICS", "revocations")]);
    nats.await_subscribers("revocations", 1);
    let query = format!("subscriptions={}", encoded(r#"[{"eventType":"rig.revocation.applied"}]"#));
    let mut stream = Sse::connect(consumer.inbound(), &query);
    stream.welcome();
    let settings = [
        ("DATA_DIR", files.data.as_str()),
        ("HOST", "node-1"),
        ("NATS_SERVERS", &nats.url()),
        ("NATS_SOURCE_TOPICS", "nothing"),
        ("REVOCATION_TOPIC", "nats:revocations"),
    ];
    let gateway = Gateway::start(&settings);
    revoke(&gateway, "s1");
    let event: Value = serde_json::from_str(&stream.next_data()).expect("an event");
    assert_eq!((&event["source"], &event["data"]["id"]), (&json!("/rig/node-1"), &json!("s1")));
    gateway.await_metric(r#"rig_hook_events_total{to="topic",result="sent"}"#, 2.0);
    gateway.await_metric(r#"rig_hook_queue{to="topic"}"#, 0.0);
}

/// The queue of the topic is apart from that of the web hook, and outlives the process as well.
#[test]
fn revocations_are_reported_to_a_topic_of_kafka_whatever_the_web_hook_does() {
    let mut kafka = KafkaServer::start();
    let client = kafka.client();
    client.create_topic("revocations", 3);
    let (receiver, files) = (HookReceiver::start(), Files::new());
    receiver.answer("500 Internal Server Error", "");
    let (url, brokers) = (receiver.url(), kafka.address().to_string());
    let mut settings = files.settings(&url);
    settings.extend([("KAFKA_BROKERS", brokers.as_str()), ("REVOCATION_TOPIC", "kafka:revocations")]);
    let mut gateway = Gateway::start(&settings);
    revoke(&gateway, "s1");
    client.await_messages("revocations", 2);
    kafka.stop();
    revoke(&gateway, "s2");
    gateway.signal("KILL");
    gateway.exit_status();
    kafka.restart();
    let gateway = Gateway::start(&settings);
    let client = kafka.client();
    let events = eventually("all are in the topic", || {
        let events: Vec<Value> = client
            .read("revocations")
            .iter()
            .map(|message| serde_json::from_str(&message.text()).expect("an event"))
            .collect();
        let has = |event: &Value| event["data"]["id"] == "s2" && event["type"] == "rig.revocation.applied";
        events.iter().any(has).then_some(events)
    });
    let mut sequences: Vec<_> = events.iter().map(|event| event["sequence"].to_string()).collect();
    sequences.dedup();
    assert!(sequences.is_sorted(), "{sequences:?}");
    assert!(events.iter().all(|event| event["source"] == "/rig/node-1"));
    assert_eq!(sent(&gateway, "sent"), 0.0, "the web hook has taken nothing");
}
