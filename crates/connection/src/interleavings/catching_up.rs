//! Clients that come back while events are published.

use super::*;

/// A node with an event that a client has missed since the returned cursor.
fn missed() -> (Arc<World>, EventPosition) {
    let world = World::new();
    let first = world.open(&["a"], None);
    let cursor = world.sequencer.head();
    drop(first);
    world.publish("a", 0);
    (world, cursor)
}

/// A client comes back while a publisher publishes events of these numbers.
fn comes_back_while(bound: Option<usize>, numbers: std::ops::Range<usize>) {
    explore(bound, move || {
        let (world, cursor) = missed();
        let publishing = world.publisher("a", numbers.clone());
        let connection = world.open(&["a"], Some(cursor));
        let mut blocks = Vec::new();
        world.read(&connection, &mut blocks);
        publishing.join().unwrap();
        world.read(&connection, &mut blocks);
        world.check(&["a"], Some(cursor), &blocks);
    });
}

#[test]
fn r08_a_client_that_comes_back_while_events_are_published_misses_and_repeats_none() {
    comes_back_while(None, 1..2);
}

#[test]
fn r08_nor_of_two_publishers() {
    explore(Some(3), || {
        let (world, cursor) = missed();
        let publishing = [world.publisher("a", 1..2), world.publisher("a", 2..3)];
        let connection = world.open(&["a"], Some(cursor));
        let mut blocks = Vec::new();
        world.read(&connection, &mut blocks);
        world.heartbeat(&connection);
        world.read(&connection, &mut blocks);
        publishing.into_iter().for_each(|publisher| publisher.join().unwrap());
        world.read(&connection, &mut blocks);
        world.check(&["a"], Some(cursor), &blocks);
    });
}

#[test]
fn r08_nor_of_several_of_one_publisher() {
    comes_back_while(Some(5), 1..4);
}

/// The first subscriber of a type, of whose events none are kept before.
#[test]
fn r08_the_first_client_of_a_type_misses_nothing_after_its_first_id() {
    explore(None, || {
        let world = World::new();
        let publishing = world.publisher("a", 1..3);
        let connection = world.open(&["a"], None);
        let mut blocks = Vec::new();
        world.read(&connection, &mut blocks);
        publishing.join().unwrap();
        world.read(&connection, &mut blocks);
        world.check(&["a"], None, &blocks);
    });
}

#[test]
fn r08_a_mailbox_that_comes_back_misses_and_repeats_none() {
    explore(None, || {
        let (world, cursor) = missed();
        let publishing = world.publisher("a", 1..2);
        let mailbox = world.hub.open_longpolling(world.opening(&["a"], Some(cursor))).unwrap();
        let (first, position) = ordered::poll(&world, &mailbox);
        assert_eq!(first, world.published(&["a"], cursor, position.max(cursor)));
        publishing.join().unwrap();
        let (numbers, position) = ordered::poll(&world, &mailbox);
        assert_eq!((numbers, position), (vec![0, 1], world.sequencer.head()));
    });
}

/// As in RIG's examples: the subscriptions come after the connection.
#[test]
fn r08_subscriptions_that_are_added_late_miss_and_repeat_none() {
    explore(None, || {
        let (world, cursor) = missed();
        let mut opening = world.opening(&[], Some(cursor));
        opening.resume.is_complete = false;
        let connection = world.open_with(opening).unwrap();
        let mut blocks = Vec::new();
        world.read(&connection, &mut blocks);
        let publishing = world.publisher("a", 1..2);
        connection.set_subscriptions(&[], &subscriptions(&["a"])).unwrap();
        world.read(&connection, &mut blocks);
        publishing.join().unwrap();
        world.read(&connection, &mut blocks);
        let numbers: Vec<_> = blocks.iter().filter_map(Block::number).collect();
        assert_eq!(numbers, [0, 1], "{blocks:?}");
        let replayed = blocks.iter().find(|block| block.number() == Some(0)).unwrap();
        assert!(
            replayed.id.is_none_or(|id| id == cursor),
            "if it breaks now, the client has to come back there"
        );
    });
}
