//! Nodes of one process with their inbound ports, and clients that may come to any of them.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use auth::{Check, ConfiguredKey, Cors, KeySource, TokenConfig, Verifier};
use connection::{Admissions, Hub, Sequencer, SequencerOptions};
use event::Event;
use history::{Bounds, IdKey, Ring};
use jsonwebtoken::{EncodingKey, Header, encode};
use listener::{Limits, Listener, Places, WhenFull};
use memory::Memory;
use metric::Registry;
use node::in_memory::Network;
use node::{EventOrigin, Node, Tasks};
use proxy::{Apis, Collaborators, Definitions, MemoryStore, Proxy, ServiceLimits, Waiting, WaitingConfig};
use rig_inbound::{Config, Inbound, Parts};
use seal::{Incarnation, Purpose, Seal};
use serde_json::json;
use session::{Expiry, Fencing, LostLease, NodeName, Revocation, Selector, Sessions};
use telemetry::Reporter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::yield_now;

const KEY: &str = "a-test-secret-of-thirty-two-bytes";
const COOKIE: &str = "a cookie that all nodes of the test have";

/// How long a poll waits: long enough for what a test does meanwhile.
pub(crate) const POLL: Duration = Duration::from_secs(4);
const LEASE: Duration = Duration::from_secs(15);
const MINUTE: Duration = Duration::from_secs(60);

/// Number of yields after which every task has done all it can.
const TURNS: usize = 50;

pub(crate) struct Member {
    pub(crate) name: NodeName,
    pub(crate) node: Node,
    pub(crate) hub: Arc<Hub>,
    pub(crate) sessions: Sessions,
    pub(crate) address: SocketAddr,
    network: Network,
    _tasks: Tasks,
    _inbound: Inbound,
    _leave: watch::Sender<bool>,
}

impl Member {
    pub(crate) async fn join(network: &Network, name: &str) -> Self {
        Self::join_with(network, name, None).await
    }

    /// Joins with a history of its own, which the other nodes can tell from theirs.
    pub(crate) async fn join_with_history(network: &Network, name: &str) -> Self {
        Self::join_with(network, name, Some(history())).await
    }

    async fn join_with(network: &Network, name: &str, history: Option<Arc<Sequencer>>) -> Self {
        let (name, life) = (NodeName::from(name), Incarnation::of(name));
        let mut cluster = network.join(&name, LEASE);
        cluster.peers = Some(network.peers(&name, life));
        let config = session::Config::default()
            .with_revocation_claims(["/sub"])
            .expect("a pointer")
            .with_expiry(Expiry::Ends { warning: Duration::ZERO, leeway: Duration::ZERO })
            .with_node(name.clone());
        let sessions = Sessions::in_memory(config);
        let admissions = Arc::new(Admissions::new(cluster.lease.fence()));
        let fencing = LostLease::Closed.fencing(&cluster.lease.fence(), LEASE);
        let config = connection::Config {
            outbox_bytes: 8 << 20,
            memory: Memory::new(1 << 30),
            poll_wait: POLL,
            fencing,
            history,
            ..connection::Config::default()
        };
        let memory = config.memory.clone();
        let seal = Seal::new(Some(COOKIE), Purpose::Connection, life);
        let hub = Hub::new(config, sessions.clone(), Arc::default(), seal, Arc::default(), admissions);
        let node = Node::new(sessions.clone(), hub.clone(), Some(cluster));
        let mut tasks = Tasks::default();
        node.spawn(&mut tasks);

        let mut registry = Registry::default();
        let listening = Arc::new(listener::Metrics::register(&mut registry));
        let verifier = verifier();
        let inbound = Inbound::new(
            config_of_port(),
            Parts {
                node: node.clone(),
                hub: hub.clone(),
                sessions: sessions.clone(),
                verifier: verifier.clone(),
                extractors: Arc::default(),
                proxy: proxy(&sessions, verifier, life, memory, &mut registry),
                listening: listening.clone(),
            },
        );
        let listener = Listener::bind(listener::Config {
            address: ([127, 0, 0, 1], 0).into(),
            tls: None,
            clients: None,
            places: Places::new(Limits::default(), WhenFull::Refuse, listening),
            proxies: Default::default(),
            proxy_protocol: false,
            waits: false,
        });
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (leave, leaving) = watch::channel(false);
        tokio::spawn(listener.serve(inbound.clone(), leaving));
        while !node.is_ready() {
            yield_now().await;
        }
        let (network, _inbound) = (network.clone(), inbound);
        Self { name, node, hub, sessions, address, network, _tasks: tasks, _inbound, _leave: leave }
    }

    pub(crate) async fn publish(&self, event_type: &str, id: &str, bytes: usize) {
        let data = "x".repeat(bytes);
        let event =
            json!({ "specversion": "0.2", "type": event_type, "source": "test", "id": id, "data": data });
        let event = Event::from_json(event.to_string().into()).expect("an event");
        self.node.publish(event, EventOrigin::Here).await;
    }

    /// Revokes a session, or all tokens of a user. Waits until the nodes that can be reached have
    /// applied it, and not until the others have lost their leases.
    pub(crate) async fn revoke(&self, whom: Whom<'_>) {
        let (Whom::Session(name) | Whom::User(name)) = whom;
        let mut revocation = Revocation::blacklist(&name.parse().expect("a name"), MINUTE);
        if let Whom::User(_) = whom {
            let value = name.parse().expect("a name");
            revocation.selector = Selector::of_claim("/sub", value);
        }
        self.node.revoke(revocation, true, POLL / 2).await.expect("it is revoked");
    }

    /// Cuts the node off.
    pub(crate) fn cut(&self) {
        self.network.cut(&self.name);
    }

    /// Waits until a poll of a connection of another node waits, if it ever does.
    pub(crate) async fn polled_elsewhere(&self) {
        while self.sessions.counts().connections == 0 {
            yield_now().await;
        }
        for _ in 0..TURNS {
            yield_now().await;
        }
    }
}

pub(crate) enum Whom<'n> {
    Session(&'n str),
    User(&'n str),
}

pub(crate) async fn members<const N: usize>(names: [&str; N]) -> (Network, [Member; N]) {
    let network = Network::default();
    let mut members = Vec::new();
    for name in names {
        members.push(Member::join(&network, name).await);
    }
    let members = members.try_into().ok().expect("one for each name");
    (network, members)
}

fn history() -> Arc<Sequencer> {
    let bounds = Bounds { age: MINUTE, bytes: 1 << 20, events: 1000, excluded: Vec::new() };
    let ring = Ring::new(bounds, Instant::now());
    let options = SequencerOptions { age: MINUTE, has_peers: true, limits: Default::default() };
    Sequencer::new(ring, &IdKey::of_cookie(COOKIE), options)
}

fn verifier() -> Arc<Verifier> {
    let tokens = TokenConfig {
        algorithms: "HS256".parse().expect("an algorithm"),
        issuer: None,
        audience: Vec::new(),
        leeway: Duration::ZERO,
    };
    let key = ConfiguredKey::load(Some(&KeySource::Text(KEY.into())), &tokens.algorithms);
    Arc::new(Verifier::new(Arc::new(key.expect("a key")), tokens))
}

fn config_of_port() -> Config {
    Config {
        cors: Cors::default(),
        connects_per_minute: NonZeroU32::MAX,
        max_body: 4 << 20,
        body_timeout: Duration::from_secs(5),
        extension_names: Default::default(),
        cookie: None,
        subscription_check: Check::NoCheck,
        submission_check: Check::NoCheck,
    }
}

fn proxy(
    sessions: &Sessions,
    verifier: Arc<Verifier>,
    life: Incarnation,
    memory: Arc<Memory>,
    registry: &mut Registry,
) -> Arc<Proxy> {
    let apis = Apis::load(Definitions::default(), Box::new(MemoryStore::default()), |_| None);
    let seal = Seal::new(Some(COOKIE), Purpose::Correlation, life);
    let config = proxy::Config {
        cors: Cors::default(),
        answer_timeout: Duration::from_secs(5),
        services: ServiceLimits::default(),
        memory,
        fencing: Fencing::default(),
    };
    Arc::new(Proxy::new(
        config,
        Collaborators {
            apis: Arc::new(apis.expect("there are none").0),
            waiting: Arc::new(Waiting::new(WaitingConfig::default(), seal)),
            verifier,
            sessions: sessions.clone(),
            metrics: Arc::new(proxy::Metrics::register(registry)),
            reporter: Arc::new(Reporter::new(false, None)),
        },
    ))
}

/// Returns a token of a session and a user that expires after this time.
pub(crate) fn token(session: &str, user: &str, left: Duration) -> String {
    let exp = (SystemTime::now() + left).duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let claims = json!({ "jti": session, "sub": user, "exp": exp });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(KEY.as_bytes()).expect("a key"))
        .expect("a key")
}

/// An answer, split.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answered {
    pub(crate) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    pub(crate) fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.head.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
        lines.filter_map(|line| line.split(';').next()?.split_once('='))
    }

    /// Returns whether it deletes the cookies of RIG, and no other.
    pub(crate) fn clears(&self) -> bool {
        self.head.matches("Max-Age=0").count() == 2
    }

    /// Returns whether it deletes all cookies, and that of the position is among them.
    pub(crate) fn clears_all(&self) -> bool {
        self.head.matches("Max-Age=0").count() == 3 && self.cookies().any(|cookie| cookie == ("position", ""))
    }

    /// Returns the ids of its events, or their types for those of the gateway.
    pub(crate) fn events(&self) -> Vec<String> {
        let body: serde_json::Value = serde_json::from_str(&self.body).expect("a document");
        let name = |event: &serde_json::Value| {
            let member = if event["source"] == "rig" { "type" } else { "id" };
            event[member].as_str().expect("a text").to_owned()
        };
        body["events"].as_array().expect("a list").iter().map(name).collect()
    }
}

/// Sends a request on a connection of its own.
pub(crate) async fn ask(address: SocketAddr, request: &str) -> Answered {
    Answered::parse(&read(send(address, request).await).await)
}

pub(crate) async fn send(address: SocketAddr, request: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let mut stream = socket.connect(address).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    stream
}

/// Reads up to the end, or until the connection breaks.
pub(crate) async fn read(mut stream: TcpStream) -> String {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        all.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8(all).expect("a text")
}

/// A long-polling client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Poller {
    cookies: Vec<(String, String)>,
    /// The token of the connection, once it was read.
    pub(crate) connection: String,
}

impl Poller {
    /// Opens a connection of this session at a node, and reads what comes first.
    pub(crate) async fn open(member: &Member, session: &str) -> Self {
        Self::open_with(member, &token(session, "alice", MINUTE)).await
    }

    pub(crate) async fn open_with(member: &Member, token: &str) -> Self {
        let mut poller = Self::default();
        poller.open_again(member, token).await;
        let welcome = poller.poll(member).await;
        assert_eq!(welcome.events(), ["rig.connection.create", "rig.subscriptions_set"]);
        let body: serde_json::Value = serde_json::from_str(&welcome.body).expect("a document");
        poller.connection =
            body["events"][0]["data"]["connection_token"].as_str().expect("a token").to_owned();
        poller
    }

    /// Opens a connection with the cookies that it has.
    pub(crate) async fn open_again(&mut self, member: &Member, token: &str) -> Answered {
        let subscriptions = r#"[{%22eventType%22:%22t%22}]"#;
        let query = format!("?jwt={token}&subscriptions={subscriptions}");
        let opened = ask(member.address, &self.request(&query, "close")).await;
        assert_eq!((opened.status, &*opened.body), (200, r#""ok""#), "{}", opened.head);
        self.take(&opened);
        opened
    }

    /// Returns the value of its cookie of this name.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    pub(crate) fn keep(&mut self, name: &str, value: &str) {
        self.lose(name);
        self.cookies.push((name.to_owned(), value.to_owned()));
    }

    /// Loses a cookie.
    pub(crate) fn lose(&mut self, name: &str) {
        self.cookies.retain(|(known, _)| known != name);
    }

    /// Polls at any node.
    pub(crate) async fn poll(&mut self, member: &Member) -> Answered {
        let answered = ask(member.address, &self.request("", "close")).await;
        self.take(&answered);
        answered
    }

    /// Begins a poll.
    pub(crate) async fn begin(&self, member: &Member) -> TcpStream {
        send(member.address, &self.request("", "close")).await
    }

    pub(crate) fn request(&self, query: &str, connection: &str) -> String {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!(
            "GET /_rig/v1/connection/longpolling{query} HTTP/1.1\r\nhost: x\r\nconnection: {connection}\r\ncookie: {}\r\n\r\n",
            cookies.join("; ")
        )
    }

    pub(crate) fn take(&mut self, answered: &Answered) {
        for (name, value) in answered.cookies() {
            self.keep(name, value);
        }
    }

    /// Replaces its subscriptions, at any node.
    pub(crate) async fn subscribe(&self, member: &Member, authorization: &str, body: &str) -> Answered {
        put(member, &self.connection, authorization, body).await
    }
}

pub(crate) async fn put(member: &Member, connection: &str, authorization: &str, body: &str) -> Answered {
    let length = body.len();
    let request = format!(
        "PUT /_rig/v1/connection/sse/{connection}/subscriptions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: application/json\r\nauthorization: {authorization}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    ask(member.address, &request).await
}
