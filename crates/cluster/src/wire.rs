//! What the protocol needs of NATS: one stream, and messages outside of it.
//!
//! The types are plain, so that a test can put another implementation in the place of
//! [`crate::nats`]. Nothing here is ordered or complete: the reader checks that sequences are
//! contiguous, and fetches what is missing.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use seal::Incarnation;

use session::Epoch;

/// The subjects of a cluster, and the name of its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    cluster: String,
}

impl Names {
    /// Returns the names of the cluster of this name, which is one token of a subject.
    pub fn new(cluster: &str) -> Self {
        Self { cluster: cluster.to_owned() }
    }

    /// Returns whether a text can be one token of a subject: letters, digits, `-` and `_`, up to
    /// 64.
    pub fn is_token(text: &str) -> bool {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=64).contains(&text.len()) && text.bytes().all(allowed)
    }

    /// Returns the stream.
    pub fn stream(&self) -> String {
        format!("RIG_{}", self.cluster)
    }

    /// Returns the subject of the operations on an id with this hash.
    pub fn operation(&self, hash: &str) -> String {
        self.under("s.op", hash)
    }

    /// Returns the subject of the beats of a node.
    pub fn beat(&self, node: &str) -> String {
        self.under("s.beat", node)
    }

    /// Returns the filter of all beats.
    pub fn beats(&self) -> String {
        self.under("s.beat", ">")
    }

    /// Returns the subject of the definitions of APIs.
    pub fn apis(&self) -> String {
        self.under("s", "apis")
    }

    /// Returns the filter of everything that the stream stores.
    pub fn stored(&self) -> String {
        self.under("s", ">")
    }

    /// Returns the filter of what the stream repeats once it is stored.
    pub fn live(&self) -> String {
        self.under("live", ">")
    }

    /// Returns the subject of operations that are not in the stream yet.
    pub fn fast(&self) -> String {
        self.under("fast", "")
    }

    /// Returns the subject of questions to all lives.
    pub fn all(&self) -> String {
        self.under("all", "")
    }

    /// Returns the subject of messages to one life.
    pub fn life(&self, life: Incarnation) -> String {
        self.under("life", &life.to_string())
    }

    /// Returns a subject on which no life listens. A request to it is answered at once, after
    /// everything that was sent before it.
    pub fn none(&self) -> String {
        self.under("life", "none")
    }

    /// Returns the subject on which a life sends messages from one of its connections to the other.
    pub fn probe(&self, life: Incarnation) -> String {
        self.under("life", &format!("{life}-probe"))
    }

    /// Returns the subject of the events of a bucket.
    pub fn events(&self, bucket: u16) -> String {
        self.under("ev", &bucket.to_string())
    }

    /// Returns the filter of all events.
    pub fn all_events(&self) -> String {
        self.under("ev", "*")
    }

    /// Returns the prefix of the subjects on which a node gets answers.
    pub fn inbox(&self, node: &str) -> String {
        self.under("inbox", node)
    }

    fn under(&self, kind: &str, rest: &str) -> String {
        let dot = if rest.is_empty() { "" } else { "." };
        format!("rig.{}.{kind}{dot}{rest}", self.cluster)
    }
}

/// A message of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamMessage {
    /// Its subject in the stream.
    pub subject: String,
    /// Its sequence.
    pub sequence: u64,
    /// When the stream stored it, in milliseconds since 1970, by the clock of NATS.
    pub stored_at: u64,
    /// Its content.
    pub payload: Bytes,
}

/// The state of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its epoch.
    pub epoch: Epoch,
    /// The format of its messages.
    pub format: u32,
    /// Whether an operator has confirmed that nothing is missing.
    pub adopted: bool,
    /// The sequence of its first message; one more than `last` if there is none.
    pub first: u64,
    /// The last sequence that it has given out.
    pub last: u64,
    /// The number of messages.
    pub messages: u64,
    /// Their size on each server, in bytes.
    pub bytes: u64,
    /// The limit of that size.
    pub max_bytes: u64,
    /// When the server answered, by its clock, in milliseconds since 1970.
    pub now: u64,
    /// The number of servers that store it.
    pub replicas: usize,
    /// How its configuration, or its format, differs from what the protocol needs, so that messages
    /// can be lost or misread: a sentence for each difference. Nodes do not follow such a stream.
    pub dangers: Vec<String>,
    /// The same for differences that lose nothing.
    pub deviations: Vec<String>,
}

impl StreamInfo {
    /// Up to how many sixteenths of the limit of its size the stream takes new revocations.
    pub(crate) const FOR_REVOCATIONS: u64 = 14;

    /// Returns whether revocations are queued, since the rest of the stream is for beats and lifts.
    pub fn is_nearly_full(&self) -> bool {
        self.sixteenths() >= Self::FOR_REVOCATIONS
    }

    /// Returns how many sixteenths of the limit of its size are filled.
    pub(crate) fn sixteenths(&self) -> u64 {
        let sixteenths = u128::from(self.bytes) * 16 / u128::from(self.max_bytes.max(1));
        u64::try_from(sixteenths).unwrap_or(u64::MAX)
    }
}

/// What comes over the live path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    /// The stream has stored a message. It may be missing, late or repeated.
    Message(StreamMessage),
    /// The connection has changed.
    Link(Link),
}

/// A change of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// There is a connection to this server.
    Connected(String),
    /// There is none. It is made again by itself.
    Disconnected,
    /// Messages were dropped, since this node has not read them in time.
    SlowConsumer,
    /// An error that belongs to no call, such as a subject that the server does not permit.
    Trouble(String),
}

/// A part of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The messages, in order.
    pub messages: Vec<StreamMessage>,
    /// Everything up to here was returned, or is not in the stream any more. Less than what was
    /// asked for if the server that answered knows nothing of it: it may lag behind.
    pub upto: u64,
}

/// A message to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Its subject.
    pub subject: String,
    /// Its content.
    pub payload: Bytes,
    /// The sequence that the last message of the subject must have; 0: there must be none. `None`
    /// if it does not matter.
    pub expected: Option<u64>,
    /// After how long the stream removes it; rounded up to seconds.
    pub ttl: Option<Duration>,
}

/// Why a message is not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The last message of the subject is not the expected one.
    #[error("the subject holds another message than expected")]
    Conflict,
    /// It is certainly not stored.
    #[error("refused: {0}")]
    Refused(String),
    /// There was no answer in time. It may be stored now or later.
    #[error("no answer in time; it may be stored")]
    Unknown,
}

/// Why NATS did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The stream does not exist.
    #[error("stream {0} does not exist; create it once with `rig cluster init`")]
    NoStream(String),
    /// The stream is not one of this protocol.
    #[error("stream {0} was not created by `rig cluster init`")]
    Foreign(String),
    /// There is no connection.
    #[error("not connected to NATS")]
    NotConnected,
    /// There was no answer in time.
    #[error("no answer in time")]
    Timeout,
    /// Nothing listens on the subject.
    #[error("nothing listens on the subject")]
    NoResponders,
    /// The message is larger than NATS takes.
    #[error("larger than NATS takes")]
    TooLarge,
    /// The server, or the account, does not do this.
    #[error("refused: {0}")]
    Refused(String),
}

/// A message to this life, or to all.
#[derive(Debug)]
pub struct Incoming {
    /// Its content.
    pub payload: Bytes,
    /// How to answer; `None` if no answer is expected.
    pub answer: Option<AnswerHandle>,
}

/// Sends the answer to a request.
pub struct AnswerHandle(Box<dyn FnOnce(Bytes) -> BoxFuture<'static, ()> + Send>);

impl AnswerHandle {
    /// Returns a handle that passes the answer to `send`.
    pub fn new(send: impl FnOnce(Bytes) -> BoxFuture<'static, ()> + Send + 'static) -> Self {
        Self(Box::new(send))
    }

    /// Sends the answer. It may be lost.
    pub async fn send(self, payload: Bytes) {
        (self.0)(payload).await;
    }
}

impl fmt::Debug for AnswerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnswerHandle")
    }
}

/// The control connection: the stream, and messages between lives.
///
/// Every call has a deadline of its own. Streams go on over reconnections, and end with the
/// connection.
pub trait Wire: Send + Sync {
    /// Returns the state of the stream, as its leader knows it. The leader may be cut off, so this
    /// proves nothing about the present.
    fn info(&self) -> BoxFuture<'_, Result<StreamInfo, WireError>>;

    /// Subscribes to what the stream stores from now on. When this returns, the server knows the
    /// subscription.
    fn live(&self) -> BoxFuture<'_, Result<BoxStream<'static, Live>, WireError>>;

    /// Stores a message, and returns its sequence.
    fn publish(&self, message: Publication) -> BoxFuture<'_, Result<u64, PublishError>>;

    /// Returns up to `limit` messages with sequences of at least `from`, from any server that
    /// stores the stream.
    fn fetch(&self, from: u64, limit: usize) -> BoxFuture<'_, Result<Fetched, WireError>>;

    /// Reads everything from the sequence `from` on, faster than [`Wire::fetch`], but needs the
    /// leaders of NATS. Ends at what was the last message; an error is its last item.
    fn replay(&self, from: u64) -> BoxFuture<'_, Result<Replay, WireError>>;

    /// Returns the last message on a subject of the stream.
    fn last(&self, subject: String) -> BoxFuture<'_, Result<Option<StreamMessage>, WireError>>;

    /// Returns the last message of each subject that `filter` selects, of up to 1,024.
    fn latest(&self, filter: String) -> BoxFuture<'_, Result<Vec<StreamMessage>, WireError>>;

    /// Sends an operation to all lives, this one included, outside of the stream.
    fn broadcast(&self, payload: Bytes) -> BoxFuture<'_, Result<(), WireError>>;

    /// Subscribes to broadcasts.
    fn broadcasts(&self) -> BoxFuture<'_, Result<BoxStream<'static, Bytes>, WireError>>;

    /// Sends a message to a life that does not answer it.
    fn send(&self, life: Incarnation, payload: Bytes) -> BoxFuture<'_, Result<(), WireError>>;

    /// Sends a request to a life, and returns the answer.
    fn request(
        &self,
        life: Incarnation,
        payload: Bytes,
        within: Duration,
    ) -> BoxFuture<'_, Result<Bytes, WireError>>;

    /// Subscribes to messages and requests to this life.
    fn requests(&self) -> BoxFuture<'_, Result<BoxStream<'static, Incoming>, WireError>>;

    /// Asks all lives, this one included. The stream of answers ends after `within`.
    fn ask_all(
        &self,
        payload: Bytes,
        within: Duration,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Bytes>, WireError>>;

    /// Subscribes to questions to all lives.
    fn questions(&self) -> BoxFuture<'_, Result<BoxStream<'static, Incoming>, WireError>>;

    /// Connects to another server, since no beat comes back, unless this one is known to reach the
    /// others: then the stream has no leader, and a new connection would lose what is on its way.
    fn rotate(&self) -> BoxFuture<'_, ()>;

    /// Resolves if nothing comes or goes any more, and only another process can change that.
    fn ended(&self) -> BoxFuture<'_, ()>;

    /// Returns the limit of NATS for the payload of a message with its headers, in bytes.
    fn max_payload(&self) -> usize;
}

/// The messages of a replay.
pub type Replay = BoxStream<'static, Result<StreamMessage, WireError>>;
