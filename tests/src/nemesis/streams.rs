//! The connections of a session.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::crowd::World;
use super::session::{Session, State};
use super::socket::{Answer, Order, Socket};
use crate::client::Request;
use crate::encoded;
use crate::websocket::{Frame, Opcode, WebSocket};

/// For the answer to a connect.
const CONNECT: Duration = Duration::from_secs(5);

/// For a poll, which a gateway answers after 30 s at the latest if it runs.
const POLL: Duration = Duration::from_secs(60);

/// Between two connects, at most.
const AGAIN: Duration = Duration::from_millis(500);

/// Between two polls, at most.
const POLLS: Duration = Duration::from_millis(500);

/// Until a client of a revoked session tries again, at most.
const TRY_AGAIN: Duration = Duration::from_secs(5);

const CLOSE: u8 = Opcode::Close as u8;

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Sse,
    WebSocket,
    LongPolling,
}

impl Transport {
    /// Returns the transports of a session. Polls cost the most, so few have them.
    pub(super) fn of(session: usize) -> &'static [Self] {
        match session % 4 {
            0 => &[Self::Sse, Self::WebSocket, Self::LongPolling],
            1 => &[Self::WebSocket, Self::Sse],
            _ => &[Self::Sse, Self::WebSocket],
        }
    }
}

/// Keeps a connection at a node, and another after each that is lost, until the session is
/// revoked. Then tries it once more.
pub(super) async fn run(world: Rc<World>, session: Rc<Session>, node: usize, transport: Transport) {
    while matches!(session.state(), State::Live | State::Asked) {
        world.pause(AGAIN).await;
        once(&world, &session, node, transport).await;
    }
    if matches!(session.state(), State::Silent(..)) {
        world.pause(TRY_AGAIN).await;
        once(&world, &session, world.below(3), transport).await;
    }
}

async fn once(world: &Rc<World>, session: &Rc<Session>, node: usize, transport: Transport) -> Option<()> {
    let address = world.ports(node)?.inbound;
    let query = format!(
        "subscriptions={}&jwt={}",
        encoded(&format!(r#"[{{"eventType":"tick.{}"}}]"#, session.group)),
        session.token
    );
    let order: Rc<RefCell<Order>> = Rc::default();
    let socket = Socket::connect(world, address, Some(session.clone()), order.clone()).await?;
    let request = match transport {
        Transport::Sse => Request::get(format!("/_rig/v1/connection/sse?{query}")),
        Transport::WebSocket => WebSocket::handshake(&format!("/_rig/v1/connection/ws?{query}")),
        Transport::LongPolling => Request::get(format!("/_rig/v1/connection/longpolling?{query}")),
    };
    socket.send(&request.bytes(address))?;
    let before = session.state();
    let answer = timeout(CONNECT, socket.head()).await.ok()??;
    let verdict = match (answer.status, transport) {
        (101, _) => first_frame(&socket).await?,
        (200, _) => Admission::LetIn,
        (503, _) => Admission::NotNow,
        (status, _) => Admission::Refused(status),
    };
    judge_connect(world, session, before, verdict, node);
    if verdict != Admission::LetIn {
        return None;
    }
    world.verdict.borrow_mut().connections += 1;
    match transport {
        Transport::Sse => {
            while session.state() != State::Unknown && socket.more().await {
                socket.clear();
            }
        }
        Transport::WebSocket => drop(frames(session, &socket).await),
        Transport::LongPolling => drop(polls(world, session, &answer, &order).await),
    }
    if session.is_live() {
        world.verdict.borrow_mut().lost += 1;
        if world.calm().is_some() {
            world.violation(format!(
                "without a fault, node {node} closed a {transport:?} of {}",
                session.name
            ));
        }
    }
    Some(())
}

/// What a gateway does with a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    LetIn,
    /// It has no lease.
    NotNow,
    /// With this status or close code.
    Refused(u16),
}

/// A session is let in until it is revoked, and refused afterwards.
fn judge_connect(world: &World, session: &Session, before: State, admission: Admission, node: usize) {
    let name = &session.name;
    match (before, admission) {
        (State::Silent(since, why), Admission::LetIn) => {
            world.violation(format!("node {node} let {name} in, {:?} after {why}", since.elapsed()));
        }
        (State::Live, Admission::Refused(status)) if session.is_live() => {
            world.violation(format!("node {node} refused {name} with {status}, which is not revoked"));
        }
        (State::Live, Admission::NotNow) if session.is_live() && world.calm().is_some() => {
            world.violation(format!("without a fault, node {node} has no lease for {name}"));
        }
        _ => {}
    }
}

/// Returns what the first frame says: a handshake succeeds before the token is checked, so that the
/// client learns the reason.
async fn first_frame(socket: &Socket) -> Option<Admission> {
    let (opcode, payload) = frame(socket).await?;
    Some(match (opcode, payload.first_chunk()) {
        (CLOSE, Some(code)) => match u16::from_be_bytes(*code) {
            // Try again later (RFC 6455, registry of close codes).
            1013 => Admission::NotNow,
            code => Admission::Refused(code),
        },
        (CLOSE, None) => Admission::Refused(0),
        _ => Admission::LetIn,
    })
}

/// Returns the next frame.
async fn frame(socket: &Socket) -> Option<(u8, Vec<u8>)> {
    let head = socket.exactly(2).await?;
    let length = match head[1] & 0x7f {
        126 => u16::from_be_bytes(socket.exactly(2).await?.try_into().ok()?).into(),
        127 => usize::try_from(u64::from_be_bytes(socket.exactly(8).await?.try_into().ok()?)).ok()?,
        short => short.into(),
    };
    Some((head[0] & 0xf, socket.exactly(length).await?))
}

/// Reads frames and answers pings.
async fn frames(session: &Session, socket: &Socket) -> Option<()> {
    while session.state() != State::Unknown {
        let (opcode, payload) = frame(socket).await?;
        if opcode == Opcode::Ping as u8 {
            socket.send(&Frame::new(Opcode::Pong, payload).bytes())?;
        }
    }
    Some(())
}

/// Polls at one node after the other, as a client behind a balancer without stickiness does.
async fn polls(
    world: &Rc<World>,
    session: &Rc<Session>,
    connected: &Answer,
    order: &Rc<RefCell<Order>>,
) -> Option<()> {
    let mut cookies: Vec<(String, String)> = Vec::new();
    take_cookies(&mut cookies, connected);
    let mut node = 0;
    while matches!(session.state(), State::Live | State::Asked) {
        world.pause(POLLS).await;
        node = (node + 1) % 3;
        let Some(ports) = world.ports(node) else { continue };
        let answered = async {
            let socket = Socket::connect(world, ports.inbound, Some(session.clone()), order.clone()).await?;
            let cookie: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let request = Request::get("/_rig/v1/connection/longpolling").header("Cookie", cookie.join("; "));
            socket.send(&request.bytes(ports.inbound))?;
            socket.answer().await
        };
        match timeout(POLL, answered).await.ok().flatten() {
            Some(answer) if answer.status == 200 => take_cookies(&mut cookies, &answer),
            // The node has no lease, or the node of the connection does not answer.
            Some(answer) if answer.status == 503 => sleep(AGAIN).await,
            Some(_) => return None,
            // The answer to the last poll is lost; the next poll repeats it.
            None => order.borrow_mut().clear(),
        }
    }
    Some(())
}

fn take_cookies(cookies: &mut Vec<(String, String)>, answer: &Answer) {
    for cookie in answer.headers("set-cookie") {
        let pair = cookie.split(';').next().unwrap_or_default();
        let Some((name, value)) = pair.split_once('=') else { continue };
        cookies.retain(|(known, _)| known != name);
        if !cookie.contains("Max-Age=0") {
            cookies.push((name.to_owned(), value.to_owned()));
        }
    }
}
