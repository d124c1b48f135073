//! The settings of reports of revocations.

use std::sync::Arc;

use hook::{HookUrl, Secrets};
use journal::Outlet;
use proxy::Broker;

use super::broker::BrokerSettings;
use super::reader::Reader;

/// Who revocations are reported to.
#[derive(Default)]
pub(crate) struct ReportSettings {
    /// A web hook.
    pub(crate) hook: Option<HookSettings>,
    /// A topic of a broker that is used.
    pub(crate) topic: Option<TopicSettings>,
}

/// A web hook.
pub(crate) struct HookSettings {
    pub(crate) url: HookUrl,
    pub(crate) secrets: Arc<Secrets>,
}

/// A topic of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicSettings {
    pub(crate) broker: Broker,
    pub(crate) topic: String,
}

impl ReportSettings {
    /// Returns the secrets of the web hook, which are read again when their file changes.
    pub(crate) fn secrets(&self) -> Option<Arc<Secrets>> {
        self.hook.as_ref().map(|hook| hook.secrets.clone())
    }

    /// Returns who is reported to.
    pub(crate) fn outlets(&self) -> Vec<Outlet> {
        let hook = self.hook.as_ref().map(|_| Outlet::Hook);
        let topic = self.topic.as_ref().map(|_| Outlet::Topic);
        hook.into_iter().chain(topic).collect()
    }
}

const URL: &str = "REVOCATION_HOOK_URL";
const SECRET_FILE: &str = "REVOCATION_HOOK_SECRET_FILE";
const TOPIC: &str = "REVOCATION_TOPIC";

/// The longest name of a topic, which is Kafka's limit, and longer than that of Kinesis.
const LONGEST_TOPIC: usize = 249;

/// Reads who revocations are reported to.
pub(super) fn read_reports(reader: &mut Reader, brokers: &BrokerSettings) -> ReportSettings {
    let url = reader.optional(URL, |text, _| text.parse::<HookUrl>().map_err(|error| error.to_string()));
    let file = reader.file(SECRET_FILE);
    let secrets = file.and_then(|file| match Secrets::load(file) {
        Ok(secrets) => Some(Arc::new(secrets)),
        Err(error) => {
            reader.mistake(SECRET_FILE, error.to_string());
            None
        }
    });
    match (reader.is_set(URL), reader.is_set(SECRET_FILE)) {
        (true, false) => reader.mistake(SECRET_FILE, format!("missing, although {URL} is set")),
        (false, true) => reader.mistake(URL, format!("missing, although {SECRET_FILE} is set")),
        _ => {}
    }
    let hook = url.zip(secrets).map(|(url, secrets)| HookSettings { url, secrets });
    let topic = reader.optional(TOPIC, |text, kind| topic(text).ok_or_else(|| format!("expected {kind}")));
    if let Some(topic) = &topic
        && !brokers.has(topic.broker)
    {
        let broker = topic.broker.as_str();
        reader.mistake(TOPIC, format!("{broker} is not configured, or not built in"));
    }
    ReportSettings { hook, topic }
}

fn topic(text: &str) -> Option<TopicSettings> {
    let (broker, topic) = text.split_once(':')?;
    let broker =
        [Broker::Kafka, Broker::Nats, Broker::Kinesis].into_iter().find(|known| known.as_str() == broker)?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_topic = (1..=LONGEST_TOPIC).contains(&topic.len()) && topic.bytes().all(is_name);
    // NATS separates tokens by full stops, and none may be empty.
    let is_topic = is_topic && !topic.split('.').any(str::is_empty);
    is_topic.then(|| TopicSettings { broker, topic: topic.to_owned() })
}
