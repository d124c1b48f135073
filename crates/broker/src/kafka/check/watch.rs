//! What the client of a check reports: whether it is connected, and why not.

use std::error::Error;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;

use crate::kafka::{KafkaAccess, Link};

/// Limit of the reasons that are kept, of each kind the first. Later ones are dropped.
const REASONS: usize = 4;

/// Watches the client of a check.
pub(super) struct Watch {
    link: Link,
    reported: Mutex<Reported>,
}

#[derive(Default)]
struct Reported {
    reasons: Vec<(Option<RDKafkaErrorCode>, String)>,
    /// When all brokers had failed for the first time.
    down_since: Option<Instant>,
}

impl Watch {
    /// Returns the watch of a client that is not connected yet.
    ///
    /// # Panics
    /// Panics if this thread is none of a runtime.
    pub(super) fn new(access: &KafkaAccess) -> Self {
        Self { link: Link::new(access, "check"), reported: Mutex::default() }
    }

    /// Returns whether it is connected to a broker.
    pub(super) fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Returns whether this time has passed since all brokers have failed.
    pub(super) fn is_down_for(&self, time: Duration) -> bool {
        self.reported.lock().down_since.is_some_and(|since| since.elapsed() >= time)
    }

    /// Returns what has gone wrong since the last call; `None` if nothing has.
    pub(super) fn take_reasons(&self) -> Option<String> {
        let reasons = std::mem::take(&mut self.reported.lock().reasons);
        let texts: Vec<_> = reasons.into_iter().map(|(_, text)| text).collect();
        if texts.is_empty() { None } else { Some(texts.join("; ")) }
    }
}

impl ClientContext for Watch {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = Link::ENABLE_REFRESH_OAUTH_TOKEN;

    fn log(&self, level: RDKafkaLogLevel, kind: &str, text: &str) {
        self.link.log(level, kind, text);
    }

    fn stats(&self, statistics: Statistics) {
        self.link.note(&statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        let mut reported = self.reported.lock();
        let setting = match code {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                reported.down_since.get_or_insert_with(Instant::now);
                return;
            }
            Some(RDKafkaErrorCode::Authentication) => Some("KAFKA_SASL"),
            Some(RDKafkaErrorCode::SSL) => Some("KAFKA_SSL_CA_CERTFILE"),
            _ => None,
        };
        if reported.reasons.len() < REASONS && reported.reasons.iter().all(|(known, _)| *known != code) {
            let setting = setting.map_or_else(String::new, |setting| format!(" ({setting})"));
            reported.reasons.push((code, format!("{reason}{setting}")));
        }
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.link.generate_oauth_token(config)
    }
}

impl ConsumerContext for Watch {}
