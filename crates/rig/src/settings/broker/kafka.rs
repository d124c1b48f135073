//! The settings of Kafka.

use std::sync::Arc;

use ::broker::kafka::oauth::OAuth;
use ::broker::kafka::{
    KafkaAccess, KafkaTls, Partitioner, Reach, RegistryConfig, Reset, Sasl, UserPassword, access,
};

use crate::settings::reader::Reader;

/// The longest name of a topic (Kafka).
const TOPIC: usize = 249;

/// What Kafka is used for.
#[derive(Debug)]
pub(crate) struct KafkaSettings {
    /// Where Kafka is.
    pub(crate) access: KafkaAccess,
    /// The topics that events come from.
    pub(crate) topics: Vec<String>,
    /// Which nodes receive an event.
    pub(crate) reach: Reach,
    /// Where to begin in a partition.
    pub(crate) reset: Reset,
    /// The topic for messages that are no events.
    pub(crate) dead_letters: Option<String>,
    /// The registry of schemas; `None` if there is none.
    pub(crate) registry: Option<RegistryConfig>,
    /// Whether the data of events that are sent is in Avro. There is a registry then.
    pub(crate) sends_avro: bool,
    /// Which partition an event is sent to.
    pub(crate) partitioner: Partitioner,
    /// The topics of answers.
    pub(crate) response_topics: Vec<String>,
    /// Where requests are reported; `None` if they are not, to Kafka.
    pub(crate) log: Option<KafkaLogSettings>,
}

/// The request log in Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KafkaLogSettings {
    /// Its topic.
    pub(crate) topic: String,
    /// The subject of its schema, for Avro.
    pub(crate) schema: Option<String>,
}

/// Reads what Kafka is used for; `None` if no broker is named. Everything else is checked anyway.
pub(super) fn read(reader: &mut Reader) -> Option<KafkaSettings> {
    let brokers = reader.optional("KAFKA_BROKERS", |text, kind| {
        let broker = |text: &str| {
            let wrong = || format!("{text:?} is no broker; expected {kind}");
            access::address(text.trim()).ok_or_else(wrong)
        };
        text.split(',').map(broker).collect::<Result<Vec<_>, _>>()
    });
    let is_set = reader.is_set("KAFKA_BROKERS");
    let topics = read_topics(reader, "KAFKA_SOURCE_TOPICS");
    let reach = read_reach(reader);
    let reset = reader.word("KAFKA_AUTO_OFFSET_RESET", |word| match word {
        "latest" => Some(Reset::Latest),
        "earliest" => Some(Reset::Earliest),
        _ => None,
    });
    let dead_letters = reader.optional("KAFKA_DEAD_LETTER_TOPIC", topic);
    if let Some(dead) = &dead_letters
        && topics.contains(dead)
    {
        let reason = "one of KAFKA_SOURCE_TOPICS: what is no event would come back from there";
        reader.mistake("KAFKA_DEAD_LETTER_TOPIC", reason);
    }
    let access = read_access(reader, brokers.clone().unwrap_or_default());
    let (registry, sends_avro) = read_registry(reader);
    let partitioner = reader.word("KAFKA_PARTITIONER", |word| match word {
        "murmur2_random" => Some(Partitioner::Murmur2),
        "rig" => Some(Partitioner::Rig),
        _ => None,
    });
    let response_topics = read_topics(reader, "PROXY_KAFKA_RESPONSE_TOPICS");
    let log = read_log(reader, is_set, sends_avro);
    brokers?;
    warn_of_exposure(reader, &access);
    Some(KafkaSettings {
        access,
        topics,
        reach,
        reset,
        dead_letters,
        registry,
        sends_avro,
        partitioner,
        response_topics,
        log,
    })
}

fn read_reach(reader: &mut Reader) -> Reach {
    let id = reader.filled("KAFKATOFILTER_KAFKA_GROUP_ID", |text, kind| match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("expected {kind}")),
    });
    let instance = reader.optional("KAFKA_GROUP_INSTANCE_ID", topic);
    let every = reader.word("KAFKA_SOURCE_MODE", |word| match word {
        "group" => Some(false),
        "broadcast" => Some(true),
        _ => None,
    });
    if every && instance.is_some() {
        reader.mistake("KAFKA_GROUP_INSTANCE_ID", "there is no group if KAFKA_SOURCE_MODE is broadcast");
    }
    if every { Reach::Every } else { Reach::Group { id, instance } }
}

fn read_access(reader: &mut Reader, brokers: Vec<String>) -> KafkaAccess {
    let mut access = KafkaAccess {
        brokers,
        tls: read_tls(reader),
        sasl: read_sasl(reader),
        restart_delay: reader.time("KAFKA_RESTART_DELAY_MS"),
        properties: reader
            .optional("KAFKA_PROPERTIES", |text, _| access::properties(text))
            .unwrap_or_default(),
    };
    // Names that the library does not know would only be found when it is first used.
    let properties = KafkaAccess { brokers: vec!["localhost:9092".to_owned()], tls: None, ..access.clone() };
    if let Err(error) = properties.check() {
        reader.mistake("KAFKA_PROPERTIES", error.to_string());
        access.properties.clear();
    }
    access
}

fn read_tls(reader: &mut Reader) -> Option<KafkaTls> {
    const FILES: [&str; 3] = ["KAFKA_SSL_CA_CERTFILE", "KAFKA_SSL_CERTFILE", "KAFKA_SSL_KEYFILE"];
    let is_enabled = reader.switch("KAFKA_SSL_ENABLED");
    let [ca, certificate, key] = FILES.map(|name| reader.file(name));
    let key_password = reader.text("KAFKA_SSL_KEYFILE_PASS");
    let [_, certificate_row, key_row] = FILES;
    match (reader.is_set(certificate_row), reader.is_set(key_row)) {
        (true, false) => reader.mistake(key_row, format!("missing, although {certificate_row} is set")),
        (false, true) => reader.mistake(certificate_row, format!("missing, although {key_row} is set")),
        _ => {}
    }
    if !is_enabled && let Some(name) = FILES.into_iter().find(|name| reader.is_set(name)) {
        reader.warn(format!("{name}: has no effect, since KAFKA_SSL_ENABLED is not set"));
    }
    is_enabled.then_some(KafkaTls { ca, certificate, key, key_password })
}

fn read_sasl(reader: &mut Reader) -> Option<Sasl> {
    let url = reader.text("KAFKA_SASL_TOKEN_URL");
    let scope = reader.text("KAFKA_SASL_SCOPE");
    // Never shown, since it contains a password.
    let (mechanism, user, password) = reader.optional("KAFKA_SASL", |text, kind| {
        let mut parts = text.splitn(3, ':').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(mechanism), Some(user), Some(password)) if !user.is_empty() && !password.is_empty() => {
                Ok((mechanism.to_ascii_lowercase(), user, password))
            }
            _ => Err(format!("expected {kind}")),
        }
    })?;
    let given = UserPassword { user, password };
    match mechanism.as_str() {
        "plain" => Some(Sasl::Plain(given)),
        "scram-sha-256" => Some(Sasl::ScramSha256(given)),
        "scram-sha-512" => Some(Sasl::ScramSha512(given)),
        "oauthbearer" => {
            let Some(url) = url else {
                reader.mistake("KAFKA_SASL_TOKEN_URL", "missing, although KAFKA_SASL is oauthbearer");
                return None;
            };
            match OAuth::new(given.user, given.password, &url, scope) {
                Ok(oauth) => Some(Sasl::OAuthBearer(Arc::new(oauth))),
                Err(error) => {
                    reader.mistake("KAFKA_SASL_TOKEN_URL", error.to_string());
                    None
                }
            }
        }
        _ => {
            reader.refuse("KAFKA_SASL");
            None
        }
    }
}

fn read_registry(reader: &mut Reader) -> (Option<RegistryConfig>, bool) {
    const ROWS: [&str; 2] = ["KAFKA_SCHEMA_REGISTRY_USER", "KAFKA_SCHEMA_REGISTRY_PASSWORD"];
    let avro = reader.optional("KAFKA_SERIALIZER", |word, kind| match &*word.to_ascii_lowercase() {
        "avro" => Ok(true),
        "json" => Ok(false),
        _ => Err(format!("expected {kind}")),
    });
    let url = reader.text("KAFKA_SCHEMA_REGISTRY_HOST");
    let [user, password] = ROWS.map(|name| reader.text(name));
    let ca = reader.file("KAFKA_SCHEMA_REGISTRY_CA");
    match (&user, &password) {
        (Some(_), None) => reader.mistake(ROWS[1], format!("missing, although {} is set", ROWS[0])),
        (None, Some(_)) => reader.mistake(ROWS[0], format!("missing, although {} is set", ROWS[1])),
        _ => {}
    }
    let avro = avro == Some(true);
    if avro && url.is_none() {
        reader.mistake("KAFKA_SCHEMA_REGISTRY_HOST", "missing, although KAFKA_SERIALIZER is avro");
    }
    let registry =
        url.map(|url| RegistryConfig { url, credentials: user.zip(password), ca, ..Default::default() });
    if let Some(registry) = &registry
        && let Err(error) = ::broker::kafka::Registry::new(registry.clone())
    {
        reader.mistake("KAFKA_SCHEMA_REGISTRY_HOST", error.to_string());
    }
    (registry, avro)
}

fn read_log(reader: &mut Reader, is_used: bool, sends_avro: bool) -> Option<KafkaLogSettings> {
    let topic = reader.filled("KAFKA_LOG_TOPIC", topic);
    let schema = reader.text("KAFKA_LOG_SCHEMA");
    if !super::logs_to_kafka(reader) {
        return None;
    }
    if !is_used {
        reader.mistake("REQUEST_LOG", "kafka, although KAFKA_BROKERS is not set");
    }
    if sends_avro && schema.is_none() {
        reader.mistake("KAFKA_LOG_SCHEMA", "missing, although REQUEST_LOG is kafka, in Avro");
    }
    Some(KafkaLogSettings { topic, schema })
}

fn warn_of_exposure(reader: &mut Reader, access: &KafkaAccess) {
    let is_here =
        |broker: &String| ["localhost:", "127.", "[::1]:"].iter().any(|start| broker.starts_with(start));
    if access.tls.is_some() || access.brokers.iter().all(is_here) {
        return;
    }
    if access.sasl.is_some() {
        reader.warn(
            "KAFKA_SASL: KAFKA_SSL_ENABLED is not set: whoever is between can read the credentials, and read and change events"
                .to_owned(),
        );
    } else {
        reader.warn(
            "KAFKA_BROKERS: a broker is on another host and is used without TLS: whoever is between can read and change events"
                .to_owned(),
        );
    }
}

fn read_topics(reader: &mut Reader, name: &str) -> Vec<String> {
    reader.filled(name, |text, kind| {
        let mut topics = Vec::new();
        for part in text.split(',') {
            let part = part.trim();
            topic(part, kind).map_err(|_| format!("{part:?} is no topic; expected {kind}"))?;
            // Named twice, it is read once.
            if !topics.iter().any(|known| known == part) {
                topics.push(part.to_owned());
            }
        }
        Ok(topics)
    })
}

fn topic(text: &str, kind: crate::settings::kind::ValueKind) -> Result<String, String> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_topic = (1..=TOPIC).contains(&text.len()) && text.bytes().all(is_legal);
    match is_topic && !matches!(text, "." | "..") {
        true => Ok(text.to_owned()),
        false => Err(format!("expected {kind}")),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}
