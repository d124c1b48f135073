//! What was published before a node wanted it, and is still on its way to another one.

use std::time::Duration;

use connection::Gap;
use session::NodeName;

use super::network::{Disturbance, TYPES};
use super::{NAMES, World, number, subscriptions};

/// A client of the first node has a cursor there. Then the last node publishes an event that is
/// late.
async fn begin() -> (World, String) {
    let mut world = World::with(Disturbance { loss: 0, delay: 0 }, fastrand::Rng::with_seed(1));
    tokio::task::yield_now().await;
    world.want(0).await;
    let head = world.members[0].hub.positions_since(Default::default(), &[], || ());
    let cursor = world.members[0].id(head.expect("nothing was lost").1);
    world.network.set_held(0, true);
    world.publish_one(2, TYPES[0]).await;
    (world, cursor)
}

/// Returns what the client gets from the first node if it comes to the second one, which has wanted
/// nothing before.
async fn missed_elsewhere(world: &World, cursor: &str) -> Result<Vec<String>, Gap> {
    let found = world.members[1].node.missed_elsewhere(cursor, &subscriptions(&TYPES), true).await;
    let found = found.expect("the cursor is that of another node")?;
    Ok(found.events.iter().map(|(_, kept)| number(&kept.json)).collect())
}

#[tokio::test(start_paused = true)]
async fn the_other_node_waits_for_what_it_has_not_received_yet() {
    let (world, cursor) = begin().await;
    let late = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.network.set_held(0, false);
    };
    let (missed, ()) = tokio::join!(missed_elsewhere(&world, &cursor), late);
    assert_eq!(missed, Ok(vec!["0".to_owned()]));
}

/// It cannot be known that the event exists.
#[tokio::test(start_paused = true)]
async fn without_the_answer_of_a_publisher_there_is_a_gap() {
    let (world, cursor) = begin().await;
    world.peers.cut(&NodeName::from(NAMES[2]));
    assert_eq!(missed_elsewhere(&world, &cursor).await, Err(Gap::Elsewhere));
}
