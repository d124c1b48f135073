//! Answers to requests that wait at another node.
//!
//! A service may send its answer to any node. The node that gets it passes it on to the life that
//! sealed the token, whose room looks only among its own requests: an answer is never passed on
//! twice.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use listener::BodyError;
use listener::relayed::{MalformedMessage, RelayedAnswer, read_bytes, write_bytes};
use node::{AskError, PeerHandler, PeerRoom};
use proxy::{AsyncAnswer, DeliverError, Waiting};
use seal::Incarnation;

use crate::answer::RigError;
use crate::port::Port;

/// How long the other node may take.
const SILENCE: Duration = Duration::from_secs(2);

/// The reply of a node that has delivered the answer.
const DELIVERED: u8 = b'+';

/// Delivers an answer to a request that waits at another node.
pub(super) async fn deliver(
    port: &Port,
    life: Incarnation,
    token: &str,
    answer: AsyncAnswer,
) -> Result<(), RigError> {
    let AsyncAnswer { status, headers, body } = answer;
    let mut message = Vec::new();
    write_bytes(&mut message, token.as_bytes());
    RelayedAnswer { status, headers, body }.write(&mut message);
    match port.node.ask_peer(life, PeerRoom::Admin, &message, SILENCE).await {
        Ok(reply) => match reply.first() {
            Some(&DELIVERED) => Ok(()),
            Some(mark) => match refusal(*mark) {
                Some(error) => Err(error.into()),
                None => Err(RigError::NodeSilent),
            },
            None => Err(RigError::NodeSilent),
        },
        Err(AskError::Gone) => Err(DeliverError::Gone.into()),
        Err(AskError::Silent | AskError::Busy) => Err(RigError::NodeSilent),
        Err(AskError::TooLarge) => Err(RigError::Body(BodyError::TooLarge(port.node.max_peer_bytes()))),
    }
}

/// Delivers answers that came to other nodes.
pub(crate) struct AnswersOfPeers(pub(crate) Arc<Waiting>);

impl PeerHandler for AnswersOfPeers {
    fn handle(self: Arc<Self>, request: Bytes) -> BoxFuture<'static, Bytes> {
        let reply = match read(request) {
            Ok((token, answer)) => match self.0.deliver(&token, answer) {
                Ok(()) => vec![DELIVERED],
                Err(error) => vec![mark(error)],
            },
            Err(MalformedMessage) => Vec::new(),
        };
        std::future::ready(reply.into()).boxed()
    }
}

fn read(mut message: Bytes) -> Result<(String, AsyncAnswer), MalformedMessage> {
    let token = String::from_utf8(read_bytes(&mut message)?.into()).map_err(|_| MalformedMessage)?;
    let RelayedAnswer { status, headers, body } = RelayedAnswer::read(message)?;
    Ok((token, AsyncAnswer { status, headers, body }))
}

/// Returns the reply of a node that cannot deliver an answer.
const fn mark(error: DeliverError) -> u8 {
    match error {
        DeliverError::NotBase64 => b'b',
        DeliverError::Invalid => b'i',
        DeliverError::Gone => b'g',
    }
}

fn refusal(reply: u8) -> Option<DeliverError> {
    let all = [DeliverError::NotBase64, DeliverError::Invalid, DeliverError::Gone];
    all.into_iter().find(|error| mark(*error) == reply)
}
