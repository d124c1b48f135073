//! Publishes numbered events at one node.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::crowd::{GROUPS, World};
use super::socket::Socket;
use crate::client::Request;

/// Between two events at one node.
const EVERY: Duration = Duration::from_millis(30);

/// For an event to be accepted. Later, its outcome is unknown.
const ACCEPT: Duration = Duration::from_secs(2);

/// Publishes until it is dropped. After each failure it is another publisher: an event whose
/// outcome is unknown may still be published, after those that follow.
pub(super) async fn run(world: Rc<World>, node: usize) {
    for life in 0.. {
        let publisher = (life * 3 + node) as u64;
        publish(&world, node, publisher).await;
        sleep(Duration::from_millis(200)).await;
    }
}

async fn publish(world: &Rc<World>, node: usize, publisher: u64) -> Option<()> {
    let ports = world.ports(node)?;
    let socket = Socket::plain(world, ports.inbound).await?;
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for count in 0_u64.. {
        every.tick().await;
        let (group, number) = (count % GROUPS as u64, count / GROUPS as u64);
        // Events of a group are in order, those of two need not be.
        let id = format!("t-{}-{number}", publisher * GROUPS as u64 + group);
        let event = format!(r#"{{"specversion":"0.2","type":"tick.{group}","source":"/t","id":"{id}"}}"#);
        socket.send(&Request::post_json("/_rig/v1/events", event).bytes(ports.inbound))?;
        let answer = timeout(ACCEPT, socket.answer()).await.ok()??;
        if answer.status != 202 {
            world.violation(format!("an event was answered with {}", answer.status));
        }
        world.verdict.borrow_mut().published += 1;
    }
    None
}
