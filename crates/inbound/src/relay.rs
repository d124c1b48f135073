//! Requests on connections that are at another node.
//!
//! A client may reach any node. The node that is asked sends the request to the life of the node
//! that the connection token names, and passes the answer on. The other node answers it as if the
//! client had come there, and verifies the tokens itself. It looks for the connection at its own
//! hub only, so that no request is relayed twice.
//!
//! A poll is registered here under the tokens of its connection, as at the node of the connection:
//! a revocation terminates it at whichever node it takes effect first, and nothing of its answer is
//! written here afterwards.

mod traces;

use std::sync::{Arc, Weak};
use std::time::Duration;

use auth::Sender;
use bytes::Bytes;
use connection::{Connection, ConnectionTraces};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Response, StatusCode, Uri};
use http_body_util::Full;
use listener::relayed::{MalformedMessage, RelayedAnswer, RelayedRequest, read_bytes, read_u8, write_bytes};
use listener::{Body, BodyError, CountedBody, LogLimiter};
use node::{AskError, PeerHandler, PeerRoom};
use proxy::InFlight;
use seal::Incarnation;
use session::{Blacklisted, Cause, Registration, TokenTraces};

use crate::answer::{empty, text};
use crate::error::{NodeBusy, NodeSilent, SetError};
use crate::longpolling::{answer_poll, farewell};
use crate::poll_cookies::{Place, PollCookies, READ};
use crate::port::{InboundRequest, Shared};
use crate::routes::connection_token;
use crate::subscriptions;

/// How long another node may take to answer, apart from what it waits for.
const SILENCE: Duration = Duration::from_secs(2);

/// The bytes of an answer that are neither its body nor copied from the request: the names of
/// headers, a connection token, a cursor, an id.
const HEAD: usize = 2 << 10;

/// The headers that the sender of a request is determined from.
const SENDER: [HeaderName; 3] = [HOST, ORIGIN, HeaderName::from_static("sec-fetch-site")];

static LOG: LogLimiter = LogLimiter::new();

/// What another node is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// Replace the subscriptions of a connection.
    Subscriptions,
    /// Which tokens is a long-polling connection of?
    Tokens,
    /// Poll a connection.
    Poll,
}

impl Question {
    const ALL: [Self; 3] = [Self::Subscriptions, Self::Tokens, Self::Poll];

    /// Returns the first byte of the message.
    const fn mark(self) -> u8 {
        match self {
            Self::Subscriptions => b's',
            Self::Tokens => b't',
            Self::Poll => b'p',
        }
    }
}

/// The first byte of a reply about a connection that is not open at the node.
const UNKNOWN: u8 = b'-';
/// The first byte of all other replies.
const KNOWN: u8 = b'+';

/// Replaces the subscriptions of a connection at another node.
pub(crate) async fn replace(
    shared: &Shared,
    life: Incarnation,
    asked: InboundRequest,
) -> Result<Response<Body>, SetError> {
    if shared.node.max_peer_bytes() == 0 {
        return Err(SetError::ConnectionToken);
    }
    let secure = asked.peer.secure;
    let (parts, body) = asked.request.into_parts();
    let (body, counted) = shared.read(body).await?;
    let names = [ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE].into_iter().chain(SENDER);
    let message = message(Question::Subscriptions, &parts.uri, &parts.headers, names, secure, body);
    drop(counted);
    let counted = CountedBody::new(message.len(), &shared.hub.config().memory);
    let within = SILENCE + shared.config.subscription_check.within();
    let asking = shared.node.ask_peer(life, PeerRoom::Inbound, &message, within);
    let answer = counted.during(asking).await?.map(RelayedAnswer::read);
    match answer {
        Ok(Ok(answer)) => Ok(answer.into()),
        Ok(Err(malformed)) => Err(not_understood(malformed).into()),
        Err(AskError::Gone) => Err(SetError::ConnectionToken),
        Err(AskError::Silent) => Err(NodeSilent.into()),
        Err(AskError::Busy) => Err(NodeBusy.into()),
        Err(AskError::TooLarge) => Err(BodyError::TooLarge(shared.node.max_peer_bytes()).into()),
    }
}

/// Polls a connection at another node. `None` if it is not open there.
pub(crate) async fn poll(
    shared: &Shared,
    asked: &InboundRequest,
    cookies: &PollCookies<'_>,
    life: Incarnation,
) -> Option<Response<Body>> {
    match try_poll(shared, asked, life).await {
        Ok(answer) => Some(answer),
        Err(Unanswered::Gone) => None,
        Err(Unanswered::Silent) => Some(text(NodeSilent::STATUS, NodeSilent)),
        Err(Unanswered::Busy) => Some(text(NodeBusy::STATUS, NodeBusy)),
        Err(Unanswered::Barred) => {
            let mut response = text(StatusCode::FORBIDDEN, connection::PollError::SessionKilled);
            cookies.clear_all(response.headers_mut());
            Some(response)
        }
        Err(Unanswered::Terminated(cause)) => Some(farewell(cookies, cause)),
    }
}

/// Why there is no answer of another node to a poll.
enum Unanswered {
    /// The connection is not open there.
    Gone,
    /// The node does not answer.
    Silent,
    /// The node has no room for the request.
    Busy,
    /// The session was revoked before the poll came.
    Barred,
    /// The session was terminated while the poll was waiting.
    Terminated(Cause),
}

impl From<AskError> for Unanswered {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Gone => Self::Gone,
            AskError::Silent | AskError::TooLarge => Self::Silent,
            AskError::Busy => Self::Busy,
        }
    }
}

impl From<MalformedMessage> for Unanswered {
    fn from(malformed: MalformedMessage) -> Self {
        let NodeSilent = not_understood(malformed);
        Self::Silent
    }
}

async fn try_poll(
    shared: &Shared,
    asked: &InboundRequest,
    life: Incarnation,
) -> Result<Response<Body>, Unanswered> {
    let ask = |question, within| {
        let (uri, headers) = (asked.request.uri(), asked.request.headers());
        let names = [COOKIE].into_iter().chain(SENDER);
        let message = message(question, uri, headers, names, asked.peer.secure, Bytes::new());
        async move {
            let mut reply = shared.node.ask_peer(life, PeerRoom::Inbound, &message, within).await?;
            match read_u8(&mut reply)? {
                KNOWN => Ok(reply),
                UNKNOWN => Err(Unanswered::Gone),
                _ => Err(MalformedMessage.into()),
            }
        }
    };
    let in_flight = Arc::new(InFlight::new(asked.peer.gate.clone(), shared.hub.config().fencing.clone()));
    let terminated = || Unanswered::Terminated(in_flight.cause().unwrap_or(Cause::Revoked));

    let tokens = traces::read(ask(Question::Tokens, SILENCE).await?)?;
    let while_waiting = register(shared, tokens, &in_flight).map_err(|_| Unanswered::Barred)?;
    let within = shared.hub.config().poll_wait + SILENCE;
    let asking = ask(Question::Poll, within);
    let mut reply = in_flight.or_over(asking).await.map_err(|_| terminated())??;
    let tokens = traces::read(read_bytes(&mut reply)?)?;
    let answer = RelayedAnswer::read(reply)?;
    if answer.status != StatusCode::OK {
        return Ok(answer.into());
    }
    // The connection may have got another token meanwhile.
    let while_answering = register(shared, tokens, &in_flight).map_err(|_| terminated())?;
    in_flight.answers().map_err(|_| terminated())?;
    if let Some(gate) = &asked.peer.gate {
        // The client may never read the queued answer, so its bytes are counted.
        gate.count(answer.body.len(), &shared.hub.config().memory);
    }
    // Until the answer is written, a revocation cuts it off.
    let held = in_flight.clone();
    in_flight.hold((held, while_waiting, while_answering));
    Ok(answer.into())
}

/// Registers a poll under the tokens of its connection.
fn register(
    shared: &Shared,
    traces: ConnectionTraces,
    poll: &Arc<InFlight>,
) -> Result<Vec<Registration>, Blacklisted> {
    let ConnectionTraces { mut tokens, left } = traces;
    if tokens.is_empty() && left.is_some() {
        // No revocation selects its tokens, but they expire.
        tokens.push(TokenTraces::default());
    }
    let register = |traces| {
        let weak: Weak<InFlight> = Arc::downgrade(poll);
        shared.sessions.register(&shared.sessions.subject_elsewhere(traces, left), weak)
    };
    tokens.into_iter().map(register).collect()
}

fn message(
    question: Question,
    uri: &Uri,
    all: &HeaderMap,
    names: impl Iterator<Item = HeaderName>,
    secure: bool,
    body: Bytes,
) -> Vec<u8> {
    let mut headers = HeaderMap::new();
    for name in names {
        for value in all.get_all(&name) {
            headers.append(&name, value.clone());
        }
    }
    let mut message = vec![question.mark()];
    RelayedRequest { uri: uri.clone(), secure, headers, body }.write(&mut message);
    message
}

/// Logs that another node does not speak as this one does.
fn not_understood(error: MalformedMessage) -> NodeSilent {
    if LOG.allows() {
        tracing::warn!(%error, "another node is not understood");
    }
    NodeSilent
}

impl PeerHandler for Shared {
    fn handle(self: Arc<Self>, request: Bytes) -> BoxFuture<'static, Bytes> {
        async move {
            match answer(&self, request).await {
                Ok(reply) => reply.into(),
                Err(malformed) => {
                    not_understood(malformed);
                    Bytes::new()
                }
            }
        }
        .boxed()
    }

    /// A poll does; each connection has a limit of them.
    fn waits(&self, request: &[u8]) -> bool {
        request.first() == Some(&Question::Poll.mark())
    }
}

/// Answers a request of another node.
async fn answer(shared: &Shared, mut message: Bytes) -> Result<Vec<u8>, MalformedMessage> {
    let length = message.len();
    let mark = read_u8(&mut message)?;
    let question = Question::ALL.into_iter().find(|question| question.mark() == mark);
    let question = question.ok_or(MalformedMessage)?;
    let request = RelayedRequest::read(message)?;
    match question {
        Question::Subscriptions => subscriptions_for_peer(shared, request).await,
        Question::Tokens => {
            let Some((connection, _)) = polled(shared, &request) else { return Ok(vec![UNKNOWN]) };
            let mut reply = vec![KNOWN];
            traces::write(&mut reply, &connection.traces());
            Ok(reply)
        }
        Question::Poll => {
            let Some((connection, cookies)) = polled(shared, &request) else { return Ok(vec![UNKNOWN]) };
            poll_for_peer(shared, &connection, &cookies, length).await
        }
    }
}

async fn subscriptions_for_peer(
    shared: &Shared,
    request: RelayedRequest,
) -> Result<Vec<u8>, MalformedMessage> {
    let RelayedRequest { uri, secure, headers, body } = request;
    let path = uri.path();
    let token = connection_token(path.strip_suffix('/').unwrap_or(path)).ok_or(MalformedMessage)?;
    let found = shared.hub.find(&token).map_err(|_| SetError::ConnectionToken);
    let set = async {
        let connection = found?.ok_or(SetError::Gone)?;
        subscriptions::set(shared, &connection, &uri, &headers, secure, Full::new(body)).await
    };
    let answer = match set.await {
        Ok(()) => empty(StatusCode::NO_CONTENT),
        Err(error) => error.answer(),
    };
    let mut reply = Vec::new();
    collected(answer).await?.write(&mut reply);
    Ok(reply)
}

/// Returns the connection of this node that is polled, and the cookies that name it.
fn polled<'r>(shared: &Shared, request: &'r RelayedRequest) -> Option<(Arc<Connection>, PollCookies<'r>)> {
    let RelayedRequest { uri, secure, headers, .. } = request;
    let sender = Sender::of(uri, headers, *secure);
    let mut cookies =
        PollCookies::new(headers, sender, *secure, shared.keeps_history()).with_query(uri.query());
    cookies
        .find(&shared.hub)
        .into_iter()
        .find_map(|found| match found.place {
            Place::Here(connection) => {
                cookies.select(found.suffix);
                Some(connection)
            }
            Place::Elsewhere(_) => None,
        })
        .map(|connection| (connection, cookies))
}

/// Answers a poll whose request had this length.
async fn poll_for_peer(
    shared: &Shared,
    connection: &Connection,
    cookies: &PollCookies<'_>,
    length: usize,
) -> Result<Vec<u8>, MalformedMessage> {
    let mut tokens = Vec::new();
    traces::write(&mut tokens, &connection.traces());
    // What an answer copies from its request is in the names of its cookies.
    let limit = shared.node.max_peer_bytes().saturating_sub(HEAD + READ + length + tokens.len());
    let batch = shared.hub.poll_from_elsewhere(connection, cookies.cursor(), limit).await;
    // The connection may have got another token while the poll was waiting.
    tokens.clear();
    traces::write(&mut tokens, &connection.traces());
    let answer = collected(answer_poll(shared, connection, cookies, batch)).await?;
    let mut reply = vec![KNOWN];
    write_bytes(&mut reply, &tokens);
    answer.write(&mut reply);
    Ok(reply)
}

async fn collected(answer: Response<Body>) -> Result<RelayedAnswer, MalformedMessage> {
    // The bodies of own answers are complete, so this does not fail.
    RelayedAnswer::of(answer).await.map_err(|_| MalformedMessage)
}
