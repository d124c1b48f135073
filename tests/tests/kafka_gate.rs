//! What stands in for Kafka in the tests does what a broker does. The client is librdkafka's for
//! Python.

use std::process::{Command, Stdio};
use std::time::Duration;

use rig_tests::*;

const MECHANISMS: [&str; 4] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];

/// How long a client may try what never succeeds.
const SOON: Duration = Duration::from_millis(500);

/// Returns the properties of a client that authenticates.
fn sasl<'a>(mechanism: &'a str, user: &'a str, password: &'a str, token: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut properties = vec![("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", mechanism)];
    if mechanism == "OAUTHBEARER" {
        properties.push(("oauth.token", token));
    } else {
        properties.extend([("sasl.username", user), ("sasl.password", password)]);
    }
    properties
}

fn good(mechanism: &str) -> Vec<(&str, &str)> {
    let GateSasl { user, password, token, .. } = GateSasl::default();
    sasl(mechanism, user, password, token)
}

/// Requires that a message can be written to a new topic, and read.
fn round_trip(client: &KafkaClient, topic: &str) {
    client.create_topic(topic, 1);
    client.produce(topic, &[KafkaMessage::of("a value")]);
    assert_eq!(client.read(topic).last().map(KafkaMessage::text).as_deref(), Some("a value"));
}

#[test]
fn messages_are_kept_as_they_were_written_and_over_a_restart() {
    let mut server = KafkaServer::start();
    let client = server.client();
    client.create_topic("rig", 2);
    let full = KafkaMessage::of([0, 255]).key("k").header("a", "1").header("a", "2").partition(1);
    let mut null = KafkaMessage::tombstone().key([]).partition(1);
    null.headers.push(("n".to_owned(), None));
    assert_eq!(client.produce("rig", &[full.clone(), null.clone()]), [(1, 0), (1, 1)]);
    let expected =
        [KafkaMessage { offset: Some(0), ..full.clone() }, KafkaMessage { offset: Some(1), ..null }];
    assert_eq!(client.read("rig"), expected);
    assert_eq!(full.header_text("a").as_deref(), Some("2"));
    server.restart();
    let client = server.client();
    assert_eq!(client.await_messages("rig", 2), expected);
    assert_eq!(client.watermarks("rig"), [(0, 0), (0, 2)]);
    client.delete_records("rig", 1, 1);
    assert_eq!(client.watermarks("rig"), [(0, 0), (1, 2)]);
    assert_eq!(client.read("rig").len(), 1);
    client.add_partitions("rig", 3);
    assert_eq!(client.watermarks("rig").len(), 3);
    client.delete_topic("rig");
    assert!(client.read("rig").is_empty());
}

#[test]
fn many_messages_keep_their_order() {
    let server = KafkaServer::start();
    let client = server.client();
    client.create_topic("rig", 3);
    let message = |number: i32| KafkaMessage::of(number.to_string()).partition(number % 3);
    client.produce("rig", &(0..9000).map(message).collect::<Vec<_>>());
    let texts: Vec<_> = client.read("rig").iter().map(KafkaMessage::text).collect();
    let expected = (0..3).flat_map(|partition| (0..3000).map(move |at| (at * 3 + partition).to_string()));
    assert_eq!(texts, expected.collect::<Vec<_>>());
}

/// The member is kcat, whose assignment and offsets are seen from outside.
#[test]
fn a_group_shows_its_members_and_its_offsets() {
    let server = KafkaServer::start();
    let client = server.client();
    client.create_topic("rig", 2);
    client.commit("kcats", "rig", 0, 1);
    assert_eq!(client.committed("kcats", "rig"), [Some(1), None]);
    client.produce("rig", &[0, 1, 2].map(|number| KafkaMessage::of(number.to_string()).partition(0)));
    let mut kcat = Command::new("kcat")
        .args(["-b", &server.address().to_string(), "-X", "client.id=one", "-G", "kcats", "rig"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("scripts/need kcat installs it");
    let members = client.await_members("kcats", 1);
    assert_eq!((&*members[0].client, members[0].partitions.len()), ("one", 2));
    client.await_committed("kcats", "rig", &[Some(3), None]);
    assert_eq!(client.groups(), ["kcats"]);
    // It leaves the group when it is terminated.
    let status = Command::new("kill").arg(kcat.id().to_string()).status();
    assert!(status.expect("kill is installed").success());
    assert!(client.await_members("kcats", 0).is_empty());
    kcat.wait().expect("it was started");
}

#[test]
fn a_stopped_broker_answers_later_and_a_killed_one_not_at_all() {
    let mut server = KafkaServer::start();
    let client = server.client();
    client.create_topic("rig", 1);
    server.signal("STOP");
    std::thread::scope(|scope| {
        let produced = scope.spawn(|| client.produce("rig", &[KafkaMessage::of("1")]));
        let seen = server.client().topics_within(SOON);
        assert!(seen.is_err(), "{seen:?}");
        assert!(!produced.is_finished());
        server.signal("CONT");
        assert_eq!(produced.join().expect("it is written"), [(0, 0)]);
    });
    server.kill();
    assert!(server.client().topics().is_err());
}

#[test]
fn the_gate_lets_in_by_each_mechanism() {
    let gate = Gate::start(GateOptions { sasl: Some(GateSasl::default()), ..GateOptions::default() });
    for mechanism in MECHANISMS {
        let client = gate.client(&good(mechanism));
        round_trip(&client, mechanism);
        let accepted = format!("accepted {mechanism}");
        assert!(gate.authentications().contains(&accepted), "{:?}", gate.authentications());
    }
    assert!(gate.authentications().iter().all(|one| one.starts_with("accepted")));
}

#[test]
fn the_gate_refuses_a_wrong_password_user_and_token() {
    let gate = Gate::start(GateOptions { sasl: Some(GateSasl::default()), ..GateOptions::default() });
    let GateSasl { user, password, .. } = GateSasl::default();
    for mechanism in MECHANISMS {
        for (user, password) in [(user, "another one"), ("another", password)] {
            let refused = gate.client(&sasl(mechanism, user, password, "another.token"));
            let error = refused.topics().expect_err(mechanism);
            assert!(
                error.contains("_AUTHENTICATION") || error.contains("invalid_token"),
                "{mechanism}: {error}"
            );
        }
        let refused = format!("refused {mechanism}");
        assert!(gate.authentications().contains(&refused), "{:?}", gate.authentications());
    }
    assert!(!gate.authentications().iter().any(|one| one.starts_with("accepted")));
}

#[test]
fn the_gate_refuses_other_mechanisms_and_those_who_do_not_authenticate() {
    let mechanisms: &[_] = &["SCRAM-SHA-512"];
    let sasl = GateSasl { mechanisms, ..GateSasl::default() };
    let gate = Gate::start(GateOptions { sasl: Some(sasl), ..GateOptions::default() });
    let error = gate.client(&good("PLAIN")).topics().expect_err("it is not offered");
    assert!(error.contains("SCRAM-SHA-512"), "{error}");
    assert!(gate.client(&[]).topics_within(SOON).is_err());
    assert!(gate.authentications().contains(&"no SASL".to_owned()), "{:?}", gate.authentications());
    round_trip(&gate.client(&good("SCRAM-SHA-512")), "rig");
}

#[test]
fn the_gate_speaks_tls_and_clients_verify_it() {
    let (authority, stranger) = (Authority::new("an authority"), Authority::new("a stranger"));
    let tls = Some(GateTls::of(&authority));
    let gate = Gate::start(GateOptions { tls, sasl: Some(GateSasl::default()) });
    let (file, other) = (authority.file(), stranger.file());
    for mechanism in MECHANISMS {
        let mut properties = good(mechanism);
        properties[0] = ("security.protocol", "SASL_SSL");
        properties.push(("ssl.ca.location", &file));
        round_trip(&gate.client(&properties), mechanism);
    }
    let mut properties = good("PLAIN");
    properties[0] = ("security.protocol", "SASL_SSL");
    properties.push(("ssl.ca.location", &other));
    let error = gate.client(&properties).topics().expect_err("an unknown authority");
    assert!(error.contains("_SSL"), "{error}");

    let names: &[_] = &["elsewhere.test"];
    let tls = GateTls { names, ..GateTls::of(&authority) };
    let elsewhere = Gate::start(GateOptions { tls: Some(tls), sasl: None });
    let properties = [("security.protocol", "SSL"), ("ssl.ca.location", &*file)];
    let error = elsewhere.client(&properties).topics().expect_err("another name");
    assert!(error.contains("_SSL"), "{error}");
}

#[test]
fn the_gate_demands_client_certificates() {
    let (authority, clients) = (Authority::new("an authority"), Authority::new("clients"));
    let tls = GateTls { clients: Some(&clients), ..GateTls::of(&authority) };
    let gate = Gate::start(GateOptions { tls: Some(tls), sasl: None });
    let file = authority.file();
    let base = [("security.protocol", "SSL"), ("ssl.ca.location", &*file)];
    let with = |(certificate, key): &(String, String), password: &str| {
        let identity = [
            ("ssl.certificate.location", &**certificate),
            ("ssl.key.location", &**key),
            ("ssl.key.password", password),
        ];
        gate.client(&[&base[..], &identity].concat())
    };
    assert!(gate.client(&base).topics().is_err(), "no certificate");
    assert!(with(&authority.files("a client"), "").topics().is_err(), "a certificate of another authority");
    round_trip(&with(&clients.files("a client"), ""), "one");
    round_trip(&with(&clients.locked_files("locked", "a test password"), "a test password"), "locked");
}

#[test]
fn the_gate_cuts_delays_and_drops() {
    let mut gate = Gate::start(GateOptions::default());
    let client = gate.client(&[("reconnect.backoff.ms", "10"), ("reconnect.backoff.max.ms", "50")]);
    round_trip(&client, "rig");

    gate.set(LinkState::Cut);
    assert!(gate.client(&[]).topics_within(SOON).is_err());
    gate.set(LinkState::Open);
    client.produce("rig", &[KafkaMessage::of("after the cut")]);

    gate.set(LinkState::Slow(Duration::from_millis(100)));
    let start = std::time::Instant::now();
    client.produce("rig", &[KafkaMessage::of("slow")]);
    assert!(start.elapsed() >= Duration::from_millis(200), "there and back");

    // The message arrives, its acknowledgement does not.
    gate.set(LinkState::HalfOpen(Direction::ToServer));
    let inside = gate.server().client();
    std::thread::scope(|scope| {
        let produced = scope.spawn(|| client.produce("rig", &[KafkaMessage::of("unacknowledged")]));
        let texts: Vec<_> = inside.await_messages("rig", 4).iter().map(KafkaMessage::text).collect();
        assert_eq!(texts, ["a value", "after the cut", "slow", "unacknowledged"]);
        assert!(!produced.is_finished());
        gate.set(LinkState::Open);
        assert_eq!(produced.join().expect("it is acknowledged"), [(0, 3)]);
    });

    gate.server().restart();
    client.produce("rig", &[KafkaMessage::of("after the restart")]);
    assert_eq!(inside.await_messages("rig", 5)[4].text(), "after the restart");
}
