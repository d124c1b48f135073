//! The task with paused time, scripted answers, and connections that a test opens.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::StatusListToken;
use super::super::fetch::FetchList;
use super::super::task::keep;
use super::list;
use crate::claims::Claims;
use crate::issuers::fetch::Failure;
use crate::issuers::metrics::FetchResult;
use crate::issuers::testing::{ISS, config};
use crate::issuers::{EndedMark, Issuer, IssuerConfig, Issuers, ListsConfig, Mark, OpenConnections};
use crate::token_error::TokenError;

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// Allows for the resolution of timers.
pub(super) const SOON: Duration = Duration::from_millis(20);

/// How a list is answered.
#[derive(Clone)]
pub(super) enum Answer {
    List(StatusListToken),
    Failure(&'static str),
    Hang,
}

#[derive(Clone)]
struct World(Arc<Mutex<State>>);

struct State {
    begin: Instant,
    answers: BTreeMap<String, Answer>,
    takes: Duration,
    /// When each fetch began, and of which list.
    fetches: Vec<(Duration, String)>,
    /// The marks of open connections.
    open: HashSet<String>,
    /// Connections stay open for this number of attempts.
    stubborn: usize,
    ended: Vec<(Duration, String, String)>,
}

/// An issuer with the task that keeps its lists.
pub(super) struct Kept {
    pub(super) issuer: Arc<Issuer>,
    world: World,
    task: JoinHandle<()>,
}

impl FetchList for World {
    async fn fetch(&self, uri: &str) -> Result<StatusListToken, Failure> {
        let (answer, takes) = {
            let mut state = self.0.lock();
            let at = state.begin.elapsed();
            state.fetches.push((at, uri.to_owned()));
            let failure = Answer::Failure("status 404");
            (state.answers.get(uri).cloned().unwrap_or(failure), state.takes)
        };
        sleep(takes).await;
        match answer {
            Answer::List(token) => Ok(token),
            Answer::Failure(reason) => Err(Failure::new(FetchResult::Status, reason.to_owned())),
            Answer::Hang => {
                sleep(5 * SECOND).await;
                Err(Failure::new(FetchResult::Timeout, "no answer within 5 s".to_owned()))
            }
        }
    }
}

impl OpenConnections for World {
    fn have(&self, mark: &Mark) -> bool {
        assert_eq!((&*mark.issuer, mark.kind), (ISS, "status"));
        self.0.lock().open.contains(&*mark.value)
    }

    fn end(&self, EndedMark { mark, reason }: EndedMark) {
        let mut state = self.0.lock();
        assert!(state.open.contains(&*mark.value), "recorded, so only for connections");
        let at = state.begin.elapsed();
        state.ended.push((at, mark.value.to_string(), reason));
        match state.stubborn {
            0 => drop(state.open.remove(&*mark.value)),
            _ => state.stubborn -= 1,
        }
    }
}

/// A list of one byte each status.
pub(super) fn answer(statuses: &[u8]) -> StatusListToken {
    StatusListToken { list: list(8, statuses), issued_at: 0.0, expires_in: None, ttl: 10 * SECOND }
}

impl Kept {
    pub(super) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(super) fn start_with(change: impl FnOnce(&mut IssuerConfig)) -> Self {
        let prefixes = vec![ListsConfig::prefix("https://id.example/lists/").unwrap()];
        let mut config = IssuerConfig { status_lists: Some(ListsConfig { prefixes }), ..config() };
        change(&mut config);
        let issuer = Issuers::new(vec![config]).iter().next().unwrap().clone();
        let state = State {
            begin: Instant::now(),
            answers: BTreeMap::new(),
            takes: Duration::ZERO,
            fetches: Vec::new(),
            open: HashSet::new(),
            stubborn: 0,
            ended: Vec::new(),
        };
        let world = World(Arc::new(Mutex::new(state)));
        let task = tokio::spawn({
            let (issuer, world) = (issuer.clone(), world.clone());
            async move {
                let lists = issuer.lists.as_ref().unwrap();
                keep(&issuer, lists, world.clone(), &world, std::future::pending()).await;
            }
        });
        Self { issuer, world, task }
    }

    /// The list of this number is answered like this from now on.
    pub(super) fn answers(&self, number: usize, answer: Answer) {
        self.world.0.lock().answers.insert(uri(number), answer);
    }

    pub(super) fn has(&self, number: usize, token: StatusListToken) {
        self.answers(number, Answer::List(token));
    }

    pub(super) fn takes(&self, takes: Duration) {
        self.world.0.lock().takes = takes;
    }

    /// Verifies a token, as a connection does.
    pub(super) async fn verify(&self, number: usize, index: u64) -> Result<Claims, TokenError> {
        self.issuer.with_status_fetched(token(number, index), 5 * SECOND).await
    }

    /// Verifies a token, and opens a connection for it.
    pub(super) async fn connect(&self, number: usize, index: u64) {
        self.verify(number, index).await.unwrap();
        self.open(number, index);
    }

    pub(super) fn open(&self, number: usize, index: u64) {
        self.world.0.lock().open.insert(mark(number, index));
    }

    pub(super) fn close(&self, number: usize, index: u64) {
        assert!(self.world.0.lock().open.remove(&mark(number, index)));
    }

    pub(super) fn stays(&self, attempts: usize) {
        self.world.0.lock().stubborn = attempts;
    }

    pub(super) fn ended(&self) -> Vec<(Duration, String, String)> {
        self.world.0.lock().ended.clone()
    }

    /// Returns the marks that were terminated, with the reasons, from now on.
    pub(super) fn take_ended(&self) -> Vec<(String, String)> {
        let ended = std::mem::take(&mut self.world.0.lock().ended);
        ended.into_iter().map(|(_, mark, reason)| (mark, reason)).collect()
    }

    pub(super) fn fetches(&self, number: usize) -> Vec<Duration> {
        let uri = uri(number);
        let state = self.world.0.lock();
        state.fetches.iter().filter(|(_, of)| *of == uri).map(|(at, _)| *at).collect()
    }

    pub(super) fn all_fetches(&self) -> usize {
        self.world.0.lock().fetches.len()
    }

    /// Waits until this long after the start.
    pub(super) async fn until(&self, time: Duration) {
        let begin = self.world.0.lock().begin;
        sleep_until(begin + time + SOON).await;
    }

    pub(super) fn now(&self) -> Duration {
        self.world.0.lock().begin.elapsed()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) fn uri(number: usize) -> String {
    format!("https://id.example/lists/{number}")
}

pub(super) fn mark(number: usize, index: u64) -> String {
    format!("{}#{index}", uri(number))
}

/// The claims of a token with this status.
pub(super) fn token(number: usize, index: u64) -> Claims {
    claims(json!({"status": {"status_list": {"idx": index, "uri": uri(number)}}}))
}

pub(super) fn claims(map: Value) -> Claims {
    let map: Map<_, _> = map.as_object().unwrap().clone();
    let (marks, leeway) = (vec![("key", "k".into())], Duration::ZERO);
    Claims { map, expires_at: u64::MAX, issuer: Some(ISS.into()), marks, leeway, checked_until: None }
}
