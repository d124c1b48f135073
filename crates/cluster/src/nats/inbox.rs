//! Answers to requests.
//!
//! The library forgets a request only when it is answered. Without a quorum, publications are
//! repeated for hours and never answered, so the node keeps the list of its requests itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{HeaderMap, Message, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::link::ServerConnection;
use crate::wire::WireError;

type Waiting = Arc<Mutex<HashMap<u64, mpsc::UnboundedSender<Message>>>>;

/// The subjects on which a node gets answers, with one subscription for all.
pub(super) struct Inbox {
    connection: ServerConnection,
    prefix: String,
    next: AtomicU64,
    waiting: Waiting,
    /// Aborted with the inbox.
    _reader: JoinSet<()>,
}

/// A subject that is known to one request, until this is dropped.
pub(super) struct Slot {
    /// Where to send the answers to.
    pub(super) subject: String,
    number: u64,
    waiting: Waiting,
    answers: mpsc::UnboundedReceiver<Message>,
}

impl Inbox {
    pub(super) async fn open(connection: ServerConnection) -> Result<Self, WireError> {
        let prefix = connection.client().new_inbox();
        let mut answers = connection.subscribe(format!("{prefix}.*")).await?;
        let waiting = Waiting::default();
        let mut reader = JoinSet::new();
        let known = waiting.clone();
        reader.spawn(async move {
            while let Some(answer) = answers.next().await {
                let number = answer.subject.rsplit('.').next().and_then(|number| number.parse().ok());
                let slot = number.and_then(|number: u64| known.lock().get(&number).cloned());
                if let Some(slot) = slot {
                    // Fails if the request is given up just now.
                    drop(slot.send(answer));
                }
            }
        });
        Ok(Self { connection, prefix, next: AtomicU64::new(0), waiting, _reader: reader })
    }

    /// Returns a new subject for answers.
    pub(super) fn slot(&self) -> Slot {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answers) = mpsc::unbounded_channel();
        self.waiting.lock().insert(number, sender);
        let waiting = self.waiting.clone();
        Slot { subject: format!("{}.{number}", self.prefix), number, waiting, answers }
    }

    /// Sends a request, whose answers come to the returned slot.
    pub(super) async fn ask(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Slot, WireError> {
        self.connection.may_send(payload.len())?;
        let slot = self.slot();
        let client = self.connection.client();
        let sent = if headers.is_empty() {
            client.publish_with_reply(subject, slot.subject.clone(), payload).await
        } else {
            client.publish_with_reply_and_headers(subject, slot.subject.clone(), headers, payload).await
        };
        match sent {
            Ok(()) => Ok(slot),
            Err(error) if error.kind() == async_nats::PublishErrorKind::MaxPayloadExceeded => {
                Err(WireError::TooLarge)
            }
            Err(error) => Err(WireError::Refused(error.to_string())),
        }
    }

    /// Sends a request, and returns its first answer.
    pub(super) async fn request(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        within: Duration,
    ) -> Result<Message, WireError> {
        let answered = async { self.ask(subject, headers, payload).await?.next().await };
        tokio::time::timeout(within, answered).await.unwrap_or(Err(WireError::Timeout))
    }

    /// Waits until the server has processed everything that was sent before. `subject` must have no
    /// subscribers.
    pub(super) async fn synced(&self, subject: String, within: Duration) -> Result<(), WireError> {
        match self.request(subject, HeaderMap::new(), Bytes::new(), within).await {
            Ok(_) | Err(WireError::NoResponders) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Slot {
    /// Returns the next answer.
    pub(super) async fn next(&mut self) -> Result<Message, WireError> {
        let answer = self.answers.recv().await.ok_or(WireError::NotConnected)?;
        match answer.status {
            Some(StatusCode::NO_RESPONDERS) => Err(WireError::NoResponders),
            _ => Ok(answer),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.number);
    }
}
