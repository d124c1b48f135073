//! The producer: puts an event into a stream.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use uuid::Uuid;

use super::aws::{Failed, Trouble, configure};
use super::{KinesisAccess, NAME};
use crate::producer::{Destination, ProduceError, Produced, Producer};

/// Limit of a record and its key together.
const RECORD: usize = 1 << 20;

/// Limit of a key in characters.
const KEY: usize = 256;

/// How often the library tries in all, if Kinesis is away or has too many requests.
const ATTEMPTS: u32 = 4;

/// Limit of the time of one attempt.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Puts events into streams.
pub struct KinesisProducer {
    access: KinesisAccess,
    client: OnceCell<Client>,
    is_away: AtomicBool,
}

impl KinesisProducer {
    /// Returns a producer. It connects when it is first used.
    pub fn new(access: KinesisAccess) -> Self {
        Self { access, client: OnceCell::new(), is_away: AtomicBool::new(false) }
    }

    async fn put(&self, stream: &str, event: Produced) -> Result<(), ProduceError> {
        let data = event.json();
        let key = event.key.unwrap_or_else(|| Uuid::new_v4().to_string());
        if key.is_empty() || key.chars().count() > KEY {
            let reason = format!("The partition key must have 1 to {KEY} characters.");
            return Err(ProduceError::Invalid(reason));
        }
        let size = data.len() + key.len();
        if size > RECORD {
            let reason = format!("an event with {size} bytes, Kinesis takes at most {RECORD}");
            return Err(ProduceError::TooLarge(reason));
        }
        let client = self.client.get_or_init(|| self.connect()).await;
        let put = client.put_record().stream_name(stream).partition_key(key).data(Blob::new(data));
        let put = Box::pin(put.send()).await.map_err(Failed::from);
        let is_away = put.as_ref().err().is_some_and(|failed| failed.trouble == Trouble::Away);
        self.is_away.store(is_away, Ordering::Relaxed);
        put.map(drop).map_err(|failed| {
            // Kinesis repeats a parameter that it refuses, so the text is not used then.
            let text = match failed.trouble {
                Trouble::Invalid => "Kinesis refuses a parameter of the record".to_owned(),
                _ => failed.to_string(),
            };
            match failed.trouble {
                Trouble::Away | Trouble::Throttled => ProduceError::Unavailable(text),
                Trouble::Late => ProduceError::TimedOut(text),
                _ => ProduceError::Refused(text),
            }
        })
    }

    async fn connect(&self) -> Client {
        let endpoint = self.access.endpoint.as_deref();
        Client::new(&configure(&self.access, endpoint, ATTEMPT, ATTEMPTS).await)
    }
}

impl fmt::Debug for KinesisProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KinesisProducer").field("access", &self.access).finish_non_exhaustive()
    }
}

impl Producer for KinesisProducer {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Returns whether the last event reached Kinesis; `true` before the first.
    fn is_up(&self) -> bool {
        !self.is_away.load(Ordering::Relaxed)
    }

    fn produce<'p>(
        &'p self,
        to: &'p Destination,
        event: Produced,
        within: Duration,
    ) -> BoxFuture<'p, Result<(), ProduceError>> {
        async move {
            let put = timeout(within, Box::pin(self.put(&to.topic, event))).await;
            put.unwrap_or_else(|_| {
                self.is_away.store(true, Ordering::Relaxed);
                Err(ProduceError::TimedOut(format!("Kinesis has not acknowledged it within {within:?}")))
            })
        }
        .boxed()
    }
}
