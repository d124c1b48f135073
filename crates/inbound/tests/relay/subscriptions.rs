//! `PUT …/subscriptions` at another node than that of the connection.

use std::time::{Duration, Instant};

use connection::{Client, Encoding, Opening};
use node::in_memory::Network;

use crate::world::{Member, Poller, members, put, token};

const OTHER: &str = r#"{"subscriptions":[{"eventType":"other"}]}"#;

#[tokio::test]
async fn subscriptions_are_replaced_from_any_node() {
    let (_network, [a, b]) = members(["a", "b"]).await;
    let mut client = Poller::open(&a, "s").await;
    let replaced = client.subscribe(&b, "", OTHER).await;
    assert_eq!((replaced.status, &*replaced.body), (204, ""), "{}", replaced.head);
    a.publish("t", "1", 0).await;
    a.publish("other", "2", 0).await;
    assert_eq!(client.poll(&a).await.events(), ["rig.subscriptions_set", "2"]);
}

#[tokio::test]
async fn what_is_wrong_is_answered_as_at_its_own_node() {
    let (_network, [a, b]) = members(["a", "b"]).await;
    let client = Poller::open(&a, "s").await;
    let other_user = token("s", "mallory", Duration::from_secs(60));
    b.revoke(crate::world::Whom::Session("revoked")).await;
    let revoked = token("revoked", "alice", Duration::from_secs(60));
    for (authorization, body, status) in [
        ("", "{", 400),
        ("", "{}", 400),
        ("", r#"{"subscriptions":[{"eventType":7}]}"#, 400),
        ("Bearer x.y.z", OTHER, 400),
        (&*format!("Bearer {revoked}"), OTHER, 400),
        (&*format!("Bearer {other_user}"), OTHER, 403),
    ] {
        let [here, there] = [
            client.subscribe(&a, authorization, body).await,
            client.subscribe(&b, authorization, body).await,
        ];
        assert_eq!((here.status, there.status), (status, status), "{}", there.body);
        assert_eq!(here.body, there.body);
        let names = |head: &str| {
            head.lines().filter_map(|line| line.split(':').next()).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(names(&here.head), names(&there.head));
    }
}

#[tokio::test]
async fn a_connection_that_is_closed_and_a_life_that_has_exited_are_gone() {
    let (network, [a, b]) = members(["a", "b"]).await;
    let client = Client { address: ([127, 0, 0, 1], 1).into(), user_agent: None };
    let opening = Opening {
        subjects: Vec::new(),
        client,
        subscriptions: Vec::new(),
        resume: connection::Resume::default(),
    };
    let stream = a.hub.open_stream(opening, Encoding::SsePlain, Default::default()).unwrap();
    let token = a.hub.token_of(&stream, b"");
    assert_eq!(put(&b, &token, "", OTHER).await.status, 204);
    drop(stream);
    assert_eq!(put(&b, &token, "", OTHER).await.status, 410);

    drop(a);
    let a = Member::join(&network, "a").await;
    for node in [&a, &b] {
        let began = Instant::now();
        let answered = put(node, &token, "", OTHER).await;
        assert_eq!((answered.status, &*answered.body), (400, "Invalid connection token."));
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_to_be_tried_again() {
    let (_network, [a, b]) = members(["a", "b"]).await;
    let client = Poller::open(&a, "s").await;
    a.cut();
    let began = Instant::now();
    let answered = client.subscribe(&b, "", OTHER).await;
    assert_eq!(answered.status, 503);
    assert_eq!(answered.body, "The node that holds the connection does not answer.");
    assert!(answered.header("retry-after").is_some(), "{}", answered.head);
    assert!((2..4).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_body_that_does_not_fit_into_a_message_is_too_large() {
    let (_network, [a, b]) = members(["a", "b"]).await;
    let client = Poller::open(&a, "s").await;
    let body = |bytes| format!("{OTHER}{}", " ".repeat(bytes - OTHER.len()));
    assert_eq!(client.subscribe(&b, "", &body(1000 << 10)).await.status, 204);
    assert_eq!(client.subscribe(&b, "", &body(1 << 20)).await.status, 413);
    assert_eq!(client.subscribe(&a, "", &body(1 << 20)).await.status, 204, "at its own node");
}

#[tokio::test]
async fn a_token_of_another_cluster_is_no_token() {
    let (_network, [a]) = members(["a"]).await;
    let elsewhere = Member::join(&Network::default(), "elsewhere").await;
    let client = Poller::open(&elsewhere, "s").await;
    let answered = client.subscribe(&a, "", OTHER).await;
    assert_eq!((answered.status, &*answered.body), (400, "Invalid connection token."));
}
