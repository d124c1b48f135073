//! What a client of librdkafka reports: whether it is connected, and what goes wrong.

use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use telemetry::Told;
use tokio::runtime::Handle;

use super::KafkaAccess;
use super::oauth::OAuth;

/// What is known of one client from what it reports. Clones share it.
#[derive(Clone)]
pub(crate) struct Link(Arc<State>);

struct State {
    /// What the client is for, for the log.
    role: &'static str,
    is_up: AtomicBool,
    is_refused: AtomicBool,
    told: Told,
    oauth: Option<Arc<OAuth>>,
    runtime: Handle,
}

impl Link {
    /// Returns the link of a client that is not connected yet.
    ///
    /// # Panics
    /// Panics if this thread is none of a runtime.
    pub(crate) fn new(access: &KafkaAccess, role: &'static str) -> Self {
        let (oauth, runtime) = (access.oauth(), Handle::current());
        let (is_up, is_refused, told) = Default::default();
        Self(Arc::new(State { role, is_up, is_refused, told, oauth, runtime }))
    }

    /// Returns whether it is connected to a broker, and the brokers do not refuse it.
    pub(crate) fn is_up(&self) -> bool {
        self.0.is_up.load(Ordering::Relaxed) && !self.0.is_refused.load(Ordering::Relaxed)
    }

    /// Notes whether the brokers refuse what the client asks for.
    pub(crate) fn set_refused(&self, is_refused: bool) {
        self.0.is_refused.store(is_refused, Ordering::Relaxed);
    }

    /// Notes that the client is gone.
    pub(crate) fn lost(&self) {
        self.0.is_up.store(false, Ordering::Relaxed);
    }

    /// Logs a trouble, unless one of this kind was logged within the last minute.
    pub(crate) fn warn(&self, kind: &str, reason: &impl Display) {
        if self.0.told.is_due(kind) {
            tracing::warn!(role = self.0.role, %reason, "Kafka");
        }
    }

    /// Notes from the statistics whether a broker is connected.
    pub(crate) fn note(&self, statistics: &Statistics) {
        let is_up = statistics.brokers.values().any(|broker| broker.state == "UP");
        if is_up && !self.0.is_up.swap(true, Ordering::Relaxed) && self.0.told.is_due("connected") {
            tracing::info!(role = self.0.role, "connected to Kafka");
        }
        if !is_up {
            self.lost();
        }
    }
}

impl ClientContext for Link {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, kind: &str, text: &str) {
        match level {
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug | RDKafkaLogLevel::Notice => {
                tracing::debug!(role = self.0.role, kind, text, "librdkafka");
            }
            // A property that is for the other kind of client: KAFKA_PROPERTIES is for both.
            _ if kind == "CONFWARN" => {}
            // The text may contain numbers that change, so only the kind tells what is the same.
            _ => self.warn(kind, &text),
        }
    }

    fn stats(&self, statistics: Statistics) {
        self.note(&statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.lost();
        }
        self.warn(&format!("{code:?}"), &reason);
    }

    /// Returns the token that is kept fresh. If it is to be replaced, gets another one if this
    /// thread may wait for it: those of the library may, those of the runtime may not. Without
    /// another one, the present one is good for as long as it is valid.
    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let oauth = self.0.oauth.as_ref().ok_or("no tokens are configured")?;
        let may_wait = Handle::try_current().is_err();
        let token = match oauth.present() {
            Some(token) if may_wait && token.is_due() => {
                self.0.runtime.block_on(oauth.renew()).unwrap_or(token)
            }
            Some(token) => token,
            None if may_wait => self.0.runtime.block_on(oauth.renew())?,
            None => return Err("there is no token yet".into()),
        };
        let expires = token.expires.duration_since(UNIX_EPOCH)?.as_millis();
        Ok(OAuthToken {
            token: token.text,
            principal_name: oauth.client_id().to_owned(),
            lifetime_ms: expires.try_into()?,
        })
    }
}

impl ConsumerContext for Link {}
