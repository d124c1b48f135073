//! A hub whose node loses its lease and gets it back. Time is paused, and the fence is on it.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use session::{Config as SessionConfig, LostLease};

use super::*;
use crate::transport::Transport;

const HOLD: Duration = Duration::from_secs(10);
const LEASE: Duration = Duration::from_secs(15);
const SECOND: Duration = Duration::from_secs(1);

struct Node {
    hub: Arc<Hub>,
    sessions: Sessions,
    fence: Fence,
    metrics: Arc<Metrics>,
}

/// A node with a lease, whose background work runs.
fn node(policy: LostLease) -> Node {
    let began = Instant::now();
    let fence = Fence::with_clock(move || began.elapsed());
    fence.extend(LEASE);
    let fencing = policy.fencing(&fence, HOLD);
    let (sessions, metrics) = (Sessions::in_memory(SessionConfig::default()), Arc::new(Metrics::default()));
    let hub = Hub::new(
        // Heartbeats are sent by hand.
        Config { fencing: fencing.clone(), heartbeat: 3600 * SECOND, ..Config::default() },
        sessions.clone(),
        Arc::new(Extractors::default()),
        Seal::new(None, seal::Purpose::Connection, seal::Incarnation::unnamed()),
        metrics.clone(),
        Arc::new(Admissions::new(fencing.admission)),
    );
    let running = hub.clone();
    tokio::spawn(async move { running.run().await });
    Node { hub, sessions, fence, metrics }
}

impl Node {
    fn opening(&self, session: Option<&str>) -> Opening {
        let subjects = session.map(|name| self.sessions.subject_of_session(&name.parse().unwrap()));
        Opening {
            subjects: subjects.into_iter().collect(),
            client: Client { address: ([127, 0, 0, 1], 1).into(), user_agent: None },
            subscriptions: Subscription::parse_list(
                &serde_json::json!([{ "eventType": "t" }]),
                &Extractors::default(),
            )
            .unwrap(),
            resume: Resume::default(),
        }
    }

    fn open(&self, session: Option<&str>, encoding: Encoding) -> Result<Arc<Connection>, OpenError> {
        self.hub.open_stream(self.opening(session), encoding, Bytes::new())
    }

    /// Opens a stream whose client has read the announcements.
    fn stream(&self, session: Option<&str>, encoding: Encoding) -> Arc<Connection> {
        let connection = self.open(session, encoding).unwrap();
        assert_eq!(read(&connection).len(), 2, "rig.connection.create, rig.subscriptions_set");
        connection
    }

    async fn publish(&self, id: &str) {
        let json = format!(r#"{{"specversion":"0.2","type":"t","source":"test","id":"{id}"}}"#);
        self.hub.publish(Event::from_json(json.into()).unwrap()).await;
    }
}

/// Takes all that can be written to a client now.
fn read(connection: &Connection) -> Vec<Bytes> {
    let mut cx = Context::from_waker(Waker::noop());
    std::iter::from_fn(|| match connection.poll_pop(&mut cx) {
        Poll::Ready(Ok(frame)) => frame,
        _ => None,
    })
    .collect()
}

/// Returns the ids of the events among these frames, and `:` for a heartbeat.
fn ids(frames: &[Bytes]) -> Vec<String> {
    let id = |frame: &Bytes| {
        let text = String::from_utf8_lossy(frame);
        let id = text.split_once(r#","id":""#).and_then(|(_, rest)| rest.split_once('"'));
        id.map_or_else(|| text.trim().into(), |(id, _)| id.to_owned())
    };
    frames.iter().map(id).collect()
}

#[tokio::test(start_paused = true)]
async fn what_was_held_leaves_in_order_as_soon_as_the_fence_opens() {
    let node = node(LostLease::Closed);
    let (theirs, anonymous) =
        (node.stream(Some("s"), Encoding::SsePlain), node.stream(None, Encoding::SsePlain));
    node.publish("1").await;
    assert_eq!((ids(&read(&theirs)), ids(&read(&anonymous))), (vec!["1".into()], vec!["1".into()]));

    tokio::time::sleep(LEASE).await;
    for id in ["2", "3"] {
        node.publish(id).await;
    }
    assert_eq!(ids(&read(&anonymous)), ["2", "3"], "a client without a session is not fenced");
    assert_eq!(read(&theirs), Vec::<Bytes>::new());
    assert!(theirs.held() > 0);
    let waiting = tokio::spawn({
        let theirs = theirs.clone();
        async move { poll_fn(|cx| theirs.poll_pop(cx)).await }
    });
    tokio::time::sleep(HOLD - SECOND).await;
    assert!(!waiting.is_finished() && theirs.close_reason().is_none());

    let opened = Instant::now();
    node.fence.extend(3 * LEASE);
    let first = waiting.await.unwrap().unwrap().unwrap();
    assert_eq!(opened.elapsed(), Duration::ZERO, "the fence wakes the client's task");
    assert_eq!((ids(&[first]), ids(&read(&theirs))), (vec!["2".into()], vec!["3".into()]));
    node.publish("4").await;
    assert_eq!((ids(&read(&theirs)), theirs.held()), (vec!["4".into()], 0));
}

#[tokio::test(start_paused = true)]
async fn a_fence_that_stays_closed_terminates_the_connections_of_sessions() {
    let node = node(LostLease::Closed);
    let sse = node.stream(Some("s"), Encoding::SsePlain);
    let websocket = node.stream(Some("s"), Encoding::WebSocket);
    let idle = node.stream(Some("idle"), Encoding::SseChunked);
    let anonymous = node.stream(None, Encoding::SsePlain);
    let mailbox = node.hub.open_longpolling(node.opening(Some("s"))).unwrap();
    let known = node.hub.poll(&mailbox, None, None).await.unwrap().cursor;
    tokio::time::sleep(LEASE).await;
    node.publish("1").await;
    tokio::time::sleep(HOLD - SECOND / 10).await;
    let poll = tokio::spawn({
        let (hub, mailbox) = (node.hub.clone(), mailbox.clone());
        async move { hub.poll(&mailbox, Some(known), None).await }
    });
    let reasons = |of: &[&Arc<Connection>]| of.iter().filter_map(|one| one.close_reason()).count();
    assert_eq!(reasons(&[&sse, &websocket, &idle, &anonymous, &mailbox]), 0);
    tokio::time::sleep(SECOND / 5).await;

    let seen = read(&sse);
    assert_eq!(seen.len(), 1, "the farewell alone: {seen:?}");
    assert!(seen[0].starts_with(b"event: rig.lease_lost\ndata: {"), "{seen:?}");
    let seen = read(&websocket);
    assert_eq!(seen, [crate::websocket::close_frame(1013, "Lease lost.")]);
    for connection in [&sse, &websocket, &idle, &mailbox] {
        assert_eq!(connection.close_reason(), Some(CloseReason::LeaseLost));
    }
    let batch = poll.await.unwrap().unwrap();
    assert_eq!(
        (&batch.body[..], batch.over),
        (&br#"{"last_event_id":"first_event","events":[]}"#[..], true),
        "a poll is answered empty"
    );
    assert_eq!((anonymous.close_reason(), ids(&read(&anonymous))), (None, vec!["1".into()]));
    assert_eq!(node.metrics.payload_after_kill(), 0);
}

#[tokio::test(start_paused = true)]
async fn each_time_that_the_fence_is_closed_counts_by_itself() {
    let node = node(LostLease::Closed);
    let connection = node.stream(Some("s"), Encoding::SsePlain);
    tokio::time::sleep(LEASE + HOLD - SECOND).await;
    node.fence.extend(node.fence.now() + 4 * SECOND);
    tokio::time::sleep(2 * SECOND).await;
    // Two seconds before its deadline.
    node.fence.close();
    tokio::time::sleep(HOLD - SECOND).await;
    assert_eq!(connection.close_reason(), None, "closed for nine seconds, twice");
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(connection.close_reason(), Some(CloseReason::LeaseLost));

    node.fence.extend(node.fence.now() + LEASE);
    let next = node.stream(Some("s"), Encoding::SsePlain);
    tokio::time::sleep(LEASE + HOLD - SECOND).await;
    assert_eq!(next.close_reason(), None);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(next.close_reason(), Some(CloseReason::LeaseLost));
}

#[tokio::test(start_paused = true)]
async fn a_node_without_a_lease_refuses_new_clients_of_sessions_and_no_others() {
    for policy in LostLease::ALL {
        let node = node(policy);
        let theirs = node.stream(Some("s"), Encoding::SsePlain);
        let anonymous = node.stream(None, Encoding::SsePlain);
        tokio::time::sleep(LEASE).await;
        let refused = |result: Result<Arc<Connection>, OpenError>| match result {
            Ok(_) => false,
            Err(OpenError::Bind(BindError::NoLease)) => true,
            Err(error) => panic!("{error}"),
        };
        let is_open = policy == LostLease::Open;
        assert_eq!(refused(node.open(Some("s"), Encoding::SsePlain)), !is_open, "{policy:?}");
        assert_eq!(refused(node.hub.open_longpolling(node.opening(Some("s")))), !is_open);
        assert!(!refused(node.open(None, Encoding::SsePlain)), "{policy:?}");
        assert_eq!(node.hub.admissions().is_ready(), is_open);
        // Nor is a session let in through a connection that has none.
        let Opening { subjects, subscriptions, .. } = node.opening(Some("s"));
        let bound = anonymous.set_subscriptions(&subjects, &subscriptions);
        assert_eq!(bound, if is_open { Ok(()) } else { Err(BindError::NoLease) });
        assert_eq!(anonymous.set_subscriptions(&[], &subscriptions), Ok(()));

        node.publish("1").await;
        let expected: &[&str] = if policy == LostLease::Closed { &[] } else { &["1"] };
        assert_eq!(ids(&read(&theirs)), expected, "{policy:?}");
        tokio::time::sleep(2 * HOLD).await;
        assert_eq!(theirs.close_reason().is_some(), policy == LostLease::Closed, "{policy:?}");
        assert_eq!(theirs.transport(), Transport::Sse);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_bound_to_a_session_later_is_fenced_from_then_on() {
    let node = node(LostLease::Closed);
    let connection = node.stream(None, Encoding::SsePlain);
    let Opening { subjects, subscriptions, .. } = node.opening(Some("s"));
    connection.set_subscriptions(&subjects, &subscriptions).unwrap();
    read(&connection);
    tokio::time::sleep(LEASE).await;
    node.publish("1").await;
    assert_eq!(read(&connection), Vec::<Bytes>::new());
}

#[tokio::test(start_paused = true)]
async fn heartbeats_go_on_while_payload_is_held() {
    let node = node(LostLease::Closed);
    let connection = node.stream(Some("s"), Encoding::SsePlain);
    tokio::time::sleep(LEASE).await;
    node.publish("1").await;
    assert_eq!(read(&connection), Vec::<Bytes>::new());
    connection.heartbeat(EventPosition::default());
    assert_eq!(ids(&read(&connection)), [": heartbeat"]);
}
