//! Kafka, and the registry of the schemas of what is in it.

use super::super::{DAY, Group, ValueKind, rig_millis, secret, setting, text};

const TOPICS: ValueKind = text("TOPICS", "names of topics, by commas");
const TOPIC: ValueKind = text("TOPIC", "the name of a topic");
const TEXT: ValueKind = text("TEXT", "any text");

pub(crate) const GROUP: Group = Group {
    heading: "Kafka",
    settings: &[
        setting(
            "KAFKA_BROKERS",
            "",
            text("HOSTS", "hosts of Kafka, such as kafka-1:9092 or [::1], by commas"),
            "Some of the brokers of Kafka, which name the others; not set: Kafka is not used",
        ),
        setting("KAFKA_SOURCE_TOPICS", "rig", TOPICS, "The topics that events come from"),
        setting(
            "KAFKA_SOURCE_MODE",
            "group",
            ValueKind::Word(&["group", "broadcast"]),
            "group: one gateway receives an event and passes it to the others of its cluster; broadcast: each receives it from Kafka, without a group",
        ),
        setting(
            "KAFKATOFILTER_KAFKA_GROUP_ID",
            "rig-kafka-to-filter",
            text("NAME", "a name"),
            "The group of consumers: of the gateways in it, one receives an event",
        ),
        setting(
            "KAFKA_GROUP_INSTANCE_ID",
            "",
            text("NAME", "a name that no other gateway has"),
            "The name of this gateway in the group: it gets its partitions back after a restart, without a rebalance",
        ),
        setting(
            "KAFKA_AUTO_OFFSET_RESET",
            "latest",
            ValueKind::Word(&["latest", "earliest"]),
            "Where to begin in a partition of which the group has committed nothing, or of which what is next was deleted",
        ),
        setting(
            "KAFKA_DEAD_LETTER_TOPIC",
            "",
            TOPIC,
            "The topic for messages that are no events; not set: they are only counted",
        ),
        setting(
            "KAFKA_SSL_ENABLED",
            "false",
            ValueKind::Switch,
            "Whether connections to brokers are encrypted; their certificates and names are verified then",
        ),
        setting(
            "KAFKA_SSL_CA_CERTFILE",
            "",
            ValueKind::File,
            "The certificate authorities of the brokers (PEM), in place of those of the system",
        ),
        setting(
            "KAFKA_SSL_CERTFILE",
            "",
            ValueKind::File,
            "The certificate of this gateway for the brokers (PEM), with KAFKA_SSL_KEYFILE",
        ),
        setting("KAFKA_SSL_KEYFILE", "", ValueKind::File, "Its private key (PEM)"),
        secret("KAFKA_SSL_KEYFILE_PASS", TEXT, "The password of the private key"),
        secret(
            "KAFKA_SASL",
            text(
                "TEXT",
                "plain:USER:PASSWORD, scram-sha-256:USER:PASSWORD, scram-sha-512:USER:PASSWORD or oauthbearer:CLIENT_ID:SECRET",
            ),
            "How this gateway shows the brokers who it is; a password may contain colons",
        ),
        setting(
            "KAFKA_SASL_TOKEN_URL",
            "",
            text("URL", "an https URL"),
            "Where the tokens of oauthbearer come from",
        ),
        setting("KAFKA_SASL_SCOPE", "", TEXT, "The scope of the tokens of oauthbearer"),
        setting(
            "KAFKA_RESTART_DELAY_MS",
            "10s",
            rig_millis(100, DAY),
            "The longest pause before a connection to a broker, or a consumer, is tried again",
        ),
        setting(
            "KAFKA_PARTITIONER",
            "murmur2_random",
            ValueKind::Word(&["murmur2_random", "rig"]),
            "Which partition an event with a key is sent to; murmur2_random: as clients for Java do; rig: as RIG does",
        ),
        setting(
            "KAFKA_SERIALIZER",
            "",
            text("WORD", "json or avro"),
            "avro: the data of events sent to Kafka is in Avro; json, or not set: in JSON",
        ),
        setting(
            "KAFKA_SCHEMA_REGISTRY_HOST",
            "",
            text("URL", "host:port, or an http or https URL"),
            "The registry of the schemas of Avro",
        ),
        setting("KAFKA_SCHEMA_REGISTRY_USER", "", TEXT, "The user at the registry"),
        secret("KAFKA_SCHEMA_REGISTRY_PASSWORD", TEXT, "Its password"),
        setting(
            "KAFKA_SCHEMA_REGISTRY_CA",
            "",
            ValueKind::File,
            "The certificate authorities of the registry (PEM), in place of those of the system",
        ),
        setting(
            "KAFKA_LOG_TOPIC",
            "rig-request-log",
            TOPIC,
            "The topic of the request log, if REQUEST_LOG contains kafka",
        ),
        setting("KAFKA_LOG_SCHEMA", "", TEXT, "The subject of its schema, if KAFKA_SERIALIZER is avro"),
        setting(
            "PROXY_KAFKA_RESPONSE_TOPICS",
            "rig-proxy-response",
            TOPICS,
            "The topics of answers to requests whose endpoints have response_from: kafka",
        ),
        setting(
            "PROXY_KAFKA_RESPONSE_TIMEOUT",
            "5s",
            rig_millis(1, DAY),
            "How long a request waits for its answer from Kafka; then the client gets 504",
        ),
        secret(
            "KAFKA_PROPERTIES",
            text("TEXT", "name=value, with semicolons between"),
            "Further properties of librdkafka, except those that the gateway sets",
        ),
    ],
};
