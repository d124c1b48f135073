//! Requests that wait for an answer which comes in another request (RIG: `response_from:
//! http_async`).
//!
//! It knows who waits, for how long, and by which token an answer finds its way. It does not know
//! HTTP requests, on either side: what brings an answer is the internal port's business, what
//! becomes of it the forwarding's.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use seal::{BrokenSeal, Seal};
use tokio::sync::oneshot;

use crate::async_answer::AsyncAnswer;

/// What an operator decides about asynchronous answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingConfig {
    /// How long a request waits for its answer, from the service's 202 on (RIG:
    /// `PROXY_HTTP_ASYNC_RESPONSE_TIMEOUT`).
    pub timeout: Duration,
    /// The most requests that wait at once.
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
    /// The number of the next one: none is used twice.
    next: u64,
    /// Whoever takes a request out of here decides its end; all others find that it is gone.
    waiting: HashMap<u64, oneshot::Sender<AsyncAnswer>>,
}

/// A request that waits for its answer, until it is dropped: then no answer reaches it any more.
#[must_use]
pub struct Expected {
    waiting: Arc<Waiting>,
    number: u64,
    token: String,
    answer: oneshot::Receiver<AsyncAnswer>,
}

/// No more requests may wait at once; the next is answered with 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Too many requests wait for an asynchronous answer.")]
pub struct TooManyWaiting;

/// No answer came in time: 504.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("No asynchronous answer came in time.")]
pub struct TimedOut;

/// Why an answer reaches no request. Texts in braces are RIG's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliverError {
    /// The token is not URL-safe Base64 (RFC 4648, section 5).
    #[error("{{:error, :not_base64}}")]
    NotBase64,
    /// The token was not made by this gateway.
    #[error("{{:error, :invalid_term}}")]
    Invalid,
    /// The request that the token names does not wait.
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
        Self { timeout: Duration::from_secs(5), most: 10_000 }
    }
}

impl Waiting {
    /// No request waits yet.
    pub fn new(config: WaitingConfig, seal: Seal) -> Self {
        Self { config, seal, requests: Mutex::default() }
    }

    /// Announces a request that will wait. Its answer may come at once, even before the service has
    /// sent its 202.
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

    /// Hands an answer to the request that waits for it. Of several answers to one request, one
    /// arrives.
    ///
    /// # Errors
    /// Fails if it is not a token, or its request does not wait.
    pub fn deliver(&self, token: &str, answer: AsyncAnswer) -> Result<(), DeliverError> {
        let opened = self.seal.open(token)?;
        // Numbers of requests repeat after a restart, and on other nodes.
        if opened.node != self.seal.node() {
            return Err(DeliverError::Gone);
        }
        let sender = self.take(opened.number).ok_or(DeliverError::Gone)?;
        sender.send(answer).map_err(|_| DeliverError::Gone)
    }

    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.requests.lock().waiting.len()
    }

    /// True if no request waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take(&self, number: u64) -> Option<oneshot::Sender<AsyncAnswer>> {
        self.requests.lock().waiting.remove(&number)
    }
}

impl Expected {
    /// What an answer must show: a text fit for a query. Good for one answer to this request.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Waits for the answer. Cancelled, the request is forgotten.
    ///
    /// # Errors
    /// Fails if none came in time.
    pub async fn answer(mut self) -> Result<AsyncAnswer, TimedOut> {
        let timeout = self.waiting.config.timeout;
        if let Ok(answer) = tokio::time::timeout(timeout, &mut self.answer).await {
            return answer.map_err(|_| TimedOut);
        }
        if self.waiting.take(self.number).is_some() {
            return Err(TimedOut);
        }
        // A caller of `deliver` has succeeded, or is just about to: it is the answer.
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

/// Without the token: whoever has it can answer.
impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected").field("number", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
