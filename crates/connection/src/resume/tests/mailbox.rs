//! Long-polling clients.

use super::*;
use crate::longpolling::{Batch, Cursor};
use crate::transport::CloseReason;

fn open(world: &World, types: &[&str], cursor: Option<&str>) -> Arc<Connection> {
    world.hub.open_longpolling(world.opening(types, cursor)).unwrap()
}

async fn poll(world: &World, connection: &Connection, known: Option<Cursor>) -> (Batch, Vec<String>) {
    let batch = world.hub.poll(connection, known, None).await.unwrap();
    let body: Value = serde_json::from_slice(&batch.body).unwrap();
    let what = |event: &Value| match event["source"].as_str() {
        Some("rig") => text_of(&event["type"]),
        _ => text_of(&event["id"]),
    };
    let whats = body["events"].as_array().unwrap().iter().map(what).collect();
    (batch, whats)
}

/// Polls until there is nothing more.
async fn poll_all(world: &World, connection: &Connection, mut known: Option<Cursor>) -> (Vec<String>, Batch) {
    let mut all = Vec::new();
    loop {
        let (batch, mut whats) = poll(world, connection, known).await;
        known = Some(batch.cursor);
        if whats.is_empty() {
            return (all, batch);
        }
        all.append(&mut whats);
    }
}

#[tokio::test(start_paused = true)]
async fn r27_a_mailbox_that_is_gone_is_continued_by_another() {
    let world = World::new();
    let first = open(&world, &["a"], None);
    let start = world.hub.position_of(&first).unwrap();
    world.publish("a", 0..2);
    let (batch, whats) = poll(&world, &first, None).await;
    assert_eq!(whats, ["rig.connection.create", "rig.subscriptions_set", "0", "1"]);
    world.publish("a", 2..3);
    first.abort(CloseReason::Idle);
    // It never polled, it polled once, it polled and waited.
    let after = batch.position.unwrap();
    let again = open(&world, &["a"], Some(after.as_str()));
    assert_eq!(world.hub.position_of(&again), Some(after));
    let (whats, idle) = poll_all(&world, &again, None).await;
    assert_eq!(whats, ["rig.connection.create", "rig.subscriptions_set", "2", "rig.resumed"]);
    world.publish("b", 0..1);
    let (_, later) = poll_all(&world, &again, Some(idle.cursor)).await;
    assert_ne!(later.position, idle.position, "it goes on while nothing comes");
    for (cursor, expected) in [(start, 3), (after, 1), (later.position.unwrap(), 0)] {
        let back = open(&world, &["a"], Some(cursor.as_str()));
        let (whats, _) = poll_all(&world, &back, None).await;
        assert_eq!(whats.len(), 3 + expected, "{whats:?}");
        assert_eq!(whats.last().unwrap(), "rig.resumed");
    }
    let (whats, _) = poll_all(&world, &open(&world, &["a"], Some("first_event")), None).await;
    assert_eq!(whats[2..], ["rig.gap"]);
}

#[tokio::test(start_paused = true)]
async fn a_long_history_comes_in_several_answers() {
    let world = World::new();
    let start = world.hub.position_of(&open(&world, &["a"], None)).unwrap();
    world.publish("a", 0..900);
    let back = open(&world, &["a"], Some(start.as_str()));
    let (first, whats) = poll(&world, &back, None).await;
    assert!((50..200).contains(&whats.len()), "{}", whats.len());
    world.publish("a", 900..901);
    let (rest, _) = poll_all(&world, &back, Some(first.cursor)).await;
    let got: Vec<_> = whats[2..].iter().chain(&rest).cloned().collect();
    assert_eq!(got[..901], numbers(0..901));
    assert_eq!(got[901..], ["rig.resumed"]);

    // In the middle of it, the place to come back to is where it is.
    let back = open(&world, &["a"], first.position.as_ref().map(|id| id.as_str()));
    let (rest, _) = poll_all(&world, &back, None).await;
    assert_eq!(rest[2], whats.len().saturating_sub(2).to_string());
}

/// More than a mailbox holds.
#[tokio::test(start_paused = true)]
async fn a_client_that_polls_too_seldom_gets_what_its_mailbox_could_not_hold() {
    let world = World::new();
    let connection = open(&world, &["a"], None);
    world.publish("a", 0..500);
    let (whats, batch) = poll_all(&world, &connection, None).await;
    assert_eq!(whats[..2], ["rig.connection.create", "rig.subscriptions_set"]);
    assert_eq!(whats[2..], numbers(0..500));

    // The answer with these has arrived, which only the next poll says.
    world.publish("a", 500..600);
    let (answer, whats) = poll(&world, &connection, Some(batch.cursor)).await;
    assert_eq!(whats, numbers(500..600));
    world.publish("a", 600..900);
    let (rest, _) = poll_all(&world, &connection, Some(answer.cursor)).await;
    assert_eq!(rest, numbers(600..900));
    assert_eq!(connection.describe().dropped, 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_comes_again_after_an_overflow() {
    let world = World::new();
    let connection = open(&world, &["a"], None);
    let (_, batch) = poll_all(&world, &connection, None).await;
    world.publish("a", 0..100);
    let (_, whats) = poll(&world, &connection, Some(batch.cursor)).await;
    assert_eq!(whats, numbers(0..100));
    world.publish("a", 100..400);
    let (rest, _) = poll_all(&world, &connection, Some(batch.cursor)).await;
    assert_eq!(rest, numbers(0..400));
}
