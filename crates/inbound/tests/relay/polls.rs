//! Long polls at another node than that of the connection.

use std::time::{Duration, Instant};

use futures_util::future::select_all;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::task::yield_now;

use crate::world::{Answered, Member, POLL, Poller, Whom, ask, members, read, send, token};

fn answered(text: &str) -> Answered {
    Answered::parse(text)
}

#[tokio::test]
async fn a_client_may_poll_at_any_node() {
    let (_network, [a, b, c]) = members(["a", "b", "c"]).await;
    let mut client = Poller::open(&a, "s").await;
    let nodes = [&b, &a, &c, &b];
    for (n, node) in nodes.into_iter().enumerate() {
        a.publish("t", &n.to_string(), 0).await;
        assert_eq!(client.poll(node).await.events(), [n.to_string()]);
    }
    // A poll waits at the node of the connection.
    let waiting = client.begin(&b).await;
    b.polled_elsewhere().await;
    a.publish("t", "late", 0).await;
    let late = answered(&read(waiting).await);
    assert_eq!(late.events(), ["late"]);
    client.take(&late);
    let began = Instant::now();
    assert_eq!(client.poll(&c).await.events(), [""; 0]);
    assert!(began.elapsed() >= POLL, "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_answer_from_another_node_looks_like_one_of_its_own() {
    let (_network, [a, b]) = members(["a", "b"]).await;
    let client = Poller::open(&a, "s").await;
    a.publish("t", "1", 0).await;
    let redacted = |answered: &Answered| {
        let mut lines: Vec<_> = answered.head.lines().map(str::to_owned).collect();
        for line in &mut lines {
            for (variable, kept) in
                [("set-cookie: connection_token=", "; path"), ("x-request-id: ", ""), ("date: ", "")]
            {
                if line.starts_with(variable) {
                    let rest = line.find(kept).filter(|_| !kept.is_empty()).map_or("", |at| &line[at..]);
                    *line = format!("{variable}…{rest}");
                }
            }
        }
        (lines, answered.body.clone())
    };
    let [here, there] = [client.clone().poll(&a).await, client.clone().poll(&b).await];
    assert_eq!(redacted(&here), redacted(&there));
}

#[tokio::test]
async fn a_connection_of_a_life_that_has_exited_is_replaced_by_a_new_one() {
    let (network, [a, b]) = members(["a", "b"]).await;
    let before = Poller::open(&a, "s").await;
    drop(a);
    let a = Member::join(&network, "a").await;
    for node in [&a, &b] {
        let mut client = before.clone();
        let opened = client.poll(node).await;
        assert_eq!((opened.status, &*opened.body), (200, r#""ok""#));
        assert_eq!(client.poll(node).await.events(), ["rig.connection.create", "rig.subscriptions_set"]);
    }
}

#[tokio::test]
async fn a_node_that_exits_while_a_poll_waits_there_takes_its_connection_along() {
    let (_network, [a, b]) = members(["a", "b"]).await;
    let mut client = Poller::open(&a, "s").await;
    let waiting = client.begin(&b).await;
    b.polled_elsewhere().await;
    drop(a);
    let lost = answered(&read(waiting).await);
    assert_eq!(lost.status, 503, "it cannot be told from one that is silent");
    assert_eq!(client.poll(&b).await.body, r#""ok""#);
}

#[tokio::test]
async fn a_node_that_does_not_answer_keeps_its_connection() {
    let (network, [a, b]) = members(["a", "b"]).await;
    let mut client = Poller::open(&a, "s").await;
    a.publish("t", "1", 0).await;
    a.cut();
    let silent = client.poll(&b).await;
    assert_eq!((silent.status, silent.header("retry-after")), (503, Some("1")));
    assert_eq!(silent.header("set-cookie"), None);
    network.connect(&a.name);
    assert_eq!(client.poll(&b).await.events(), ["1"]);
}

async fn assert_terminated(client: &mut Poller, node: &Member, waiting: tokio::net::TcpStream, last: &str) {
    let farewell = answered(&read(waiting).await);
    assert_eq!((farewell.status, farewell.events()), (200, vec![last.to_owned()]));
    assert!(farewell.clears(), "{}", farewell.head);
    let next = client.poll(node).await;
    assert_eq!(next.status, 403, "{}", next.body);
    assert!(next.clears());
}

#[tokio::test]
async fn a_session_that_is_revoked_at_any_node_is_revoked_for_a_poll_that_waits() {
    for revoking in 0..3 {
        let (_network, nodes) = members(["a", "b", "c"]).await;
        let [a, b, _] = &nodes;
        let mut client = Poller::open(a, "s").await;
        let waiting = client.begin(b).await;
        b.polled_elsewhere().await;
        nodes[revoking].revoke(Whom::Session("s")).await;
        a.publish("t", "secret", 0).await;
        assert_terminated(&mut client, b, waiting, "rig.session_killed").await;
    }
}

#[tokio::test]
async fn a_poll_is_terminated_although_the_node_of_its_connection_is_cut_off() {
    for whom in [Whom::Session("s"), Whom::User("alice")] {
        let (_network, [a, b]) = members(["a", "b"]).await;
        let mut client = Poller::open(&a, "s").await;
        let waiting = client.begin(&b).await;
        b.polled_elsewhere().await;
        a.cut();
        let began = Instant::now();
        let reading = async {
            let farewell = answered(&read(waiting).await);
            assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
            farewell
        };
        let (farewell, ()) = tokio::join!(reading, b.revoke(whom));
        assert_eq!((farewell.status, farewell.events()), (200, vec!["rig.session_killed".to_owned()]));
        assert!(farewell.clears(), "{}", farewell.head);
        assert_eq!(client.poll(&b).await.status, 503, "its node does not answer");
        assert_eq!(b.sessions.counts().connections, 0);
    }
}

#[tokio::test]
async fn a_poll_ends_with_its_token_although_the_node_of_its_connection_is_cut_off() {
    let (_network, [a, b]) = members(["a", "b"]).await;
    let client = Poller::open_with(&a, &token("s", "alice", Duration::from_secs(2))).await;
    let waiting = client.begin(&b).await;
    b.polled_elsewhere().await;
    a.cut();
    assert_eq!(answered(&read(waiting).await).events(), ["rig.session_expired"]);
}

#[tokio::test]
async fn a_session_that_a_node_knows_to_be_revoked_gets_nothing_there() {
    let (network, [a, b]) = members(["a", "b"]).await;
    let mut client = Poller::open(&a, "s").await;
    a.publish("t", "secret", 0).await;
    // Node a does not learn of it.
    network.hold(&a.name);
    b.revoke(Whom::Session("s")).await;
    let refused = client.poll(&b).await;
    assert_eq!((refused.status, &*refused.body), (403, "Session killed."));
    assert!(refused.clears());
}

#[tokio::test]
async fn an_answer_that_is_being_written_is_cut_off() {
    const ANSWERS: usize = 40;
    // Yields after which all tasks have done what they can.
    const UNCHANGED: usize = 5000;
    let (_network, [a, b]) = members(["a", "b"]).await;
    let client = Poller::open(&a, "s").await;
    a.publish("t", "large", 1000 << 10).await;
    let connection = a.hub.all().next().expect("it is open");
    let delivered = || connection.describe().delivered;

    let mut stream = send(b.address, "").await;
    SockRef::from(&stream).set_recv_buffer_size(4096).unwrap();
    // More polls than the buffers of the system have room for answers to.
    for _ in 0..ANSWERS {
        stream.write_all(client.request("", "keep-alive").as_bytes()).await.unwrap();
    }
    let mut same = (delivered(), 0);
    while same.1 < UNCHANGED {
        yield_now().await;
        same = if delivered() == same.0 && same.0 > 2 { (same.0, same.1 + 1) } else { (delivered(), 0) };
    }
    a.cut();
    b.revoke(Whom::Session("s")).await;
    assert_eq!(b.sessions.counts().connections, 0);
    let all = read(stream).await;
    let begun = all.matches("HTTP/1.1 ").count();
    assert!((1..ANSWERS).contains(&begun), "{begun} answers");
    assert!(!all.ends_with("]}"), "the last answer is complete");
}

#[tokio::test]
async fn a_client_that_leaves_while_its_poll_waits_misses_nothing() {
    let (_network, [a, b]) = members(["a", "b"]).await;
    let mut client = Poller::open(&a, "s").await;
    let waiting = client.begin(&b).await;
    b.polled_elsewhere().await;
    drop(waiting);
    while b.sessions.counts().connections > 0 {
        yield_now().await;
    }
    a.publish("t", "1", 0).await;
    a.publish("t", "2", 0).await;
    assert_eq!(client.clone().poll(&b).await.events(), ["1", "2"]);
    assert_eq!(client.poll(&a).await.events(), ["1", "2"]);
}

#[tokio::test]
async fn a_connection_has_a_limited_number_of_polls_at_other_nodes() {
    const LIMIT: usize = 16;
    let (_network, [a, b]) = members(["a", "b"]).await;
    let [mut one, mut other] = [Poller::open(&a, "s").await, Poller::open(&a, "s").await];
    let began = Instant::now();
    let mut polls = Vec::new();
    for _ in 0..=LIMIT {
        polls.push(Box::pin(read(one.begin(&b).await)));
    }
    let (first, _, waiting) = select_all(polls).await;
    let refused = answered(&first);
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")), "{}", refused.body);
    assert!(began.elapsed() < POLL && refused.header("set-cookie").is_none(), "{}", refused.head);
    a.publish("t", "1", 0).await;
    for poll in waiting {
        assert_eq!(answered(&poll.await).events(), ["1"]);
    }
    assert_eq!(other.poll(&b).await.events(), ["1"]);
    assert_eq!(one.poll(&b).await.events(), ["1"], "there is room again");
}

#[tokio::test]
async fn a_large_answer_is_cut_between_events_and_the_rest_follows() {
    let (_network, [a, b]) = members(["a", "b"]).await;
    let mut client = Poller::open(&a, "s").await;
    for id in ["1", "2", "3", "4", "5"] {
        a.publish("t", id, 300 << 10).await;
    }
    let mut at_own_node = client.clone();
    assert_eq!(client.poll(&b).await.events(), ["1", "2", "3"]);
    assert_eq!(client.poll(&b).await.events(), ["4", "5"]);
    assert_eq!(at_own_node.poll(&a).await.events(), ["1", "2", "3", "4", "5"]);
}

#[tokio::test]
async fn pages_have_their_own_connections_at_any_node() {
    let (_network, [a, b]) = members(["a", "b"]).await;
    let client = Poller::open(&a, "s").await;
    a.publish("t", "secret", 0).await;
    // Cookies of the client are sent by a page of another origin.
    let request = client.request("", "close").replace("\r\n\r\n", "\r\norigin: http://evil.test\r\n\r\n");
    let opened = ask(b.address, &request).await;
    assert_eq!((opened.status, &*opened.body), (200, r#""ok""#));
    assert!(opened.head.contains("connection_token-http---evil-test="), "{}", opened.head);
}
