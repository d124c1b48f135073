//! A node finds out what was lost while nothing came to it.

use connection::Gap;
use session::NodeName;

use super::network::{Disturbance, TYPES};
use super::{NAMES, World, subscriptions};

/// Three nodes without losses, of which the first one receives everything, and a cursor of it.
async fn begin() -> (World, String) {
    let mut world = World::with(Disturbance { loss: 0, delay: 500 }, fastrand::Rng::with_seed(1));
    tokio::task::yield_now().await;
    world.want(0).await;
    for node in [1, 2] {
        world.publish_one(node, TYPES[0]).await;
        world.publish_one(node, TYPES[2]).await;
    }
    world.network.settle().await;
    let head = world.members[0].hub.positions_since(Default::default(), &[], || ());
    let cursor = world.members[0].id(head.expect("nothing was lost").1);
    (world, cursor)
}

/// Returns how many events of types came to the first node after a cursor.
fn missed(world: &World, cursor: &str, types: &[&str]) -> Result<usize, Gap> {
    world.members[0].missed(cursor, &subscriptions(types)).map(|(events, _)| events.len())
}

async fn find_lost(world: &World) -> bool {
    let (node, bus) = (&world.members[0].node, &world.members[0].bus);
    let is_known = node.find_lost(&node.peer_lives(), &bus.numbers).await;
    world.network.settle().await;
    is_known
}

#[tokio::test(start_paused = true)]
async fn nothing_was_lost_if_nothing_was_published() {
    let (mut world, cursor) = begin().await;
    world.network.set_cut(0, true);
    // What is sent again and again beside events is none.
    world.members.iter().for_each(|member| member.bus.send_all_heads());
    world.network.set_cut(0, false);
    assert!(find_lost(&world).await);
    world.publish_one(1, TYPES[0]).await;
    world.network.settle().await;
    assert_eq!(missed(&world, &cursor, &TYPES), Ok(1));
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_is_a_gap_for_its_bucket() {
    let (mut world, cursor) = begin().await;
    world.network.set_cut(0, true);
    world.publish_one(1, TYPES[2]).await;
    world.network.set_cut(0, false);
    assert!(find_lost(&world).await);
    assert_eq!(missed(&world, &cursor, &TYPES[..2]), Ok(0), "another bucket");
    assert_eq!(missed(&world, &cursor, &[TYPES[2]]), Err(Gap::Lost));
}

#[tokio::test(start_paused = true)]
async fn it_is_not_known_if_a_node_does_not_answer() {
    let (mut world, _) = begin().await;
    world.network.set_cut(0, true);
    world.publish_one(1, TYPES[2]).await;
    world.network.set_cut(0, false);
    world.peers.cut(&NodeName::from(NAMES[1]));
    assert!(!find_lost(&world).await);
    world.peers.connect(&NodeName::from(NAMES[1]));
    assert!(find_lost(&world).await);
}
