//! The wire over real nats-servers.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use rig_cluster::events::{BUCKETS, EventWire};
use rig_cluster::nats::{Credentials, NatsConfig, NatsEvents, NatsWire, NewStream};
use rig_cluster::wire::{Link, Live, Names, Publication, PublishError, StreamMessage, Wire, WireError};
use rig_tests::{NatsCluster, NatsOptions, NatsServer};
use seal::Incarnation;
use tokio::time::timeout;

/// Time limit for everything that a test waits for.
const DEADLINE: Duration = Duration::from_secs(20);

const STREAM: NewStream = NewStream { max_bytes: 64 << 20, adopted: true };

fn config(servers: Vec<String>, node: &str) -> NatsConfig {
    NatsConfig {
        replicas: if servers.len() > 1 { 3 } else { 1 },
        servers,
        cluster: "c".to_owned(),
        node: node.to_owned(),
        credentials: Credentials::None,
        ca: None,
        certificate: None,
        insecure: false,
    }
}

async fn open(config: &NatsConfig) -> NatsWire {
    let wire = NatsWire::open(config, Incarnation::of(&config.node)).await.unwrap();
    wire.connected(DEADLINE).await.unwrap();
    wire
}

/// Starts a server with the stream.
async fn one_server() -> (NatsServer, NatsWire) {
    let server = NatsServer::start(NatsOptions::default());
    let wire = open(&config(vec![server.url()], "a")).await;
    wire.create_stream(STREAM).await.unwrap();
    (server, wire)
}

/// Connects as a program that is no gateway.
async fn raw_client(server: &NatsServer, options: async_nats::ConnectOptions) -> async_nats::Client {
    Box::pin(options.connect(server.url())).await.unwrap()
}

fn names() -> Names {
    Names::new("c")
}

fn publication(subject: &str, payload: &str) -> Publication {
    Publication {
        subject: subject.to_owned(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        expected: None,
        message_id: None,
        ttl: None,
    }
}

fn operation(id: &str, payload: &str) -> Publication {
    publication(&names().operation(id), payload)
}

fn shown(message: &StreamMessage) -> (u64, String, String) {
    let payload = String::from_utf8_lossy(&message.payload).into_owned();
    (message.sequence, message.subject.replace("rig.c.s.", ""), payload)
}

fn all_shown(messages: &[StreamMessage]) -> Vec<(u64, String, String)> {
    messages.iter().map(shown).collect()
}

fn row(sequence: u64, subject: &str, payload: &str) -> (u64, String, String) {
    (sequence, subject.to_owned(), payload.to_owned())
}

async fn next<T>(stream: &mut (impl futures_util::Stream<Item = T> + Unpin)) -> T {
    timeout(DEADLINE, stream.next()).await.expect("in time").expect("the stream goes on")
}

/// Returns the next message of the live path.
async fn next_live(live: &mut (impl futures_util::Stream<Item = Live> + Unpin)) -> StreamMessage {
    loop {
        if let Live::Message(message) = next(live).await {
            return message;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_created_once_and_described() {
    let server = NatsServer::start(NatsOptions::default());
    let wire = open(&config(vec![server.url()], "a")).await;
    assert_eq!(wire.info().await, Err(WireError::NoStream("RIG_c".to_owned())));
    let refused = wire.publish(operation("x", "1")).await;
    assert!(matches!(refused, Err(PublishError::Refused(_))), "{refused:?}");

    let created = wire.create_stream(NewStream { adopted: false, ..STREAM }).await.unwrap();
    assert_eq!((created.format, created.first, created.last, created.messages), (1, 1, 0, 0));
    assert_eq!((created.replicas, created.adopted), (1, false));
    assert_eq!(created.deviations, [""; 0]);
    assert_ne!(created.epoch.0, 0);
    let again = wire.create_stream(STREAM).await;
    assert_eq!(again, Err(WireError::Refused("stream RIG_c exists".to_owned())));

    let adopted = wire.adopt_stream().await.unwrap();
    assert_eq!((adopted.adopted, adopted.epoch), (true, created.epoch));
    assert_eq!(adopted.deviations, [""; 0]);
    let three = open(&NatsConfig { replicas: 3, ..config(vec![server.url()], "b") }).await;
    let deviations = three.info().await.unwrap().deviations;
    assert_eq!(deviations, ["num_replicas is 1, but has to be 3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_taken_once_and_changed_only_by_who_knows_it() {
    let (_server, wire) = one_server().await;
    let with = |expected, payload: &str| Publication { expected: Some(expected), ..operation("x", payload) };
    assert_eq!(wire.publish(with(0, "one")).await, Ok(1));
    assert_eq!(wire.publish(with(0, "other")).await, Err(PublishError::Conflict));
    assert_eq!(wire.publish(with(1, "two")).await, Ok(2));
    assert_eq!(wire.publish(with(1, "late")).await, Err(PublishError::Conflict));
    let last = wire.last(names().operation("x")).await.unwrap().unwrap();
    assert_eq!(shown(&last), row(2, "op.x", "two"));
    assert_eq!(wire.last(names().operation("y")).await, Ok(None));
    assert!(matches!(
        wire.publish(operation("y", &"x".repeat(2 << 20))).await,
        Err(PublishError::Refused(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_without_an_answer_is_unknown_and_its_repetition_is_told() {
    let (server, wire) = one_server().await;
    let message =
        Publication { message_id: Some("m1".to_owned()), expected: Some(0), ..operation("x", "one") };
    server.signal("STOP");
    assert_eq!(wire.publish(message.clone()).await, Err(PublishError::Unknown));
    server.signal("CONT");
    wire.connected(DEADLINE).await.unwrap();
    // It was stored when the server went on. A repetition is recognised by its id, unless it
    // expects that the subject is as it was: then the subject has to be read.
    assert_eq!(wire.publish(Publication { expected: None, ..message.clone() }).await, Ok(1));
    assert_eq!(wire.publish(message).await, Err(PublishError::Conflict));
    let last = wire.last(names().operation("x")).await.unwrap().unwrap();
    assert_eq!(shown(&last), row(1, "op.x", "one"));
    assert_eq!(wire.info().await.unwrap().last, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_path_tells_sequences_and_headers_of_publishers_do_not_mislead() {
    let (server, wire) = one_server().await;
    let mut live = wire.live().await.unwrap();
    wire.publish(operation("x", "one")).await.unwrap();
    let client = raw_client(&server, async_nats::ConnectOptions::new()).await;
    let mut forged = async_nats::HeaderMap::new();
    for (name, value) in [
        ("Nats-Sequence", "77"),
        ("Nats-Subject", "rig.c.s.op.y"),
        ("Nats-Time-Stamp", "1970-01-01T00:00:00Z"),
    ] {
        forged.insert(name, value);
    }
    client.publish_with_headers(names().operation("z"), forged, "two".into()).await.unwrap();
    let first = next_live(&mut live).await;
    assert_eq!(shown(&first), row(1, "op.x", "one"));
    let forged = next_live(&mut live).await;
    assert_eq!(shown(&forged), row(2, "op.z", "two"));
    let expected = first.stored_at..first.stored_at + 60_000;
    assert!(expected.contains(&forged.stored_at), "{} {}", first.stored_at, forged.stored_at);
    assert_eq!(wire.fetch(2, 10).await.unwrap().messages, std::slice::from_ref(&forged));
    assert_eq!(wire.last(names().operation("z")).await.unwrap(), Some(forged.clone()));
    let replayed: Vec<_> = wire.replay(1).await.unwrap().collect().await;
    assert_eq!(replayed, [Ok(first), Ok(forged)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_steps_over_what_is_gone_and_says_how_far_it_got() {
    let (_server, wire) = one_server().await;
    let short = Publication { ttl: Some(Duration::from_millis(300)), ..operation("short", "gone") };
    for message in [
        operation("a", "one"),
        publication(&names().beat("n"), "k1"),
        publication(&names().beat("n"), "k2"),
        short.clone(),
        operation("b", "two"),
        operation("c", "three"),
        short,
    ] {
        wire.publish(message).await.unwrap();
    }
    while wire.last(names().operation("short")).await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    let all = wire.fetch(1, 100).await.unwrap();
    let expected =
        [row(1, "op.a", "one"), row(3, "beat.n", "k2"), row(5, "op.b", "two"), row(6, "op.c", "three")];
    assert_eq!(all_shown(&all.messages), expected);
    assert_eq!((all.upto, all.complete), (6, true));
    let part = wire.fetch(2, 2).await.unwrap();
    assert_eq!(all_shown(&part.messages), expected[1..3]);
    assert_eq!((part.upto, part.complete), (5, false));
    // The server that answers cannot prove that it does not lag behind.
    let tail = wire.fetch(7, 10).await.unwrap();
    assert_eq!((tail.messages.len(), tail.upto, tail.complete), (0, 6, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_before_the_first_message_is_known_to_be_gone() {
    let (_server, wire) = one_server().await;
    for id in ["a", "b"] {
        let message = Publication { ttl: Some(Duration::from_secs(1)), ..operation(id, "gone") };
        wire.publish(message).await.unwrap();
    }
    while wire.info().await.unwrap().messages > 0 {
        tokio::task::yield_now().await;
    }
    let info = wire.info().await.unwrap();
    assert_eq!((info.first, info.last), (3, 2));
    let fetched = wire.fetch(1, 10).await.unwrap();
    assert_eq!((fetched.messages.len(), fetched.upto), (0, 2));
    assert!(wire.replay(1).await.unwrap().next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_reads_everything_in_order() {
    let (_server, wire) = one_server().await;
    const MESSAGES: u64 = 30_000;
    let payload = "x".repeat(200);
    let published = futures_util::stream::iter(1..=MESSAGES)
        .map(|number| wire.publish(operation(&number.to_string(), &payload)))
        .buffered(256);
    let mut sequences: Vec<_> = published.map(Result::unwrap).collect().await;
    sequences.sort_unstable();
    assert!(sequences.into_iter().eq(1..=MESSAGES));
    for from in [1, MESSAGES / 2, MESSAGES, MESSAGES + 1] {
        let replay = wire.replay(from).await.unwrap();
        let sequences: Vec<_> = replay.map(|message| message.unwrap().sequence).collect().await;
        assert!(sequences.into_iter().eq(from..=MESSAGES), "{from}");
    }
    let mut from = 1;
    loop {
        let fetched = wire.fetch(from, 4096).await.unwrap();
        assert!(fetched.messages.iter().map(|message| message.sequence).eq(from..=fetched.upto));
        from = fetched.upto + 1;
        if fetched.complete {
            break;
        }
    }
    assert_eq!(from, MESSAGES + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_beat_of_each_node_is_returned() {
    let (_server, wire) = one_server().await;
    assert_eq!(wire.latest(names().beats()).await, Ok(Vec::new()));
    for (node, payload) in [("n1", "1"), ("n2", "1"), ("n1", "2")] {
        wire.publish(publication(&names().beat(node), payload)).await.unwrap();
    }
    wire.publish(operation("x", "one")).await.unwrap();
    let beats = wire.latest(names().beats()).await.unwrap();
    assert_eq!(all_shown(&beats), [row(2, "beat.n2", "1"), row(3, "beat.n1", "2")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lives_ask_each_other_and_learn_at_once_that_one_is_gone() {
    let server = NatsServer::start(NatsOptions::default());
    let (one, other) = (config(vec![server.url()], "a"), config(vec![server.url()], "b"));
    let asker = open(&one).await;
    let life = Incarnation::of("b");
    let answerer = NatsWire::open(&other, life).await.unwrap();
    answerer.connected(DEADLINE).await.unwrap();
    let request = |text: &'static str| asker.request(life, Bytes::from_static(text.as_bytes()), DEADLINE);
    assert_eq!(request("anybody?").await, Err(WireError::NoResponders));

    let mut requests = answerer.requests().await.unwrap();
    asker.send(life, "a message".into()).await.unwrap();
    let message = next(&mut requests).await;
    assert_eq!((&message.payload[..], message.answer.is_none()), (&b"a message"[..], true));
    let answering = async {
        let request = next(&mut requests).await;
        request.answer.unwrap().send("yes".into()).await;
    };
    let (answer, ()) = tokio::join!(request("anybody?"), answering);
    assert_eq!(answer, Ok("yes".into()));
    let silent = asker.request(life, "hello".into(), Duration::from_millis(50)).await;
    assert_eq!(silent, Err(WireError::Timeout));
    let large = asker.request(life, vec![0; 2 << 20].into(), DEADLINE).await;
    assert_eq!(large, Err(WireError::TooLarge));

    let mut questions = [asker.questions().await.unwrap(), answerer.questions().await.unwrap()];
    let answers = asker.ask_all("who?".into(), Duration::from_secs(1)).await.unwrap();
    for (name, questions) in ["a", "b"].iter().zip(&mut questions) {
        let question = next(questions).await;
        assert_eq!(&question.payload[..], b"who?");
        question.answer.unwrap().send((*name).into()).await;
    }
    let mut answers: Vec<_> = answers.collect().await;
    answers.sort_unstable();
    assert_eq!(answers, ["a", "b"]);

    let mut broadcasts = [asker.broadcasts().await.unwrap(), answerer.broadcasts().await.unwrap()];
    asker.broadcast("all".into()).await.unwrap();
    for broadcasts in &mut broadcasts {
        assert_eq!(&next(broadcasts).await[..], b"all");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_reach_the_other_nodes_that_want_their_bucket() {
    let server = NatsServer::start(NatsOptions::default());
    let open_events = async |node: &str| {
        let config = config(vec![server.url()], node);
        let events = NatsEvents::open(&config, Incarnation::of(node)).await.unwrap();
        events.connected(DEADLINE).await.unwrap();
        events
    };
    let (one, other, all) = (open_events("a").await, open_events("b").await, open_events("c").await);
    one.subscribe(vec![7]).await;
    other.subscribe(vec![7, 9, 7]).await;
    other.subscribe(vec![9]).await;
    all.subscribe((0..BUCKETS).collect()).await;
    one.publish(8, "unwanted".into()).await;
    one.publish(7, "one".into()).await;
    one.publish(9, "two".into()).await;
    let mut received =
        [timeout(DEADLINE, other.next()).await.unwrap(), timeout(DEADLINE, other.next()).await.unwrap()];
    received.sort_unstable();
    assert_eq!(received, [(7, "one".into()), (9, "two".into())]);
    other.unsubscribe(vec![7]).await;
    // Known to the server, since it is confirmed behind it.
    other.subscribe(vec![10]).await;
    one.publish(7, "three".into()).await;
    one.publish(10, "four".into()).await;
    assert_eq!(timeout(DEADLINE, other.next()).await.unwrap(), (10, "four".into()));
    let mut received = Vec::new();
    for _ in 0..5 {
        received.push(timeout(DEADLINE, all.next()).await.unwrap().0);
    }
    received.sort_unstable();
    assert_eq!(received, [7, 7, 8, 9, 10]);
    // Its own events did not come back.
    other.publish(7, "five".into()).await;
    assert_eq!(timeout(DEADLINE, one.next()).await.unwrap(), (7, "five".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_nothing_is_sent_later_and_the_connection_comes_by_itself() {
    let mut server = NatsServer::start(NatsOptions::default());
    server.kill();
    let wire = NatsWire::open(&config(vec![server.url()], "a"), Incarnation::of("a")).await.unwrap();
    let failed = wire.connected(Duration::from_millis(100)).await.unwrap_err();
    assert!(failed.starts_with(&server.address().to_string()), "{failed}");
    assert_eq!(wire.info().await, Err(WireError::NotConnected));
    assert!(matches!(wire.publish(operation("x", "1")).await, Err(PublishError::Refused(_))));
    assert_eq!(wire.broadcast("1".into()).await, Err(WireError::NotConnected));
    server.restart();
    wire.connected(DEADLINE).await.unwrap();
    wire.create_stream(STREAM).await.unwrap();
    assert_eq!(wire.info().await.unwrap().last, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_goes_to_the_next_server_and_the_live_path_goes_on() {
    let mut cluster = NatsCluster::start(NatsOptions { sync_always: true, ..NatsOptions::default() });
    let urls = cluster.urls();
    let wire = open(&config(urls.clone(), "a")).await;
    let created = wire.create_stream(STREAM).await.unwrap();
    assert_eq!((created.replicas, created.deviations), (3, Vec::new()));
    let mut live = wire.live().await.unwrap();
    let index = |wire: &NatsWire| urls.iter().position(|url| url.ends_with(&wire.server())).unwrap();
    let connected = async |live: &mut futures_util::stream::BoxStream<'static, Live>| loop {
        if let Live::Link(Link::Connected(server)) = next(live).await {
            return server;
        }
    };
    let first = index(&wire);
    for step in 1..=3 {
        wire.rotate().await;
        let server = connected(&mut live).await;
        assert!(urls[(first + step) % 3].ends_with(&server), "{urls:?} {first} {step} {server}");
    }
    publish_at_last(&wire, operation("x", "one")).await;
    assert_eq!(shown(&next_live(&mut live).await), row(1, "op.x", "one"));
    cluster.server(first).kill();
    let server = connected(&mut live).await;
    assert!(urls[(first + 1) % 3].ends_with(&server), "{server}");
    publish_at_last(&wire, operation("y", "two")).await;
    assert_eq!(shown(&next_live(&mut live).await), row(2, "op.y", "two"));
    cluster.server(first).restart();
    cluster.wait();
}

/// Publishes during an election: with the same id, until it is stored.
async fn publish_at_last(wire: &NatsWire, message: Publication) -> u64 {
    let message = Publication { message_id: Some(message.subject.clone()), ..message };
    let stored = async {
        loop {
            if let Ok(sequence) = wire.publish(message.clone()).await {
                return sequence;
            }
        }
    };
    timeout(DEADLINE, stored).await.expect("an election takes seconds")
}

/// The account of the documentation, with one of its users.
fn user(server: &NatsServer, user: &str, password: &str) -> NatsConfig {
    NatsConfig {
        cluster: "rig".to_owned(),
        credentials: Credentials::Password { user: user.to_owned(), password: password.to_owned() },
        ..config(vec![server.url()], user)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_permissions_of_the_documentation_are_enough_and_no_more() {
    let accounts = include_str!("../../../docs/nats-accounts.conf");
    let server = NatsServer::start(NatsOptions { config: accounts, ..NatsOptions::default() });
    let wrong = NatsWire::open(&user(&server, "rig-1", "wrong"), Incarnation::of("x")).await.unwrap();
    let failed = wrong.connected(Duration::from_millis(300)).await.unwrap_err();
    assert!(failed.contains("authorization violation"), "{failed}");

    let operator = open(&user(&server, "operator", "change-me-3")).await;
    operator.create_stream(NewStream { adopted: false, ..STREAM }).await.unwrap();
    assert!(operator.adopt_stream().await.unwrap().adopted);

    let names = Names::new("rig");
    let one_user = user(&server, "rig-1", "change-me-1");
    let life = Incarnation::of("rig-1");
    let one = NatsWire::open(&one_user, life).await.unwrap();
    one.connected(DEADLINE).await.unwrap();
    let other = open(&user(&server, "rig-2", "change-me-2")).await;
    let mut live = other.live().await.unwrap();
    let mut own_live = one.live().await.unwrap();
    one.publish(publication(&names.operation("x"), "1")).await.unwrap();
    one.publish(publication(&names.beat("rig-1"), "k1")).await.unwrap();
    one.publish(publication(&names.apis(), "{}")).await.unwrap();
    for sequence in 1..=3 {
        assert_eq!(next_live(&mut live).await.sequence, sequence);
        assert_eq!(next_live(&mut own_live).await.sequence, sequence);
    }
    assert_eq!(one.info().await.unwrap().last, 3);
    assert_eq!(one.fetch(1, 10).await.unwrap().upto, 3);
    assert!(one.last(names.operation("x")).await.unwrap().is_some());
    assert_eq!(one.latest(names.beats()).await.unwrap().len(), 1);
    assert_eq!(operator.latest(names.beats()).await.unwrap().len(), 1);
    assert_eq!(one.replay(1).await.unwrap().collect::<Vec<_>>().await.len(), 3);
    let mut requests = one.requests().await.unwrap();
    let answering = async { next(&mut requests).await.answer.unwrap().send("yes".into()).await };
    let (answer, ()) = tokio::join!(other.request(life, "?".into(), DEADLINE), answering);
    assert_eq!(answer, Ok("yes".into()));
    let mut questions = one.questions().await.unwrap();
    let mut answers = other.ask_all("?".into(), DEADLINE).await.unwrap();
    next(&mut questions).await.answer.unwrap().send("here".into()).await;
    assert_eq!(next(&mut answers).await, "here");
    let mut broadcasts = other.broadcasts().await.unwrap();
    one.broadcast("now".into()).await.unwrap();
    assert_eq!(next(&mut broadcasts).await, "now");
    let events = NatsEvents::open(&one_user, life).await.unwrap();
    events.connected(DEADLINE).await.unwrap();
    events.subscribe((0..BUCKETS).collect()).await;
    let others = NatsEvents::open(&user(&server, "rig-2", "change-me-2"), Incarnation::of("rig-2")).await;
    let others = others.unwrap();
    others.connected(DEADLINE).await.unwrap();
    others.publish(5, "event".into()).await;
    assert_eq!(timeout(DEADLINE, events.next()).await.unwrap(), (5, "event".into()));

    // A refused publication is never answered. The error comes apart from it.
    let forged = one.publish(publication(&names.beat("rig-2"), "forged")).await;
    assert_eq!(forged, Err(PublishError::Unknown));
    let trouble = loop {
        if let Live::Link(Link::Trouble(trouble)) = next(&mut own_live).await {
            break trouble;
        }
    };
    assert!(trouble.to_lowercase().contains("permissions violation"), "{trouble}");
    let options = async_nats::ConnectOptions::with_user_and_password("rig-1".into(), "change-me-1".into());
    let raw = raw_client(&server, options.custom_inbox_prefix("rig.rig.inbox.rig-1")).await;
    for subject in ["rig.rig.live.s.op.x", "$JS.API.STREAM.PURGE.RIG_rig", "$JS.API.STREAM.DELETE.RIG_rig"] {
        raw.publish_with_reply(subject, raw.new_inbox(), "{}".into()).await.unwrap();
    }
    // What the connection sends next is processed behind it.
    raw.publish(names.operation("y"), "2".into()).await.unwrap();
    let next_one = next_live(&mut live).await;
    assert_eq!((next_one.sequence, &next_one.payload[..]), (4, &b"2"[..]));
    assert_eq!(one.info().await.unwrap().messages, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_is_refused_even_to_an_administrator() {
    let (server, wire) = one_server().await;
    wire.publish(operation("x", "1")).await.unwrap();
    let client = raw_client(&server, async_nats::ConnectOptions::new()).await;
    for request in ["$JS.API.STREAM.PURGE.RIG_c", "$JS.API.STREAM.MSG.DELETE.RIG_c"] {
        let answer = client.request(request, r#"{"seq":1}"#.into()).await.unwrap();
        assert!(String::from_utf8_lossy(&answer.payload).contains("error"), "{answer:?}");
    }
    assert_eq!(wire.info().await.unwrap().messages, 1);
}

/// A seed and its public key, from the documentation of NATS.
const NKEY: [&str; 2] = [
    "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
    "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4",
];

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_tokens_are_shown() {
    let users = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", NKEY[1]);
    let server = NatsServer::start(NatsOptions { config: &users, ..NatsOptions::default() });
    let seed = server.folder().join("seed");
    std::fs::write(&seed, format!("{}\n", NKEY[0])).unwrap();
    open(&NatsConfig { credentials: Credentials::NKey(seed), ..config(vec![server.url()], "a") }).await;

    let token = "authorization { token: \"t0ken\" }";
    let server = NatsServer::start(NatsOptions { config: token, ..NatsOptions::default() });
    let shown = Credentials::Token("t0ken".to_owned());
    open(&NatsConfig { credentials: shown, ..config(vec![server.url()], "a") }).await;

    let missing = Credentials::File(server.folder().join("missing"));
    let config = NatsConfig { credentials: missing, ..config(vec![server.url()], "a") };
    let refused = NatsWire::open(&config, Incarnation::of("a")).await.err().unwrap();
    assert!(refused.to_string().contains("missing"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_and_nodes_show_certificates() {
    let folder = rig_tests::Folder::new();
    let path = |name: &str| folder.path().join(name);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&ca, &ca_key);
    std::fs::write(path("ca.pem"), ca_certificate.pem()).unwrap();
    for name in ["server", "node"] {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(path(&format!("{name}.pem")), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        std::fs::write(path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    let tls = format!(
        "tls {{\ncert_file: \"{}\"\nkey_file: \"{}\"\nca_file: \"{}\"\nverify: true\n}}",
        folder.join("server.pem"),
        folder.join("server.key"),
        folder.join("ca.pem")
    );
    let server = NatsServer::start(NatsOptions { config: &tls, ..NatsOptions::default() });
    let url = server.url().replace("nats://", "tls://");
    let with = NatsConfig {
        ca: Some(path("ca.pem")),
        certificate: Some((path("node.pem"), path("node.key"))),
        ..config(vec![url], "a")
    };
    open(&with).await;
    for without in [NatsConfig { certificate: None, ..with.clone() }, NatsConfig { ca: None, ..with.clone() }]
    {
        let wire = NatsWire::open(&without, Incarnation::of("a")).await.unwrap();
        assert!(wire.connected(Duration::from_millis(500)).await.is_err());
    }
}
