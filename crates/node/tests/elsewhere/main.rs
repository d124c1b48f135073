//! A client goes from one node to another while events are published at three of them: it gets each
//! event once, or a gap.

mod interruption;
mod network;
mod unheard;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use connection::{Gap, Hub, Sequencer, SequencerOptions};
use event::Event;
use history::{Bounds, EventPosition, IdKey, Ids, ResumeLimits, Ring};
use rig_node::in_memory;
use rig_node::{Cluster, EventOrigin, Node, Tasks};
use seal::{Incarnation, Purpose, Seal};
use session::{Config, NodeName, Sessions};
use subscription::{Extractors, Subscription};

use network::{Disturbance, Network, SimulatedBus, TYPES};

const NAMES: [&str; 3] = ["a", "b", "c"];

struct Member {
    node: Node,
    hub: Arc<Hub>,
    bus: Arc<SimulatedBus>,
    ids: Ids,
    _tasks: Tasks,
}

impl Member {
    fn new(
        index: usize,
        (network, peers): (&Arc<Network>, &in_memory::Network),
        life: Incarnation,
        key: &IdKey,
    ) -> Self {
        let name = NodeName::from(NAMES[index]);
        let sessions = Sessions::in_memory(Config::default().with_node(name.clone()));
        let age = Duration::from_secs(120);
        let bounds = Bounds { age, bytes: 1 << 22, events: 100_000, excluded: Vec::new() };
        let ring = Ring::new(bounds, Instant::now());
        let series = ring.series();
        let options = SequencerOptions { age, has_peers: true, limits: ResumeLimits::default() };
        let history = Some(Sequencer::new(ring, key, options));
        let hub = Hub::new(
            connection::Config { history, ..connection::Config::default() },
            sessions.clone(),
            Arc::new(Extractors::default()),
            Seal::new(Some("test-cookie"), Purpose::Connection, life),
            Arc::default(),
            Arc::default(),
        );
        let bus = SimulatedBus::new(network, index);
        let joined = peers.join(&name, Duration::from_secs(15));
        let cluster =
            Cluster { bus: bus.clone(), lease: joined.lease, peers: Some(peers.peers(&name, life)) };
        let node = Node::new(sessions, hub.clone(), Some(cluster));
        let mut tasks = Tasks::default();
        node.spawn(&mut tasks);
        Self { node, hub, bus, ids: Ids::new(key, series), _tasks: tasks }
    }

    fn id(&self, position: EventPosition) -> String {
        self.ids.text(position).to_string()
    }

    /// Returns the events after a cursor, with the last id.
    fn missed(&self, cursor: &str, subscriptions: &[Subscription]) -> Result<(Vec<String>, String), Gap> {
        let missed = self.hub.missed(cursor, subscriptions, (usize::MAX, usize::MAX), || ())?;
        let last = missed.events.last().map_or_else(|| cursor.to_owned(), |(id, _)| id.to_string());
        Ok((missed.events.iter().map(|(_, kept)| number(&kept.json)).collect(), last))
    }
}

fn number(json: &[u8]) -> String {
    let event: serde_json::Value = serde_json::from_slice(json).expect("the test makes it valid");
    event["id"].as_str().expect("the test makes it valid").to_owned()
}

fn subscriptions(types: &[&str]) -> Vec<Subscription> {
    let list: Vec<_> = types.iter().map(|name| serde_json::json!({ "eventType": name })).collect();
    Subscription::parse_list(&list.into(), &Extractors::default()).expect("the test makes it valid")
}

struct World {
    members: Vec<Member>,
    network: Arc<Network>,
    peers: in_memory::Network,
    rng: fastrand::Rng,
    /// By number: the type.
    published: Vec<&'static str>,
    /// The pause between two events is up to this long, in microseconds.
    pause: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let loss = if rng.bool() { 0 } else { rng.u8(..10) };
        let disturbance = Disturbance { loss, delay: [0, 500, 3_000][rng.usize(..3)] };
        Self::with(disturbance, rng)
    }

    fn with(disturbance: Disturbance, mut rng: fastrand::Rng) -> Self {
        let lives: Vec<_> = NAMES.iter().map(|name| Incarnation::of(name)).collect();
        let (network, peers) =
            (Network::new(lives.clone(), disturbance, rng.fork()), in_memory::Network::default());
        let key = IdKey::random();
        let member = |(index, life)| Member::new(index, (&network, &peers), life, &key);
        let members = lives.into_iter().enumerate().map(member).collect();
        let pause = [500, 5_000, 20_000][rng.usize(..3)];
        Self { members, network, peers, rng, published: Vec::new(), pause }
    }

    async fn publish(&mut self, count: usize) {
        for _ in 0..count {
            let pause = self.rng.u64(..=self.pause);
            tokio::time::sleep(Duration::from_micros(pause)).await;
            let event_type = TYPES[self.rng.usize(..TYPES.len())];
            let at = self.rng.usize(..self.members.len());
            self.publish_one(at, event_type).await;
        }
    }

    /// Publishes fewer than `limit` events; every second time none.
    async fn publish_some(&mut self, limit: usize) {
        let count = if self.rng.bool() { 0 } else { self.rng.usize(..limit) };
        self.publish(count).await;
    }

    async fn publish_one(&mut self, at: usize, event_type: &'static str) {
        let id = self.published.len();
        self.published.push(event_type);
        let json = format!(r#"{{"specversion":"1.0","type":"{event_type}","source":"/s","id":"{id}"}}"#);
        let event = Event::from_json(json.into()).expect("the test makes it valid");
        self.members[at].node.publish(event, EventOrigin::Here).await;
    }

    /// Has a node receive all types and keep their events.
    async fn want(&self, index: usize) {
        let member = &self.members[index];
        member.node.want(TYPES).await;
        member.hub.expect(&subscriptions(&TYPES)).expect("the test makes it valid");
    }
}

/// Returns what became of the client: the reason of a gap, or how many events came from elsewhere
/// and how many after them.
async fn run(seed: u64) -> Result<(usize, usize), Gap> {
    let mut world = World::new(seed);
    tokio::task::yield_now().await;
    // What is published before a node wants it, and what is on its way meanwhile: often nothing, so
    // that the first events of some nodes are owed to the client.
    world.publish_some(30).await;
    let last = NodeName::from(NAMES[2]);
    let is_silent = world.rng.u8(..8) == 0;
    if is_silent {
        world.peers.cut(&last);
    }
    world.want(0).await;
    if world.rng.u8(..4) > 0 {
        world.publish_some(30).await;
        world.want(1).await;
    }
    if is_silent && world.rng.bool() {
        world.peers.connect(&last);
    }
    world.publish_some(60).await;
    let wanted = &TYPES[..world.rng.usize(1..=TYPES.len())];
    let list = subscriptions(wanted);
    // The client connects to the first node: from here on, everything is owed to it.
    let head = world.members[0]
        .hub
        .positions_since(EventPosition(0), &[], || ())
        .expect("the test makes it valid")
        .1;
    let (start, owed) = (world.members[0].id(head), world.published.len());
    let count = world.rng.usize(0..60);
    world.publish(count).await;
    let (mut got, cursor) = world.members[0].missed(&start, &list)?;
    let count = world.rng.usize(0..40);
    world.publish(count).await;

    let (node, asked) = (world.members[1].node.clone(), list.clone());
    let asking = tokio::spawn(async move { node.missed_elsewhere(&cursor, &asked, true).await });
    while !asking.is_finished() {
        world.publish(1).await;
    }
    let found =
        asking.await.expect("the test makes it valid").expect("the cursor is that of another node")?;
    let elsewhere = found.events.len();
    got.extend(found.events.iter().map(|(_, kept)| number(&kept.json)));
    let count = world.rng.usize(0..40);
    world.publish(count).await;
    world.network.settle().await;
    world.members.iter().for_each(|member| member.bus.send_all_heads());
    world.network.settle().await;
    let (here, _) = world.members[1].missed(&world.members[1].id(found.position), &list)?;
    let count = here.len();
    got.extend(here);

    let all: HashSet<&String> = got.iter().collect();
    assert_eq!(all.len(), got.len(), "seed {seed}: an event came twice: {got:?}");
    for (number, event_type) in world.published.iter().enumerate().skip(owed) {
        let is_wanted = wanted.contains(event_type);
        assert_eq!(all.contains(&number.to_string()), is_wanted, "seed {seed}: {number}");
    }
    Ok((elsewhere, count))
}

#[test]
fn r31_a_client_that_goes_to_another_node_misses_nothing_silently_and_gets_nothing_twice() {
    let seeds =
        std::env::var("SEEDS").map_or(0..300, |seeds| 0..seeds.parse().expect("the test makes it valid"));
    let count = seeds.end;
    let mut results: BTreeMap<String, u64> = BTreeMap::new();
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let result = runtime.expect("the test makes it valid").block_on(run(seed));
        let what = match result {
            Ok((0, _)) => "from here".to_owned(),
            Ok((_, 0)) => "from elsewhere".to_owned(),
            Ok(_) => "from both".to_owned(),
            Err(gap) => gap.to_string(),
        };
        *results.entry(what).or_default() += 1;
    }
    println!("{results:?}");
    let exact: u64 =
        ["from here", "from elsewhere", "from both"].iter().filter_map(|what| results.get(*what)).sum();
    assert!(exact >= count / 3, "{results:?}");
    assert!(results.contains_key(&Gap::Lost.to_string()), "{results:?}");
}
