mod bounds;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Response, Uri};
use identity::{FeedConfig, PollConfig};
use node::Tasks;
use node::in_memory::Network;
use parking_lot::Mutex;
use seal::Incarnation;
use serde_json::{Map, Value, json};
use session::{MemoryLog, NodeName};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::events::{claims, set};
use super::world::*;
use crate::{Http, poll};

/// A transmitter that keeps events until they are acknowledged.
#[derive(Default)]
struct Transmitter(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: BTreeMap<String, String>,
    /// Acknowledged, and refused with their errors.
    acknowledged: Vec<String>,
    refused: Map<String, Value>,
    /// When requests for events came, with their bodies.
    requests: Vec<(Instant, Value)>,
    tokens: usize,
    /// Statuses of the next answers, instead of events.
    next: VecDeque<u16>,
    /// Answers that are lost: what they acknowledge is noted, but they never come.
    lost: usize,
    /// The body of all answers, instead of events.
    body: Option<Bytes>,
    /// Bodies of answers in turn, instead of events.
    turns: Vec<Bytes>,
    /// Refuses requests that report errors.
    refuses_reports: bool,
    /// Sends all events that wait, however few it is asked for, and does not say that more wait.
    ignores_most: bool,
    /// The token endpoint refuses the client.
    refuses_client: bool,
}

fn answer(status: u16, body: impl Into<Bytes>) -> Result<Response<Bytes>, String> {
    Ok(Response::builder().status(status).body(body.into()).unwrap())
}

impl Http for Transmitter {
    fn post_form<'a>(
        &'a self,
        uri: &'a Uri,
        headers: HeaderMap,
        form: Bytes,
    ) -> BoxFuture<'a, Result<Response<Bytes>, String>> {
        async move {
            assert_eq!((uri.path(), &form[..]), ("/token", &b"grant_type=client_credentials&scope=a+b"[..]));
            assert_eq!(headers[AUTHORIZATION], "Basic cmlnOnMzY3JldA==");
            let mut state = self.0.lock();
            state.tokens += 1;
            let status = if state.refuses_client { 400 } else { 200 };
            answer(status, json!({ "access_token": format!("t-{}", state.tokens) }).to_string())
        }
        .boxed()
    }

    fn post_json<'a>(
        &'a self,
        uri: &'a Uri,
        headers: HeaderMap,
        json: Bytes,
    ) -> BoxFuture<'a, Result<Response<Bytes>, String>> {
        async move {
            assert_eq!(uri.path(), "/poll");
            let request: Value = serde_json::from_slice(&json).unwrap();
            assert_eq!(request["returnImmediately"], true);
            let mut state = self.0.lock();
            assert_eq!(headers[AUTHORIZATION], format!("Bearer t-{}", state.tokens));
            state.requests.push((Instant::now(), request.clone()));
            if let Some(status) = state.next.pop_front() {
                return answer(status, "");
            }
            if let Some(body) = &state.body {
                return answer(200, body.clone());
            }
            if !state.turns.is_empty() {
                return answer(200, state.turns[state.requests.len() % state.turns.len()].clone());
            }
            if state.refuses_reports && !request["setErrs"].as_object().unwrap().is_empty() {
                return answer(400, "");
            }
            for id in request["ack"].as_array().unwrap() {
                let id = id.as_str().unwrap();
                state.waiting.remove(id);
                state.acknowledged.push(id.to_owned());
            }
            for (id, error) in request["setErrs"].as_object().unwrap() {
                state.waiting.remove(id);
                state.refused.insert(id.clone(), error.clone());
            }
            if let Some(left) = state.lost.checked_sub(1) {
                state.lost = left;
                return Err("the connection was lost".to_owned());
            }
            let most = request["maxEvents"].as_u64().unwrap() as usize;
            let most = if state.ignores_most { usize::MAX } else { most };
            let sets: BTreeMap<_, _> = state.waiting.iter().take(most).collect();
            let is_more = state.waiting.len() > sets.len();
            answer(200, json!({ "sets": sets, "moreAvailable": is_more }).to_string())
        }
        .boxed()
    }
}

/// A node that polls.
struct Polling {
    world: World,
    leave: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    _folder: TempDir,
}

fn polled() -> (FeedConfig, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let client_secret_file = folder.path().join("secret");
    std::fs::write(&client_secret_file, "s3cret\n").unwrap();
    let mut config = config();
    config.events.as_mut().unwrap().poll = Some(PollConfig {
        url: "https://tr.example/poll".to_owned(),
        interval: FeedConfig::POLL_INTERVAL,
        token_url: "https://tr.example/token".to_owned(),
        client_id: "rig".to_owned(),
        client_secret_file,
        scope: Some("a b".to_owned()),
    });
    (config, folder)
}

impl Polling {
    fn begin(transmitter: &Arc<Transmitter>) -> Self {
        let (config, folder) = polled();
        Self::of(World::with(config, MemoryLog::new()), folder, transmitter)
    }

    fn of(world: World, folder: TempDir, transmitter: &Arc<Transmitter>) -> Self {
        let (leave, leaving) = oneshot::channel::<()>();
        let leaving = leaving.map(drop);
        let polling = poll(world.feeds.clone(), "kc".into(), Arc::<Transmitter>::clone(transmitter), leaving);
        Self { world, leave: Some(leave), task: tokio::spawn(polling), _folder: folder }
    }

    async fn leave(mut self) -> World {
        drop(self.leave.take());
        timeout(Duration::from_secs(20), self.task).await.expect("it leaves").unwrap();
        self.world
    }
}

/// Waits until something holds of a transmitter.
async fn until(transmitter: &Transmitter, holds: impl Fn(&State) -> bool) {
    let wait = async {
        while !holds(&transmitter.0.lock()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(3600), wait).await.expect("it happens");
}

fn user(n: usize) -> String {
    format!("user-{n:03}")
}

/// Returns a transmitter with 250 events, each about another user; three are bad.
fn with_250() -> Arc<Transmitter> {
    let transmitter = Transmitter::default();
    let mut state = transmitter.0.lock();
    for n in 0..250 {
        let id = format!("e-{n:03}");
        let mut event = claims(&id, "session-revoked", &user(n), now() - 10);
        let token = match n {
            17 => format!("{}x", set(&event)),
            120 => {
                event["aud"] = "other".into();
                set(&event)
            }
            249 => "no token".to_owned(),
            _ => set(&event),
        };
        state.waiting.insert(id, token);
    }
    drop(state);
    Arc::new(transmitter)
}

/// Checks that each event has had its effect once, and each bad one none.
async fn check_250(world: &World, transmitter: &Transmitter) {
    let mut users: Vec<_> =
        world.records().await.iter().map(|record| record.revocation.selector.value().to_string()).collect();
    users.sort();
    let good = (0..250).filter(|n| ![17, 120, 249].contains(n));
    assert_eq!(users, good.map(user).collect::<Vec<_>>());
    let state = transmitter.0.lock();
    assert!(state.waiting.is_empty());
    let errs: Vec<_> =
        state.refused.iter().map(|(id, error)| (id.as_str(), error["err"].as_str().unwrap())).collect();
    assert_eq!(errs, [("e-017", "invalid_key"), ("e-120", "invalid_audience"), ("e-249", "invalid_request")]);
    assert!(state.refused.values().all(|error| error["description"].is_string()));
}

#[tokio::test(start_paused = true)]
async fn i33_all_events_are_taken_at_once_and_acknowledged() {
    let transmitter = with_250();
    let began = Instant::now();
    let polling = Polling::begin(&transmitter);
    until(&transmitter, |state| state.waiting.is_empty()).await;
    let world = polling.leave().await;
    check_250(&world, &transmitter).await;
    let state = transmitter.0.lock();
    let sizes: Vec<_> = state.requests.iter().map(|(_, body)| body["maxEvents"].as_u64().unwrap()).collect();
    assert!(sizes.iter().all(|size| *size == 100 || *size == 0), "{sizes:?}");
    assert_eq!((state.acknowledged.len(), state.tokens), (247, 1));
    let third = state.requests[2].0 - began;
    assert!(third < Duration::from_secs(1), "moreAvailable is asked for at once: {third:?}");
    let fourth = state.requests[3].0 - state.requests[2].0;
    assert!((Duration::from_secs(5)..Duration::from_secs(6)).contains(&fourth), "{fourth:?}");
    assert_eq!((world.count("poll", "matched_nobody"), world.count("poll", "invalid")), (247, 3));
}

#[tokio::test(start_paused = true)]
async fn i33_what_was_kept_but_not_acknowledged_comes_again_without_effect() {
    let transmitter = with_250();
    let polling = Polling::begin(&transmitter);
    // The process exits after the first hundred are kept, before they are acknowledged.
    let kept = async {
        while polling.world.records().await.len() < 99 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), kept).await.expect("they are kept");
    let Polling { world, task, _folder: folder, .. } = polling;
    task.abort();
    drop(task.await);
    assert!(transmitter.0.lock().acknowledged.len() < 100);
    let numbers = async |world: &World| {
        let records = world.records().await.into_iter();
        records.map(|record| (record.revocation.id.to_string(), record.seq)).collect::<BTreeMap<_, _>>()
    };
    let before = numbers(&world).await;
    // The next process has the same log.
    let again = Polling::of(world, folder, &transmitter);
    until(&transmitter, |state| state.waiting.is_empty()).await;
    let world = again.leave().await;
    check_250(&world, &transmitter).await;
    let after = numbers(&world).await;
    assert!(before.iter().all(|(id, number)| after[id] == *number), "none has had a second effect");
    assert!(world.count("poll", "repeated") > 0, "some came twice");
}

#[tokio::test(start_paused = true)]
async fn i33_a_lost_answer_loses_no_acknowledgement() {
    let transmitter = with_250();
    transmitter.0.lock().lost = 3;
    let polling = Polling::begin(&transmitter);
    until(&transmitter, |state| state.waiting.is_empty()).await;
    let world = polling.leave().await;
    check_250(&world, &transmitter).await;
    assert_eq!(world.count("poll", "unavailable"), 3);
}

#[tokio::test(start_paused = true)]
async fn failures_double_the_pause_up_to_a_minute() {
    let transmitter = Arc::new(Transmitter::default());
    transmitter.0.lock().next.extend([500; 9]);
    let polling = Polling::begin(&transmitter);
    until(&transmitter, |state| state.requests.len() > 10).await;
    let world = polling.leave().await;
    let state = transmitter.0.lock();
    let pauses: Vec<_> =
        state.requests.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs_f64().round() as u64).collect();
    assert_eq!(pauses[..10], [1, 2, 4, 8, 16, 32, 60, 60, 60, 5], "after a success the interval");
    assert_eq!(world.count("poll", "unavailable"), 9);
}

#[tokio::test(start_paused = true)]
async fn a_refused_access_token_is_renewed_once() {
    let transmitter = with_250();
    transmitter.0.lock().next.extend([401]);
    let polling = Polling::begin(&transmitter);
    until(&transmitter, |state| state.waiting.is_empty()).await;
    check_250(&polling.world, &transmitter).await;
    assert_eq!((transmitter.0.lock().tokens, polling.world.count("poll", "unavailable")), (2, 0));
    // Twice in a row is a failure.
    let (requests, tokens) = {
        let mut state = transmitter.0.lock();
        state.next.extend([401, 401]);
        (state.requests.len(), state.tokens)
    };
    until(&transmitter, |state| state.requests.len() >= requests + 3).await;
    assert_eq!(transmitter.0.lock().tokens, tokens + 1);
    assert_eq!(polling.world.count("poll", "unavailable"), 1);
    drop(polling.leave().await);
}

#[tokio::test(start_paused = true)]
async fn events_that_cannot_be_checked_are_not_acknowledged() {
    let transmitter = with_250();
    let (config, folder) = polled();
    let world = World::with(config, MemoryLog::new());
    *world.keys.keys.lock() = Keys::Away;
    let polling = Polling::of(world, folder, &transmitter);
    until(&transmitter, |state| state.requests.len() >= 3).await;
    {
        let state = transmitter.0.lock();
        assert!(state.acknowledged.is_empty() && state.refused.is_empty() && state.waiting.len() == 250);
    }
    *polling.world.keys.keys.lock() = Keys::There;
    until(&transmitter, |state| state.waiting.is_empty()).await;
    check_250(&polling.leave().await, &transmitter).await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_make_no_sense_are_failures_and_no_loop() {
    for (body, is_failure) in [
        ("", true),
        ("[]", true),
        (r#"{"sets":[]}"#, true),
        ("{}", false),
        (r#"{"sets":null,"moreAvailable":true}"#, false),
        (r#"{"sets":{},"moreAvailable":true}"#, false),
        (r#"{"sets":{"x":{"a":1}},"moreAvailable":"yes"}"#, false),
        // Whatever is acknowledged, the same comes again.
        (r#"{"sets":{"x":"a.b.c"},"moreAvailable":true}"#, false),
        (r#"{"sets":{"x":"a.b.c","x":"a.b.c"}}"#, true),
    ] {
        let transmitter = Arc::new(Transmitter::default());
        transmitter.0.lock().body = Some(body.into());
        let began = Instant::now();
        let polling = Polling::begin(&transmitter);
        until(&transmitter, |state| state.requests.len() >= 3).await;
        assert!(began.elapsed() >= Duration::from_secs(3), "{body}");
        let world = polling.leave().await;
        assert_eq!(world.count("poll", "unavailable") > 0, is_failure, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_acknowledges_what_it_has_kept() {
    let transmitter = with_250();
    transmitter.0.lock().waiting.retain(|id, _| id.as_str() < "e-010");
    let polling = Polling::begin(&transmitter);
    let kept = async {
        while polling.world.count("poll", "matched_nobody") < 10 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), kept).await.expect("they are kept");
    drop(polling.leave().await);
    let state = transmitter.0.lock();
    assert_eq!((state.acknowledged.len(), state.waiting.len()), (10, 0));
    assert_eq!(state.requests.last().unwrap().1["maxEvents"], 0);
}

#[tokio::test(start_paused = true)]
async fn i33_in_a_cluster_one_live_node_polls_and_another_takes_over() {
    let transmitter = Arc::new(Transmitter::default());
    let network = Network::default();
    let mut members = Vec::new();
    for (n, name) in ["a", "b", "c"].map(NodeName::from).into_iter().enumerate() {
        let (config, folder) = polled();
        let mut cluster = network.join(&name, Duration::from_secs(15));
        cluster.peers =
            Some(network.peers(&name, Incarnation::from_bytes([n as u8 + 1; Incarnation::BYTES])));
        let world = World::in_cluster(config, MemoryLog::new(), name.clone(), Some(cluster));
        let mut tasks = Tasks::default();
        world.node.spawn(&mut tasks);
        members.push((Polling::of(world, folder, &transmitter), tasks, name));
    }
    let is_chosen = |members: &[(Polling, Tasks, NodeName)]| {
        let chosen = |(polling, ..): &(Polling, Tasks, NodeName)| {
            polling.world.node.is_chosen_for("security events of kc")
        };
        members.iter().map(chosen).collect::<Vec<_>>()
    };
    until(&transmitter, |state| state.requests.len() >= 5).await;
    let pauses: Vec<_> = transmitter.0.lock().requests.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(pauses[1..].iter().all(|pause| *pause >= Duration::from_secs(5)), "one node polls: {pauses:?}");
    let chosen = is_chosen(&members);
    assert_eq!(chosen.iter().filter(|is| **is).count(), 1);
    let at = chosen.iter().position(|is| *is).unwrap();
    // It exits.
    let (Polling { world, task, .. }, tasks, _) = members.remove(at);
    task.abort();
    drop((task.await, tasks, world));
    let before = transmitter.0.lock().requests.len();
    until(&transmitter, |state| state.requests.len() >= before + 2).await;
    assert_eq!(is_chosen(&members).iter().filter(|is| **is).count(), 1);
    // One without a lease does not.
    let at = is_chosen(&members).iter().position(|is| *is).unwrap();
    network.cut(&members[at].2);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!is_chosen(&members)[at]);
}
