//! Variables of RIG and OpenTelemetry that have no effect here: setting one is a warning.

use std::ffi::OsStr;

/// Variables of RIG 2 and 3, and their replacements; empty if this version lacks the feature.
pub(crate) const GONE: &[(&str, &str)] = &[
    ("API_PORT", "API_HTTP_PORT"),
    ("DISCOVERY_TYPE", "CLUSTER_NATS"),
    ("DNS_NAME", "CLUSTER_NATS"),
    ("FIREHOSE_KAFKA_HTTP_TARGETS", ""),
    ("FIREHOSE_KAFKA_SOURCE_TOPICS", ""),
    ("JAEGER_HOST", COLLECTOR),
    ("JAEGER_PORT", COLLECTOR),
    ("JAEGER_SERVICE_NAME", "OTEL_SERVICE_NAME"),
    ("JWT_BLACKLIST_DEFAULT_EXPIRY_HOURS", "validityInSeconds of each request to session-blacklist"),
    ("JWT_ROLES_FIELD", "SUBSCRIPTION_CHECK"),
    ("JWT_USER_FIELD", "EXTRACTORS"),
    ("KAFKA_ENABLED", "KAFKA_BROKERS"),
    ("KAFKA_GROUP_ID", "KAFKATOFILTER_KAFKA_GROUP_ID"),
    ("KINESIS_CLIENT_JAR", NO_JAVA),
    ("KINESIS_LOG_LEVEL", "LOG_LEVEL: Kinesis is read without Java"),
    ("KINESIS_OTP_JAR", NO_JAVA),
    ("MESSAGE_USER_FIELD", "EXTRACTORS"),
    ("NODE_HOST", "CLUSTER_NATS"),
    ("PRIVILEGED_ROLES", "SUBSCRIPTION_CHECK"),
    ("PROXY_KAFKA_REQUEST_AVRO", "schema of the endpoints of an API"),
    ("PROXY_KAFKA_REQUEST_TIMEOUT", ""),
    ("PROXY_KAFKA_REQUEST_TOPIC", "topic of the endpoints of an API, with target: kafka"),
    ("PROXY_KAFKA_RESPONSE_KAFKA_GROUP_ID", NO_GROUP),
    ("PROXY_KINESIS_REQUEST_STREAM", "topic of the endpoints of an API, with target: kinesis"),
    ("PROXY_KINESIS_RESPONSE_TIMEOUT", "answers do not come from Kinesis, nor do they in RIG"),
    ("RATE_LIMIT_AVG_RATE_PER_SEC", RATE_LIMIT),
    ("RATE_LIMIT_BURST_SIZE", RATE_LIMIT),
    ("RATE_LIMIT_ENABLED", RATE_LIMIT),
    ("RATE_LIMIT_PER_IP", RATE_LIMIT),
    ("RATE_LIMIT_SWEEP_INTERVAL_MS", RATE_LIMIT),
    ("SESSION_ROLE", "GET /v4/sessions of the internal port"),
    ("ZIPKIN_ADDR", COLLECTOR),
    ("ZIPKIN_SERVICE_NAME", "OTEL_SERVICE_NAME"),
];

const COLLECTOR: &str = "OTEL_EXPORTER_OTLP_ENDPOINT: Jaeger and collectors that hand on to Zipkin take OTLP";
const NO_JAVA: &str = "Kinesis is read without Java";
const NO_GROUP: &str = "each gateway reads all answers, and needs no group for that";
const RATE_LIMIT: &str = "rate_limit of the endpoints of an API";

/// Returns whether OpenTelemetry defines such a variable for a feature that the gateway lacks. An
/// operator who sets it expects the feature.
pub(crate) fn is_foreign(name: &str, value: &OsStr) -> bool {
    let value = value.to_string_lossy().to_ascii_lowercase();
    let harmless = match name {
        "OTEL_LOGS_EXPORTER" => value == "none",
        // `/metrics` is always available.
        "OTEL_METRICS_EXPORTER" => matches!(&*value, "none" | "prometheus"),
        // Trace context is always propagated, and `baggage` is forwarded like any header, so a list
        // without `tracecontext` cannot be honoured.
        "OTEL_PROPAGATORS" => {
            let words: Vec<_> = value.split(',').map(str::trim).collect();
            words.contains(&"tracecontext")
                && words.iter().all(|word| ["tracecontext", "baggage"].contains(word))
        }
        _ => false,
    };
    // Kubernetes sets such variables for every service of the namespace.
    let of_kubernetes = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT_"].iter().any(|part| name.contains(part))
        || name.ends_with("_PORT");
    name.starts_with("OTEL_") && !value.is_empty() && !harmless && !of_kubernetes
}
