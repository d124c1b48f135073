//! Publishers, lanes and heartbeats.

use super::*;
use crate::longpolling::Batch;

/// Sends a heartbeat to a client that reads before and after it.
fn beat(world: &World, connection: &Connection, blocks: &mut Vec<Block>) {
    let settled = world.hub.settled_positions();
    world.read(connection, blocks);
    connection.heartbeat(settled[world.hub.lanes().lane_of(connection)]);
    world.read(connection, blocks);
}

#[test]
fn r06_the_id_of_a_heartbeat_passes_no_event_under_way() {
    explore(None, || {
        let world = World::new();
        let connection = world.open(&["a"], None);
        let mut blocks = Vec::new();
        world.read(&connection, &mut blocks);
        let publishing = world.publisher("a", 1..2);
        beat(&world, &connection, &mut blocks);
        beat(&world, &connection, &mut blocks);
        publishing.join().unwrap();
        beat(&world, &connection, &mut blocks);
        let last = blocks.last().unwrap();
        assert_eq!((&last.what, last.id), (&What::Heartbeat, Some(world.sequencer.head())));
        world.check(&["a"], None, &blocks);
    });
}

/// The lane of one publisher may have to deliver for the other.
#[test]
fn r06_nor_do_those_while_two_publish() {
    explore(Some(4), || {
        let world = World::new();
        let connection = world.open(&["a"], None);
        let mut blocks = Vec::new();
        world.read(&connection, &mut blocks);
        let publishing = [world.publisher("a", 1..2), world.publisher("a", 2..4)];
        beat(&world, &connection, &mut blocks);
        publishing.into_iter().for_each(|publisher| publisher.join().unwrap());
        beat(&world, &connection, &mut blocks);
        world.check(&["a"], None, &blocks);
    });
}

/// A client of one lane hears how far the node is while the other lane delivers.
#[test]
fn r06_nor_do_those_of_two_lanes() {
    explore(Some(3), || {
        let world = World::new();
        let (one, other) = (world.open(&["a"], None), world.open(&["a", "b"], None));
        assert_ne!(world.hub.lanes().lane_of(&one), world.hub.lanes().lane_of(&other));
        let (mut of_one, mut of_other) = (Vec::new(), Vec::new());
        world.read(&one, &mut of_one);
        world.read(&other, &mut of_other);
        let publishing = [world.publisher("a", 1..2), world.publisher("b", 2..3)];
        beat(&world, &one, &mut of_one);
        beat(&world, &other, &mut of_other);
        publishing.into_iter().for_each(|publisher| publisher.join().unwrap());
        world.read(&one, &mut of_one);
        world.read(&other, &mut of_other);
        world.check(&["a"], None, &of_one);
        world.check(&["a", "b"], None, &of_other);
    });
}

#[test]
fn r07_events_of_two_publishers_arrive_in_the_order_of_their_ids_over_two_lanes() {
    explore(None, || {
        let world = World::new();
        let connections = [world.open(&["a"], None), world.open(&["a"], None)];
        let [one, other] = connections.each_ref().map(|one| world.hub.lanes().lane_of(one));
        assert_ne!(one, other);
        let publishing = world.publisher("a", 1..3);
        world.publish("a", 3);
        publishing.join().unwrap();
        for connection in &connections {
            let mut blocks = Vec::new();
            world.read(connection, &mut blocks);
            world.check(&["a"], None, &blocks);
        }
    });
}

#[test]
fn r07_those_of_three_arrive_in_order_in_a_mailbox() {
    explore(Some(3), || {
        let world = World::new();
        let mailbox = world.hub.open_longpolling(world.opening(&["a"], None)).unwrap();
        let publishing = [world.publisher("a", 1..2), world.publisher("a", 2..3)];
        world.publish("a", 3);
        publishing.into_iter().for_each(|publisher| publisher.join().unwrap());
        let (numbers, position) = poll(&world, &mailbox);
        assert_eq!(numbers, world.published(&["a"], EventPosition::default(), position));
        assert_eq!((numbers.len(), position), (3, world.sequencer.head()));
    });
}

/// Returns the numbers of the events in a mailbox, and where a client comes back to that has got
/// them; 0: to its earlier place.
pub(super) fn poll(world: &World, mailbox: &Connection) -> (Vec<usize>, EventPosition) {
    let polled = world.hub.poll(mailbox, None, None).now_or_never().expect("there are events");
    let Batch { body, position, .. } = polled.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let events = body["events"].as_array().unwrap().iter();
    let numbers = events.filter(|event| event["source"] != "rig");
    let numbers = numbers.map(|event| event["id"].as_str().unwrap().parse().unwrap()).collect();
    let position = position.map(|id| world.sequencer.ids().read(id.as_str()).unwrap());
    (numbers, position.unwrap_or_default())
}
