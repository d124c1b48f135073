//! Answers that come by Kafka.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rig_tests::*;
use serde_json::{Value, json};

use crate::world::{EVENT, World, gateway, json_of, with_id};

/// Requests whose answers come later, at once.
const WAITING: usize = 500;

#[test]
fn an_answer_by_kafka_comes_with_its_status_headers_and_bytes() {
    let world = World::new(&[]);
    world.await_answers();
    let mut client = Request::post_json("/ask", with_id("7")).start(world.gateway.inbound());
    let event = world.await_event("7");
    let token = event["rig"]["correlation"].as_str().expect("a token");
    world.answer(token, "207", "\u{0}ü { not json");
    let response = Response::read(&mut client, false);
    assert_eq!((response.status, &*response.text()), (207, "\u{0}ü { not json"));
    assert_eq!(response.header("content-type"), Some("text/x-test"));
    assert_eq!(response.header("x-mine"), Some("1"));
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    let groups = world.client.groups();
    assert!(
        groups.iter().all(|group| group == "rig-kafka-to-filter"),
        "answers are read without a group: {groups:?}"
    );
    assert_eq!(world.responses("matched"), 1.0);
}

/// A service behind HTTP may answer by Kafka as well (RIG #97).
#[test]
fn an_http_service_may_answer_by_kafka() {
    let upstream = Upstream::start();
    let kafka = KafkaServer::start();
    let client = kafka.client();
    client.create_topic("rig-proxy-response", 3);
    let api = upstream.api(
        "svc",
        &json!([
            {"id": "a", "path_regex": "/.*", "method": "GET", "response_from": "kafka"},
        ]),
    );
    let gateway = Gateway::start(&[
        ("KAFKA_BROKERS", &kafka.address().to_string()),
        ("PROXY_CONFIG_FILE", &json!([api]).to_string()),
        ("PROXY_KAFKA_RESPONSE_TIMEOUT", "10s"),
    ]);
    gateway.await_metric(r#"rig_broker_up{broker="kafka"}"#, 1.0);
    let mut waiting = eventually("answers are received", || {
        let wire = Request::get("/x/async").start(gateway.inbound());
        eventually("it waits, or is refused", || {
            let waits = gateway.metric("rig_proxy_responses_waiting") == 1.0;
            let refused =
                gateway.metric_sum("rig_proxy_requests_total", &[("status", "broker_unavailable")]) > 0.0;
            (waits || refused).then_some(())
        });
        (gateway.metric("rig_proxy_responses_waiting") == 1.0).then_some(wire)
    });
    let received = upstream.next();
    let (_, query) = received.target.split_once('?').expect("a query");
    let token = query.strip_prefix("correlation=").expect("a token");
    let answer = KafkaMessage::of("done").header("rig-correlation", token).header("rig-response-code", "200");
    client.produce("rig-proxy-response", &[answer]);
    let response = Response::read(&mut waiting, false);
    assert_eq!((response.status, &*response.text()), (200, "done"));
}

/// The deadline of the endpoint counts from the request, and replaces that of all answers by Kafka.
#[test]
fn b17_one_deadline_covers_the_acknowledgement_and_the_answer() {
    let world = World::new(&[("PROXY_KAFKA_RESPONSE_TIMEOUT", "60s")]);
    world.await_answers();
    let began = Instant::now();
    assert_eq!(world.gateway.ask(&Request::post_json("/hurry", with_id("1"))).status, 504);
    let took = began.elapsed();
    assert!((Duration::from_millis(300)..Duration::from_secs(10)).contains(&took), "{took:?}");
}

/// Without `NODE_COOKIE`, the key of tokens is each gateway's own, and not public.
#[test]
fn b30_a_token_of_another_gateway_answers_nothing_here() {
    let world = World::new(&[]);
    let other = gateway(&world.kafka.address().to_string(), &json!({}), &[]);
    world.await_answers();
    eventually("the other one receives answers", || {
        (other.ask(&Request::post_json("/hurry", EVENT)).status == 504).then_some(())
    });
    let unknown = world.responses("unknown");
    let mut client = Request::post_json("/ask", with_id("o")).start(other.inbound());
    let event = world.await_event("o");
    world.answer(event["rig"]["correlation"].as_str().expect("a token"), "200", "x");
    assert_eq!(Response::read(&mut client, false).status, 200);
    eventually("it is counted", || (world.responses("unknown") == unknown + 1.0).then_some(()));
    assert_eq!(world.responses("matched"), 0.0);
}

/// b14, b19: a wrong answer is a 502 at once, none is a 504 in time, and what no
/// request waits for is counted.
#[test]
fn b19_answers_that_nobody_waits_for_are_counted() {
    let world = World::new(&[("PROXY_KAFKA_RESPONSE_TIMEOUT", "30s")]);
    world.await_answers();
    for wrong in ["abc", "99", "600", ""] {
        let mut client =
            Request::post_json("/ask", with_id(&format!("w{wrong}"))).start(world.gateway.inbound());
        let event = world.await_event(&format!("w{wrong}"));
        let began = Instant::now();
        world.answer(event["rig"]["correlation"].as_str().expect("a token"), wrong, "x");
        assert_eq!(Response::read(&mut client, false).status, 502, "{wrong}");
        assert!(began.elapsed() < Duration::from_secs(20), "b14: not only when its time is over");
    }
    assert_eq!(world.responses("invalid"), 4.0);

    let late = world.gateway.ask(&Request::post_json("/hurry", with_id("late")));
    assert_eq!((late.status, &*late.text()), (504, ""));
    let event = world.await_event("late");
    world.answer(event["rig"]["correlation"].as_str().expect("a token"), "200", "x");
    eventually("it is counted", || (world.responses("late") == 1.0).then_some(()));
    world.answer("bm90IGEgdG9rZW4", "200", "x");
    world.client.produce("rig-proxy-response", &[KafkaMessage::of("no token")]);
    eventually("they are counted", || (world.responses("unknown") == 2.0).then_some(()));
    assert!(!world.gateway.end().contains("no token"), "payloads are not logged");
}

/// Story: many requests wait, and are answered in another order, some twice.
#[test]
fn many_requests_wait_and_each_gets_its_own_answer_once() {
    let world = World::new(&[("PROXY_KAFKA_RESPONSE_TIMEOUT", "60s")]);
    world.await_answers();
    let early = world.responses("late");
    let mut clients: HashMap<String, Wire> = (0..WAITING)
        .map(|number| {
            let id = format!("m{number}");
            (id.clone(), Request::post_json("/ask", with_id(&id)).start(world.gateway.inbound()))
        })
        .collect();
    let tokens: Vec<_> = eventually("all events are in the topic", || {
        let events: Vec<_> = world.client.read("requests").iter().map(json_of).collect();
        let ours: Vec<_> = events
            .into_iter()
            .filter(|event| event["id"].as_str().is_some_and(|id| id.starts_with('m')))
            .map(|event| {
                let text = |value: &Value| value.as_str().expect("a text").to_owned();
                (text(&event["id"]), text(&event["rig"]["correlation"]))
            })
            .collect();
        (ours.len() == WAITING).then_some(ours)
    });
    let mut random = Random::new(14);
    let mut answers: Vec<_> = tokens
        .iter()
        .flat_map(|(id, token)| {
            let answer =
                KafkaMessage::of(id).header("rig-correlation", token).header("rig-response-code", "200");
            [answer.clone(), answer]
        })
        .collect();
    random.shuffle(&mut answers);
    world.client.produce("rig-proxy-response", &answers);
    for (id, _) in &tokens {
        let response = Response::read(clients.get_mut(id).expect("a client"), false);
        assert_eq!((response.status, response.text()), (200, id.clone()));
    }
    eventually("the second answers are late", || {
        (world.responses("late") == early + WAITING as f64).then_some(())
    });
}

/// Story: a session is killed while its request waits for an answer.
#[test]
fn a_request_that_waits_for_kafka_is_ended_with_its_session() {
    let world = World::new(&[]);
    world.await_answers();
    let token = token_of("s");
    let request = Request::post_json("/secret", with_id("k")).bearer(&token);
    let mut client = request.start(world.gateway.inbound());
    let event = world.await_event("k");
    assert_eq!(event["rig"]["claims"], json!({"x-user": "bob"}));
    assert!(!event.to_string().contains(&token), "b12");
    world.gateway.blacklist("s");
    assert_eq!(Response::read(&mut client, false).status, 401);
    world.answer(event["rig"]["correlation"].as_str().expect("a token"), "200", "too late");
    eventually("it is counted", || (world.responses("late") >= 1.0).then_some(()));
}
