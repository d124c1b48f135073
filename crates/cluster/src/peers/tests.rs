use metric::Registry;
use tokio::sync::oneshot;

use super::*;
use crate::definitions::tests::OneMessage;
use crate::keys::Keys;
use crate::wire::AnswerHandle;

/// Answers with the request. Requests that begin with `p` wait, and both they and those that begin
/// with `s` are never answered.
#[derive(Clone)]
struct Echo;

impl Answers for Echo {
    fn waits(&self, request: &[u8]) -> bool {
        request.starts_with(b"p")
    }

    fn answer(&self, request: Bytes) -> BoxFuture<'static, Bytes> {
        match request.first() {
            Some(b'p' | b's') => std::future::pending().boxed(),
            _ => std::future::ready(request).boxed(),
        }
    }
}

fn peers() -> Arc<ClusterPeers> {
    let codec = Arc::new(Codec::new("c", Keys::new("cookie", None), true));
    let (direct, _) = mpsc::unbounded_channel();
    let metrics = Metrics::register(&mut Registry::default());
    let of = (NodeName::from("a"), Incarnation::of("a"));
    let wire = Arc::<OneMessage>::default();
    Arc::new(ClusterPeers::new((wire, codec), Arc::default(), of, direct, metrics))
}

/// Sends a request; returns its answer, once there is one.
async fn ask(peers: &Arc<ClusterPeers>, request: &[u8]) -> impl Future<Output = Result<Bytes, AskError>> {
    let to = peers.life.to_string();
    let (nonce, payload) = peers.request(&to, request);
    let (sender, answer) = oneshot::channel();
    let handle = AnswerHandle::new(move |answer| {
        drop(sender.send(answer));
        std::future::ready(()).boxed()
    });
    peers.take(&Echo, &to, Incoming { payload, answer: Some(handle) }).await;
    // Until its task has begun.
    tokio::task::yield_now().await;
    let peers = peers.clone();
    async move {
        let sealed = answer.await.map_err(|_| AskError::Silent)?;
        peers.answer(&nonce, &sealed).map(|(_, answer)| answer)
    }
}

#[tokio::test]
async fn no_request_waits_behind_polls() {
    let peers = peers();
    let mut polls = Vec::new();
    for _ in 0..2 * AT_ONCE {
        polls.push(ask(&peers, b"poll").await);
    }
    assert_eq!(ask(&peers, b"hello").await.await, Ok(Bytes::from("hello")));
    assert_eq!(peers.metrics.requests_refused.get(), 0);
}

#[tokio::test]
async fn what_there_is_no_room_for_is_refused_at_once() {
    let peers = peers();
    let mut stuck = Vec::new();
    for _ in 0..AT_ONCE {
        stuck.push(ask(&peers, b"stuck").await);
    }
    assert_eq!(ask(&peers, b"hello").await.await, Err(AskError::Busy));
    assert_eq!(ask(&peers, b"poll").await.await, Err(AskError::Busy));
    assert_eq!(peers.metrics.requests_refused.get(), 2);
}
