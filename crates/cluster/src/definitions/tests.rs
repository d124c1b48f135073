use std::pin::pin;

use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::{BoxStream, StreamExt};
use metric::Registry;

use super::*;
use crate::keys::Keys;
use crate::wire::{Fetched, Incoming, Live, Replay, StreamInfo, StreamMessage};

/// A stream that holds one message, the one of the definitions.
#[derive(Default)]
pub(crate) struct OneMessage(Mutex<Option<StreamMessage>>);

impl OneMessage {
    fn put(&self, payload: &[u8]) -> u64 {
        let mut message = self.0.lock();
        let sequence = message.as_ref().map_or(1, |before| before.sequence + 1);
        let (subject, payload) = (Names::new(CLUSTER).apis(), Bytes::copy_from_slice(payload));
        *message = Some(StreamMessage { subject, sequence, stored_at: 0, payload });
        sequence
    }
}

fn absent<T: Send + 'static>() -> BoxFuture<'static, Result<T, WireError>> {
    ready(Err(WireError::NotConnected)).boxed()
}

impl Wire for OneMessage {
    fn last(&self, _: String) -> BoxFuture<'_, Result<Option<StreamMessage>, WireError>> {
        ready(Ok(self.0.lock().clone())).boxed()
    }

    fn publish(&self, message: Publication) -> BoxFuture<'_, Result<u64, PublishError>> {
        let last = self.0.lock().as_ref().map_or(0, |last| last.sequence);
        let is_expected = message.expected == Some(last);
        ready(if is_expected { Ok(self.put(&message.payload)) } else { Err(PublishError::Conflict) }).boxed()
    }

    fn info(&self) -> BoxFuture<'_, Result<StreamInfo, WireError>> {
        absent()
    }

    fn live(&self) -> BoxFuture<'_, Result<BoxStream<'static, Live>, WireError>> {
        absent()
    }

    fn fetch(&self, _: u64, _: usize) -> BoxFuture<'_, Result<Fetched, WireError>> {
        absent()
    }

    fn replay(&self, _: u64) -> BoxFuture<'_, Result<Replay, WireError>> {
        absent()
    }

    fn latest(&self, _: String) -> BoxFuture<'_, Result<Vec<StreamMessage>, WireError>> {
        absent()
    }

    fn broadcast(&self, _: Bytes) -> BoxFuture<'_, Result<(), WireError>> {
        absent()
    }

    fn broadcasts(&self) -> BoxFuture<'_, Result<BoxStream<'static, Bytes>, WireError>> {
        absent()
    }

    fn send(&self, _: Incarnation, _: Bytes) -> BoxFuture<'_, Result<(), WireError>> {
        absent()
    }

    fn request(&self, _: Incarnation, _: Bytes, _: Duration) -> BoxFuture<'_, Result<Bytes, WireError>> {
        absent()
    }

    fn requests(&self) -> BoxFuture<'_, Result<BoxStream<'static, Incoming>, WireError>> {
        absent()
    }

    fn ask_all(&self, _: Bytes, _: Duration) -> BoxFuture<'_, Result<BoxStream<'static, Bytes>, WireError>> {
        absent()
    }

    fn questions(&self) -> BoxFuture<'_, Result<BoxStream<'static, Incoming>, WireError>> {
        absent()
    }

    fn rotate(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    fn ended(&self) -> BoxFuture<'_, ()> {
        std::future::pending().boxed()
    }

    fn max_payload(&self) -> usize {
        1 << 20
    }
}

const CLUSTER: &str = "c";

/// Returns the store of a node with this cookie.
fn store(stream: &Arc<OneMessage>, cookie: &str, has_joined: bool) -> Arc<DefinitionsStore> {
    let codec = Arc::new(Codec::new(CLUSTER, Keys::new(cookie, None), true));
    let shown = Arc::new(Shown::default());
    shown.joined.send_replace(has_joined);
    let (driver, _) = mpsc::unbounded_channel();
    let metrics = Metrics::register(&mut Registry::default());
    let wire: Arc<dyn Wire> = stream.clone();
    let of = (NodeName::from("a"), shown);
    Arc::new(DefinitionsStore::new((wire, Names::new(CLUSTER), codec), of, driver, metrics))
}

fn shared(text: &str, revision: u64) -> SharedDefinitions {
    SharedDefinitions { bytes: Bytes::copy_from_slice(text.as_bytes()), revision }
}

#[test]
fn what_was_compressed_is_read_within_its_limit() {
    let bytes = br#"{"apis":[]}"#.repeat(1000);
    assert_eq!(inflated(&deflated(&bytes)), Some(bytes));
    assert_eq!(inflated(b"\xff\xff\xff"), None);
    assert_eq!(inflated(&deflated(&vec![0; LARGEST as usize + 1])), None, "a bomb");
}

#[tokio::test]
async fn a_node_that_has_not_joined_stores_nothing() {
    let stream = Arc::<OneMessage>::default();
    let waiting = store(&stream, "other", false);
    let error = waiting.save(b"x", 0).await.unwrap_err();
    assert!(error.to_string().starts_with("this node has not joined the cluster yet: "), "{error}");
    assert_eq!(*stream.0.lock(), None);
    waiting.shown.joined.send_replace(true);
    assert_eq!(waiting.save(b"x", 0).await, Ok(1));
}

#[test]
fn a_refusal_names_the_cookie() {
    assert!(why_not(Some(WaitsFor::Cookie)).contains("NODE_COOKIE"));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_authentic_is_replaced_by_what_a_node_knows() {
    for garbage in [&b"!"[..], &store(&Arc::default(), "other", true).codec.relayed(PURPOSE, b"x")] {
        let stream = Arc::<OneMessage>::default();
        let node = store(&stream, "cookie", true);
        assert_eq!(node.save(b"one", 0).await, Ok(1));
        let mut changes = pin!(node.clone().changes());
        node.seen(1);
        assert_eq!(changes.next().await, Some(shared("one", 1)));

        node.seen(stream.put(garbage));
        assert_eq!(node.load().await, Ok(Some(shared("one", 1))), "it goes on with what it knows");
        assert_eq!(changes.next().await, Some(shared("one", 1)));
        let started = store(&stream, "cookie", false);
        assert_eq!(started.load().await, Ok(Some(shared("one", 1))), "the others read it again");
        assert_eq!(node.metrics.forged.get(), 1);
        assert_eq!(node.save(b"two", 1).await, Ok(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_begins_with_its_copy() {
    let stream = Arc::<OneMessage>::default();
    stream.put(b"!");
    let node = store(&stream, "cookie", false);
    node.begin(shared("copy", 7));
    assert_eq!(node.load().await, Ok(Some(shared("copy", 7))));
    node.seen(1);
    {
        let mut changes = pin!(node.clone().changes());
        for _ in 0..9 {
            assert!(timeout(AGAIN, changes.next()).await.is_err(), "it does not replace it yet");
        }
        assert_eq!(stream.0.lock().as_ref().map(|message| message.sequence), Some(1));
    }
    // The driver calls this once the node follows the stream.
    node.restore().await;
    assert_eq!(store(&stream, "cookie", true).load().await, Ok(Some(shared("copy", 7))));
}

#[tokio::test(start_paused = true)]
async fn a_node_without_definitions_leaves_what_is_not_authentic_until_an_api_is_changed() {
    let stream = Arc::<OneMessage>::default();
    let node = store(&stream, "cookie", true);
    let mut changes = pin!(node.clone().changes());
    node.seen(stream.put(b"!"));
    assert_eq!(changes.next().now_or_never(), None);
    assert_eq!(node.load().await, Ok(None));
    node.restore().await;
    assert_eq!(stream.0.lock().as_ref().map(|message| message.sequence), Some(1));
    assert_eq!(node.save(b"one", 0).await, Ok(1));
    node.seen(2);
    assert_eq!(changes.next().await, Some(shared("one", 1)));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_late_does_not_hide_a_later_one() {
    let stream = Arc::<OneMessage>::default();
    let node = store(&stream, "cookie", true);
    node.seen(9);
    node.seen(3);
    assert_eq!(*node.seen.borrow(), 9);
    let mut changes = pin!(node.clone().changes());
    assert_eq!(node.save(b"one", 0).await, Ok(1));
    assert!(timeout(AGAIN * 9, changes.next()).await.is_err(), "a server that lags behind has answered");
    // In another stream, it is the last one.
    node.forget_seen();
    node.seen(1);
    assert_eq!(changes.next().await, Some(shared("one", 1)));
}

#[tokio::test]
async fn a_change_that_changes_nothing_has_no_revision_of_its_own() {
    let stream = Arc::default();
    let store = store(&stream, "cookie", true);
    assert_eq!(store.save(b"[]", 0).await, Ok(1));
    assert_eq!(store.save(b"[]", 1).await, Ok(1));
    assert_eq!(store.save(b"[1]", 1).await, Ok(2));
    assert_eq!(store.save(b"[1]", 1).await, Err(DefinitionsError::Conflict));
}
