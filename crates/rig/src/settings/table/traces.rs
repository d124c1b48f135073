//! The settings of traces: OpenTelemetry's names, meanings and defaults.

use telemetry::Sampler;

use super::{Group, HOUR, ValueKind, number, rig_millis, secret, setting, text};

const PROTOCOL: ValueKind = text(
    "WORD",
    "http/protobuf; grpc and http/json are not spoken: give the collector's port for OTLP over HTTP, mostly 4318",
);

const HEADERS: ValueKind = text("HEADERS", "name=value by commas, values percent-encoded");

const COMPRESSION: ValueKind = ValueKind::Word(&["none", "gzip"]);

pub(super) const GROUP: Group = Group {
    heading: "Traces",
    settings: &[
        setting(
            "OTEL_SDK_DISABLED",
            "false",
            ValueKind::Switch,
            "Exports no traces, whatever the others say",
        ),
        setting(
            "OTEL_TRACES_EXPORTER",
            "",
            ValueKind::Word(&["otlp", "none"]),
            "otlp exports traces, to http://localhost:4318 if no endpoint is set; none exports none; not set: otlp if an endpoint is set",
        ),
        setting(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "",
            text("URL", "an http:// or https:// URL, such as http://localhost:4318"),
            "The collector that gets a trace of each proxied request, under /v1/traces of this URL",
        ),
        setting(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "",
            text("URL", "an http:// or https:// URL, such as http://localhost:4318/v1/traces"),
            "The same as a whole URL; goes before the other",
        ),
        setting(
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "http/protobuf",
            PROTOCOL,
            "What the collector is spoken to in",
        ),
        setting("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "", PROTOCOL, "The same; goes before the other"),
        secret("OTEL_EXPORTER_OTLP_HEADERS", HEADERS, "Headers of the requests to the collector"),
        secret("OTEL_EXPORTER_OTLP_TRACES_HEADERS", HEADERS, "The same; goes before the other"),
        setting(
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "10s",
            rig_millis(1, HOUR),
            "How long the collector may take for one batch, repetitions included",
        ),
        setting(
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            "",
            rig_millis(1, HOUR),
            "The same; goes before the other",
        ),
        setting("OTEL_EXPORTER_OTLP_COMPRESSION", "none", COMPRESSION, "How batches are compressed"),
        setting("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "", COMPRESSION, "The same; goes before the other"),
        setting(
            "OTEL_SERVICE_NAME",
            "",
            text("NAME", "any text"),
            "What the gateway is called in traces; not set: service.name of OTEL_RESOURCE_ATTRIBUTES, or rig",
        ),
        setting(
            "OTEL_RESOURCE_ATTRIBUTES",
            "",
            text("ATTRIBUTES", "name=value by commas, values percent-encoded"),
            "What else is said of the gateway in traces",
        ),
        setting(
            "OTEL_TRACES_SAMPLER",
            "parentbased_always_on",
            ValueKind::Word(Sampler::NAMES),
            "Which traces are recorded; with parentbased_, those that the caller records, and of others this",
        ),
        setting(
            "OTEL_TRACES_SAMPLER_ARG",
            "1",
            text("SHARE", "a number from 0 to 1"),
            "The share of traces that the traceidratio samplers record",
        ),
        setting(
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "2048",
            number(1, 1 << 20),
            "Spans that wait for the collector; more are lost",
        ),
        setting("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "512", number(1, 1 << 16), "Spans that are sent together"),
        setting(
            "OTEL_BSP_SCHEDULE_DELAY",
            "5s",
            rig_millis(1, HOUR),
            "How often spans are sent if there are fewer",
        ),
    ],
};
