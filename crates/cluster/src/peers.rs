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
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::codec::Codec;
use crate::core::Input;
use crate::driver::Shown;
use crate::message::Direct;
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

/// Limit of requests of other nodes that are handled at the same time.
const AT_ONCE: usize = 4096;

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
}

impl ClusterPeers {
    pub(crate) fn new(
        wire: Arc<dyn Wire>,
        codec: Arc<Codec>,
        shown: Arc<Shown>,
        (node, life): (NodeName, Incarnation),
        direct: mpsc::UnboundedSender<Input>,
    ) -> Self {
        Self { wire, codec, shown, life, node, direct, seen: Mutex::new(Once::new(REMEMBERED)) }
    }

    /// Seals a request; returns it with its random number.
    fn request(&self, to: &str, request: &[u8]) -> ([u8; NONCE], Bytes) {
        let mut nonce = [0; NONCE];
        rand::fill(&mut nonce).expect("the system gives random bytes");
        let plain = [&nonce[..], request].concat();
        (nonce, self.codec.relayed(&format!("request to {to}"), &plain).into())
    }

    /// Opens an answer to the request with this random number; returns the node that has sent it.
    fn answer(&self, nonce: &[u8; NONCE], sealed: &[u8]) -> Option<(NodeName, Bytes)> {
        let opened = Bytes::from(self.codec.read_relayed(&answer_to(nonce), sealed).ok()?);
        let length = usize::from(*opened.first()?);
        let name = std::str::from_utf8(opened.get(1..=length)?).ok()?;
        Some((NodeName::from(name), opened.slice(1 + length..)))
    }

    /// Handles what was sent to this life, or to all lives.
    async fn handle(self: Arc<Self>, node: Node, to: String, incoming: Incoming) {
        let Some(handle) = incoming.answer else { return };
        let Ok(plain) = self.codec.read_relayed(&format!("request to {to}"), &incoming.payload) else {
            tracing::debug!("a request is not from a node of this cluster");
            return;
        };
        let plain = Bytes::from(plain);
        let Some(nonce) = plain.first_chunk::<NONCE>().copied() else { return };
        if !self.seen.lock().is_new(nonce) {
            return;
        }
        let answer = node.answer_peer(plain.slice(NONCE..)).await;
        let name = self.node.as_str().as_bytes();
        let name = &name[..name.len().min(255)];
        let plain = [&[name.len() as u8], name, &answer].concat();
        handle.send(self.codec.relayed(&answer_to(&nonce), &plain).into()).await;
    }

    /// Takes what comes to this life.
    async fn receive(self: Arc<Self>, node: Node) {
        let to = self.life.to_string();
        let at_once = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
        loop {
            if let Ok(mut requests) = self.wire.requests().await {
                while let Some(incoming) = requests.next().await {
                    if incoming.answer.is_none() {
                        self.take_direct(&incoming.payload);
                    } else if let Ok(permit) = at_once.clone().try_acquire_owned() {
                        let handled = self.clone().handle(node.clone(), to.clone(), incoming);
                        tokio::spawn(async move {
                            handled.await;
                            drop(permit);
                        });
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
                    tokio::spawn(self.clone().handle(node.clone(), ALL.to_owned(), incoming));
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
                Ok(answer) => match self.answer(&nonce, &answer) {
                    Some((_, answer)) => Ok(answer),
                    None => Err(AskError::Silent),
                },
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
                    if let Some((node, answer)) = self.answer(&nonce, &answer)
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
