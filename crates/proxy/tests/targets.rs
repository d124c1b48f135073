//! Endpoints whose target is not an HTTP service, over a real port.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use auth::{ConfiguredKey, Cors, TokenConfig, Verifier};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use listener::{Answer, App, ClientBody, Limits, Listener, Peer, Places, WhenFull};
use memory::Memory;
use metric::Registry;
use rig_proxy::{
    Api, Apis, AsyncAnswer, Collaborators, Config, Definitions, Endpoint, MemoryStore, Metrics, Proxy,
    ResponseFrom, ServiceLimits, Target, TargetError, TargetFault, TargetFuture, TargetRequest, Targets,
    TimeLimits, Waiting, WaitingConfig,
};
use seal::{Incarnation, Purpose, Seal};
use serde_json::json;
use session::{Fencing, MemoryLog, Sessions};
use telemetry::{Exposition, Reporter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc, watch};

/// Answers as the path demands.
#[derive(Debug)]
struct Broker {
    /// Gets the requests that were accepted for an asynchronous answer.
    accepted: mpsc::UnboundedSender<String>,
}

impl Target for Broker {
    fn label(&self) -> &'static str {
        "broker"
    }

    fn send(&self, request: TargetRequest, _: TimeLimits) -> TargetFuture<'_> {
        Box::pin(async move {
            let correlation = request.correlation;
            let (head, body) = request.http.into_parts();
            let unreachable = |error: &dyn ToString| TargetError::Unreachable(error.to_string());
            let body = body.collect().await.map_err(|error| unreachable(&error))?.to_bytes();
            let answer = match head.uri.path() {
                "/echo" => Response::builder().header("x-method", head.method.as_str()).body(body),
                "/accepted" => {
                    let token = correlation.expect("its answer comes later");
                    self.accepted.send(token).expect("the test hears");
                    Response::builder().status(202).body(Bytes::new())
                }
                "/upgrade" => Response::builder().status(101).body(Bytes::new()),
                "/unreachable" => return Err(unreachable(&"no broker")),
                "/busy" => return Err(TargetError::Busy("full".to_owned())),
                "/invalid" => return Err(TargetError::Invalid("no event".to_owned())),
                "/large" => return Err(TargetError::TooLarge("1 MB".to_owned())),
                "/unavailable" => return Err(TargetError::Unavailable("no broker".to_owned())),
                "/late" => return Err(TargetError::TimedOut("no acknowledgement".to_owned())),
                _ => pending().await,
            };
            answer.map_err(|error| unreachable(&error))
        })
    }
}

/// Makes the broker the target of every endpoint but one.
struct OneBroker(Arc<dyn Target>);

impl Targets for OneBroker {
    fn target(&self, _: &Api, endpoint: &Endpoint) -> Result<Option<Arc<dyn Target>>, TargetFault> {
        Ok((&*endpoint.id != "http").then(|| self.0.clone()))
    }

    fn receives(&self, from: ResponseFrom) -> bool {
        from != ResponseFrom::Kafka
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
    waiting: Arc<Waiting>,
    asked: Mutex<mpsc::UnboundedReceiver<String>>,
    registry: Registry,
    _leave: watch::Sender<bool>,
}

impl World {
    fn new() -> Self {
        let endpoint = |id: &str, more: serde_json::Value| {
            let mut endpoint = json!({"id": id, "path_regex": format!("/{id}"), "method": "POST"});
            let members = more.as_object().expect("an object").clone();
            endpoint.as_object_mut().expect("an object").extend(members);
            endpoint
        };
        let endpoints = [
            endpoint("echo", json!({"max_body_bytes": 10, "response_headers": {"x-added": "1"}})),
            endpoint("accepted", json!({"response_from": "http_async"})),
            endpoint("upgrade", json!({})),
            endpoint("unreachable", json!({})),
            endpoint("busy", json!({})),
            endpoint("invalid", json!({})),
            endpoint("large", json!({})),
            endpoint("unavailable", json!({})),
            endpoint("late", json!({})),
            endpoint("silent", json!({"timeout_ms": 50})),
            endpoint("deaf", json!({"response_from": "kafka"})),
            endpoint("http", json!({})),
        ];
        let definition = json!([{
            "id": "api",
            "name": "api",
            "version_data": {"default": {"endpoints": endpoints}},
            // Nothing listens there.
            "proxy": {"target_url": "http://127.0.0.1", "port": 1},
        }]);
        let (definitions, _) = Definitions::parse(&definition, &|_| None).expect("a definition");
        let (accepted, asked) = mpsc::unbounded_channel();
        let broker: Arc<dyn Target> = Arc::new(Broker { accepted });
        let apis = Apis::load_with_targets(
            definitions,
            Box::new(MemoryStore::default()),
            |_| None,
            Box::new(OneBroker(broker)),
        );
        let tokens = TokenConfig {
            algorithms: "HS256".parse().expect("an algorithm"),
            issuer: None,
            audience: Vec::new(),
            leeway: Duration::ZERO,
        };
        let key = ConfiguredKey::load(None, &tokens.algorithms).expect("no key");
        let config = Config {
            cors: Cors::default(),
            answer_timeout: Duration::from_secs(5),
            services: ServiceLimits::default(),
            memory: Memory::new(1 << 20),
            fencing: Fencing::default(),
        };
        let seal = Seal::new(None, Purpose::Correlation, Incarnation::unnamed());
        let waiting = Arc::new(Waiting::new(WaitingConfig::default(), seal));
        let mut registry = Registry::default();
        let sessions = Sessions::new(session::Config::default(), MemoryLog::default());
        let collaborators = Collaborators {
            apis: Arc::new(apis.expect("it can be served").0),
            waiting: waiting.clone(),
            verifier: Arc::new(Verifier::new(Arc::new(key), tokens)),
            sessions: sessions.expect("there is nothing to load"),
            metrics: Arc::new(Metrics::register(&mut registry)),
            reporter: Arc::new(Reporter::new(false, None)),
        };
        let proxy = Proxy::new(config, collaborators);
        let listener = Listener::bind(listener::Config {
            address: ([127, 0, 0, 1], 0).into(),
            tls: None,
            clients: None,
            places: Places::new(
                Limits::default(),
                WhenFull::Refuse,
                Arc::new(listener::Metrics::register(&mut registry)),
            ),
            proxies: Default::default(),
            proxy_protocol: false,
            waits: false,
        });
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (leave, leaving) = watch::channel(false);
        tokio::spawn(listener.serve(Port(Arc::new(proxy)), leaving));
        Self { address, waiting, asked: Mutex::new(asked), registry, _leave: leave }
    }

    /// Sends a request, and returns the answer as text.
    async fn ask(&self, path: &str, body: &str) -> String {
        let mut socket = TcpStream::connect(self.address).await.expect("it listens");
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("a text");
        answer
    }
}

#[tokio::test]
async fn a_target_answers() {
    let world = World::new();
    let answer = world.ask("/echo", "hello").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("x-method: POST\r\n") && answer.contains("x-added: 1\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    let text = Exposition::Prometheus.text(&world.registry);
    let is_counted = |line: &str| line.contains(r#"path="/echo""#) && line.contains(r#"target="broker""#);
    assert!(text.lines().any(is_counted), "{text}");
}

#[tokio::test]
async fn what_a_target_does_not_answer_has_a_status() {
    let world = World::new();
    for (path, status) in [
        ("/unreachable", "502 Bad Gateway"),
        ("/busy", "503 Service Unavailable"),
        ("/silent", "504 Gateway Timeout"),
        ("/invalid", "400 Bad Request"),
        ("/large", "413 Payload Too Large"),
        ("/unavailable", "503 Service Unavailable"),
        ("/deaf", "503 Service Unavailable"),
        ("/late", "504 Gateway Timeout"),
        ("/upgrade", "502 Bad Gateway"),
        ("/http", "502 Bad Gateway"),
    ] {
        let answer = world.ask(path, "x").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{path}: {answer}");
        // A client gets to know why its request is refused, and nothing of the broker.
        assert_eq!(answer.ends_with("\r\n\r\nno event"), path == "/invalid", "{answer}");
        assert!(!answer.contains("no broker") && !answer.contains("no acknowledgement"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_does_not_reach_it() {
    let answer = World::new().ask("/echo", "0123456789a").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn the_answer_may_come_to_the_internal_port() {
    let world = World::new();
    let answering = async {
        let token = world.asked.lock().await.recv().await.expect("it is asked");
        let answer =
            AsyncAnswer { status: StatusCode::CREATED, headers: HeaderMap::new(), body: "later".into() };
        world.waiting.deliver(&token, answer)
    };
    let (answer, delivered) = tokio::join!(world.ask("/accepted", ""), answering);
    assert_eq!(delivered, Ok(()));
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n") && answer.ends_with("later"), "{answer}");
}
