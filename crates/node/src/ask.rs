//! The port through which nodes ask each other, and what this node answers.
//!
//! A request is for one life of a node, because what it is about (a connection, a request that
//! waits) does not outlive that life. What the bytes mean is known to the room that asks and to the
//! same room at the node that answers.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use seal::Incarnation;
use session::NodeName;

use crate::node::Node;

/// Asks the other nodes of a cluster.
///
/// Requests and answers contain tokens of users: whatever carries them keeps them secret, and
/// accepts them from nodes of the cluster alone.
pub trait Peers: Send + Sync + 'static {
    /// Sends a request to one life of a node, and returns its answer.
    ///
    /// # Errors
    /// See [`AskError`]. Dropping the future does not stop the other node from handling the
    /// request.
    fn ask(
        &self,
        life: Incarnation,
        request: Bytes,
        within: Duration,
    ) -> BoxFuture<'_, Result<Bytes, AskError>>;

    /// Sends a request to all other nodes that are alive, and returns what they answer within this
    /// time.
    fn ask_all(&self, request: Bytes, within: Duration) -> BoxFuture<'_, Replies>;

    /// Returns the other lives that may have a lease.
    fn lives(&self) -> Vec<Incarnation>;

    /// Returns the names of the other nodes that may have a lease.
    fn names(&self) -> Vec<NodeName>;

    /// Returns the limit of the bytes of a request, and of an answer.
    fn max_bytes(&self) -> usize;

    /// Passes what the other nodes ask to [`Node::answer_peer`]. Never returns.
    fn run(self: Arc<Self>, node: Node) -> BoxFuture<'static, ()>;
}

/// Why there is no answer of the node that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The process of that life has exited, or was never part of this cluster.
    #[error("the node is gone")]
    Gone,
    /// The node is alive, as far as this one knows, but does not answer. It may have carried out
    /// what it was asked.
    #[error("the node does not answer")]
    Silent,
    /// The node handles as many requests as it can, and has not carried out this one.
    #[error("the node has no room for the request")]
    Busy,
    /// The request or the answer has more bytes than [`Peers::max_bytes`].
    #[error("the request or its answer is too large")]
    TooLarge,
}

/// What all other nodes have answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replies {
    /// The answers, at most one of each node.
    pub answers: Vec<(NodeName, Bytes)>,
    /// The nodes that are alive, but did not answer in time.
    pub missing: Vec<NodeName>,
}

/// A room that answers the requests that the same room sends at other nodes.
pub trait PeerHandler: Send + Sync + 'static {
    /// Answers a request. The bytes come from another node: they are parsed as strictly as those of
    /// a client.
    fn handle(self: Arc<Self>, request: Bytes) -> BoxFuture<'static, Bytes>;

    /// Returns whether a request waits for something else than this node, such as an event. The
    /// handler limits how many of these there are; others are limited by whoever carries them.
    fn waits(&self, _request: &[u8]) -> bool {
        false
    }
}

/// Which room a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRoom {
    /// The inbound port.
    Inbound,
    /// The internal port.
    Admin,
    /// The canary.
    Canary,
}

impl PeerRoom {
    pub(crate) const COUNT: usize = 3;

    /// Returns the first byte of its requests.
    const fn mark(self) -> u8 {
        match self {
            Self::Inbound => b'i',
            Self::Admin => b'a',
            Self::Canary => b'c',
        }
    }

    fn of_mark(mark: u8) -> Option<Self> {
        [Self::Inbound, Self::Admin, Self::Canary].into_iter().find(|room| room.mark() == mark)
    }
}

impl Node {
    /// Has `handler` answer the requests for this room. Only the first handler of a room counts.
    pub fn answer_peers(&self, room: PeerRoom, handler: Weak<dyn PeerHandler>) {
        // A second handler is a programming error and ignored, as documented.
        let _ = self.handlers()[room as usize].set(handler);
    }

    /// Sends a request to the same room at another node.
    ///
    /// # Errors
    /// See [`AskError`]; a node without peers knows no other lives.
    pub async fn ask_peer(
        &self,
        life: Incarnation,
        room: PeerRoom,
        request: &[u8],
        within: Duration,
    ) -> Result<Bytes, AskError> {
        let peers = self.peers().ok_or(AskError::Gone)?;
        peers.ask(life, marked(room.mark(), request), within).await
    }

    /// Sends a question about clients that have gone from one node to another.
    pub(crate) async fn ask_elsewhere_of(
        &self,
        life: Incarnation,
        question: &[u8],
        within: Duration,
    ) -> Result<Bytes, AskError> {
        let peers = self.peers().ok_or(AskError::Gone)?;
        peers.ask(life, marked(ELSEWHERE, question), within).await
    }

    /// Returns the other lives that may have a lease; none without peers.
    pub fn peer_lives(&self) -> Vec<Incarnation> {
        self.peers().map_or_else(Vec::new, |peers| peers.lives())
    }

    /// Returns the limit of the bytes of a request of [`Node::ask_peer`], and of its answer.
    pub fn max_peer_bytes(&self) -> usize {
        self.peers().map_or(0, |peers| peers.max_bytes().saturating_sub(1))
    }

    /// Answers a request of another node. The answer is empty if no room here understands it.
    pub fn answer_peer(&self, request: Bytes) -> BoxFuture<'static, Bytes> {
        let Some((mark, _)) = request.split_first() else { return no_answer() };
        if *mark == Self::LISTING {
            return self.clone().answer_gathering(request.slice(1..)).boxed();
        }
        if *mark == ELSEWHERE {
            return self.clone().answer_elsewhere(request.slice(1..)).boxed();
        }
        match self.handler(*mark) {
            Some(handler) => handler.handle(request.slice(1..)),
            None => no_answer(),
        }
    }

    /// Returns whether the answer to a request of another node may take long, since it waits for
    /// something else than this node.
    pub fn peer_waits(&self, request: &[u8]) -> bool {
        let Some((mark, request)) = request.split_first() else { return false };
        self.handler(*mark).is_some_and(|handler| handler.waits(request))
    }

    fn handler(&self, mark: u8) -> Option<Arc<dyn PeerHandler>> {
        let room = PeerRoom::of_mark(mark)?;
        self.handlers()[room as usize].get()?.upgrade()
    }
}

/// The first byte of questions about clients that have gone from one node to another.
const ELSEWHERE: u8 = b'e';

fn no_answer() -> BoxFuture<'static, Bytes> {
    std::future::ready(Bytes::new()).boxed()
}

fn marked(mark: u8, request: &[u8]) -> Bytes {
    let mut marked = BytesMut::with_capacity(1 + request.len());
    marked.put_u8(mark);
    marked.put_slice(request);
    marked.freeze()
}
