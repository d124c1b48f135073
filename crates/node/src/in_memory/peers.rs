//! Requests between the nodes of a [`Network`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use seal::Incarnation;
use session::NodeName;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Network;
use crate::ask::{AskError, Peers, Replies};
use crate::node::Node;

/// The limit of a request or an answer: what NATS carries by default, without the head of a
/// message.
const MAX_BYTES: usize = (1 << 20) - (4 << 10);

/// The limit of requests to a node that it has not begun to handle.
const QUEUE: usize = 1024;

/// A request, and where its answer goes.
type Asked = (Bytes, oneshot::Sender<Bytes>);

/// A life of a node, as the others reach it.
#[derive(Clone)]
pub(super) struct Reachable {
    life: Incarnation,
    name: NodeName,
    requests: mpsc::Sender<Asked>,
}

struct MemoryPeers {
    network: Network,
    name: NodeName,
    life: Incarnation,
    requests: Mutex<mpsc::Receiver<Asked>>,
}

impl Network {
    /// Makes a life of a node reachable for requests of the others, until its tasks are dropped.
    pub fn peers(&self, name: &NodeName, life: Incarnation) -> Arc<dyn Peers> {
        let (sender, requests) = mpsc::channel(QUEUE);
        let reachable = Reachable { life, name: name.clone(), requests: sender };
        self.0.traffic.lock().lives.insert(life.to_bytes(), reachable);
        let requests = Mutex::new(requests);
        Arc::new(MemoryPeers { network: self.clone(), name: name.clone(), life, requests })
    }
}

impl MemoryPeers {
    /// Returns the life; `None` if its tasks are dropped.
    fn find(&self, life: Incarnation) -> Option<Reachable> {
        let found = self.network.0.traffic.lock().lives.get(&life.to_bytes()).cloned();
        found.filter(|found| !found.requests.is_closed())
    }

    fn others(&self) -> Vec<Reachable> {
        let traffic = self.network.0.traffic.lock();
        let others = traffic.lives.iter().filter(|(life, _)| **life != self.life.to_bytes());
        others.map(|(_, other)| other.clone()).filter(|other| !other.requests.is_closed()).collect()
    }

    /// Sends a request. It is lost, and so is its answer, while one of the two nodes is cut off.
    async fn ask(&self, other: &Reachable, request: Bytes, within: Duration) -> Result<Bytes, AskError> {
        if request.len() > MAX_BYTES {
            return Err(AskError::TooLarge);
        }
        let is_cut = || [&self.name, &other.name].into_iter().any(|name| self.network.is_cut(name));
        let asking = async {
            if is_cut() {
                return std::future::pending().await;
            }
            let (sender, answer) = oneshot::channel();
            other.requests.send((request, sender)).await.map_err(|_| AskError::Gone)?;
            match answer.await {
                Ok(_) | Err(_) if is_cut() => std::future::pending().await,
                Ok(answer) if answer.len() > MAX_BYTES => Err(AskError::TooLarge),
                Ok(answer) => Ok(answer),
                // The node has stopped meanwhile, which the one that asks cannot know.
                Err(_) => std::future::pending().await,
            }
        };
        timeout(within, asking).await.unwrap_or(Err(AskError::Silent))
    }
}

impl Peers for MemoryPeers {
    fn ask(
        &self,
        life: Incarnation,
        request: Bytes,
        within: Duration,
    ) -> BoxFuture<'_, Result<Bytes, AskError>> {
        async move {
            let other = self.find(life).ok_or(AskError::Gone)?;
            self.ask(&other, request, within).await
        }
        .boxed()
    }

    fn ask_all(&self, request: Bytes, within: Duration) -> BoxFuture<'_, Replies> {
        async move {
            let others = self.others();
            let asked = others.iter().map(|other| self.ask(other, request.clone(), within));
            let mut replies = Replies::default();
            for (other, reply) in others.iter().zip(join_all(asked).await) {
                match reply {
                    Ok(answer) => replies.answers.push((other.name.clone(), answer)),
                    Err(AskError::Gone) => {}
                    Err(AskError::Silent | AskError::Busy | AskError::TooLarge) => {
                        replies.missing.push(other.name.clone())
                    }
                }
            }
            replies
        }
        .boxed()
    }

    fn lives(&self) -> Vec<Incarnation> {
        self.others().into_iter().map(|other| other.life).collect()
    }

    fn names(&self) -> Vec<NodeName> {
        self.others().into_iter().map(|other| other.name).collect()
    }

    fn max_bytes(&self) -> usize {
        MAX_BYTES
    }

    fn run(self: Arc<Self>, node: Node) -> BoxFuture<'static, ()> {
        async move {
            let mut requests = self.requests.lock().await;
            let mut handling = JoinSet::new();
            while let Some((request, sender)) = requests.recv().await {
                let answer = node.answer_peer(request);
                handling.spawn(async move { sender.send(answer.await) });
                while handling.try_join_next().is_some() {}
            }
        }
        .boxed()
    }
}
