//! Every interleaving of publishing, delivering, heartbeats, connecting with a cursor, catching up
//! and revoking, explored by loom over the code of the gateway. Clients have no sockets: they take
//! what is in the outbox, as over HTTP/2.
//!
//! `cargo test -p rig-connection --features loom --release --lib interleavings`

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use event::Event;
use futures_util::FutureExt;
use history::{Bounds, EventPosition, IdKey, ResumeLimits, Ring};
use parking_lot::Mutex;
use seal::{Incarnation, Purpose, Seal};
use serde_json::{Value, json};
use session::{Sessions, Subject};
use subscription::{Extractors, Subscription};

use crate::client::Client;
use crate::config::Config;
use crate::connection::Connection;
use crate::encoding::Encoding;
use crate::hub::{Hub, OpenError, Opening};
use crate::resume::Resume;
use crate::sequencer::{Sequencer, SequencerOptions};
use crate::sync::model::run_spawned;

mod catching_up;
mod ordered;
mod revoked;

/// A node that keeps events.
struct World {
    hub: Arc<Hub>,
    sessions: Sessions,
    sequencer: Arc<Sequencer>,
    /// The events by their positions: type and number.
    events: Mutex<BTreeMap<EventPosition, (&'static str, usize)>>,
}

/// What a client has got at once.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    what: What,
    /// The position that its id stands for.
    id: Option<EventPosition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// The event of this number.
    Event(usize),
    /// An event of the gateway itself: its type, and the reason of a gap.
    Own(String),
    Heartbeat,
}

impl World {
    fn new() -> Arc<Self> {
        Self::with(Sessions::in_memory(session::Config::default()))
    }

    fn with(sessions: Sessions) -> Arc<Self> {
        let age = Duration::from_secs(60);
        let bounds = Bounds { age, bytes: 1 << 16, events: 100, excluded: Vec::new() };
        let options = SequencerOptions { age, has_peers: false, limits: ResumeLimits::default() };
        let sequencer = Sequencer::new(Ring::new(bounds, Instant::now()), &IdKey::random(), options);
        let hub = Hub::new(
            Config { history: Some(sequencer.clone()), ..Config::default() },
            sessions.clone(),
            Arc::new(Extractors::default()),
            Seal::new(None, Purpose::Connection, Incarnation::unnamed()),
            Arc::default(),
            Arc::default(),
        );
        Arc::new(Self { hub, sessions, sequencer, events: Mutex::default() })
    }

    /// What a client without a token wants that has this cursor.
    fn opening(&self, types: &[&str], cursor: Option<EventPosition>) -> Opening {
        let cursor = cursor.map(|cursor| self.sequencer.id(cursor).as_str().into());
        Opening {
            subjects: Vec::new(),
            client: Client { address: ([127, 0, 0, 1], 1).into(), user_agent: None },
            subscriptions: subscriptions(types),
            resume: Resume { cursor, ids_in_heartbeats: true, is_complete: true, elsewhere: None },
        }
    }

    fn open_with(&self, opening: Opening) -> Result<Arc<Connection>, OpenError> {
        self.hub.open_stream(opening, Encoding::SsePlain, Bytes::new())
    }

    fn open(&self, types: &[&str], cursor: Option<EventPosition>) -> Arc<Connection> {
        self.open_with(self.opening(types, cursor)).unwrap()
    }

    fn open_as(&self, subject: Subject, cursor: Option<EventPosition>) -> Result<Arc<Connection>, OpenError> {
        self.open_with(Opening { subjects: vec![subject], ..self.opening(&["a"], cursor) })
    }

    /// Publishes an event, then runs the lanes that have not delivered it yet.
    fn publish(&self, event_type: &'static str, number: usize) {
        let json = json!({ "specversion": "0.2", "type": event_type, "id": number.to_string() });
        let event = Event::from_json(json.to_string().into()).unwrap();
        let taken = |position| {
            let before = self.events.lock().insert(position, (event_type, number));
            assert_eq!(before, None, "a position of two events");
        };
        self.hub.publish_at(event, taken).now_or_never().expect("there is room");
        run_spawned();
    }

    fn publisher(
        self: &Arc<Self>,
        event_type: &'static str,
        numbers: std::ops::Range<usize>,
    ) -> loom::thread::JoinHandle<()> {
        let world = self.clone();
        loom::thread::spawn(move || numbers.for_each(|number| world.publish(event_type, number)))
    }

    /// Sends one heartbeat, as the wheel does.
    fn heartbeat(&self, connection: &Connection) {
        let settled = self.hub.settled_positions();
        connection.heartbeat(settled[self.hub.lanes().lane_of(connection)]);
    }

    /// Takes what is there for a client now.
    fn read(&self, connection: &Connection, blocks: &mut Vec<Block>) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Ok(Some(bytes))) = connection.poll_pop(&mut cx) {
            blocks.push(self.block(std::str::from_utf8(&bytes).unwrap()));
        }
    }

    fn block(&self, text: &str) -> Block {
        assert!(text.ends_with("\n\n"), "{text}");
        let line = |name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim()));
        let id = line("id:").filter(|id| !id.is_empty()).map(|id| self.sequencer.ids().read(id).unwrap());
        let data = line("data:").map(|data| serde_json::from_str::<Value>(data).unwrap());
        let what = match data {
            None => What::Heartbeat,
            Some(data) if data["source"] == "rig" => {
                let reason = data["data"]["reason"].as_str().map(|reason| format!(" {reason}"));
                What::Own(line("event:").unwrap().to_owned() + &reason.unwrap_or_default())
            }
            Some(data) => What::Event(data["id"].as_str().unwrap().parse().unwrap()),
        };
        Block { what, id }
    }

    /// Returns the numbers of the events of these types after one position up to another.
    fn published(&self, types: &[&str], after: EventPosition, up_to: EventPosition) -> Vec<usize> {
        let events = self.events.lock();
        let between = events.iter().filter(|(position, _)| **position > after && **position <= up_to);
        between.filter(|(_, (of, _))| types.contains(of)).map(|(_, (_, number))| *number).collect()
    }

    /// Checks what a client has got that had this cursor, or none: wherever the connection breaks,
    /// it has got exactly the events up to its latest id.
    fn check(&self, types: &[&str], cursor: Option<EventPosition>, blocks: &[Block]) {
        assert!(blocks[0].is_own("rig.connection.create"), "{blocks:?}");
        let begin = blocks[0].id.expect("a client is given a place to come back to");
        assert!(cursor.is_none_or(|cursor| cursor == begin), "{cursor:?} {blocks:?}");
        let (mut id, mut got) = (begin, Vec::new());
        for block in blocks {
            got.extend(block.number());
            if let Some(next) = block.id {
                assert!(next >= id, "ids fall: {blocks:?}");
                id = next;
                assert_eq!(got, self.published(types, begin, id), "up to {id:?}: {blocks:?}");
            }
        }
        let all = self.published(types, begin, EventPosition(u64::MAX));
        assert_eq!(got, all, "in the end: {blocks:?}");
        let resumed = blocks.iter().filter(|block| block.is_own("rig.resumed")).count();
        assert_eq!(resumed, usize::from(cursor.is_some()), "{blocks:?}");
    }
}

impl Block {
    fn is_own(&self, event: &str) -> bool {
        matches!(&self.what, What::Own(own) if own == event)
    }

    fn number(&self) -> Option<usize> {
        match self.what {
            What::Event(number) => Some(number),
            What::Own(_) | What::Heartbeat => None,
        }
    }
}

fn subscriptions(types: &[&str]) -> Vec<Subscription> {
    let list: Vec<_> = types.iter().map(|event_type| json!({ "eventType": event_type })).collect();
    Subscription::parse_list(&json!(list), &Extractors::default()).unwrap()
}

/// Checks the model in all interleavings, or in those with up to `preemptions`, and that there were
/// many.
fn explore(preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let explored = Arc::new(AtomicUsize::new(0));
    let counted = explored.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 10_000;
    let began = Instant::now();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let explored = explored.load(Ordering::Relaxed);
    println!("{explored} interleavings in {:.1} s", began.elapsed().as_secs_f64());
    assert!(explored > 100, "only {explored} interleavings: the model no longer sees the locks");
}
