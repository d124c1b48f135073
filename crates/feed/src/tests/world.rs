//! A node with feeds, its connections, and the statements of a provider.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auth::{Kind, SignedJwt, TokenError};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use connection::{Admissions, Hub};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use identity::{EventsConfig, FeedConfig, SeenSessions};
use memory::Memory;
use metric::Registry;
use node::{Cluster, Node};
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use seal::{Incarnation, Purpose, Seal};
use serde_json::{Map, Value, json};
use session::{
    Cause, Config, Connection, Ending, IssuerField, Log, MemoryLog, NodeName, Notified, Record, Registration,
    Sessions, Verified,
};
use tokio::sync::Notify;

use crate::{Feed, Feeds, Parts, Signatures};

pub(super) const ISSUER: &str = "https://id.example/realms/main";
pub(super) const SECOND: &str = "https://second.example";

/// What is after the last dot of a token that the issuer has signed.
const SIGNATURE: &str = "signed";

/// The same, with a key that is not known yet.
const NEW_SIGNATURE: &str = "signed-anew";

pub(super) struct World {
    pub(super) node: Node,
    pub(super) sessions: Sessions,
    pub(super) feeds: Arc<Feeds>,
    pub(super) keys: Arc<Script>,
    pub(super) seen: Arc<SeenSessions>,
    registry: Registry,
}

/// A verifier that follows a script.
#[derive(Default)]
pub(super) struct Script {
    pub(super) keys: Mutex<Keys>,
    /// How many statements wait for keys, and the most that did.
    now: AtomicUsize,
    pub(super) most: AtomicUsize,
    pub(super) go: Notify,
}

/// The keys of the issuer. A token of [`sign_anew`] needs one that must be fetched.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Keys {
    #[default]
    There,
    /// There are none, and they cannot be fetched.
    Away,
    /// A new one is being fetched until `go` is notified.
    Late,
    /// The provider does not answer when a new one is fetched.
    Hanging,
}

impl Signatures for Script {
    fn verify(&self, token: &str, _: Kind) -> Result<SignedJwt, TokenError> {
        match *self.keys.lock() {
            Keys::Away => Err(TokenError::Unavailable),
            _ if token.ends_with(NEW_SIGNATURE) => Err(TokenError::UnknownKey),
            _ => read(token),
        }
    }

    fn verify_fetching<'a>(
        &'a self,
        token: &'a str,
        _: Kind,
        within: Duration,
    ) -> BoxFuture<'a, Result<SignedJwt, TokenError>> {
        async move {
            let before = self.now.fetch_add(1, SeqCst);
            self.most.fetch_max(before + 1, SeqCst);
            assert_eq!(within, Duration::from_secs(2));
            let keys = *self.keys.lock();
            match keys {
                Keys::There | Keys::Away => {}
                Keys::Late => self.go.notified().await,
                Keys::Hanging => std::future::pending().await,
            }
            self.now.fetch_sub(1, SeqCst);
            if keys == Keys::Away { Err(TokenError::Unavailable) } else { read(token) }
        }
        .boxed()
    }
}

/// Reads a token of [`sign`].
fn read(token: &str) -> Result<SignedJwt, TokenError> {
    let parts: Vec<_> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { return Err(TokenError::Signature) };
    let json = |part: &str| -> Option<Value> {
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
    };
    let header = json(header).ok_or(TokenError::Signature)?;
    let Some(Value::Object(claims)) = json(payload) else { return Err(TokenError::Malformed) };
    if claims.get("iss").is_none_or(|iss| iss != ISSUER) {
        return Err(TokenError::Issuer);
    }
    let header_type = header.get("typ").and_then(Value::as_str).map(str::to_owned);
    match signature {
        SIGNATURE | NEW_SIGNATURE => Ok(SignedJwt { claims, header_type }),
        _ => Err(TokenError::Signature),
    }
}

/// Returns a token with these claims, as the issuer signs it.
pub(super) fn sign(typ: &str, claims: &Value) -> String {
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{SIGNATURE}", encode(&json!({ "typ": typ })), encode(claims))
}

/// As [`sign`], with a key that is not known yet.
pub(super) fn sign_anew(typ: &str, claims: &Value) -> String {
    sign(typ, claims).replace(SIGNATURE, NEW_SIGNATURE)
}

/// A connection that notes why it is terminated.
#[derive(Default)]
pub(super) struct Client {
    ended: Mutex<Option<Cause>>,
    is_request: AtomicBool,
}

impl Connection for Client {
    fn session_killed(&self, ending: &Arc<Ending>) -> Notified {
        self.ended.lock().get_or_insert(ending.cause());
        match self.is_request.load(SeqCst) {
            true => Notified { requests: 1, ..Notified::default() },
            false => Notified::ended(),
        }
    }
}

/// An open connection.
pub(super) struct Open {
    client: Arc<Client>,
    _registration: Registration,
}

impl Open {
    /// Is no connection from now on, but a request that is cut short.
    pub(super) fn be_a_request(&self) {
        self.client.is_request.store(true, SeqCst);
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        *self.client.ended.lock()
    }
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answered {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(super) fn config() -> FeedConfig {
    FeedConfig {
        client_ids: vec!["gateway".to_owned()],
        public_url: Some("https://rig.example".to_owned()),
        events: Some(EventsConfig {
            audience: vec!["rig".to_owned()],
            email: Some("/email".to_owned()),
            ..EventsConfig::default()
        }),
        ..FeedConfig::new("kc", ISSUER)
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(config(), MemoryLog::new())
    }

    pub(super) fn with(config: FeedConfig, log: impl Log) -> Self {
        Self::in_cluster(config, log, NodeName::default(), None)
    }

    pub(super) fn in_cluster(
        config: FeedConfig,
        log: impl Log,
        name: NodeName,
        cluster: Option<Cluster>,
    ) -> Self {
        let field = |issuer: &str, selectable: Vec<String>| IssuerField {
            issuer: issuer.into(),
            session_field: config.session_field.clone(),
            selectable,
            ..IssuerField::default()
        };
        let own = config.claims().map(str::to_owned).collect();
        let issuers = vec![field(ISSUER, own), field(SECOND, Vec::new())];
        let of_sessions = Config::default().with_node(name).with_issuers(issuers, false).unwrap();
        let sessions = Sessions::new(of_sessions, log).unwrap();
        let fence = cluster.as_ref().map(|cluster| cluster.lease.fence()).unwrap_or_default();
        let hub = Hub::new(
            connection::Config::default(),
            sessions.clone(),
            Arc::default(),
            Seal::new(Some("test-cookie"), Purpose::Connection, Incarnation::unnamed()),
            Arc::default(),
            Arc::new(Admissions::new(fence)),
        );
        let node = Node::new(sessions.clone(), hub, cluster);
        let (keys, seen): (Arc<Script>, Arc<SeenSessions>) = Default::default();
        let parts = Parts {
            node: node.clone(),
            sessions: sessions.clone(),
            memory: Memory::new(1 << 20),
            body_timeout: Duration::from_secs(5),
        };
        let mut registry = Registry::default();
        let feed = Feed { config, signatures: keys.clone(), seen: seen.clone() };
        let feeds = Arc::new(Feeds::new(parts, vec![feed], &mut registry));
        Self { node, sessions, feeds, keys, seen, registry }
    }

    /// Opens a connection with a token of the first issuer; `None` if it is refused.
    pub(super) fn open(&self, claims: Value) -> Option<Open> {
        self.open_of(ISSUER, claims)
    }

    pub(super) fn open_of(&self, issuer: &str, claims: Value) -> Option<Open> {
        let Value::Object(claims) = claims else { unreachable!("claims are an object") };
        let subject = self.sessions.subject(verified(issuer, &claims)).unwrap();
        let client = Arc::new(Client::default());
        let weak: Weak<Client> = Arc::downgrade(&client);
        let registration = self.sessions.register(&subject, weak).ok()?;
        Some(Open { client, _registration: registration })
    }

    pub(super) async fn post(
        &self,
        feed: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answered {
        let mut request = Request::builder().method(Method::POST).uri(format!("/_rig/v1/issuers/{feed}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.request(request.body(Full::new(body.into())).unwrap()).await
    }

    pub(super) async fn request(&self, request: Request<Full<Bytes>>) -> Answered {
        let response = self.feeds.answer(request).await;
        let (head, body) = response.into_parts();
        assert_eq!(head.headers["cache-control"], "no-store", "{}", head.status);
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.into()).unwrap();
        Answered { status: head.status, headers: head.headers, body }
    }

    pub(super) async fn log_out(&self, token: &str) -> Answered {
        let form = format!("logout_token={token}");
        self.post("kc/logout", &[(CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded")], form).await
    }

    pub(super) async fn push(&self, set: &str) -> Answered {
        self.post("kc/events", &[("content-type", "application/secevent+jwt")], set.to_owned()).await
    }

    /// Returns all records, the newest first.
    pub(super) async fn records(&self) -> Vec<Record> {
        self.node.records(None, 1000).await.unwrap()
    }

    /// Returns a sample of `rig_feed_statements_total`.
    pub(super) fn count(&self, feed: &str, result: &str) -> u64 {
        self.metric(&format!(r#"rig_feed_statements_total{{issuer="kc",feed="{feed}",result="{result}"}}"#))
    }

    /// Returns a sample; 0 if there is none.
    pub(super) fn metric(&self, name: &str) -> u64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }
}

fn verified<'t>(issuer: &'t str, claims: &'t Map<String, Value>) -> Verified<'t> {
    Verified { claims, issuer: Some(issuer), marks: &[] }
}
