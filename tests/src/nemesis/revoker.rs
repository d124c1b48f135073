//! Revokes a session and says from when on it must be silent.

use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::crowd::{NodePorts, World};
use super::session::{Session, State};
use super::socket::Socket;
use crate::client::Request;

/// For the answer to a revocation, at a node that may be stopped for a minute.
const ANSWER: Duration = Duration::from_secs(90);

/// Until the first look at a receipt that is not complete. Each further one takes twice as long:
/// looks at thousands of them would keep the node from its recovery.
const LOOK: Duration = Duration::from_millis(500);

/// The longest time between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(16);

/// How many looks; then the queue of the node is judged by what is in force in the end.
const LOOKS: usize = 12;

/// What is asked of a client that waits for its connections.
const SETTLE: Duration = Duration::from_millis(100);

/// Revokes a session at a random node, and follows the receipt until it is complete.
pub(super) async fn revoke(world: &Rc<World>, session: &Rc<Session>) {
    let Some((node, ports)) = random_node(world).await else { return };
    let calm = world.calm();
    session.set(State::Asked);
    let asked = Instant::now();
    world.verdict.borrow_mut().revocations += 1;
    let body = json!({
        "id": session.name, "session": session.name, "validityInSeconds": 36_000,
        "reason": "x".repeat(500),
    });
    let request = Request::post_json("/v4/revocations", body.to_string());
    let Some((status, receipt)) = ask(world, ports, &request).await else {
        session.set(State::Unknown);
        return world.verdict.borrow_mut().answer("unknown", asked.elapsed());
    };
    let reach = receipt["cluster"].as_str().unwrap_or("-").to_owned();
    match (status, reach.as_str()) {
        (201, _) => session.silence("201"),
        (202, "pending") => silence_later(world, session),
        (202, "queued") => {}
        _ => session.set(State::Unknown),
    }
    let kind = format!("{status} {reach}");
    world.verdict.borrow_mut().answer(&kind, asked.elapsed());
    if calm.is_some() && calm == world.calm() && status != 201 {
        world.violation(format!("without a fault, node {node} answered {kind}: {receipt}"));
    }
    note_expired(world, &receipt);
    if ![201, 202].contains(&status) {
        return;
    }
    world.verdict.borrow_mut().acknowledged.push(session.name.clone());
    if status == 202 {
        follow(world, session, node).await;
    }
}

/// Sends a request to the internal port of a node.
async fn ask(world: &Rc<World>, ports: NodePorts, request: &Request) -> Option<(u16, Value)> {
    let answered = async {
        let socket = Socket::plain(world, ports.internal).await?;
        socket.send(&request.bytes(ports.internal))?;
        let answer = socket.answer().await?;
        Some((answer.status, serde_json::from_slice(&answer.body).unwrap_or_default()))
    };
    timeout(ANSWER, answered).await.ok()?
}

/// Returns a node that listens, once there is one.
async fn random_node(world: &World) -> Option<(usize, NodePorts)> {
    for _ in 0..600 {
        let node = world.below(3);
        if let Some(ports) = world.ports(node) {
            return Some((node, ports));
        }
        sleep(SETTLE).await;
    }
    None
}

/// The revocation is in the stream: after the bound, no node has a lease without it.
fn silence_later(world: &World, session: &Rc<Session>) {
    let (session, bound) = (session.clone(), world.options.bound);
    spawn_local(async move {
        sleep(bound).await;
        session.silence("the stream's acknowledgement and the bound");
    });
}

async fn follow(world: &Rc<World>, session: &Rc<Session>, node: usize) {
    let path = format!("/v4/revocations/{}", session.name);
    let (mut pending, mut look) = (false, LOOK);
    for _ in 0..LOOKS {
        sleep(look).await;
        look = LOOK_AGAIN.min(look * 2);
        let Some(ports) = world.ports(node) else { continue };
        let Some((200, receipt)) = ask(world, ports, &Request::get(&path)).await else { continue };
        match receipt["cluster"].as_str() {
            Some("complete") => {
                session.silence("its receipt was complete");
                return note_expired(world, &receipt);
            }
            // `shared`: the node has restarted, and does not know who has confirmed it.
            Some("pending" | "shared") if !pending => {
                pending = true;
                silence_later(world, session);
            }
            _ => {}
        }
    }
}

fn note_expired(world: &World, receipt: &Value) {
    let text = receipt.to_string();
    world.verdict.borrow_mut().expired += text.matches("\"expired\"").count() as u64;
}
