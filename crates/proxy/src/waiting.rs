//! Requests that wait for an answer in another request or message (RIG: `response_from:
//! http_async`, `response_from: kafka`).
//!
//! Tracks which requests wait, for how long, and by which token an answer is assigned to one of
//! them. Independent of HTTP: the internal port, or a broker, receives the answers, and the
//! exchange sends them on.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use seal::{BrokenSeal, Incarnation, Seal};
use tokio::sync::oneshot;

use crate::async_answer::AsyncAnswer;
use crate::definition::ResponseFrom;

/// Settings of asynchronous answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingConfig {
    /// How long a request waits for its answer, counted from the service's 202 (RIG:
    /// `PROXY_HTTP_ASYNC_RESPONSE_TIMEOUT`).
    pub timeout: Duration,
    /// How long a request waits for an answer by Kafka, counted from the service's 202, or from
    /// when it is sent to Kafka (RIG: `PROXY_KAFKA_RESPONSE_TIMEOUT`).
    pub kafka: Duration,
    /// Limit of the requests that wait.
    pub most: usize,
}

/// All requests of a node that wait for an answer.
pub struct Waiting {
    config: WaitingConfig,
    seal: Seal,
    requests: Mutex<Requests>,
}

#[derive(Default)]
struct Requests {
    /// The number of the next request; none is used twice.
    next: u64,
    /// The caller that removes a request decides its outcome; all others find it gone.
    waiting: HashMap<u64, oneshot::Sender<AsyncAnswer>>,
}

/// A request that waits for its answer. Dropped, it can no longer be answered.
#[must_use]
pub struct Expected {
    waiting: Arc<Waiting>,
    number: u64,
    token: String,
    answer: oneshot::Receiver<AsyncAnswer>,
}

/// The limit of waiting requests is reached (503).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Too many requests wait for an asynchronous answer.")]
pub struct TooManyWaiting;

/// No answer came in time (504).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("No asynchronous answer came in time.")]
pub struct TimedOut;

/// Why an answer cannot be delivered. Texts in braces are RIG's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliverError {
    /// The token is not URL-safe Base64 (RFC 4648, section 5).
    #[error("{{:error, :not_base64}}")]
    NotBase64,
    /// This gateway did not make the token.
    #[error("{{:error, :invalid_term}}")]
    Invalid,
    /// The request that the token names is not waiting.
    #[error(
        "Nobody waits for this answer: the request was answered before, has timed out, or its client has left."
    )]
    Gone,
}

impl From<BrokenSeal> for DeliverError {
    fn from(broken: BrokenSeal) -> Self {
        match broken {
            BrokenSeal::NotBase64 => Self::NotBase64,
            BrokenSeal::Forged => Self::Invalid,
        }
    }
}

impl Default for WaitingConfig {
    /// RIG's 5 s, and 10,000 requests.
    fn default() -> Self {
        let timeout = Duration::from_secs(5);
        Self { timeout, kafka: timeout, most: 10_000 }
    }
}

impl Waiting {
    /// Creates it without any requests.
    pub fn new(config: WaitingConfig, seal: Seal) -> Self {
        Self { config, seal, requests: Mutex::default() }
    }

    /// Returns how long an answer that comes this way may take.
    pub(crate) fn timeout(&self, from: ResponseFrom) -> Duration {
        match from {
            ResponseFrom::Kafka => self.config.kafka,
            ResponseFrom::Http | ResponseFrom::HttpAsync | ResponseFrom::Nats => self.config.timeout,
        }
    }

    /// Registers a request that will wait. Its answer may come at once, even before the service's
    /// 202.
    ///
    /// # Errors
    /// Fails if the limit of waiting requests is reached.
    pub fn expect(self: &Arc<Self>) -> Result<Expected, TooManyWaiting> {
        let (sender, answer) = oneshot::channel();
        let number = {
            let mut requests = self.requests.lock();
            if requests.waiting.len() >= self.config.most {
                return Err(TooManyWaiting);
            }
            let number = requests.next;
            requests.next += 1;
            requests.waiting.insert(number, sender);
            number
        };
        Ok(Expected { waiting: self.clone(), number, token: self.seal.seal(number), answer })
    }

    /// Returns the other node at which the request may wait that a token names; `None` if that is
    /// this node.
    ///
    /// # Errors
    /// Fails if the token is invalid.
    pub fn elsewhere(&self, token: &str) -> Result<Option<Incarnation>, DeliverError> {
        let opened = self.seal.open(token)?;
        Ok((opened.node != self.seal.node()).then_some(opened.node))
    }

    /// Delivers an answer to the request that waits for it. Only one answer to each request is
    /// delivered.
    ///
    /// # Errors
    /// Fails if the token is invalid, or its request is not waiting.
    pub fn deliver(&self, token: &str, answer: AsyncAnswer) -> Result<(), DeliverError> {
        let opened = self.seal.open(token)?;
        // Request numbers repeat after a restart, and on other nodes.
        if opened.node != self.seal.node() {
            return Err(DeliverError::Gone);
        }
        let sender = self.take(opened.number).ok_or(DeliverError::Gone)?;
        sender.send(answer).map_err(|_| DeliverError::Gone)
    }

    /// Returns the number of waiting requests.
    pub fn len(&self) -> usize {
        self.requests.lock().waiting.len()
    }

    /// Returns whether no request is waiting.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take(&self, number: u64) -> Option<oneshot::Sender<AsyncAnswer>> {
        self.requests.lock().waiting.remove(&number)
    }
}

impl Expected {
    /// Returns the token that an answer must carry: safe in a query, and valid for one answer to
    /// this request.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Waits for the answer. If cancelled, the request is forgotten.
    ///
    /// # Errors
    /// Fails if no answer came within this time.
    pub async fn answer(mut self, within: Duration) -> Result<AsyncAnswer, TimedOut> {
        if let Ok(answer) = tokio::time::timeout(within, &mut self.answer).await {
            return answer.map_err(|_| TimedOut);
        }
        if self.waiting.take(self.number).is_some() {
            return Err(TimedOut);
        }
        // A call of `deliver` has removed the request: its answer arrives or has arrived.
        (&mut self.answer).await.map_err(|_| TimedOut)
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.waiting.take(self.number);
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("config", &self.config).field("len", &self.len()).finish()
    }
}

/// Omits the token: it authorizes an answer.
impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected").field("number", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
