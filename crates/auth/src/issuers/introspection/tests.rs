//! Opaque tokens with paused time and scripted answers.

mod answers;
mod keeping;
mod limits;
mod remembering;
mod unanswered;

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::super::fetch::Failure;
use super::super::metrics::FetchResult;
use super::super::testing::{SECRET, claims, config, with};
use super::super::{EndedMark, Issuer, IssuerConfig, Issuers, Mark, OpenConnections, keep_tokens};
use super::answer::Answer;
use super::endpoint::Ask;
use super::store::{Bounds, TokenId};
use super::*;
use crate::{ConfiguredKey, KeySource, TokenConfig, Verifier};

const SECOND: Duration = Duration::from_secs(1);

/// Allows for the resolution of timers.
const SOON: Duration = Duration::from_millis(20);

const TOKEN: &str = "2YotnFZFEjr1zCsicMWpAA";
const OTHER: &str = "ory_at_u1oWq-4yYPbLt4";

/// A provider that answers as a test says: by default, that a token is not active.
struct Provider {
    script: Mutex<Script>,
    begin: Instant,
}

#[derive(Default)]
struct Script {
    /// By token: the body of the answer, or why there is none.
    answers: HashMap<String, Result<String, &'static str>>,
    /// How long an answer takes.
    takes: Duration,
    /// When it was asked about what.
    asked: Vec<(Duration, String)>,
    running: usize,
    most_running: usize,
    refreshed: usize,
}

impl Ask for Provider {
    fn ask<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Answer, Failure>> {
        Box::pin(async move {
            let (answer, takes) = {
                let mut script = self.script.lock();
                script.asked.push((self.begin.elapsed(), token.to_owned()));
                script.running += 1;
                script.most_running = script.most_running.max(script.running);
                (script.answers.get(token).cloned(), script.takes)
            };
            // Answered with what there was when it was asked.
            sleep(takes).await;
            self.script.lock().running -= 1;
            let failure = |reason: &str| Failure::new(FetchResult::Invalid, reason.to_owned());
            let body = answer.unwrap_or_else(|| Ok(r#"{"active":false}"#.to_owned())).map_err(failure)?;
            Answer::read(body.as_bytes()).map_err(failure)
        })
    }

    fn refresh(&self) -> BoxFuture<'_, ()> {
        self.script.lock().refreshed += 1;
        Box::pin(async {})
    }
}

/// The connections of a node, by the values of their marks.
#[derive(Default)]
struct Connections {
    open: Mutex<HashSet<String>>,
    /// When those of which mark were terminated, and why.
    ended: Mutex<Vec<(Instant, String, String)>>,
}

impl OpenConnections for Connections {
    fn have(&self, mark: &Mark) -> bool {
        assert_eq!(mark.kind, "token");
        self.open.lock().contains(&*mark.value)
    }

    fn end(&self, EndedMark { mark, reason }: EndedMark) {
        self.open.lock().remove(&*mark.value);
        self.ended.lock().push((Instant::now(), mark.value.to_string(), reason));
    }
}

/// A gateway with an issuer that is asked.
struct World {
    verifier: Verifier,
    issuer: Arc<Issuer>,
    provider: Arc<Provider>,
    connections: Arc<Connections>,
    begin: Instant,
    task: Option<JoinHandle<()>>,
}

impl World {
    /// Starts it without the task that asks again.
    fn without_task(bounds: Bounds, change: impl FnOnce(&mut IssuerConfig)) -> Self {
        let mut config = config();
        change(&mut config);
        config.introspection = Some(asked_with_prefix(""));
        let begin = Instant::now();
        let provider = Arc::new(Provider { script: Mutex::default(), begin });
        let issuers = Issuers::with(vec![config], |config, _| {
            Some(Introspection::with(provider.clone(), bounds, config.keys_max_stale))
        });
        let issuer = issuers.iter().next().unwrap().clone();
        let verifier = verifier_of(issuers);
        Self { verifier, issuer, provider, connections: Arc::default(), begin, task: None }
    }

    fn start_with(bounds: Bounds, change: impl FnOnce(&mut IssuerConfig)) -> Self {
        let mut world = Self::without_task(bounds, change);
        let (issuer, connections) = (world.issuer.clone(), world.connections.clone());
        world.task = Some(tokio::spawn(keep_tokens(issuer, connections, pending())));
        world
    }

    fn start() -> Self {
        Self::start_with(Bounds::default(), |_| {})
    }

    /// Sets what the issuer says about a token.
    fn say(&self, token: &str, body: impl ToString) {
        self.provider.script.lock().answers.insert(token.to_owned(), Ok(body.to_string()));
    }

    fn say_active(&self, token: &str) {
        self.say(token, active(json!({})));
    }

    fn say_inactive(&self, token: &str) {
        self.say(token, json!({"active": false}));
    }

    /// Lets the issuer not answer questions about a token.
    fn fail(&self, token: &str, reason: &'static str) {
        self.provider.script.lock().answers.insert(token.to_owned(), Err(reason));
    }

    fn takes(&self, takes: Duration) {
        self.provider.script.lock().takes = takes;
    }

    /// Returns when the issuer was asked about a token.
    fn asked(&self, token: &str) -> Vec<u64> {
        let script = self.provider.script.lock();
        script.asked.iter().filter(|(_, asked)| asked == token).map(|(at, _)| at.as_secs()).collect()
    }

    fn questions(&self) -> usize {
        self.provider.script.lock().asked.len()
    }

    async fn accept(&self, token: &str) -> Result<Claims, TokenError> {
        self.verifier.verify_fetching(token).await
    }

    /// Opens a connection, whose token must be valid.
    async fn connect(&self, token: &str) {
        self.accept(token).await.unwrap();
        self.register(token);
    }

    /// Opens a connection whose token was verified before.
    fn register(&self, token: &str) {
        self.connections.open.lock().insert(TokenId::of(token).mark());
    }

    fn is_open(&self, token: &str) -> bool {
        self.connections.open.lock().contains(&TokenId::of(token).mark())
    }

    /// Returns when the connections of a token were terminated, and why.
    fn ended(&self, token: &str) -> Vec<(u64, String)> {
        let mark = TokenId::of(token).mark();
        let ended = self.connections.ended.lock();
        let its = ended.iter().filter(|(_, its, _)| *its == mark);
        its.map(|(at, _, reason)| ((*at - self.begin).as_secs(), reason.clone())).collect()
    }

    /// Waits until this many seconds after the start, and a moment.
    async fn until(&self, seconds: u64) {
        tokio::time::sleep_until(self.begin + Duration::from_secs(seconds) + SOON).await;
    }

    fn state(&self) -> Introspected {
        self.issuer.state().introspected.expect("the issuer is asked")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

fn asked_with_prefix(prefix: &str) -> IntrospectionConfig {
    IntrospectionConfig {
        prefix: prefix.to_owned(),
        url: "https://id.example/introspect".parse().unwrap(),
        client_id: "gateway".to_owned(),
        client_secret_file: "/nonexistent".into(),
    }
}

fn verifier_of(issuers: Issuers) -> Verifier {
    let algorithms = "HS256".parse().unwrap();
    let key = ConfiguredKey::load(KeySource::parse(SECRET).as_ref(), &algorithms).unwrap();
    let config = TokenConfig { algorithms, issuer: None, audience: Vec::new(), leeway: Duration::ZERO };
    Verifier::new(Arc::new(key), config).with_issuers(issuers)
}

/// What an issuer says about a good token, with further members or others in their place; null
/// removes one.
fn active(further: Value) -> Value {
    with(claims(json!({"active": true, "token_type": "Bearer", "client_id": "app"})), further)
}
