//! Answers and tunnels of sessions while the node has no lease, over real ports.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use auth::{ConfiguredKey, Cors, KeySource, TokenConfig, Verifier};
use bytes::Bytes;
use http::Request;
use listener::{Answer, App, ClientBody, Limits, Listener, Peer, Places, WhenFull};
use memory::Memory;
use metric::Registry;
use rig_proxy::{
    Apis, Collaborators, Config, Definitions, MemoryStore, Metrics, Proxy, ServiceLimits, Waiting,
    WaitingConfig,
};
use seal::{Incarnation, Purpose, Seal};
use serde_json::json;
use session::{Fence, LostLease, Sessions};
use telemetry::Reporter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

const KEY: &str = "a-key-of-32-bytes-for-this-test!";

/// `{"jti":"s","exp":4102444800}`, signed with the key by HS256.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiJzIiwiZXhwIjo0MTAyNDQ0ODAwfQ.\
                     _WhpVabxOhz0WWK5XwtIN86FNzXuyPdni1dEFfdyfG4";

/// Longer than any of these tests.
const NEVER: Duration = Duration::from_secs(3600);

/// A head of a service that is followed by two chunks, `one` and `two`.
const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// How the service answers.
enum Step {
    /// A request was received.
    Asked,
    /// These bytes were received after its head.
    Received(Vec<u8>),
}

/// A service over HTTP/1.1, which answers with what the test says.
struct Service {
    port: u16,
    say: mpsc::UnboundedSender<&'static str>,
    steps: mpsc::UnboundedReceiver<Step>,
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (say, mut said) = mpsc::unbounded_channel::<&'static str>();
        let (step, steps) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (mut asked, mut buffer) = (Vec::new(), vec![0; 4096]);
                loop {
                    tokio::select! {
                        text = said.recv() => {
                            let Some(text) = text else { return };
                            if socket.write_all(text.as_bytes()).await.is_err() { break }
                        }
                        read = socket.read(&mut buffer) => {
                            let Ok(read @ 1..) = read else { break };
                            asked.extend_from_slice(&buffer[..read]);
                            if asked.starts_with(b"GET ") {
                                if asked.ends_with(b"\r\n\r\n") {
                                    asked.clear();
                                    let _ = step.send(Step::Asked);
                                }
                            } else {
                                let _ = step.send(Step::Received(std::mem::take(&mut asked)));
                            }
                        }
                    }
                }
            }
        });
        Self { port, say, steps }
    }
}

#[derive(Clone)]
struct Port(Arc<Proxy>);

impl App for Port {
    async fn call(&self, request: Request<ClientBody>, peer: Peer) -> Answer {
        self.0.call(request, peer).await
    }
}

struct World {
    address: SocketAddr,
    fence: Fence,
    sessions: Sessions,
    service: Service,
    _leave: watch::Sender<bool>,
}

impl World {
    /// Starts a node with a lease.
    async fn start(hold: Duration) -> Self {
        let service = Service::start().await;
        let endpoint = |id: &str, secured: bool| json!({ "id": id, "path_regex": format!("/{id}"), "method": "GET", "secured": secured });
        let definition = json!([{
            "id": "api",
            "name": "api",
            "auth_type": "jwt",
            "auth": { "use_header": true, "header_name": "Authorization" },
            "version_data": { "default": { "endpoints": [endpoint("theirs", true), endpoint("open", false)] } },
            "proxy": { "target_url": "http://127.0.0.1", "port": service.port },
        }]);
        let (definitions, _) = Definitions::parse(&definition, &|_| None).expect("a definition");
        let apis = Apis::load(definitions, Box::new(MemoryStore::default()), |_| None);
        let tokens = TokenConfig {
            algorithms: "HS256".parse().expect("an algorithm"),
            issuer: None,
            audience: Vec::new(),
            leeway: Duration::ZERO,
        };
        let key = ConfiguredKey::load(Some(&KeySource::Text(KEY.to_owned())), &tokens.algorithms);
        let fence = Fence::with_clock(|| Duration::ZERO);
        let config = Config {
            cors: Cors::default(),
            answer_timeout: Duration::from_secs(60),
            services: ServiceLimits::default(),
            memory: Memory::new(1 << 20),
            fencing: LostLease::Closed.fencing(&fence, hold),
        };
        let mut registry = Registry::default();
        let seal = Seal::new(None, Purpose::Correlation, Incarnation::unnamed());
        let sessions = Sessions::in_memory(session::Config::default());
        let collaborators = Collaborators {
            apis: Arc::new(apis.expect("it can be served").0),
            waiting: Arc::new(Waiting::new(WaitingConfig::default(), seal)),
            verifier: Arc::new(Verifier::new(Arc::new(key.expect("a key")), tokens)),
            sessions: sessions.clone(),
            metrics: Arc::new(Metrics::register(&mut registry)),
            reporter: Arc::new(Reporter::new(false, None)),
        };
        let metrics = Arc::new(listener::Metrics::register(&mut registry));
        let listener = Listener::bind(listener::Config {
            address: ([127, 0, 0, 1], 0).into(),
            tls: None,
            clients: None,
            places: Places::new(Limits::default(), WhenFull::Refuse, metrics),
            proxies: Default::default(),
            proxy_protocol: false,
            waits: false,
        });
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (leave, leaving) = watch::channel(false);
        tokio::spawn(listener.serve(Port(Arc::new(Proxy::new(config, collaborators))), leaving));
        let world = Self { address, fence, sessions, service, _leave: leave };
        world.extend();
        world
    }

    fn extend(&self) {
        self.fence.extend(Duration::from_secs(1));
    }

    fn say(&self, text: &'static str) {
        self.service.say.send(text).expect("the service runs");
    }

    async fn is_asked(&mut self) {
        assert!(matches!(self.service.steps.recv().await, Some(Step::Asked)));
    }

    /// Waits until an answer is held at the fence: from then on, the client has got all that it
    /// gets.
    async fn holds(&self, writes: u64) {
        while self.fence.held() < writes {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A client over HTTP/1.1.
struct Client {
    socket: TcpStream,
    got: String,
}

impl Client {
    async fn ask(world: &World, path: &str, more: &str) -> Self {
        let mut client =
            Self { socket: TcpStream::connect(world.address).await.expect("it listens"), got: String::new() };
        client.again(path, more).await;
        client
    }

    async fn again(&mut self, path: &str, more: &str) {
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n{more}\r\n");
        self.socket.write_all(head.as_bytes()).await.expect("it reads");
    }

    /// Reads until the answer so far ends with `text`.
    async fn reads(&mut self, text: &str) {
        while !self.got.ends_with(text) {
            let mut buffer = vec![0; 4096];
            let read = self.socket.read(&mut buffer).await.expect("the connection is open");
            assert!(read > 0, "the answer ends with {:?}", self.got);
            self.got.push_str(std::str::from_utf8(&buffer[..read]).expect("a text"));
        }
    }

    fn has_nothing_more(&self) -> bool {
        let read = self.socket.try_read(&mut [0; 1]);
        read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Reads until the connection is closed, in whatever way.
    async fn sees_the_end(mut self) -> String {
        let mut rest = Vec::new();
        let _ = self.socket.read_to_end(&mut rest).await;
        self.got + &String::from_utf8(rest).expect("a text")
    }
}

#[tokio::test]
async fn no_byte_of_an_answer_is_written_while_the_fence_is_closed() {
    let mut world = World::start(NEVER).await;
    let mut client = Client::ask(&world, "/theirs", "").await;
    world.is_asked().await;
    world.fence.close();
    world.say(HEAD);
    world.say("3\r\none\r\n");
    world.holds(1).await;
    assert!(client.has_nothing_more(), "not even the head");
    world.extend();
    client.reads("one\r\n").await;
    assert!(client.got.starts_with("HTTP/1.1 200 OK\r\n"), "{}", client.got);

    world.fence.close();
    world.say("3\r\ntwo\r\n0\r\n\r\n");
    world.holds(2).await;
    assert!(client.has_nothing_more(), "the rest is held too");
    world.extend();
    client.reads("3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn a_request_without_a_session_is_not_fenced_even_after_one_with_a_session() {
    let mut world = World::start(NEVER).await;
    let mut client = Client::ask(&world, "/theirs", "").await;
    world.is_asked().await;
    world.say("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none");
    client.reads("one").await;
    world.fence.close();
    client.again("/open", "").await;
    world.is_asked().await;
    world.say("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo");
    client.reads("two").await;
    assert_eq!(world.fence.held(), 0);
}

#[tokio::test]
async fn a_request_of_a_session_is_refused_while_the_fence_is_closed() {
    let world = World::start(NEVER).await;
    world.fence.close();
    let mut client = Client::ask(&world, "/theirs", "").await;
    client.reads("The node has lost contact with the other nodes.").await;
    assert!(client.got.starts_with("HTTP/1.1 503 "), "{}", client.got);
    assert!(client.got.contains("\r\nretry-after: 2\r\n"), "{}", client.got);
}

#[tokio::test]
async fn an_answer_that_is_held_for_too_long_is_cut_off() {
    let mut world = World::start(Duration::from_millis(1)).await;
    let client = Client::ask(&world, "/theirs", "").await;
    world.is_asked().await;
    world.fence.close();
    world.say("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none");
    assert_eq!(client.sees_the_end().await, "");
    assert_eq!(world.sessions.counts().connections, 0, "the request is forgotten");
}

#[tokio::test]
async fn an_answer_that_is_held_when_its_session_is_revoked_is_never_written() {
    let mut world = World::start(NEVER).await;
    let client = Client::ask(&world, "/theirs", "").await;
    world.is_asked().await;
    world.fence.close();
    world.say("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none");
    world.holds(1).await;
    world.sessions.blacklist(&"s".parse().expect("a name"), NEVER).expect("the log in memory keeps all");
    world.extend();
    assert_eq!(client.sees_the_end().await, "");
}

#[tokio::test]
async fn a_tunnel_is_held_towards_the_client_and_open_towards_the_service() {
    let mut world = World::start(NEVER).await;
    let mut client = Client::ask(&world, "/theirs", "connection: upgrade\r\nupgrade: x\r\n").await;
    world.is_asked().await;
    world.say("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\none");
    client.reads("one").await;
    world.fence.close();
    world.say("two");
    world.holds(1).await;
    assert!(client.has_nothing_more());
    client.socket.write_all(b"hello").await.expect("it reads");
    let Some(Step::Received(bytes)) = world.service.steps.recv().await else { panic!("it is asked again") };
    assert_eq!(bytes, b"hello");
    world.extend();
    client.reads("onetwo").await;
}

#[tokio::test]
async fn a_tunnel_that_is_held_for_too_long_is_cut_off() {
    let mut world = World::start(Duration::from_millis(1)).await;
    let mut client = Client::ask(&world, "/theirs", "connection: upgrade\r\nupgrade: x\r\n").await;
    world.is_asked().await;
    world.say("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\none");
    client.reads("one").await;
    world.fence.close();
    world.say("two");
    let all = client.sees_the_end().await;
    assert!(all.ends_with("one"), "{all}");
}

/// Sends a request over HTTP/2, by prior knowledge.
async fn ask_http2(world: &World) -> (h2::client::ResponseFuture, h2::client::SendRequest<Bytes>) {
    let socket = TcpStream::connect(world.address).await.expect("it listens");
    let (client, connection) = h2::client::handshake(socket).await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    let mut client = client.ready().await.expect("it takes requests");
    let request = Request::get(format!("http://{}/theirs", world.address))
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(())
        .expect("a request");
    let (response, _) = client.send_request(request, true).expect("it is sent");
    (response, client)
}

#[tokio::test]
async fn over_http2_neither_head_nor_body_is_handed_on_while_the_fence_is_closed() {
    let mut world = World::start(NEVER).await;
    let (mut response, _client) = ask_http2(&world).await;
    world.is_asked().await;
    world.fence.close();
    world.say(HEAD);
    world.say("3\r\none\r\n");
    world.holds(1).await;
    let none = futures_util::poll!(&mut response);
    assert!(none.is_pending(), "{none:?}");
    world.extend();
    let mut body = response.await.expect("an answer").into_body();
    assert_eq!(body.data().await.expect("a piece").expect("the stream is open"), "one");

    world.fence.close();
    world.say("3\r\ntwo\r\n0\r\n\r\n");
    world.holds(2).await;
    let none = futures_util::poll!(std::pin::pin!(body.data()));
    assert!(none.is_pending(), "{none:?}");
    world.extend();
    let mut rest = Vec::new();
    while let Some(data) = body.data().await {
        rest.extend_from_slice(&data.expect("the stream is open"));
    }
    assert_eq!(rest, b"two");
}

#[tokio::test]
async fn over_http2_a_stream_that_is_held_for_too_long_is_reset_and_the_others_go_on() {
    let mut world = World::start(Duration::from_millis(1)).await;
    let (response, client) = ask_http2(&world).await;
    world.is_asked().await;
    world.fence.close();
    world.say(HEAD);
    world.say("3\r\none\r\n");
    let error = response.await.expect_err("the stream is reset");
    assert!(error.is_reset(), "{error}");
    let mut client = client.ready().await.expect("it takes requests");
    let request = Request::get(format!("http://{}/theirs", world.address))
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(())
        .expect("a request");
    let (response, _) = client.send_request(request, true).expect("it is sent");
    assert_eq!(response.await.expect("an answer").status(), 503);
}
