//! Events and requests to NATS: a real server, and clients that are not the gateway's.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::time::Duration;

use async_nats::{Client, HeaderMap, Subscriber};
use futures_util::StreamExt;
use nats::{Credentials, NatsAccess};
use rig_broker::nats::NatsProducer;
use rig_broker::{Destination, ProduceError, Produced, Producer, Reply, Requester};
use rig_tests::{NatsOptions, NatsServer, eventually};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

/// No wait in a test is longer.
const LIMIT: Duration = Duration::from_secs(30);

fn server(config: &str) -> NatsServer {
    NatsServer::start(NatsOptions { config, ..NatsOptions::default() })
}

fn access(server: &NatsServer, credentials: Credentials) -> NatsAccess {
    NatsAccess { servers: vec![server.url()], credentials, ca: None, certificate: None, insecure: false }
}

async fn producer(server: &NatsServer) -> NatsProducer {
    NatsProducer::open(access(server, Credentials::None)).await.unwrap()
}

/// A client beside the gateway.
async fn other(server: &NatsServer) -> Client {
    Box::pin(async_nats::connect(server.url())).await.unwrap()
}

/// Subscribes. Returns when the server knows it.
async fn subscribed(client: &Client, subject: &'static str) -> Subscriber {
    let subscriber = client.subscribe(subject).await.unwrap();
    // The server has processed what came before on the same connection.
    client.request("nobody.listens", "".into()).await.unwrap_err();
    subscriber
}

fn to(topic: &str) -> Destination {
    Destination { topic: topic.into(), schema: None }
}

fn event(id: &str) -> Produced {
    let members = json!({"specversion": "0.2", "type": "t", "source": "/s", "id": id});
    Produced { members: members.as_object().unwrap().clone(), key: None }
}

/// Waits until the stream `ALL` holds this number of messages, and returns how many there are.
async fn stored(server: &NatsServer, count: u64) -> u64 {
    let client = other(server).await;
    let stored = async {
        loop {
            let answer = client.request("$JS.API.STREAM.INFO.ALL", "".into()).await.unwrap();
            let info: Value = serde_json::from_slice(&answer.payload).unwrap();
            let messages = info["state"]["messages"].as_u64().unwrap();
            if messages >= count {
                return messages;
            }
        }
    };
    timeout(LIMIT, stored).await.unwrap()
}

async fn next(subscriber: &mut Subscriber) -> async_nats::Message {
    timeout(LIMIT, subscriber.next()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_sent_in_json_with_its_content_type() {
    let server = server("");
    let producer = producer(&server).await;
    let mut orders = subscribed(&other(&server).await, "orders.new").await;
    producer.produce(&to("orders.new"), event("1"), LIMIT).await.unwrap();
    let message = next(&mut orders).await;
    assert_eq!(message.payload, event("1").json());
    let headers = message.headers.unwrap();
    assert_eq!(headers.get("content-type").unwrap().as_str(), "application/cloudevents+json; charset=UTF-8");
    assert!(producer.is_up());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_reply_to_a_request_is_returned_with_its_headers() {
    let server = server("");
    let producer = producer(&server).await;
    let client = other(&server).await;
    let mut requests = subscribed(&client, "ask").await;
    let ask = to("ask");
    let answering = async {
        let request = next(&mut requests).await;
        assert_eq!(request.payload, event("1").json());
        let reply = request.reply.unwrap();
        let mut headers = HeaderMap::new();
        headers.append("a", "1");
        headers.append("a", "2");
        client.publish_with_headers(reply.clone(), headers, "first".into()).await.unwrap();
        client.publish(reply, "second".into()).await.unwrap();
    };
    let (reply, ()) = tokio::join!(producer.request(&ask, event("1"), LIMIT), answering);
    let headers = ["1", "2"].map(|value| ("a".to_owned(), value.to_owned())).to_vec();
    assert_eq!(reply, Ok(Reply { headers, body: "first".into() }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_reply_tells_why() {
    let server = server("max_payload: 2048");
    let producer = producer(&server).await;
    let began = Instant::now();
    let nobody = producer.request(&to("nobody"), event("1"), Duration::from_secs(60)).await;
    assert!(matches!(nobody, Err(ProduceError::Unavailable(_))), "{nobody:?}");
    assert!(began.elapsed() < LIMIT, "it is known at once");
    let _silent = subscribed(&other(&server).await, "silent").await;
    let late = producer.request(&to("silent"), event("1"), Duration::from_millis(50)).await;
    assert!(matches!(late, Err(ProduceError::TimedOut(_))), "{late:?}");
    let large = event(&"x".repeat(2048));
    let refused = producer.request(&to("silent"), large.clone(), LIMIT).await;
    assert!(matches!(refused, Err(ProduceError::TooLarge(_))), "{refused:?}");
    let refused = producer.produce(&to("silent"), large, LIMIT).await;
    assert!(matches!(refused, Err(ProduceError::TooLarge(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_given_up_leave_nothing_behind() {
    let server = server("");
    let (producer, silent) = (producer(&server).await, to("silent"));
    let mut requests = subscribed(&other(&server).await, "silent").await;
    for _ in 0..50 {
        tokio::select! {
            reply = producer.request(&silent, event("1"), LIMIT) => panic!("{reply:?}"),
            _ = next(&mut requests) => {}
        }
    }
    let late = producer.request(&silent, event("2"), Duration::from_millis(50)).await;
    assert!(matches!(late, Err(ProduceError::TimedOut(_))), "{late:?}");
    let subscriptions = || {
        let answer = server.get("/connz");
        let (_, connections) = answer.split_once("\r\n\r\n")?;
        let connections: Value = serde_json::from_str(connections).unwrap();
        let connections = connections["connections"].as_array().unwrap();
        let connection = connections.iter().find(|one| one["name"] == "rig target")?;
        connection["subscriptions"].as_u64()
    };
    eventually("no reply is waited for", || (subscriptions()? == 0).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_size_limit_is_that_of_the_server() {
    let server = server("max_payload: 2048");
    let (producer, orders) = (producer(&server).await, to("orders"));
    eventually("it is connected", || producer.is_up().then_some(()));
    let most = producer.max_bytes();
    let of_size = |size: usize| event(&"x".repeat(size - event("").json().len()));
    producer.produce(&orders, of_size(most), LIMIT).await.unwrap();
    let refused = producer.produce(&orders, of_size(most + 1), LIMIT).await;
    assert!(matches!(refused, Err(ProduceError::TooLarge(_))), "{refused:?}");
}

/// What was refused is not sent later.
#[tokio::test(flavor = "multi_thread")]
async fn b08_without_a_connection_an_event_is_refused_and_not_sent_later() {
    let mut server = server("");
    // It holds all that is ever sent there.
    let request = json!({ "name": "ALL", "subjects": ["orders"] }).to_string();
    let created = other(&server).await.request("$JS.API.STREAM.CREATE.ALL", request.into()).await;
    assert!(created.is_ok());
    let (producer, orders) = (producer(&server).await, to("orders"));
    producer.produce(&orders, event("1"), LIMIT).await.unwrap();
    stored(&server, 1).await;
    server.kill();
    eventually("the connection is lost", || (!producer.is_up()).then_some(()));
    let began = Instant::now();
    let (refused, unasked) = tokio::join!(
        producer.produce(&orders, event("2"), LIMIT),
        producer.request(&orders, event("3"), LIMIT),
    );
    assert!(matches!(refused, Err(ProduceError::Unavailable(_))), "{refused:?}");
    assert!(matches!(unasked, Err(ProduceError::Unavailable(_))), "{unasked:?}");
    assert!(began.elapsed() < LIMIT / 2, "after a short wait");

    server.restart();
    server.wait();
    eventually("it is connected again", || producer.is_up().then_some(()));
    producer.produce(&orders, event("4"), LIMIT).await.unwrap();
    assert_eq!(stored(&server, 2).await, 2, "events 1 and 4");
}

#[tokio::test(flavor = "multi_thread")]
async fn b22_a_subject_without_permission_is_refused() {
    let server = server(
        "authorization { users: [{ user: u, password: hidden, permissions: { publish: \"allowed\" } }] }",
    );
    let credentials = Credentials::Password { user: "u".to_owned(), password: "hidden".to_owned() };
    let producer = NatsProducer::open(access(&server, credentials)).await.unwrap();
    producer.produce(&to("allowed"), event("1"), LIMIT).await.unwrap();
    // NATS says so a moment after it was written.
    let refused = async {
        loop {
            match producer.produce(&to("other"), event("2"), LIMIT).await {
                Ok(()) => tokio::task::yield_now().await,
                Err(error) => return error,
            }
        }
    };
    let refused = timeout(LIMIT, refused).await.unwrap();
    assert!(matches!(refused, ProduceError::Refused(_)), "{refused:?}");
    producer.produce(&to("allowed"), event("3"), LIMIT).await.unwrap();
    assert!(!format!("{producer:?}").contains("hidden"));
}

/// The second reply makes the task of the library panic. The next request goes over a new
/// connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_the_client_cannot_read_costs_this_request_only() {
    let server = server("");
    let producer = producer(&server).await;
    let client = other(&server).await;
    let mut requests = subscribed(&client, "ask").await;
    let ask = to("ask");
    for header in [("a b", "c"), ("a", "b\rc")] {
        let answering = async {
            let reply = next(&mut requests).await.reply.unwrap();
            server.publish(&reply, &[header], &["broken"]);
        };
        let asking = producer.request(&ask, event("1"), Duration::from_secs(2));
        let (broken, ()) = tokio::join!(asking, answering);
        assert!(matches!(broken, Err(ProduceError::TimedOut(_))), "{broken:?}");
    }
    let answering = async {
        loop {
            let reply = next(&mut requests).await.reply.unwrap();
            client.publish(reply, "good".into()).await.unwrap();
        }
    };
    let asking = async {
        loop {
            if let Ok(reply) = producer.request(&ask, event("2"), Duration::from_secs(2)).await {
                return reply.body;
            }
        }
    };
    let body = timeout(LIMIT, async {
        tokio::select! { body = asking => body, () = answering => unreachable!() }
    });
    assert_eq!(body.await.unwrap(), "good");
}
