//! The producer: puts an event into a stream.

use std::fmt;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::aws::{Failed, Trouble, configure};
use super::{KinesisAccess, NAME};
use crate::lifecycle::pause;
use crate::producer::{Destination, ProduceError, Produced, Producer};

/// Limit of a record and its key together.
const RECORD: usize = 1 << 20;

/// Limit of a key in characters.
const KEY: usize = 256;

/// How often it is tried in all, if Kinesis is away or has too many requests.
const ATTEMPTS: u32 = 4;

/// Limit of the time of one attempt.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Limit of the pause between attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Puts events into streams.
pub struct KinesisProducer {
    access: KinesisAccess,
    client: OnceCell<Client>,
}

impl KinesisProducer {
    /// Returns a producer. It connects when it is first used.
    pub fn new(access: KinesisAccess) -> Self {
        Self { access, client: OnceCell::new() }
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
        let (mut failures, mut may_be_sent) = (0, false);
        loop {
            let Err(error) = Box::pin(put.clone().send()).await else { return Ok(()) };
            let failed = Failed::from(error);
            let is_passing = match failed.trouble {
                Trouble::Unreached | Trouble::Throttled => true,
                Trouble::Away | Trouble::Late => {
                    may_be_sent = true;
                    true
                }
                _ => false,
            };
            failures += 1;
            if !is_passing || failures == ATTEMPTS {
                return Err(not_put(&failed, may_be_sent));
            }
            sleep(pause(failures, PAUSE)).await;
        }
    }

    async fn connect(&self) -> Client {
        // Attempts are counted here, as it matters what became of each.
        let endpoint = self.access.endpoint.as_deref();
        Client::new(&configure(&self.access, endpoint, ATTEMPT, 1).await)
    }
}

/// Returns why an event was not put. It is only said not to be sent if no attempt has sent it.
fn not_put(failed: &Failed, may_be_sent: bool) -> ProduceError {
    match failed.trouble {
        // Kinesis repeats a parameter that it refuses, so the text is not used then.
        Trouble::Invalid => ProduceError::Refused("Kinesis refuses a parameter of the record".to_owned()),
        Trouble::Unreached | Trouble::Throttled if !may_be_sent => {
            ProduceError::Unavailable(failed.to_string())
        }
        Trouble::Unreached | Trouble::Throttled | Trouble::Away | Trouble::Late => {
            ProduceError::TimedOut(failed.to_string())
        }
        _ => ProduceError::Refused(failed.to_string()),
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

    /// Returns `true`: it connects for each event.
    fn is_up(&self) -> bool {
        true
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
                Err(ProduceError::TimedOut(format!("Kinesis has not acknowledged it within {within:?}")))
            })
        }
        .boxed()
    }
}
