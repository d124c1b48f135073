//! Requests between nodes: sealed, since they hold tokens of clients.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use node::{AskError, Node, Peers, Replies};
use parking_lot::Mutex;
use seal::Incarnation;
use session::NodeName;
use telemetry::Told;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::sleep;

use crate::codec::Codec;
use crate::core::Input;
use crate::driver::Shown;
use crate::message::Direct;
use crate::metrics::Metrics;
use crate::once::Once;
use crate::wire::{Incoming, Wire, WireError};

/// Length of the random number that makes each request different.
const NONCE: usize = 16;

/// Number of requests that are remembered, so that none is carried out twice.
const REMEMBERED: usize = 65_536;

/// What a sealed message takes beyond the bytes that it holds: nonce and tag of the seal, the
/// random number, the name of the node, and the headers of NATS.
const OVERHEAD: usize = 4 << 10;

/// How long to wait before a subscription that failed is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// Limit of requests of other nodes that are handled at the same time. Those that wait, as polls
/// do, are not among them: their room limits them by what they wait at.
const AT_ONCE: usize = 4096;

/// Limit of requests that are refused at the same time.
const REFUSED_AT_ONCE: usize = 256;

/// Asks the other nodes, and answers them.
pub(crate) struct ClusterPeers {
    wire: Arc<dyn Wire>,
    codec: Arc<Codec>,
    shown: Arc<Shown>,
    life: Incarnation,
    node: NodeName,
    direct: mpsc::UnboundedSender<Input>,
    /// The random numbers of the last requests.
    seen: Mutex<Once<[u8; NONCE]>>,
    /// Room for requests that are handled.
    at_once: Arc<Semaphore>,
    /// Room for requests that are refused: a refusal may wait for the connection.
    refusing: Arc<Semaphore>,
    metrics: Metrics,
    told: Told,
}

/// Answers the requests of other nodes: the node, or a test.
trait Answers: Clone + Send + Sync + 'static {
    /// Returns whether the answer waits for something else than this node.
    fn waits(&self, request: &[u8]) -> bool;

    fn answer(&self, request: Bytes) -> BoxFuture<'static, Bytes>;
}

impl Answers for Node {
    fn waits(&self, request: &[u8]) -> bool {
        self.peer_waits(request)
    }

    fn answer(&self, request: Bytes) -> BoxFuture<'static, Bytes> {
        self.answer_peer(request)
    }
}

impl ClusterPeers {
    pub(crate) fn new(
        (wire, codec): (Arc<dyn Wire>, Arc<Codec>),
        shown: Arc<Shown>,
        (node, life): (NodeName, Incarnation),
        direct: mpsc::UnboundedSender<Input>,
        metrics: Metrics,
    ) -> Self {
        let (seen, told) = (Mutex::new(Once::new(REMEMBERED)), Told::default());
        let [at_once, refusing] = [AT_ONCE, REFUSED_AT_ONCE].map(|room| Arc::new(Semaphore::new(room)));
        Self { wire, codec, shown, life, node, direct, seen, at_once, refusing, metrics, told }
    }

    /// Seals a request; returns it with its random number.
    fn request(&self, to: &str, request: &[u8]) -> ([u8; NONCE], Bytes) {
        let mut nonce = [0; NONCE];
        rand::fill(&mut nonce).expect("the system gives random bytes");
        let plain = [&nonce[..], request].concat();
        (nonce, self.codec.relayed(&format!("request to {to}"), &plain).into())
    }

    /// Opens an answer to the request with this random number; returns the node that has sent it.
    fn answer(&self, nonce: &[u8; NONCE], sealed: &[u8]) -> Result<(NodeName, Bytes), AskError> {
        let Ok(opened) = self.codec.read_relayed(&answer_to(nonce), sealed) else {
            let is_refused = self.codec.read_relayed(&refusal_of(nonce), sealed).is_ok();
            return Err(if is_refused { AskError::Busy } else { AskError::Silent });
        };
        let opened = Bytes::from(opened);
        let name_and_answer = || {
            let length = usize::from(*opened.first()?);
            let name = std::str::from_utf8(opened.get(1..=length)?).ok()?;
            Some((NodeName::from(name), opened.slice(1 + length..)))
        };
        name_and_answer().ok_or(AskError::Silent)
    }

    /// Opens a request to this life, or to all lives. Returns its random number and its content;
    /// `None` if it is not authentic, or was received before.
    fn open(&self, to: &str, sealed: &[u8]) -> Option<([u8; NONCE], Bytes)> {
        let Ok(plain) = self.codec.read_relayed(&format!("request to {to}"), sealed) else {
            tracing::debug!("a request is not from a node of this cluster");
            return None;
        };
        let plain = Bytes::from(plain);
        let nonce = plain.first_chunk::<NONCE>().copied()?;
        self.seen.lock().is_new(nonce).then(|| (nonce, plain.slice(NONCE..)))
    }

    /// Has a request to this life handled, or refuses it at once.
    async fn take(self: &Arc<Self>, answers: &impl Answers, to: &str, incoming: Incoming) {
        match self.at_once.clone().try_acquire_owned() {
            Ok(permit) => {
                let handled = self.clone().handle(answers.clone(), to.to_owned(), incoming, Some(permit));
                tokio::spawn(handled);
            }
            // If even that cannot be done, the other node waits in vain.
            Err(_) => {
                if let Ok(permit) = self.refusing.clone().try_acquire_owned() {
                    let refused = self.clone().refuse(to.to_owned(), incoming, permit);
                    tokio::spawn(refused);
                }
            }
        }
    }

    /// Handles what was sent to this life, or to all lives.
    async fn handle(
        self: Arc<Self>,
        answers: impl Answers,
        to: String,
        incoming: Incoming,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let Some(handle) = incoming.answer else { return };
        let Some((nonce, request)) = self.open(&to, &incoming.payload) else { return };
        drop(incoming.payload);
        // A request that waits leaves its place to others.
        let permit = permit.filter(|_| !answers.waits(&request));
        let answer = answers.answer(request).await;
        drop(permit);
        let name = self.node.as_str().as_bytes();
        let name = &name[..name.len().min(255)];
        let plain = [&[name.len() as u8], name, &answer].concat();
        handle.send(self.codec.relayed(&answer_to(&nonce), &plain).into()).await;
    }

    async fn refuse(self: Arc<Self>, to: String, incoming: Incoming, _: OwnedSemaphorePermit) {
        let Some(handle) = incoming.answer else { return };
        let Some((nonce, _)) = self.open(&to, &incoming.payload) else { return };
        self.metrics.requests_refused.inc();
        if self.told.is_due("refused") {
            tracing::warn!(
                limit = AT_ONCE,
                "requests of other nodes are refused: this node handles as many as it can"
            );
        }
        handle.send(self.codec.relayed(&refusal_of(&nonce), &[]).into()).await;
    }

    /// Takes what comes to this life.
    async fn receive(self: Arc<Self>, node: Node) {
        let to = self.life.to_string();
        loop {
            if let Ok(mut requests) = self.wire.requests().await {
                while let Some(incoming) = requests.next().await {
                    if incoming.answer.is_none() {
                        self.take_direct(&incoming.payload);
                    } else {
                        self.take(&node, &to, incoming).await;
                    }
                }
            }
            sleep(AGAIN).await;
        }
    }

    fn take_direct(&self, payload: &[u8]) {
        match self.codec.read_direct(Some(self.life), payload) {
            Ok(
                message @ (Direct::Operation(_)
                | Direct::Acknowledgement { .. }
                | Direct::Missing { .. }
                | Direct::Supplied { .. }),
            ) => {
                // The driver has stopped if it does not listen.
                let _ = self.direct.send(Input::Direct(message));
            }
            Err(error) => tracing::debug!(%error, "a message of another node is not used"),
        }
    }

    /// Takes what comes to all lives.
    async fn receive_questions(self: Arc<Self>, node: Node) {
        loop {
            if let Ok(mut questions) = self.wire.questions().await {
                while let Some(incoming) = questions.next().await {
                    tokio::spawn(self.clone().handle(node.clone(), ALL.to_owned(), incoming, None));
                }
            }
            sleep(AGAIN).await;
        }
    }
}

/// Whom a question is for.
const ALL: &str = "all";

fn answer_to(nonce: &[u8; NONCE]) -> String {
    format!("answer to {:032x}", u128::from_be_bytes(*nonce))
}

fn refusal_of(nonce: &[u8; NONCE]) -> String {
    format!("refusal of {:032x}", u128::from_be_bytes(*nonce))
}

impl Peers for ClusterPeers {
    fn ask(
        &self,
        life: Incarnation,
        request: Bytes,
        within: Duration,
    ) -> BoxFuture<'_, Result<Bytes, AskError>> {
        async move {
            if request.len() > self.max_bytes() {
                return Err(AskError::TooLarge);
            }
            let (nonce, sealed) = self.request(&life.to_string(), &request);
            match self.wire.request(life, sealed, within).await {
                Ok(answer) => self.answer(&nonce, &answer).map(|(_, answer)| answer),
                Err(WireError::TooLarge) => Err(AskError::TooLarge),
                // No process listens, although the node may only be away for a moment.
                Err(WireError::NoResponders) if !self.shown.is_live(life) => Err(AskError::Gone),
                Err(_) => Err(AskError::Silent),
            }
        }
        .boxed()
    }

    fn ask_all(&self, request: Bytes, within: Duration) -> BoxFuture<'_, Replies> {
        async move {
            let expected = self.shown.live();
            let mut replies = Replies::default();
            let (nonce, sealed) = self.request(ALL, &request);
            if let Ok(mut answers) = self.wire.ask_all(sealed, within).await {
                while replies.answers.len() < expected.len()
                    && let Some(answer) = answers.next().await
                {
                    if let Ok((node, answer)) = self.answer(&nonce, &answer)
                        && node != self.node
                        && replies.answers.iter().all(|(known, _)| *known != node)
                    {
                        replies.answers.push((node, answer));
                    }
                }
            }
            let has_answered = |node: &NodeName| replies.answers.iter().any(|(known, _)| known == node);
            let mut missing: Vec<NodeName> =
                expected.into_iter().map(|(node, _)| node).filter(|node| !has_answered(node)).collect();
            missing.sort();
            missing.dedup();
            replies.missing = missing;
            replies
        }
        .boxed()
    }

    fn lives(&self) -> Vec<Incarnation> {
        self.shown.live().into_iter().map(|(_, life)| life).collect()
    }

    fn names(&self) -> Vec<NodeName> {
        self.shown.live().into_iter().map(|(node, _)| node).collect()
    }

    fn max_bytes(&self) -> usize {
        self.wire.max_payload().saturating_sub(OVERHEAD)
    }

    fn run(self: Arc<Self>, node: Node) -> BoxFuture<'static, ()> {
        async move {
            tokio::join!(self.clone().receive(node.clone()), self.receive_questions(node));
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
