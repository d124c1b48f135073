//! Requests between the lives of nodes in one process.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use connection::Hub;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rig_node::in_memory::Network;
use rig_node::{AskError, Node, PeerHandler, PeerRoom, Peers, Replies, Tasks};
use seal::{Incarnation, Purpose, Seal};
use session::{Config, NodeName, Sessions};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// Answers with the request, after the name of the node.
struct Echo(NodeName);

impl PeerHandler for Echo {
    fn handle(self: Arc<Self>, request: Bytes) -> BoxFuture<'static, Bytes> {
        std::future::ready([self.0.as_str().as_bytes(), b": ", &request].concat().into()).boxed()
    }
}

struct Member {
    name: NodeName,
    life: Incarnation,
    node: Node,
    peers: Arc<dyn Peers>,
    _tasks: Tasks,
    _echo: Arc<Echo>,
}

impl Member {
    fn join(network: &Network, name: &str) -> Self {
        let (name, life) = (NodeName::from(name), Incarnation::of(name));
        let mut cluster = network.join(&name, 15 * SECOND);
        let peers = network.peers(&name, life);
        cluster.peers = Some(peers.clone());
        let sessions = Sessions::in_memory(Config::default().with_node(name.clone()));
        let seal = Seal::new(Some("test-cookie"), Purpose::Connection, life);
        let extractors = Arc::default();
        let config = connection::Config::default();
        let hub = Hub::new(config, sessions.clone(), extractors, seal, Arc::default(), Arc::default());
        let node = Node::new(sessions, hub, Some(cluster));
        let echo = Arc::new(Echo(name.clone()));
        let handler: Weak<Echo> = Arc::downgrade(&echo);
        node.answer_peers(PeerRoom::Inbound, handler);
        let mut tasks = Tasks::default();
        node.spawn(&mut tasks);
        Self { name, life, node, peers, _tasks: tasks, _echo: echo }
    }

    async fn ask(&self, other: &Self, request: &[u8]) -> Result<Bytes, AskError> {
        self.node.ask_peer(other.life, PeerRoom::Inbound, request, 2 * SECOND).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_life_answers_and_one_that_has_exited_is_gone_at_once() {
    let network = Network::default();
    let (a, b) = (Member::join(&network, "a"), Member::join(&network, "b"));
    assert_eq!(a.ask(&b, b"hello").await, Ok(Bytes::from("b: hello")));
    assert_eq!(b.ask(&a, b"hello").await, Ok(Bytes::from("a: hello")));

    let earlier = b.life;
    drop(b);
    let b = Member::join(&network, "b");
    tokio::task::yield_now().await;
    let began = Instant::now();
    let asked = a.node.ask_peer(earlier, PeerRoom::Inbound, b"hello", 2 * SECOND).await;
    assert_eq!((asked, began.elapsed()), (Err(AskError::Gone), Duration::ZERO));
    assert_eq!(a.ask(&b, b"hello").await, Ok(Bytes::from("b: hello")), "its next life");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_is_silent() {
    let network = Network::default();
    let (a, b) = (Member::join(&network, "a"), Member::join(&network, "b"));
    for cut in [&a.name, &b.name] {
        network.cut(cut);
        let began = Instant::now();
        assert_eq!(a.ask(&b, b"hello").await, Err(AskError::Silent));
        assert_eq!(began.elapsed(), 2 * SECOND);
        network.connect(cut);
    }
    assert_eq!(a.ask(&b, b"hello").await, Ok(Bytes::from("b: hello")));
}

#[tokio::test(start_paused = true)]
async fn all_others_are_asked_and_those_that_do_not_answer_are_named() {
    let network = Network::default();
    let [a, b, c] = ["a", "b", "c"].map(|name| Member::join(&network, name));
    network.cut(&c.name);
    let replies = a.peers.ask_all(Bytes::from("ihello"), SECOND).await;
    let answers = vec![(b.name.clone(), Bytes::from("b: hello"))];
    assert_eq!(replies, Replies { answers, missing: vec![c.name.clone()] });
    drop(c);
    tokio::task::yield_now().await;
    assert_eq!(a.peers.ask_all(Bytes::from("ihello"), SECOND).await.missing, []);
}

#[tokio::test(start_paused = true)]
async fn what_no_room_understands_has_an_empty_answer() {
    let network = Network::default();
    let (a, b) = (Member::join(&network, "a"), Member::join(&network, "b"));
    for request in ["", "x", "a"] {
        assert_eq!(a.peers.ask(b.life, request.into(), SECOND).await, Ok(Bytes::new()), "{request:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_has_a_limit() {
    let network = Network::default();
    let (a, b) = (Member::join(&network, "a"), Member::join(&network, "b"));
    let longest = a.node.max_peer_bytes();
    assert_eq!(a.ask(&b, &vec![b'x'; longest + 1]).await, Err(AskError::TooLarge));
    assert_eq!(a.ask(&b, &vec![b'x'; longest]).await, Err(AskError::TooLarge), "the answer");
    assert_eq!(a.ask(&b, &vec![b'x'; longest - 2]).await.map(|answer| answer.len()), Ok(longest + 1));
}
