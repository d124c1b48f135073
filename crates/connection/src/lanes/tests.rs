//! Lanes over connections without sockets: what is delivered waits in their outboxes.

use std::future::poll_fn;
use std::iter::repeat_with;
use std::pin::pin;
use std::task::Poll;

use event::Event;
use futures_util::FutureExt;
use futures_util::future::join_all;
use seal::{Incarnation, Purpose, Seal};
use serde_json::json;
use session::{MemoryLog, Sessions};
use subscription::{Extractors, Subscription};

use super::*;
use crate::client::Client;
use crate::config::Config;
use crate::encoding::Encoding;
use crate::hub::{Hub, Opening};
use crate::metrics::Metrics;

/// More than are delivered to at once.
const MANY: usize = AT_ONCE + 44;

fn hub() -> Arc<Hub> {
    Hub::new(
        Config { outbox_bytes: 1 << 30, ..Config::default() },
        Sessions::new(session::Config::default(), MemoryLog::default()).unwrap(),
        Arc::new(Extractors::default()),
        Seal::new(None, Purpose::Connection, Incarnation::unnamed()),
        Arc::new(Metrics::default()),
        Arc::default(),
    )
}

/// Connections that want events of that type.
fn connections(hub: &Arc<Hub>, count: usize, event_type: &str) -> Vec<Arc<Connection>> {
    let wanted = json!([{ "eventType": event_type }]);
    let subscriptions = Subscription::parse_list(&wanted, &Extractors::default()).unwrap();
    let open = || {
        let client = Client { address: ([127, 0, 0, 1], 1).into(), user_agent: None };
        let opening = Opening {
            subjects: Vec::new(),
            client,
            subscriptions: subscriptions.clone(),
            resume: crate::resume::Resume::default(),
        };
        hub.open_stream(opening, Encoding::SsePlain, Default::default()).unwrap()
    };
    repeat_with(open).take(count).collect()
}

fn event(event_type: &str, source: usize, number: usize, data: &str) -> Event {
    let id = format!("{number:05}");
    let json = json!({ "specversion": "0.2", "type": event_type, "source": source.to_string(), "id": id, "data": data });
    Event::from_json(json.to_string().into()).unwrap()
}

/// The events that a connection has got: source and number.
async fn received(connection: &Connection) -> Vec<(usize, usize)> {
    let mut received = Vec::new();
    while let Poll::Ready(Ok(Some(frame))) = poll_fn(|cx| Poll::Ready(connection.poll_pop(cx))).await {
        let frame = String::from_utf8(frame.to_vec()).unwrap();
        let data = frame.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        let event: serde_json::Value = serde_json::from_str(data).unwrap();
        if let (Some(source), Some(id)) = (event["source"].as_str(), event["id"].as_str())
            && let (Ok(source), Ok(number)) = (source.parse(), id.parse())
        {
            received.push((source, number));
        }
    }
    received
}

/// Four publish at once, to all and to few; everybody gets everything, once, each source's events
/// in its order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_of_a_source_stay_in_order_and_none_is_lost() {
    const EVENTS: usize = 300;
    let hub = hub();
    let everybody = connections(&hub, MANY, "all");
    let few = connections(&hub, 3, "few");
    let few: Vec<_> = few.iter().inspect(|connection| subscribe(connection, &["few", "all"])).collect();
    let publishers = (0..4).map(|source| {
        let hub = hub.clone();
        tokio::spawn(async move {
            for number in 0..EVENTS {
                let event_type = if number % 3 == source % 3 { "few" } else { "all" };
                hub.publish(event(event_type, source, number, "")).await;
            }
        })
    });
    join_all(publishers).await.into_iter().for_each(|done| done.unwrap());
    hub.lanes().settled().await;
    for (connection, wants_few) in
        everybody.iter().map(|one| (one, false)).chain(few.into_iter().map(|one| (one, true)))
    {
        let received = received(connection).await;
        for source in 0..4 {
            let of_source: Vec<_> =
                received.iter().filter(|(from, _)| *from == source).map(|(_, number)| *number).collect();
            let all: Vec<_> = (0..EVENTS).filter(|number| wants_few || number % 3 != source % 3).collect();
            assert_eq!(of_source, all, "of source {source}");
        }
    }
}

fn subscribe(connection: &Arc<Connection>, types: &[&str]) {
    let wanted: Vec<_> = types.iter().map(|event_type| json!({ "eventType": event_type })).collect();
    let subscriptions = Subscription::parse_list(&json!(wanted), &Extractors::default()).unwrap();
    connection.set_subscriptions(&[], &subscriptions).unwrap();
}

/// Returns a load of this size for this number of receivers that are gone.
fn load(room: &Arc<Semaphore>, bytes: usize, receivers: usize) -> Load {
    let room = room.clone().try_acquire_owned().unwrap();
    let sent = Arc::new(Sent {
        frame: Frame::new(event("t", 0, 0, &"x".repeat(bytes))),
        _room: room,
        list: OnceLock::new(),
    });
    Load { sent, receivers: repeat_with(Weak::new).take(receivers).collect() }
}

#[test]
fn what_is_taken_up_together_is_bounded() {
    let room = Arc::new(Semaphore::new(1000));
    let taken = |loads: Vec<Load>| {
        let lane = Lane::default();
        lane.0.lock().waiting.extend(loads);
        repeat_with(|| lane.take()).map_while(|loads| loads.map(|loads| loads.len())).collect::<Vec<_>>()
    };
    let many = |count, bytes, receivers| repeat_with(|| load(&room, bytes, receivers)).take(count).collect();
    assert_eq!(taken(many(150, 10, 1)), [64, 64, 22], "frames");
    assert_eq!(taken(many(5, 30_000, 1)), [2, 2, 1], "bytes");
    assert_eq!(taken(many(2, 100_000, 1)), [1, 1], "one that is too large by itself");
    assert_eq!(taken(many(3, 10, DELIVERIES_AT_ONCE / 2)), [2, 1], "deliveries");
}

#[tokio::test]
async fn who_publishes_more_than_may_be_under_way_waits() {
    let hub = hub();
    let connections = connections(&hub, MANY, "t");
    let large = "x".repeat(UNDER_WAY / 4);
    let publish = |number| hub.publish(event("t", 0, number, &large));
    // This thread has not let the lanes do anything yet.
    for number in 0..3 {
        assert_eq!(publish(number).now_or_never(), Some(MANY));
    }
    let mut fourth = pin!(publish(3));
    assert_eq!((&mut fourth).now_or_never(), None);
    assert!(hub.lanes().under_way() > UNDER_WAY / 4 * 3);
    assert_eq!(fourth.await, MANY);
    hub.lanes().settled().await;
    assert_eq!(received(&connections[0]).await, [(0, 0), (0, 1), (0, 2), (0, 3)]);
    assert_eq!(hub.lanes().under_way(), 0);
}

#[tokio::test]
async fn who_waits_for_what_was_sent_holds_up_nobody() {
    let hub = hub();
    // Each lane yields in the middle of an event.
    let count = 2 * MANY * hub.lanes().lanes.len();
    let connections = connections(&hub, count, "t");
    let large = "x".repeat(BYTES_AT_ONCE);
    let publish = |number| hub.publish(event("t", 0, number, &large));
    assert_eq!(publish(0).now_or_never(), Some(count));
    let mut settled = pin!(hub.lanes().settled());
    assert_eq!((&mut settled).now_or_never(), None);
    assert_eq!(publish(1).now_or_never(), Some(count), "it goes on meanwhile");
    settled.await;
    assert!(hub.lanes().under_way() > 0, "what was sent later is not waited for");
    for connection in &connections {
        assert_eq!(received(connection).await.first(), Some(&(0, 0)));
    }
    hub.lanes().settled().await;
    assert_eq!(hub.lanes().under_way(), 0);
    hub.lanes().settled().now_or_never().expect("nothing is under way");
}

#[tokio::test]
async fn few_receivers_have_it_at_once_and_a_panic_leaves_the_rest_to_a_task() {
    let hub = hub();
    let few = connections(&hub, 2, "few");
    hub.publish(event("few", 7, 1, "")).now_or_never().unwrap();
    assert_eq!(received(&few[0]).await, [(7, 1)]);

    let lane = Arc::<Lane>::default();
    lane.0.lock().busy = true;
    let room = Arc::new(Semaphore::new(2));
    let mut waiting = load(&room, 1, 0);
    waiting.receivers.push(Arc::downgrade(&few[1]));
    assert!(lane.queue(waiting).is_none());
    assert_eq!(lane.0.lock().waiting.len(), 1, "somebody else delivers");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _busy = Busy(lane.clone());
        panic!("in the middle of a delivery");
    }));
    assert!(panicked.is_err());
    drop(room.acquire_many(2).await);
    assert_eq!(received(&few[1]).await, [(7, 1), (0, 0)]);
}

/// Also where they lie at distances that have a factor in common with the number of lanes.
#[test]
fn connections_are_shared_out_evenly() {
    const CONNECTIONS: usize = 10_000;
    for lanes in 1..=64 {
        for distance in [64, 256, 320, 384, 448, 512, 640] {
            let mut counts = vec![0; lanes];
            (0..CONNECTIONS)
                .for_each(|number| counts[lane_of(0x7f12_3400_0040 + number * distance, lanes)] += 1);
            let most = counts.iter().max().unwrap();
            assert!(*most <= CONNECTIONS / lanes * 3 / 2, "{lanes} lanes, {distance} bytes: {counts:?}");
        }
    }
}
