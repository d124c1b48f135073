//! Connections that come back, over streams without sockets: what they get is read from the outbox.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use history::{Bounds, IdKey, Ids, ResumeLimits};
use seal::{Incarnation, Purpose, Seal};
use serde_json::{Value, json};
use session::Sessions;
use subscription::Extractors;

use super::pull::EVENTS_AT_ONCE;
use super::*;
use crate::client::Client;
use crate::config::Config;
use crate::connection::Connection;
use crate::encoding::Encoding;
use crate::hub::{Hub, Opening};
use crate::sequencer::SequencerOptions;

mod late;
mod mailbox;
mod revoked;
mod strangers;

/// A node that keeps events.
struct World {
    hub: Arc<Hub>,
    sessions: Sessions,
    key: IdKey,
}

/// A block of an event stream.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    event_type: String,
    /// The id of the event; for an event of the gateway, its data.
    what: String,
    id: Option<String>,
}

impl World {
    fn new() -> Self {
        Self::with(Config::default(), 10_000)
    }

    fn with(config: Config, events: usize) -> Self {
        Self::of_node(config, events, false)
    }

    fn of_node(config: Config, events: usize, has_peers: bool) -> Self {
        let age = Duration::from_secs(60);
        let bounds = Bounds { age, bytes: 1 << 24, events, excluded: Vec::new() };
        let key = IdKey::random();
        let limits = ResumeLimits { events: 1000, ..ResumeLimits::default() };
        let options = SequencerOptions { age, has_peers, limits };
        let sequencer = Sequencer::new(Ring::new(bounds, Instant::now()), &key, options);
        let sessions = Sessions::in_memory(session::Config::default());
        let hub = Hub::new(
            Config { history: Some(sequencer), ..config },
            sessions.clone(),
            Arc::new(Extractors::default()),
            Seal::new(None, Purpose::Connection, Incarnation::unnamed()),
            Arc::default(),
            Arc::default(),
        );
        Self { hub, sessions, key }
    }

    fn opening(&self, types: &[&str], cursor: Option<&str>) -> Opening {
        Opening {
            subjects: Vec::new(),
            client: Client { address: ([127, 0, 0, 1], 1).into(), user_agent: None },
            subscriptions: subscriptions(types),
            resume: Resume { cursor: cursor.map(Into::into), is_complete: true, ..Resume::default() },
        }
    }

    fn open(&self, types: &[&str], cursor: Option<&str>) -> Arc<Connection> {
        self.hub.open_stream(self.opening(types, cursor), Encoding::SsePlain, Bytes::new()).unwrap()
    }

    fn publish(&self, event_type: &str, numbers: impl IntoIterator<Item = usize>) {
        for number in numbers {
            let json = json!({ "specversion": "0.2", "type": event_type, "id": number.to_string() });
            let event = Event::from_json(json.to_string().into()).unwrap();
            tokio::task::unconstrained(self.hub.publish(event)).now_or_never().expect("there is room");
        }
    }
}

fn subscriptions(types: &[&str]) -> Vec<Subscription> {
    let list: Vec<_> = types.iter().map(|event_type| json!({ "eventType": event_type })).collect();
    Subscription::parse_list(&json!(list), &Extractors::default()).unwrap()
}

/// Reads what is there for a connection now.
fn read(connection: &Connection) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Ok(Some(bytes))) = connection.poll_pop(&mut cx) {
        let text = std::str::from_utf8(&bytes).unwrap();
        let line =
            |name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
        let data: Value = serde_json::from_str(&line("data:").unwrap()).unwrap();
        let what = if data["source"] == "rig" { data["data"].to_string() } else { text_of(&data["id"]) };
        assert!(text.ends_with("\n\n"), "{text}");
        blocks.push(Block { event_type: line("event:").unwrap(), what, id: line("id:") });
    }
    blocks
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Reads what comes after the announcements of a connection that has just been opened: the blocks,
/// and the id of the first announcement.
fn begin(connection: &Connection) -> (Vec<Block>, String) {
    let mut blocks = read(connection);
    let rest = blocks.split_off(2);
    let types: Vec<_> = blocks.iter().map(|block| &*block.event_type).collect();
    assert_eq!(types, ["rig.connection.create", "rig.subscriptions_set"]);
    assert_eq!(blocks[1].id, None);
    (rest, blocks[0].id.clone().unwrap())
}

/// Returns the numbers of events and the data of the gateway's own.
fn whats(blocks: &[Block]) -> Vec<&str> {
    blocks.iter().map(|block| &*block.what).collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn a_client_that_comes_back_gets_what_it_missed() {
    let world = World::new();
    let first = world.open(&["a", "b"], None);
    let (rest, primed) = begin(&first);
    assert_eq!(rest, []);
    world.publish("a", 1..4);
    let got = read(&first);
    assert_eq!(whats(&got), ["1", "2", "3"]);
    let cursor = got[1].id.clone().unwrap();
    drop(first);
    world.publish("b", 4..6);
    world.publish("c", 6..7);

    let second = world.open(&["a", "b"], Some(&cursor));
    let (rest, id) = begin(&second);
    assert_eq!(id, cursor, "until it has got the rest, it has to come back here");
    assert_eq!(whats(&rest), ["3", "4", "5", r#"{"events":3}"#]);
    assert_eq!(rest[0].id, got[2].id, "an event has the same id for everyone");
    world.publish("a", 7..8);
    assert_eq!(whats(&read(&second)), ["7"]);

    // Before the first event.
    let third = world.open(&["a"], Some(&primed));
    assert_eq!(whats(&begin(&third).0), ["1", "2", "3", "7", r#"{"events":4}"#]);
}

#[test]
fn r04_before_the_first_event_there_is_a_place_to_come_back_to() {
    let world = World::new();
    world.publish("a", 0..3);
    let (_, primed) = begin(&world.open(&["a"], None));
    world.publish("a", 3..5);
    let back = world.open(&["a"], Some(&primed));
    let (rest, id) = begin(&back);
    assert_eq!((whats(&rest), id), (vec!["3", "4", r#"{"events":2}"#], primed));
    assert_eq!(rest[2].event_type, "rig.resumed");
    // It has missed nothing since.
    let again = world.open(&["a"], rest[2].id.as_deref());
    assert_eq!(whats(&begin(&again).0), [r#"{"events":0}"#]);
}

#[test]
fn what_comes_while_a_connection_is_behind_comes_once_and_in_order() {
    let world = World::new();
    let (_, cursor) = begin(&world.open(&["a"], None));
    world.publish("a", 0..300);
    let back = world.open(&["a"], Some(&cursor));
    let mut got = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    for number in 300..400 {
        // One block is taken, then one is published.
        if let Poll::Ready(Ok(Some(_))) = back.poll_pop(&mut cx) {
            got.push(());
        }
        world.publish("a", number..number + 1);
    }
    // Two announcements were among them.
    let rest = read(&back);
    let missed = 400 - (got.len() - 2);
    assert_eq!(whats(&rest)[..missed], numbers(400 - missed..400));
    assert_eq!(whats(&rest)[missed..], [r#"{"events":400}"#]);
    world.publish("a", 400..401);
    assert_eq!(whats(&read(&back)), ["400"]);
}

#[test]
fn each_gap_has_its_reason_and_the_newest_id() {
    let world = World::new();
    let other = World { key: world.key.clone(), ..World::new() };
    let elsewhere = Ids::new(&other.key, history::Series::from_bits(7)).text(EventPosition(1));
    let (_, cursor) = begin(&world.open(&["a"], None));
    world.publish("a", 0..2000);
    let id_of_head = begin(&world.open(&["a"], None)).1;
    let long = "x".repeat(10_000);
    for (cursor, reason, since) in [
        ("junk", "unknown", json!(null)),
        ("AAAAAAAAAAAAAAAAAAAAAA", "unknown", json!(null)),
        ("\"},{\n", "unknown", json!(null)),
        (&*long, "unknown", json!(null)),
        (elsewhere.as_str(), "restarted", json!(elsewhere.as_str())),
        (&*cursor, "too_many", json!(&*cursor)),
    ] {
        let back = world.open(&["a"], Some(cursor));
        let (rest, id) = begin(&back);
        assert_ne!(id, id_of_head, "it is not there before it has got the gap");
        let [gap] = &rest[..] else { panic!("{cursor}: {rest:?}") };
        assert_eq!(gap.event_type, "rig.gap");
        let data: Value = serde_json::from_str(&gap.what).unwrap();
        assert_eq!(data, json!({ "reason": reason, "since": since }), "{cursor}");
        assert_eq!(gap.id.as_deref(), Some(&*id_of_head));
    }
}

#[test]
fn r09_what_is_no_longer_kept_is_one_gap_and_no_part() {
    let world = World::with(Config::default(), 10);
    let (_, cursor) = begin(&world.open(&["a"], None));
    world.publish("a", 0..11);
    let (rest, _) = begin(&world.open(&["a"], Some(&cursor)));
    assert_eq!(rest.len(), 1);
    assert!(rest[0].what.contains("expired"), "{rest:?}");
}

#[test]
fn a_reader_that_the_ring_passes_gets_a_gap_and_goes_on() {
    let world = World::with(Config::default(), 200);
    let (_, cursor) = begin(&world.open(&["a"], None));
    world.publish("a", 0..150);
    let back = world.open(&["a"], Some(&cursor));
    let mut cx = Context::from_waker(Waker::noop());
    // The first events were taken from the ring with this.
    for _ in 0..3 {
        assert!(back.poll_pop(&mut cx).is_ready());
    }
    world.publish("a", 150..600);
    let rest = read(&back);
    let last = rest.last().unwrap();
    assert_eq!((rest.len(), &*last.event_type), (EVENTS_AT_ONCE, "rig.gap"));
    assert!(last.what.contains("expired"));
    world.publish("a", 600..601);
    assert_eq!(whats(&read(&back)), ["600"]);
}

/// A gap that a client was cut off before is not forgotten.
#[test]
fn before_a_gap_the_client_keeps_its_cursor() {
    let world = World::with(Config::default(), 200);
    let (_, cursor) = begin(&world.open(&["a"], None));
    world.publish("a", 0..300);
    for (cursor, reason) in
        [(&*cursor, "expired"), ("AAAAAAAAAAAAAAAAAAAAAA", "unknown"), ("first_event", "unknown")]
    {
        let (rest, created) = begin(&world.open(&["a"], Some(cursor)));
        assert!(rest.len() == 1 && rest[0].what.contains(reason), "{rest:?}");
        // Cut off before the gap, and once more.
        for _ in 0..2 {
            let (again, id) = begin(&world.open(&["a"], Some(&created)));
            assert!(again.len() == 1 && again[0].what.contains(reason), "{again:?}");
            assert_eq!(id, created);
        }
        let (after, _) = begin(&world.open(&["a"], rest[0].id.as_deref()));
        assert_eq!(whats(&after), [r#"{"events":0}"#]);
    }
}

#[test]
fn events_of_a_type_are_kept_after_its_last_subscriber_has_left() {
    let world = World::new();
    let first = world.open(&["a"], None);
    let (_, cursor) = begin(&first);
    drop(first);
    world.publish("a", 0..2);
    // No one ever wanted these.
    world.publish("other", 0..1);
    assert_eq!(whats(&begin(&world.open(&["a"], Some(&cursor))).0), ["0", "1", r#"{"events":2}"#]);
    let (rest, _) = begin(&world.open(&["a", "other"], Some(&cursor)));
    assert!(rest.len() == 1 && rest[0].what.contains("expired"), "{rest:?}");
}

/// A small outbox takes as much as it can hold.
#[test]
fn a_small_outbox_gets_all_of_a_long_history() {
    let world = World::with(Config { outbox_bytes: 4096, ..Config::default() }, 10_000);
    let (_, cursor) = begin(&world.open(&["a"], None));
    world.publish("a", 0..900);
    let back = world.open(&["a"], Some(&cursor));
    let (rest, _) = begin(&back);
    assert_eq!(whats(&rest)[..900], numbers(0..900));
    assert_eq!(back.close_reason(), None);
}

#[test]
fn with_ids_a_websocket_message_begins_with_the_id() {
    let world = World::new();
    let connection =
        |encoding| world.hub.open_stream(world.opening(&["a"], None), encoding, Bytes::new()).unwrap();
    let (plain, ids) = (connection(Encoding::WebSocket), connection(Encoding::WebSocketIds));
    world.publish("a", 0..1);
    let messages = |connection: &Connection| {
        let mut cx = Context::from_waker(Waker::noop());
        let pop = || match connection.poll_pop(&mut cx) {
            Poll::Ready(Ok(Some(bytes))) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            _ => None,
        };
        std::iter::from_fn(pop).collect::<Vec<_>>()
    };
    let (plain, ids) = (messages(&plain), messages(&ids));
    assert!(plain.iter().all(|message| !message.contains("id: ")));
    let json = r#"{"id":"0","specversion":"0.2","type":"a"}"#;
    assert!(plain[2].ends_with(json) && ids[2].ends_with(json));
    let with_id: Vec<_> =
        ids.iter().map(|message| message.contains("id: ") && message.contains("\n{")).collect();
    assert_eq!(with_id, [true, false, true]);
}
