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

/// Before the client has got the gap, its cookie leads back to the cursor.
#[tokio::test(start_paused = true)]
async fn a_mailbox_that_begins_with_a_gap_is_continued_behind_it() {
    let world = World::with(Config::default(), 200);
    let start = world.hub.position_of(&open(&world, &["a"], None)).unwrap();
    world.publish("a", 0..300);
    let back = open(&world, &["a"], Some(start.as_str()));
    assert_eq!(world.hub.position_of(&back), Some(start));
    let (batch, whats) = poll(&world, &back, None).await;
    assert_eq!(whats[2..], ["rig.gap"]);
    let again = open(&world, &["a"], batch.position.as_ref().map(|id| id.as_str()));
    assert_eq!(poll(&world, &again, None).await.1[2..], ["rig.resumed"]);
}

/// A full mailbox keeps what a late subscription still gets, and what was held.
#[tokio::test(start_paused = true)]
async fn an_overflow_forgets_nothing_of_what_is_on_its_way() {
    let world = World::new();
    let _others = world.open(&["a", "b"], None);
    let start = world.hub.position_of(&open(&world, &["a"], None)).unwrap();
    world.publish("b", 0..3);
    let mut opening = world.opening(&["a"], Some(start.as_str()));
    opening.resume.is_complete = false;
    let back = world.hub.open_longpolling(opening).unwrap();
    let (batch, whats) = poll(&world, &back, None).await;
    assert_eq!(whats[2..], ["rig.resumed"]);
    world.publish("a", 100..350);
    world.publish("b", 3..6);
    back.set_subscriptions(&[], &subscriptions(&["a", "b"])).unwrap();
    let (mut got, _) = poll_all(&world, &back, Some(batch.cursor)).await;
    got.retain(|what| what != "rig.subscriptions_set");
    let (of_a, of_b): (Vec<_>, Vec<_>) = got.into_iter().partition(|what| what.len() == 3);
    assert_eq!((of_a, of_b), (numbers(100..350), numbers(0..6)));
}

/// The subscriptions of now decide what it gets from the ring.
#[tokio::test(start_paused = true)]
async fn an_overflow_is_one_of_the_subscriptions_that_were_set_last() {
    let world = World::new();
    let connection = open(&world, &["a"], None);
    connection.set_subscriptions(&[], &subscriptions(&["b", "c"])).unwrap();
    for number in (0..400).step_by(2) {
        world.publish("b", number..number + 1);
        world.publish("c", number + 1..number + 2);
    }
    assert_eq!(poll_all(&world, &connection, None).await.0[3..], numbers(0..400));
}

/// Subscriptions that are added while it is behind count from then on, others up to then.
#[tokio::test(start_paused = true)]
async fn what_is_added_while_a_mailbox_is_full_counts_from_then_on() {
    let world = World::new();
    let _others = world.open(&["a", "b", "c"], None);
    for is_full in [true, false] {
        let connection = open(&world, &["a"], None);
        let first = if is_full { 0..300 } else { 0..100 };
        world.publish("a", first.clone());
        world.publish("b", 1000..1001);
        connection.set_subscriptions(&[], &subscriptions(&["b", "c"])).unwrap();
        world.publish("a", 1001..1002);
        world.publish("b", 1002..1300);
        connection.set_subscriptions(&[], &subscriptions(&["c"])).unwrap();
        world.publish("b", 1300..1301);
        world.publish("c", 1301..1302);
        let (mut got, _) = poll_all(&world, &connection, None).await;
        got.retain(|what| !what.starts_with("rig."));
        let expected: Vec<_> =
            first.chain(1002..1300).chain(1301..1302).map(|number| number.to_string()).collect();
        assert_eq!(got, expected, "{is_full}");
    }
}

/// More changes of subscriptions than are remembered, while nothing is delivered.
#[tokio::test(start_paused = true)]
async fn too_many_changes_while_a_mailbox_is_full_are_a_gap() {
    let world = World::new();
    let _others = world.open(&["a", "b", "c"], None);
    let connection = open(&world, &["a"], None);
    world.publish("a", 0..300);
    for number in 0..9 {
        connection.set_subscriptions(&[], &subscriptions(&["a", "b"])).unwrap();
        world.publish("b", number..number + 1);
    }
    let (got, batch) = poll_all(&world, &connection, None).await;
    assert_eq!(got.last().unwrap(), "rig.gap");
    assert_eq!(got.iter().filter(|what| !what.starts_with("rig.")).count(), 198);
    world.publish("b", 9..10);
    assert_eq!(poll_all(&world, &connection, Some(batch.cursor)).await.0, ["9"]);

    // Before it is behind: it is full of what the gateway itself says.
    for between in [0, 1] {
        let connection = open(&world, &["a"], None);
        world.publish("b", 10..11);
        for number in 0..201 {
            connection.set_subscriptions(&[], &subscriptions(&["a", "b"])).unwrap();
            world.publish("c", number..number + between);
        }
        world.publish("b", 11..12);
        let (got, _) = poll_all(&world, &connection, None).await;
        assert_eq!(got.last().unwrap(), if between == 0 { "11" } else { "rig.gap" });
        assert!(!got.contains(&"10".to_owned()), "it was not subscribed to it");
    }
}

/// What a late subscription gets is before what the client has got already.
#[tokio::test(start_paused = true)]
async fn in_the_middle_of_a_late_replay_the_place_is_that_of_the_cursor() {
    let world = World::new();
    let _others = world.open(&["a", "b"], None);
    let start = world.hub.position_of(&open(&world, &["a"], None)).unwrap();
    world.publish("b", 0..200);
    let back = open(&world, &["a"], Some(start.as_str()));
    world.publish("a", 1000..1001);
    let (first, whats) = poll(&world, &back, None).await;
    assert_eq!(whats[2..], ["1000", "rig.resumed"]);
    assert_ne!(first.position, Some(start));
    back.set_subscriptions(&[], &subscriptions(&["a", "b"])).unwrap();
    let (part, whats) = poll(&world, &back, Some(first.cursor)).await;
    assert!(whats.len() < 200, "{}", whats.len());
    assert_eq!(part.position, Some(start), "there is more");
    let (rest, last) = poll_all(&world, &back, Some(part.cursor)).await;
    assert_eq!(whats[1..].iter().chain(&rest).cloned().collect::<Vec<_>>(), numbers(0..200));
    let again = open(&world, &["a", "b"], last.position.as_ref().map(|id| id.as_str()));
    assert_eq!(poll(&world, &again, None).await.1[2..], ["rig.resumed"], "all has come");
}

/// Two pages with the same cookies.
#[tokio::test(start_paused = true)]
async fn a_page_that_reads_behind_another_one_misses_nothing_in_silence() {
    let world = World::new();
    let connection = open(&world, &["a"], None);
    world.publish("a", 0..50);
    let (both, _) = poll(&world, &connection, None).await;
    world.publish("a", 50..100);
    let (one, _) = poll(&world, &connection, Some(both.cursor)).await;
    assert_eq!(poll(&world, &connection, Some(one.cursor)).await.1, [""; 0]);
    assert_eq!(poll(&world, &connection, Some(both.cursor)).await.1, numbers(50..100), "all are there");
    // Room is made of what one of them has read.
    world.publish("a", 100..260);
    let (behind, whats) = poll(&world, &connection, Some(both.cursor)).await;
    assert_eq!((&*whats[0], &whats[1..]), ("rig.gap", &numbers(60..260)[..]));
    assert_eq!(poll(&world, &connection, Some(behind.cursor)).await.1, [""; 0]);
    let gaps = connection.commons().metrics.gaps_of(Gap::Expired);
    assert_eq!(gaps, 1);
}

/// What the gateway itself says takes room too, without an end if no one polls.
#[tokio::test(start_paused = true)]
async fn announcements_that_no_one_polls_become_a_gap() {
    let world = World::new();
    let connection = open(&world, &["a"], None);
    world.publish("a", 0..50);
    let (batch, whats) = poll(&world, &connection, None).await;
    assert_eq!(whats.len(), 52);
    world.publish("a", 50..300);
    let set = |times: usize| {
        for _ in 0..times {
            connection.set_subscriptions(&[], &subscriptions(&["a"])).unwrap();
        }
    };
    set(6);
    let (got, batch) = poll_all(&world, &connection, Some(batch.cursor)).await;
    let events: Vec<_> = got.iter().filter(|what| *what != "rig.subscriptions_set").cloned().collect();
    assert_eq!((events, got.len()), (numbers(50..300), 256));

    set(2000);
    world.publish("a", 300..301);
    set(1);
    let held = connection.mailbox().unwrap().bytes();
    assert!(held < 200_000, "{held} bytes");
    let (got, batch) = poll_all(&world, &connection, Some(batch.cursor)).await;
    assert!(got.len() <= 401 && got.last().unwrap() == "rig.gap", "{got:?}");
    world.publish("a", 301..302);
    assert_eq!(poll_all(&world, &connection, Some(batch.cursor)).await.0, ["301"]);
}

/// An answer that has arrived counts, also if its client then comes back with another mailbox.
#[tokio::test(start_paused = true)]
async fn a_mailbox_that_is_emptied_says_what_the_client_has_got() {
    let world = World::new();
    let connection = open(&world, &["a"], None);
    world.publish("a", 0..3);
    let (batch, _) = poll(&world, &connection, None).await;
    let parked = world.hub.poll(&connection, Some(batch.cursor), None);
    tokio::pin!(parked);
    assert!(parked.as_mut().now_or_never().is_none());
    connection.mailbox().unwrap().empty(CloseReason::Memory);
    let last = parked.await.unwrap();
    assert!(last.over);
    assert_eq!(last.position, batch.position);
}
