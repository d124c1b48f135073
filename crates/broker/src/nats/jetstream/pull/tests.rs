//! The requests of a pull, answered by a real server.

use async_nats::StatusCode;
use rig_tests::{NatsOptions, NatsServer};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::*;

fn message(reply: Option<&str>, status: Option<u16>, description: &str) -> Message {
    Message {
        subject: "inbox.1".into(),
        reply: reply.map(Subject::from),
        payload: Bytes::new(),
        headers: None,
        status: status.map(|status| StatusCode::from_u16(status).unwrap()),
        description: Some(description.into()),
        length: 0,
    }
}

#[test]
fn the_subject_of_a_receipt_tells_how_many_messages_follow() {
    for (reply, expected) in [
        ("$JS.ACK.S.C.1.4.1.1796032173665333539.17", Some(17)),
        ("$JS.ACK.hub.ACCOUNT.S.C.1.4.1.1796032173665333539.17", Some(17)),
        ("$JS.ACK.hub.ACCOUNT.S.C.1.4.1.1796032173665333539.17.token", Some(17)),
        ("$JS.ACK.S.C.1.4.1.1", None),
        ("$JS.ACK.S.C.1.4.1.1.x", None),
        ("_INBOX.1", None),
    ] {
        assert_eq!(pending(reply), expected, "{reply}");
    }
}

#[test]
fn a_status_ends_a_batch() {
    for (code, description, expected) in [
        (100, "Idle Heartbeat", None),
        (404, "No Messages", Some(End::Done)),
        (408, "Request Timeout", Some(End::Done)),
        (408, "Requests Pending", Some(End::Busy)),
        (409, "Batch Completed", Some(End::Done)),
        (409, "Message Size Exceeds MaxBytes", Some(End::TooLarge)),
        (409, "Exceeded MaxAckPending", Some(End::Busy)),
        (409, "Exceeded MaxWaiting", Some(End::Busy)),
    ] {
        let Answer::Status(of, end) = read(message(None, Some(code), description)) else { panic!() };
        assert_eq!((of.as_str(), end), ("inbox.1", expected), "{description}");
    }
    for (code, description) in [
        (409, "Consumer Deleted"),
        (409, "Leadership Change"),
        (409, "Server Shutdown"),
        (409, "Exceeded MaxRequestMaxBytes of 100"),
        (400, "Bad Request"),
        (503, ""),
    ] {
        let Answer::Status(_, end) = read(message(None, Some(code), description)) else { panic!() };
        assert!(matches!(end, Some(End::Broken(_))), "{description}");
    }
    let stored = message(Some("$JS.ACK.S.C.1.4.1.1.0"), None, "");
    assert!(matches!(read(stored), Answer::Delivery(_)));
}

#[test]
fn the_smaller_limit_counts() {
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let most = Limits { batch: 256, bytes: Some(100), expires: minute };
    let none = Limits { batch: usize::MAX, bytes: None, expires: Duration::MAX };
    assert_eq!(none.within(most), most);
    let few = Limits { batch: 5, bytes: Some(7), expires: second };
    assert_eq!(few.within(most), few);
    assert_eq!(few.within(Limits { bytes: None, ..most }), few);
}

/// No wait in a test is longer.
const LIMIT: Duration = Duration::from_secs(30);

const LIMITS: Limits = Limits { batch: 256, bytes: None, expires: Duration::from_secs(10) };

/// A consumer of JetStream that delivers no message before the last one is acknowledged. So the
/// server does not complete a request for more.
struct Consumer {
    client: Client,
    /// What is asked of it.
    requests: Subscriber,
    _server: NatsServer,
}

impl Consumer {
    /// Returns it, with this number of messages, and what pulls them.
    async fn start(messages: usize) -> (Self, Pull) {
        let server = NatsServer::start(NatsOptions::default());
        let connect = async || Box::pin(async_nats::connect(server.url())).await.unwrap();
        let client = connect().await;
        let stream = json!({ "name": "S", "subjects": ["a"] });
        let config = json!({ "durable_name": "C", "ack_policy": "explicit", "max_ack_pending": 1 });
        let consumer = json!({ "stream_name": "S", "config": config });
        for (subject, request) in [("STREAM.CREATE.S", stream), ("CONSUMER.CREATE.S.C", consumer)] {
            client.request(format!("$JS.API.{subject}"), request.to_string().into()).await.unwrap();
        }
        for _ in 0..messages {
            client.publish("a", "".into()).await.unwrap();
        }
        let requests = client.subscribe("$JS.API.CONSUMER.MSG.NEXT.S.C").await.unwrap();
        synced(&client).await;
        let pull = Pull::new(connect().await, "S", "C").await.unwrap();
        (Self { client, requests, _server: server }, pull)
    }

    /// Returns how often it was asked since this was called last.
    async fn asked(&mut self, pull: &Pull) -> usize {
        synced(&pull.client).await;
        synced(&self.client).await;
        std::iter::from_fn(|| self.requests.next().now_or_never().flatten()).count()
    }
}

/// Waits until the server has processed what came before on this connection, and what it has sent
/// is received.
async fn synced(client: &Client) {
    client.request("nobody.listens", "".into()).await.unwrap_err();
}

async fn next_receipt(receipts: &mut Subscriber) -> Bytes {
    timeout(LIMIT, receipts.next()).await.unwrap().unwrap().payload
}

async fn next(pull: &mut Pull, limits: Limits) -> (End, Vec<Delivery>) {
    let mut batch = Vec::new();
    let end = timeout(LIMIT, pull.next(limits, &mut batch)).await.unwrap();
    (end, batch)
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_open_request() {
    let (mut consumer, mut pull) = Consumer::start(6).await;
    let mut receipts = consumer.client.subscribe("$JS.ACK.>").await.unwrap();
    synced(&consumer.client).await;
    let limits = Limits { batch: 2, ..LIMITS };
    for (what, asked) in [("the first", 1), ("it is still open", 0), ("it has got all", 1)] {
        let (end, batch) = next(&mut pull, limits).await;
        assert_eq!((end, batch.len()), (End::Done, 1), "{what}");
        assert_eq!(consumer.asked(&pull).await, asked, "{what}");
        pull.tell([(&batch[0].reply, Receipt::Ack)].into_iter()).await;
        assert_eq!(next_receipt(&mut receipts).await, "+ACK");
    }
    // What comes while a batch is published is not forgotten either.
    let told = async {
        loop {
            pull.progress(&[]).await;
            if consumer.asked(&pull).await == 0
                && let Some(receipt) = receipts.next().now_or_never()
            {
                return receipt.unwrap().payload;
            }
        }
    };
    assert_eq!(timeout(LIMIT, told).await.unwrap(), "+WPI");
    let (end, batch) = next(&mut pull, limits).await;
    assert_eq!((end, batch.len()), (End::Done, 1));
    assert_eq!(consumer.asked(&pull).await, 0);

    pull.tell([(&batch[0].reply, Receipt::Ack)].into_iter()).await;
    next(&mut pull, limits).await;
    assert_eq!(consumer.asked(&pull).await, 1);
    pull.forget();
    drop(timeout(REST, pull.next(limits, &mut Vec::new())).await);
    assert_eq!(consumer.asked(&pull).await, 1, "on another connection, it is asked again");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_keep_coming_do_not_hold_up_the_first_of_a_batch() {
    let (consumer, mut pull) = Consumer::start(2 * LIMITS.batch).await;
    // What comes to the pull.
    let mut delivered = consumer.client.subscribe(format!("{}.*", pull.inbox)).await.unwrap();
    synced(&consumer.client).await;
    let acknowledging = async {
        let mut pause = interval(Duration::from_millis(10));
        pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(message) = delivered.next().await {
            pause.tick().await;
            let Some(reply) = message.reply else { continue };
            consumer.client.publish(reply, "+ACK".into()).await.unwrap();
        }
    };
    tokio::select! {
        (end, batch) = next(&mut pull, LIMITS) => {
            assert_eq!(end, End::Done);
            assert!((1..LIMITS.batch).contains(&batch.len()), "{}", batch.len());
        }
        () = acknowledging => unreachable!(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_silent_is_not_waited_for() {
    let (consumer, mut pull) = Consumer::start(0).await;
    // This is received, and not answered.
    pull.subject = "silent".to_owned();
    let _silent = consumer.client.subscribe("silent").await.unwrap();
    synced(&consumer.client).await;
    let limits = Limits { expires: Duration::from_millis(300), ..LIMITS };
    let (end, batch) = next(&mut pull, limits).await;
    assert_eq!((end, batch.len()), (End::Broken(SILENT.to_owned()), 0));
}
