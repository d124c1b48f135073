//! What a poll takes at once, and what it repeats.

use std::sync::atomic::Ordering::SeqCst;

use super::*;

/// Returns what a request for events tells of earlier ones: how many were accepted or refused.
fn told(body: &Value) -> usize {
    body["ack"].as_array().unwrap().len() + body["setErrs"].as_object().unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn more_events_than_were_asked_for_wait_for_the_next_answer() {
    let transmitter = with_250();
    transmitter.0.lock().ignores_most = true;
    let began = Instant::now();
    let polling = Polling::begin(&transmitter);
    until(&transmitter, |state| state.waiting.is_empty()).await;
    let world = polling.leave().await;
    check_250(&world, &transmitter).await;
    let state = transmitter.0.lock();
    let told: Vec<_> = state.requests.iter().take(4).map(|(_, body)| told(body)).collect();
    assert_eq!(told, [0, 100, 100, 50], "a hundred are taken of each answer");
    let third = state.requests[2].0 - began;
    assert!(third < Duration::from_secs(1), "what was left is asked for at once: {third:?}");
}

#[tokio::test(start_paused = true)]
async fn sixteen_events_are_taken_at_once() {
    let transmitter = Arc::new(Transmitter::default());
    for n in 0..100 {
        let id = format!("e-{n:03}");
        let token = sign_anew("secevent+jwt", &claims(&id, "session-revoked", &user(n), now() - 10));
        transmitter.0.lock().waiting.insert(id, token);
    }
    let (config, folder) = polled();
    let world = World::with(config, MemoryLog::new());
    *world.keys.keys.lock() = Keys::Hanging;
    let polling = Polling::of(world, folder, &transmitter);
    until(&transmitter, |state| !state.requests.is_empty()).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(polling.world.keys.most.load(SeqCst), 16);
    *polling.world.keys.keys.lock() = Keys::There;
    until(&transmitter, |state| state.waiting.is_empty()).await;
    drop(polling.leave().await);
}

#[tokio::test(start_paused = true)]
async fn a_success_begins_the_pauses_anew() {
    let transmitter = Arc::new(Transmitter::default());
    transmitter.0.lock().next.extend([500, 500]);
    let polling = Polling::begin(&transmitter);
    until(&transmitter, |state| state.requests.len() >= 3).await;
    transmitter.0.lock().next.push_back(500);
    until(&transmitter, |state| state.requests.len() >= 5).await;
    drop(polling.leave().await);
    let state = transmitter.0.lock();
    let pauses = state.requests.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs_f64().round() as u64);
    assert_eq!(pauses.take(4).collect::<Vec<_>>(), [1, 2, 5, 1]);
}

#[tokio::test(start_paused = true)]
async fn i33_what_was_done_is_told_again_until_there_is_an_answer() {
    let transmitter = with_250();
    transmitter.0.lock().waiting.retain(|id, _| ("e-010".."e-020").contains(&id.as_str()));
    let polling = Polling::begin(&transmitter);
    until(&transmitter, |state| !state.requests.is_empty()).await;
    transmitter.0.lock().next.extend([500, 503]);
    until(&transmitter, |state| state.waiting.is_empty()).await;
    let world = polling.leave().await;
    let state = transmitter.0.lock();
    let told: Vec<_> = state.requests.iter().take(4).map(|(_, body)| told(body)).collect();
    assert_eq!(told, [0, 10, 10, 10]);
    assert_eq!((world.count("poll", "repeated"), world.count("poll", "invalid")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_no_text_is_refused() {
    let transmitter = Arc::new(Transmitter::default());
    transmitter.0.lock().body = Some(r#"{"sets":{"x":{"a":1},"y":null}}"#.into());
    let polling = Polling::begin(&transmitter);
    until(&transmitter, |state| state.requests.len() >= 2).await;
    drop(polling.leave().await);
    let request = transmitter.0.lock().requests[1].1.clone();
    assert_eq!(request["ack"], json!([]));
    for id in ["x", "y"] {
        assert_eq!(request["setErrs"][id]["err"], "invalid_request", "{request}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_status_is_none() {
    let transmitter = with_250();
    transmitter.0.lock().refuses_client = true;
    let polling = Polling::begin(&transmitter);
    until(&transmitter, |state| state.tokens >= 3).await;
    assert!(transmitter.0.lock().requests.is_empty(), "without a token nothing is fetched");
    assert!(polling.world.count("poll", "unavailable") >= 2);
    transmitter.0.lock().refuses_client = false;
    until(&transmitter, |state| state.waiting.is_empty()).await;
    check_250(&polling.leave().await, &transmitter).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_loses_its_lease_acknowledges_what_it_has_kept() {
    let transmitter = with_250();
    transmitter.0.lock().waiting.retain(|id, _| id.as_str() < "e-010");
    let (network, name) = (Network::default(), NodeName::from("a"));
    let (mut config, folder) = polled();
    let poll = config.events.as_mut().unwrap().poll.as_mut().unwrap();
    poll.interval = Duration::from_secs(60);
    let mut cluster = network.join(&name, Duration::from_secs(15));
    cluster.peers = Some(network.peers(&name, Incarnation::from_bytes([1; Incarnation::BYTES])));
    let world = World::in_cluster(config, MemoryLog::new(), name.clone(), Some(cluster));
    let mut tasks = Tasks::default();
    world.node.spawn(&mut tasks);
    let polling = Polling::of(world, folder, &transmitter);
    let kept = async {
        while polling.world.count("poll", "matched_nobody") < 10 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(300), kept).await.expect("they are kept");
    network.cut(&name);
    until(&transmitter, |state| state.waiting.is_empty()).await;
    assert!(!polling.world.node.is_chosen_for("security events of kc"));
    let last = transmitter.0.lock().requests.last().unwrap().1.clone();
    assert_eq!((last["maxEvents"].as_u64(), told(&last)), (Some(0), 10));
}

/// A transmitter forgets what is acknowledged, and repeats its events in turn.
#[tokio::test(start_paused = true)]
async fn events_that_come_again_in_turn_are_not_asked_for_in_a_loop() {
    let transmitter = Arc::new(Transmitter::default());
    let body = |id: &str| Bytes::from(json!({"sets": {id: "a.b.c"}, "moreAvailable": true}).to_string());
    transmitter.0.lock().turns = ["e-1", "e-2", "e-3"].map(body).to_vec();
    let polling = Polling::begin(&transmitter);
    until(&transmitter, |state| state.requests.len() >= 6).await;
    drop(polling.leave().await);
    let state = transmitter.0.lock();
    let took = state.requests[5].0 - state.requests[0].0;
    assert!(took >= Duration::from_secs(10), "three are new, the others are not: {took:?}");
}

/// The events behind one that was refused come all the same.
#[tokio::test(start_paused = true)]
async fn a_transmitter_that_takes_no_reports_of_errors_is_still_read() {
    let transmitter = Arc::new(Transmitter::default());
    transmitter.0.lock().refuses_reports = true;
    transmitter.0.lock().waiting.insert("e-bad".to_owned(), "no token".to_owned());
    let polling = Polling::begin(&transmitter);
    until(&transmitter, |state| !state.requests.is_empty()).await;
    let good = set(&claims("e-good", "session-revoked", &user(1), now() - 10));
    transmitter.0.lock().waiting.insert("e-good".to_owned(), good);
    until(&transmitter, |state| state.acknowledged.iter().any(|id| id == "e-good")).await;
    drop(polling.leave().await);
}
