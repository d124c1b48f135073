//! The connection, and messages outside of the stream.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use rig_cluster::events::{BUCKETS, EventWire};
use rig_cluster::nats::{NatsEvents, NatsWire};
use rig_cluster::wire::{Link, Live, Names, Publication, PublishError, Wire, WireError};
use rig_tests::{NatsCluster, NatsOptions, NatsServer};
use seal::Incarnation;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{DEADLINE, ELECTIONS, STREAM, config, create_at_last, next, next_live, open, operation};

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
    other.unsubscribe(vec![7]);
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
    let created = create_at_last(&wire).await;
    assert_eq!((created.replicas, created.deviations), (3, Vec::new()));
    let mut live = wire.live().await.unwrap();
    let index = |wire: &NatsWire| urls.iter().position(|url| url.ends_with(&wire.server())).unwrap();
    let connected = async |live: &mut BoxStream<'static, Live>| loop {
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
    let before = publish_until_live(&wire, &mut live, "x").await;
    cluster.server(first).kill();
    let server = connected(&mut live).await;
    assert!(urls[(first + 1) % 3].ends_with(&server), "{server}");
    assert!(publish_until_live(&wire, &mut live, "y").await > before);
    cluster.server(first).restart();
    cluster.wait();
}

/// Opens the control connection beside that of events.
async fn open_beside(urls: &[String], node: &str) -> NatsWire {
    let (config, life) = (config(urls.to_vec(), node), Incarnation::of(node));
    let events = NatsEvents::open(&config, life).await.unwrap();
    let wire = NatsWire::open_beside(&events, &config, life).await.unwrap();
    events.connected(DEADLINE).await.unwrap();
    wire.connected(DEADLINE).await.unwrap();
    wire
}

#[tokio::test(flavor = "multi_thread")]
async fn broadcasts_arrive_while_the_server_of_one_of_both_connections_is_stopped() {
    let mut cluster = NatsCluster::start(NatsOptions::default());
    let urls = cluster.urls();
    let (one, other) = (open_beside(&urls, "a").await, open_beside(&urls, "b").await);
    let mut broadcasts = other.broadcasts().await.unwrap();
    for (wire, name) in [(&one, "from"), (&other, "to")] {
        let server = wire.server();
        let stopped = urls.iter().position(|url| url.ends_with(&server)).unwrap();
        cluster.server(stopped).signal("STOP");
        let arrived = async {
            // The other servers may not know of the subscription yet.
            for attempt in 0.. {
                let message = format!("{name}{attempt}");
                drop(one.broadcast(message.into()).await);
                let came = timeout(Duration::from_millis(50), broadcasts.next()).await;
                if came.is_ok_and(|came| came.is_some_and(|came| came.starts_with(name.as_bytes()))) {
                    return;
                }
            }
        };
        timeout(DEADLINE, arrived).await.expect("it arrives");
        assert_eq!(wire.server(), server, "before its connection goes to another server");
        cluster.server(stopped).signal("CONT");
        cluster.wait();
        for wire in [&one, &other] {
            wire.connected(DEADLINE).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_stays_with_a_server_that_reaches_another_one() {
    let cluster = NatsCluster::start(NatsOptions::default());
    let wire = open_beside(&cluster.urls(), "a").await;
    let server = wire.server();
    wire.rotate().await;
    assert_eq!(wire.server(), server);
}

/// Publishes messages, until one of them comes over the live path. Returns its sequence.
///
/// A new leader sends the last message again, and does not send those that the one before it had
/// accepted but not stored.
async fn publish_until_live(wire: &NatsWire, live: &mut BoxStream<'static, Live>, name: &str) -> u64 {
    let published = async {
        for attempt in 0.. {
            let message = operation(&format!("{name}{attempt}"), name);
            let sequence = publish_at_last(wire, message.clone()).await;
            let came = async {
                loop {
                    let came = next_live(live).await;
                    if came.sequence >= sequence {
                        return came;
                    }
                }
            };
            if let Ok(came) = timeout(Duration::from_secs(2), came).await {
                assert_eq!((came.sequence, came.subject), (sequence, message.subject));
                return sequence;
            }
        }
        unreachable!("the attempts do not end")
    };
    timeout(2 * ELECTIONS, published).await.expect("the live path goes on")
}

/// Publishes the first message of a subject during an election, until it is stored.
async fn publish_at_last(wire: &NatsWire, message: Publication) -> u64 {
    let message = Publication { expected: Some(0), ..message };
    let stored = async {
        loop {
            match wire.publish(message.clone()).await {
                Ok(sequence) => return sequence,
                // An earlier attempt was stored, and its answer lost.
                Err(PublishError::Conflict) => {
                    if let Ok(Some(last)) = wire.last(message.subject.clone()).await {
                        return last.sequence;
                    }
                }
                Err(_) => {}
            }
        }
    };
    timeout(ELECTIONS, stored).await.expect("there is a leader in the end")
}

/// The library's task panics on a header value with a carriage return (nats.rs, issue 1572).
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_connection_has_ended_for_good_is_told() {
    let server = NatsServer::start(NatsOptions::default());
    let config = config(vec![server.url()], "a");
    let events = NatsEvents::open(&config, Incarnation::of("a")).await.unwrap();
    let wire = NatsWire::open_beside(&events, &config, Incarnation::of("a")).await.unwrap();
    wire.connected(DEADLINE).await.unwrap();
    events.connected(DEADLINE).await.unwrap();
    events.subscribe(vec![7]).await;
    assert!(timeout(Duration::ZERO, wire.ended()).await.is_err());
    let mut raw = TcpStream::connect(server.address()).await.unwrap();
    let headers = "NATS/1.0\r\nname: with\ra return\r\n\r\n";
    let length = headers.len();
    let subject = Names::new("c").events(7);
    let message = format!(
        "CONNECT {{\"verbose\":false,\"headers\":true}}\r\nHPUB {subject} {length} {length}\r\n{headers}\r\n"
    );
    raw.write_all(message.as_bytes()).await.unwrap();
    timeout(DEADLINE, wire.ended()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn why_no_connection_is_made_is_told_with_the_server() {
    let server = NatsServer::start(NatsOptions::default());
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, cause) in [
        (format!("nats://{unused}"), "Connection refused (os error 111)"),
        (server.url().replace("nats:", "tls:"), "the server answers, and offers no TLS"),
    ] {
        let wire = NatsWire::open(&config(vec![url.clone()], "a"), Incarnation::of("a")).await.unwrap();
        let refused = timeout(DEADLINE, async {
            loop {
                let refused = wire.connected(Duration::from_millis(50)).await.unwrap_err();
                if !refused.ends_with(": no answer") {
                    break refused;
                }
            }
        });
        let address = url.split_once("//").unwrap().1;
        assert_eq!(refused.await.unwrap(), format!("{address}: nats: IO error: {cause}"));
    }
}
